/** Tables that are local, and comparing the nodes: mtm.make_table_local, check_query, get_snapshots, ping. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { PostgresMajor } from '../../../src/io/launcher/server-binaries.ts';
import { failureOf, startCluster, type Cluster } from '../../support/cluster.ts';
import { noPrepared } from '../../support/convergence.ts';
import { eventually } from '../../support/polling.ts';
import { runToEnd } from '../../support/programs.ts';

const majors: readonly PostgresMajor[] = [15, 18];

describe.each(majors)('on PostgreSQL %i', (major) => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await startCluster({
      majors: [major, major, major],
      unequal: [{ lines: /rows of public\.k:/, why: 'it had no key while ignore_tables_without_pk was on' }],
      settings: { ignore_tables_without_pk: true },
    });
    await cluster.query(1, 'CREATE ROLE stranger LOGIN');
  });

  afterAll(async () => {
    await cluster?.stop();
  });

  /** What is in it on each node. */
  async function rows(table: string): Promise<string[]> {
    const query = `SELECT coalesce(string_agg(t::text, ' ' ORDER BY t::text), '') AS all FROM ${table} AS t`;
    return (await cluster.onAllServers<{ all: string }>(query)).map(([row]) => row?.all ?? '');
  }

  async function check(number: number, query: string): Promise<{ equal: unknown; warnings: string[] }> {
    const client = await cluster.client(number);
    const warnings: string[] = [];
    client.on('notice', ({ message }) => warnings.push(message ?? ''));
    try {
      const { rows: answer } = await client.query('SELECT mtm.check_query($1) AS equal', [query]);
      return { equal: answer[0]?.equal, warnings };
    } finally {
      await client.end();
    }
  }

  test('rows and TRUNCATE of a local table stay, its definition does not', async () => {
    await cluster.query(1, 'CREATE TABLE l (id int PRIMARY KEY, v text)');
    await cluster.query(1, 'CREATE TABLE r (id int PRIMARY KEY)');
    await cluster.query(1, `INSERT INTO l VALUES (0, 'all')`);
    await cluster.query(2, `SELECT mtm.make_table_local('l')`);
    await cluster.query(2, `SELECT mtm.make_table_local('l')`);
    for (const number of cluster.numbers) {
      const client = await cluster.client(number);
      await client.query('BEGIN');
      await client.query(`INSERT INTO l SELECT g, 'of ' || $1 FROM generate_series(1, 20) AS g`, [number]);
      await client.query('INSERT INTO r VALUES ($1)', [number]);
      await client.query('UPDATE l SET v = $1 WHERE id = 0', [String(number)]);
      await client.query('DELETE FROM l WHERE id > 1');
      await client.query('COMMIT');
      await client.end();
    }
    expect(await rows('l')).toEqual(cluster.numbers.map((number) => `(0,${number}) (1,"of ${number}")`));
    expect(await rows('r')).toEqual(cluster.numbers.map(() => '(1) (2) (3)'));
    await cluster.query(3, 'ALTER TABLE l ADD COLUMN more int DEFAULT 7');
    await cluster.query(3, 'INSERT INTO l VALUES (5, NULL, 5)');
    await cluster.query(1, 'TRUNCATE l, r');
    expect(await rows('l')).toEqual(['', '(0,2,7) (1,"of 2",7)', '(0,3,7) (1,"of 3",7) (5,,5)']);
    expect(await rows('r')).toEqual(['', '', '']);
    await cluster.query(1, 'DROP TABLE l');
    await cluster.query(1, 'CREATE TABLE l (id int PRIMARY KEY)');
    await cluster.query(1, 'INSERT INTO l VALUES (1)');
    expect(await rows('l')).toEqual(['(1)', '(1)', '(1)']);
    expect(await cluster.onAllServers('SELECT * FROM mtm.local_table')).toEqual(
      cluster.numbers.map(() => []),
    );
  });

  test('partitions of a local table are local, also new ones', async () => {
    await cluster.query(1, 'CREATE TABLE p (a int PRIMARY KEY) PARTITION BY RANGE (a)');
    await cluster.query(1, 'CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (10)');
    await cluster.query(1, `SELECT mtm.make_table_local('p')`);
    await cluster.query(1, 'CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)');
    await cluster.query(2, 'INSERT INTO p VALUES (1), (11)');
    expect(await rows('p')).toEqual(['', '(1) (11)', '']);
  });

  test('who may not, and what is no table, is refused', async () => {
    const client = await cluster.client(1, { user: 'stranger' });
    expect(await failureOf(client.query(`SELECT mtm.make_table_local('r')`))).toMatchObject({
      code: '42501',
    });
    expect(await failureOf(client.query(`SELECT mtm.check_query('SELECT 1')`))).toMatchObject({
      code: '42501',
    });
    expect(await failureOf(client.query('SELECT mtm.get_snapshots()'))).toMatchObject({ code: '42501' });
    await client.end();
    expect(await failureOf(cluster.query(1, `SELECT mtm.make_table_local('pg_class')`))).toMatchObject({
      code: '42809',
    });
  });

  test('with ignore_tables_without_pk rows of a table without a key stay', async () => {
    await cluster.query(1, 'CREATE TABLE k (a int)');
    await cluster.query(2, 'INSERT INTO k VALUES (2)');
    expect(await rows('k')).toEqual(['', '(2)', '']);
    await cluster.query(2, 'ALTER TABLE k ADD PRIMARY KEY (a)');
    await cluster.query(3, 'INSERT INTO k VALUES (3)');
    expect(await rows('k')).toEqual(['(3)', '(2) (3)', '(3)']);
    expect(await check(1, 'SELECT * FROM k ORDER BY a')).toEqual({
      equal: false,
      warnings: ["[multimaster] mismatch in column 'a' of row 0: 3 on node 1, 2 on node 2"],
    });
    expect((await check(3, 'SELECT * FROM k WHERE a < 3 ORDER BY a')).warnings).toEqual([
      '[multimaster] query results mismatch: 0 rows on node 1, more on node 2',
    ]);
  });

  test('the nodes are compared at the same point while all write', async () => {
    await cluster.query(1, 'CREATE TABLE w (id int PRIMARY KEY, n int)');
    await cluster.query(1, 'INSERT INTO w SELECT g, 0 FROM generate_series(1, 500) AS g');
    let writing = true;
    const writers = cluster.numbers.map(async (number) => {
      const client = await cluster.client(number);
      for (let i = 0; writing; i++) {
        await client.query('BEGIN');
        await client.query('UPDATE w SET n = n + 1 WHERE id = $1', [((i * 3) % 480) + number]);
        await client.query('INSERT INTO w VALUES ($1, 1)', [1000 * number + 10_000 * i]);
        await client.query('COMMIT');
      }
      await client.end();
    });
    for (const number of [1, 2, 3, 1]) {
      expect(await check(number, 'SELECT * FROM w ORDER BY id')).toEqual({ equal: true, warnings: [] });
    }
    writing = false;
    await Promise.all(writers);
    await noPrepared(cluster);
    const { message } = await failureOf(check(2, 'SELECT nothing'));
    expect(message).toMatch(/^\[multimaster\] failed to run the query on node \d: column "nothing"/);
    expect(await failureOf(check(2, 'SELECT 1; DELETE FROM w'))).toMatchObject({ code: '42601' });
  });

  test('snapshots of one point can be used by hand, and go with their session', async () => {
    const client = await cluster.client(1);
    const { rows: taken } = await client.query('SELECT * FROM mtm.get_snapshots()');
    expect(taken.map((row) => row.node_id)).toEqual([1, 2, 3]);
    await cluster.query(3, 'INSERT INTO w VALUES (-1, -1)');
    for (const { node_id: number, snapshot } of taken as { node_id: number; snapshot: string }[]) {
      const reader = await cluster.client(number);
      await reader.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
      await reader.query(`SET TRANSACTION SNAPSHOT '${snapshot}'`);
      expect((await reader.query('SELECT 1 FROM w WHERE id = -1')).rows).toEqual([]);
      await reader.query('COMMIT');
      await reader.end();
    }
    const open = `SELECT 1 FROM pg_stat_activity WHERE application_name = 'mtm_snapshot'`;
    await client.query('SELECT mtm.free_snapshots()');
    await client.query('SELECT mtm.get_snapshots()');
    expect(await cluster.directly(2, open)).toHaveLength(1);
    await client.end();
    await eventually(
      'the snapshots are gone',
      async () => (await cluster.directly(2, open)).length === 0,
      30_000,
    );
  });

  test('from a shell', async () => {
    const url = `postgresql://postgres@127.0.0.1:${cluster.node(2).gatewayPort}/app`;
    const run = (...args: string[]) => runToEnd(process.execPath, ['src/main.ts', ...args, '--url', url]);
    const equal = await run('check-query', 'SELECT * FROM w ORDER BY id', '--json');
    expect([equal.code, JSON.parse(equal.stdout)]).toEqual([0, { equal: true, remarks: [] }]);
    const different = await run('check-query', 'SELECT * FROM p');
    expect(different.code).toBe(1);
    expect(different.stdout).toContain('query results mismatch: 0 rows on node 1, more on node 2');
    const sequences = await run('alter-sequences', '--json');
    expect(JSON.parse(sequences.stdout)).toMatchObject({ remarks: [] });
  });

  test('a session may choose not to wait for the commits of the others', async () => {
    const options = '-c multimaster.wait_peer_commits=off';
    const client = await cluster.client(1, { options });
    expect((await client.query('SHOW multimaster.wait_peer_commits')).rows).toEqual([
      { 'multimaster.wait_peer_commits': 'off' },
    ]);
    await client.query('INSERT INTO w VALUES (-2, 0)');
    await client.query('BEGIN');
    await client.query('SET LOCAL multimaster.wait_peer_commits = on');
    await client.query('INSERT INTO w VALUES (-3, 0)');
    await client.query('COMMIT');
    expect(await cluster.onAllServers('SELECT id FROM w WHERE id IN (-2, -3) ORDER BY id DESC')).toEqual(
      cluster.numbers.map(() => [{ id: -2 }, { id: -3 }]),
    );
    expect(await failureOf(client.query('SET multimaster.max_workers = 3'))).toMatchObject({ code: '55P02' });
    await client.query('RESET multimaster.wait_peer_commits');
    await client.end();
  });

  test('ping and init_cluster tell whether the nodes are there', async () => {
    expect(await cluster.query(2, 'SELECT mtm.ping() AS there')).toEqual([{ there: true }]);
    await cluster.query(1, `SELECT mtm.init_cluster('host=a', ARRAY['host=b', 'host=c'])`);
    expect(await failureOf(cluster.query(1, `SELECT mtm.init_cluster('host=a', '{}')`))).toMatchObject({
      code: '22023',
    });
    await cluster.killGateway(3);
    await eventually(
      'the others go on',
      async () => {
        const there = await cluster
          .query<{ there: boolean }>(1, 'SELECT mtm.ping() AS there')
          .catch(() => []);
        return there[0]?.there === true;
      },
      30_000,
    );
    expect((await check(1, 'SELECT * FROM w ORDER BY id')).warnings).toEqual([
      '[multimaster] node 3 is away and was not compared',
    ]);
    await cluster.startGateway(3);
    await cluster.whole();
  });
});
