/** mtm.status(), mtm.nodes(), SHOW multimaster.*, and the session past the supervision for those who may. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { failureOf, startCluster, type Cluster } from '../../support/cluster.ts';
import { settled } from '../../support/polling.ts';

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({
    majors: [15, 16, 18],
    settings: { heartbeat_recv_timeout: '1500ms', conflict_retries: 7, admin_role: 'keepers' },
  });
  await cluster.query(1, 'CREATE ROLE keepers');
  await cluster.query(2, `CREATE ROLE keeper LOGIN PASSWORD 'k' IN ROLE keepers`);
  await cluster.query(3, 'CREATE ROLE stranger LOGIN');
  await cluster.query(1, 'CREATE TABLE t (id int PRIMARY KEY)');
});

afterAll(async () => {
  await cluster?.stop();
});

describe('mtm.status()', () => {
  test('tells each node about itself and the cluster', async () => {
    for (const number of cluster.numbers) {
      const [row] = await cluster.query(number, 'SELECT * FROM mtm.status()');
      expect(row).toMatchObject({
        my_node_id: number,
        status: 'online',
        gen_members: [1, 2, 3],
        gen_members_online: [1, 2, 3],
        gen_configured: [1, 2, 3],
        reason: '',
      });
      expect(Object.keys(row ?? {}).slice(0, 7)).toEqual([
        'my_node_id',
        'status',
        'connected',
        'gen_num',
        'gen_members',
        'gen_members_online',
        'gen_configured',
      ]);
      expect(row?.['connected']).toEqual(
        expect.arrayContaining([1, 2, 3].filter((other) => other !== number)),
      );
    }
  });

  test('composes with any query and works for any user', async () => {
    const stranger = await cluster.client(2, { user: 'stranger' });
    const { rows } = await stranger.query(
      `SELECT n.id, s.my_node_id = n.id AS me FROM mtm.nodes() AS n, mtm.status() AS s ORDER BY n.id`,
    );
    await stranger.end();
    expect(rows).toEqual([
      { id: 1, me: false },
      { id: 2, me: true },
      { id: 3, me: false },
    ]);
  });
});

test('mtm.nodes() has the columns of the manual', async () => {
  const rows = await cluster.query(3, 'SELECT * FROM mtm.nodes() ORDER BY id');
  expect(Object.keys(rows[0] ?? {}).slice(0, 9)).toEqual([
    'id',
    'conninfo',
    'is_self',
    'enabled',
    'connected',
    'sender_pid',
    'receiver_pid',
    'n_workers',
    'receiver_mode',
  ]);
  expect(rows.map(({ id, is_self: self, enabled, connected }) => ({ id, self, enabled, connected }))).toEqual(
    cluster.numbers.map((id) => ({ id, self: id === 3, enabled: true, connected: true })),
  );
});

test('mtm.ping()', async () => {
  expect(await cluster.query(1, 'SELECT mtm.ping() AS pong')).toEqual([{ pong: true }]);
});

describe('SHOW multimaster.*', () => {
  test.each([
    ['heartbeat_send_timeout', '200ms'],
    ['heartbeat_recv_timeout', '1500ms'],
    ['conflict_retries', '7'],
    ['wait_peer_commits', 'on'],
    ['deadlock_prevention', 'smart'],
    ['max_workers', '100'],
    ['trans_spill_threshold', '100MB'],
    ['admin_role', 'keepers'],
  ])('%s is %s', async (name, value) => {
    const [row] = await cluster.query(2, `SHOW multimaster.${name}`);
    expect(Object.values(row ?? {})).toEqual([value]);
    expect(await cluster.query(2, 'SELECT current_setting($1) AS v', [`multimaster.${name}`])).toEqual([
      { v: value },
    ]);
  });

  test('shows no secret', async () => {
    await expect(cluster.query(1, 'SHOW multimaster.cluster_secret')).rejects.toMatchObject({
      code: '42704',
    });
  });
});

describe('application_name=mtm_admin', () => {
  const admin = { application_name: 'mtm_admin' };

  test('a superuser works on this node alone, and it is counted', async () => {
    const client = await cluster.client(1, admin);
    await client.query('INSERT INTO t VALUES (1)');
    expect((await client.query('SELECT id FROM t')).rows).toEqual([{ id: 1 }]);
    expect(await cluster.onAllServers('SELECT id FROM t')).toEqual([[{ id: 1 }], [], []]);
    const count = async () =>
      (await cluster.query<{ n: string }>(1, 'SELECT unsupervised_writes AS n FROM mtm.status()'))[0]?.n;
    expect(Number(await settled(count, (n) => Number(n) > 0))).toBeGreaterThan(0);
    await client.query('DELETE FROM t');
    await client.end();
  });

  test('a member of the admin role may, too', async () => {
    const client = await cluster.client(3, { ...admin, user: 'keeper', password: 'k' });
    expect((await client.query('SHOW default_transaction_read_only')).rows).toEqual([
      { default_transaction_read_only: 'off' },
    ]);
    await client.end();
  });

  test('others are refused with 42501', async () => {
    for (const number of cluster.numbers) {
      const failure = await failureOf(cluster.client(number, { ...admin, user: 'stranger' }));
      expect(failure).toMatchObject({
        code: '42501',
        severity: 'FATAL',
        message: expect.stringMatching(/mtm_admin/),
      });
    }
  });

  test('set later it changes nothing: only the startup packet counts', async () => {
    const client = await cluster.client(2);
    await client.query(`SET application_name = 'mtm_admin'`);
    await client.query('INSERT INTO t VALUES (2)');
    await client.end();
    expect(await cluster.onAllServers('SELECT id FROM t')).toEqual(cluster.numbers.map(() => [{ id: 2 }]));
  });
});

describe('what the cluster needs cannot be taken away', () => {
  test.each([
    ['DROP PUBLICATION mtm'],
    ['DROP SCHEMA mtm CASCADE'],
    ['ALTER EVENT TRIGGER "!mtm_start_2_capture" DISABLE'],
    [`SELECT pg_drop_replication_slot('mtm_live')`],
    ['DROP TABLE mtm.sequence'],
    [`PREPARE TRANSACTION 'mtm:1:1:1:1'`],
  ])('%s', async (text) => {
    const client = await cluster.client(1);
    await client.query('BEGIN');
    const failure = await failureOf(client.query(text).then(() => client.query('COMMIT')));
    await client.end();
    expect(failure.code).toMatch(/^(0A000|42501|22023|55000|55006|2BP01)$/);
    // Still working.
    await cluster.query(2, 'INSERT INTO t VALUES (50) ON CONFLICT DO NOTHING');
  });
});
