/** Commands that cannot run in a transaction: every node runs them for itself, and all end up the same. */
import type { Client } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { PostgresMajor } from '../../../src/io/launcher/server-binaries.ts';
import { failureOf, startCluster, type Cluster } from '../../support/cluster.ts';
import { equalEverywhere, noPrepared } from '../../support/convergence.ts';
import { eventually, within } from '../../support/polling.ts';

const majors: readonly PostgresMajor[] = [15, 18];

const indexesOf = `SELECT i.indexrelid::regclass::text AS name, i.indisvalid AS valid FROM pg_index i
  WHERE i.indrelid = to_regclass($1) ORDER BY 1`;

describe.each(majors)('on PostgreSQL %i', (major) => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await startCluster({ majors: [major, major, major] });
    await cluster.query(1, 'CREATE TABLE t (id int PRIMARY KEY, a int, b text)');
    await cluster.query(1, 'INSERT INTO t SELECT g, g, g::text FROM generate_series(1, 2000) AS g');
  });

  afterEach(async () => {
    await noPrepared(cluster);
    expect(await cluster.onAllServers('SELECT id FROM mtm.everywhere')).toEqual(
      cluster.numbers.map(() => []),
    );
    await equalEverywhere(cluster);
  });

  afterAll(async () => {
    await cluster?.stop();
  });

  async function indexes(table: string): Promise<string[]> {
    const all = await cluster.onAllServers<{ name: string; valid: boolean }>(indexesOf, [table]);
    const lists = all.map((rows) => rows.map(({ name, valid }) => `${name}${valid ? '' : ' invalid'}`));
    for (const other of lists) expect(other).toEqual(lists[0]);
    return lists[0] ?? [];
  }

  /** A session past the gateway that keeps CONCURRENTLY waiting on this node. */
  async function blocker(number: number, table = 't'): Promise<Client> {
    const client = await cluster.direct(number, { application_name: 'mtm_admin' });
    await client.query('BEGIN');
    await client.query(`LOCK TABLE ${table} IN ROW EXCLUSIVE MODE`);
    return client;
  }

  async function worksOn(number: number): Promise<void> {
    const text = `SELECT 1 FROM pg_stat_activity WHERE application_name = 'mtm_everywhere'
      AND wait_event_type = 'Lock'`;
    await eventually(
      `the command waits on node ${number}`,
      async () => (await cluster.directly(number, text)).length > 0,
    );
  }

  async function nothingUnderWay(): Promise<void> {
    const probe = async (): Promise<boolean> =>
      (await cluster.onAllServers('SELECT id FROM mtm.everywhere')).every((rows) => rows.length === 0);
    await eventually('nothing is under way', probe);
  }

  test('indexes are made and dropped on every node while all write', async () => {
    let writing = true;
    const writers = cluster.numbers.map(async (number) => {
      const client = await cluster.client(number);
      for (let i = 0; writing; i++) {
        const id = 10_000 * number + i;
        await client.query('INSERT INTO t VALUES ($1, $1, ($1::int)::text)', [id]);
        await client.query('UPDATE t SET a = a + 1 WHERE id = $1', [id]);
      }
      await client.end();
    });
    await cluster.query(1, 'CREATE INDEX CONCURRENTLY ON t (a, lower(b))');
    await cluster.query(2, 'CREATE UNIQUE INDEX /* here */ CONCURRENTLY "T b" ON public.t (b, id)');
    await cluster.query(3, 'CREATE INDEX CONCURRENTLY IF NOT EXISTS t_a ON t (a) WHERE a > 5');
    await cluster.query(3, 'REINDEX TABLE CONCURRENTLY t');
    await cluster.query(3, 'CREATE INDEX CONCURRENTLY IF NOT EXISTS t_a ON t (b)');
    expect(await indexes('t')).toEqual(['"T b"', 't_a', 't_a_lower_idx', 't_pkey']);
    await cluster.query(2, 'DROP INDEX CONCURRENTLY t_a');
    await cluster.query(1, 'DROP INDEX CONCURRENTLY IF EXISTS "T b"');
    await cluster.query(1, 'DROP INDEX CONCURRENTLY t_a_lower_idx');
    writing = false;
    await Promise.all(writers);
    expect(await indexes('t')).toEqual(['t_pkey']);
  });

  test('as prepared statements, with notices, and under the role and the search_path of the session', async () => {
    await cluster.query(1, 'CREATE ROLE builder; CREATE SCHEMA b AUTHORIZATION builder');
    const client = await cluster.client(2);
    const notices: string[] = [];
    client.on('notice', ({ message }) => notices.push(message ?? ''));
    await client.query('SET ROLE builder');
    await client.query('SET search_path = b');
    await client.query('CREATE TABLE own (x int)');
    const named = { name: 'make', text: 'CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON own (x)' };
    expect((await client.query(named)).command).toBe('CREATE');
    expect((await client.query(named)).command).toBe('CREATE');
    expect(notices).toEqual(['relation "i" already exists, skipping']);
    expect(await indexes('b.own')).toEqual(['b.i']);
    expect(await failureOf(client.query('CREATE INDEX CONCURRENTLY i2 ON public.t (a)'))).toMatchObject({
      code: '42501',
    });
    await client.query('DROP INDEX CONCURRENTLY i');
    await client.end();
    expect(await indexes('b.own')).toEqual([]);
  });

  test('errors are PostgreSQL’s own, and leave nothing behind', async () => {
    const fails = async (text: string): Promise<string> => {
      const { code, message } = await failureOf(cluster.query(1, text), text);
      return `${code} ${message}`;
    };
    expect(await fails('CREATE INDEX CONCURRENTLY t_pkey ON t (a)')).toBe(
      '42P07 relation "t_pkey" already exists',
    );
    expect(await fails('CREATE INDEX CONCURRENTLY i ON nowhere (a)')).toBe(
      '42P01 relation "nowhere" does not exist',
    );
    expect(await fails('CREATE INDEX CONCURRENTLY i ON t (nothing)')).toMatch(/^42703 /);
    expect(await fails('DROP INDEX CONCURRENTLY nothing')).toBe('42704 index "nothing" does not exist');
    expect(await fails('DROP INDEX CONCURRENTLY t_pkey')).toMatch(/^2BP01 /);
    expect(await fails('REINDEX INDEX CONCURRENTLY nothing')).toMatch(/^42P01 /);
    const refused = await failureOf(cluster.query(1, 'REINDEX TABLE CONCURRENTLY pg_catalog.pg_class'));
    expect(refused).toMatchObject({ code: '0A000', hint: undefined });
    expect(await fails('CREATE UNIQUE INDEX CONCURRENTLY i ON t ((a % 7))')).toMatch(/^23505 /);
    const client = await cluster.client(1);
    for (const [before, text] of [
      ['BEGIN', 'CREATE INDEX CONCURRENTLY i ON t (a)'],
      ['BEGIN', 'REINDEX TABLE CONCURRENTLY t'],
      ['BEGIN', 'DROP INDEX CONCURRENTLY t_pkey'],
      ['SELECT 1', 'SELECT 1; CREATE INDEX CONCURRENTLY i ON t (a)'],
      ['SELECT 1', `DO $$ BEGIN EXECUTE 'CREATE INDEX CONCURRENTLY i ON t (a)'; END $$`],
    ] as const) {
      await client.query(before);
      expect(await failureOf(client.query(text), text)).toMatchObject({ code: '25001' });
      await client.query('ROLLBACK');
    }
    await client.query('SET default_transaction_read_only = on');
    expect(await failureOf(client.query('CREATE INDEX CONCURRENTLY i ON t (a)'))).toMatchObject({
      code: '25006',
    });
    await client.query('RESET ALL');
    await client.query('CREATE TEMPORARY TABLE here (a int)');
    await client.query('CREATE INDEX CONCURRENTLY here_a ON here (a)');
    await client.query('DROP INDEX CONCURRENTLY here_a');
    await client.end();
    expect(await indexes('t')).toEqual(['t_pkey']);
  });

  test('what fails on one node only is taken back on all', async () => {
    await cluster.query(1, 'CREATE TABLE u (id int)');
    await cluster.query(1, 'INSERT INTO u SELECT generate_series(1, 100)');
    const past = await cluster.direct(3, { application_name: 'mtm_admin' });
    await past.query('SET session_replication_role = replica');
    await past.query('INSERT INTO u VALUES (7)');
    expect(
      await failureOf(cluster.query(1, 'CREATE UNIQUE INDEX CONCURRENTLY u_id ON u (id)')),
    ).toMatchObject({ code: '23505', hint: expect.stringContaining('node 3') });
    expect(await indexes('u')).toEqual([]);
    await past.query('DELETE FROM u WHERE id = 7');
    await past.query('INSERT INTO u VALUES (7)');
    await past.end();
    await cluster.query(2, 'CREATE UNIQUE INDEX CONCURRENTLY u_id ON u (id)');
    expect(await indexes('u')).toEqual(['u_id']);
  });

  test('two of one table wait for each other; of one name one wins', async () => {
    await Promise.all([
      cluster.query(1, 'CREATE INDEX CONCURRENTLY two_a ON t (a)'),
      cluster.query(2, 'CREATE INDEX CONCURRENTLY two_b ON t (b)'),
      cluster.query(3, 'DROP INDEX CONCURRENTLY IF EXISTS two_c'),
    ]);
    const same = await Promise.allSettled([
      cluster.query(1, 'CREATE INDEX CONCURRENTLY two_c ON t (a)'),
      cluster.query(3, 'CREATE INDEX CONCURRENTLY two_c ON t (b)'),
    ]);
    expect(same.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(same.find(({ status }) => status === 'rejected')).toMatchObject({ reason: { code: '42P07' } });
    for (const name of ['two_a', 'two_b', 'two_c']) await cluster.query(2, `DROP INDEX CONCURRENTLY ${name}`);
  });

  test('a client that cancels cancels it everywhere', async () => {
    for (const number of [1, 3]) {
      const block = await blocker(number);
      const client = await cluster.client(1);
      const { processID, secretKey } = client as unknown as { processID: number; secretKey: number };
      const failure = failureOf(client.query('CREATE INDEX CONCURRENTLY never ON t (a)'));
      await worksOn(number);
      const canceller = await cluster.client(1);
      await canceller.query('SELECT 1');
      const { Connection } = (await import('pg')).default as unknown as {
        Connection: new () => {
          connect(port: number, host: string): void;
          on(event: string, listener: () => void): void;
          cancel(pid: number, key: number): void;
        };
      };
      const connection = new Connection();
      connection.on('connect', () => connection.cancel(processID, secretKey));
      connection.connect(cluster.node(1).gatewayPort, '127.0.0.1');
      expect(await within('the cancelled command', 60_000, failure)).toMatchObject({ code: '57014' });
      await block.query('ROLLBACK');
      await Promise.all([block.end(), client.end(), canceller.end()]);
      await nothingUnderWay();
      expect(await indexes('t')).toEqual(['t_pkey']);
    }
  });

  test('partitions are detached, and a materialised view is refreshed', async () => {
    await cluster.query(1, 'CREATE TABLE p (a int) PARTITION BY RANGE (a)');
    await cluster.query(1, 'CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (10)');
    await cluster.query(1, 'CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20)');
    await cluster.query(1, 'INSERT INTO p SELECT generate_series(1, 19)');
    await cluster.query(2, 'ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY');
    expect(await cluster.onAllServers('SELECT count(*)::int AS n FROM p')).toEqual(
      cluster.numbers.map(() => [{ n: 10 }]),
    );
    await cluster.query(1, 'CREATE MATERIALIZED VIEW m AS SELECT sum(a) AS s FROM p');
    await cluster.query(1, 'CREATE UNIQUE INDEX ON m (s)');
    await cluster.query(2, 'INSERT INTO p VALUES (11)');
    await cluster.query(3, 'REFRESH MATERIALIZED VIEW CONCURRENTLY m');
    const client = await cluster.client(1);
    await client.query({
      name: 'refresh',
      text: 'REFRESH MATERIALIZED VIEW CONCURRENTLY public.m',
      values: [],
    });
    await client.end();
    expect(await cluster.onAllServers('SELECT s::int FROM m')).toEqual(
      cluster.numbers.map(() => [{ s: 156 }]),
    );
    // In a function it runs as it is, with its temporary table: the transaction commits last at home.
    await cluster.query(
      1,
      `CREATE FUNCTION again() RETURNS void LANGUAGE plpgsql AS $$
       BEGIN INSERT INTO p VALUES (12); REFRESH MATERIALIZED VIEW CONCURRENTLY m; END $$`,
    );
    await cluster.query(2, 'SELECT again()');
    expect(await cluster.onAllServers('SELECT s::int FROM m')).toEqual(
      cluster.numbers.map(() => [{ s: 168 }]),
    );
  });

  test('tablespaces', async () => {
    const client = await cluster.client(2);
    await client.query('SET allow_in_place_tablespaces = on');
    await client.query(`CREATE TABLESPACE place LOCATION ''`);
    await client.query('CREATE TABLE placed (a int) TABLESPACE place');
    await client.query('CREATE INDEX CONCURRENTLY ON placed (a) TABLESPACE place');
    expect(await failureOf(client.query(`CREATE TABLESPACE place LOCATION ''`))).toMatchObject({
      code: '42710',
    });
    expect(await failureOf(client.query('DROP TABLESPACE place'))).toMatchObject({ code: '55000' });
    expect(await cluster.onAllServers(`SELECT count(*)::int AS n FROM pg_tablespace`)).toEqual(
      cluster.numbers.map(() => [{ n: 3 }]),
    );
    await client.query('DROP TABLE placed');
    await client.query('DROP TABLESPACE place');
    expect(await failureOf(client.query('DROP TABLESPACE place'))).toMatchObject({ code: '42704' });
    await client.query('DROP TABLESPACE IF EXISTS place');
    await client.end();
  });

  test('a node that dies in the middle has the index when it is back', async () => {
    const block = await blocker(3);
    const made = cluster.query(1, 'CREATE INDEX CONCURRENTLY late ON t (b)');
    await worksOn(3);
    await cluster.killGateway(3);
    await cluster.killServer(3);
    await block.end().catch(() => undefined); // its server is gone
    await within('the index on the others', 60_000, made);
    await cluster.query(2, 'DROP INDEX CONCURRENTLY IF EXISTS nothing');
    await cluster.startServer(3);
    await cluster.startGateway(3);
    await cluster.whole();
    expect(await indexes('t')).toEqual(['late', 't_pkey']);
    await cluster.query(3, 'DROP INDEX CONCURRENTLY late');
  });

  test.each([2, 1])('what a dead gateway has left half done on node %i is settled', async (number) => {
    const block = await blocker(number);
    const lost = failureOf(cluster.query(1, 'CREATE INDEX CONCURRENTLY orphan ON t (b)'));
    await worksOn(number);
    await cluster.killGateway(1);
    await lost;
    await block.query('ROLLBACK');
    await block.end();
    await cluster.startGateway(1);
    await cluster.whole();
    await nothingUnderWay();
    // On all nodes or on none, as far as it had come.
    expect(['orphan,t_pkey', 't_pkey']).toContain(String(await indexes('t')));
    await cluster.query(3, 'DROP INDEX CONCURRENTLY IF EXISTS orphan');
  });
});
