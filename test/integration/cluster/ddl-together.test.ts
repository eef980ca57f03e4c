/**
 * Definitions changed from several nodes at once: everybody gets through or is told to repeat, and whoever is in
 * the way can be seen and ended.
 * Rule: how fast it goes is not looked at, only that all make progress and how it ends.
 */
import type { Client } from 'pg';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { failureOf, startCluster, type Cluster } from '../../support/cluster.ts';
import { equalEverywhere, noPrepared } from '../../support/convergence.ts';
import { isRepeatable, together } from '../../support/load.ts';
import { eventually, within } from '../../support/polling.ts';

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ majors: [18, 15, 18] });
  await cluster.query(1, 'CREATE TABLE t (id int PRIMARY KEY, a int)');
  await cluster.query(1, 'CREATE ROLE reader');
});

afterEach(async () => {
  await noPrepared(cluster, 10_000);
  await equalEverywhere(cluster);
});

afterAll(async () => {
  await cluster?.stop();
});

interface Activity {
  readonly node: number;
  readonly kind: string;
  readonly pid: number | null;
  readonly statement: string | null;
  readonly blocked_by: number[] | null;
  readonly waits_for: string | null;
}

function activity(number: number): Promise<Activity[]> {
  return cluster.query<Activity>(number, 'SELECT * FROM mtm.ddl_activity()');
}

/** A transaction that has changed `t` on the node, and does nothing more. */
async function idler(number: number): Promise<{ client: Client; pid: number }> {
  const client = await cluster.client(number);
  await client.query('BEGIN');
  await client.query('ALTER TABLE t ADD COLUMN idle int');
  const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
  return { client, pid: rows[0]!.pid };
}

test('clashes in catalogs are repeated until each statement succeeds', async () => {
  const texts = (node: number): readonly string[] => [
    'GRANT SELECT ON t TO reader',
    `COMMENT ON TABLE t IS '${node}'`,
    `ALTER ROLE reader CONNECTION LIMIT ${node}`,
    'REVOKE SELECT ON t FROM reader',
    `CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT ${node}'`,
    'CREATE TABLE IF NOT EXISTS same (x int)',
    'DROP TABLE IF EXISTS same',
  ];
  const work = async (number: number): Promise<void> => {
    const client = await cluster.client(number);
    for (let round = 0; round < 2; round++) for (const text of texts(number)) await client.query(text);
    await client.end();
  };
  await within('all statements', 60_000, together(cluster.numbers.map(work)));
});

test('transactions get through, or are told to repeat', async () => {
  const work = async (number: number): Promise<void> => {
    const client = await cluster.client(number);
    for (let round = 0; round < 2;) {
      try {
        await client.query('BEGIN');
        await client.query(`ALTER TABLE t ADD COLUMN x${number} int`);
        await client.query(`INSERT INTO t (id, x${number}) VALUES (${100 * number + round}, 1)`);
        await client.query(`ALTER TABLE t DROP COLUMN x${number}`);
        await client.query('GRANT SELECT ON t TO reader');
        await client.query('COMMIT');
        round++;
      } catch (error) {
        await client.query('ROLLBACK');
        if (!isRepeatable(error)) throw error;
      }
    }
    await client.end();
  };
  await within('all rounds', 90_000, together(cluster.numbers.map(work)));
  expect(await cluster.query(2, 'SELECT count(*)::int AS n FROM t')).toEqual([{ n: 6 }]);
});

test('what is idle in a transaction on one node does not stop the DDL of another', async () => {
  const { client } = await idler(2);
  await within('the DDL', 30_000, cluster.query(1, 'ALTER TABLE t ADD COLUMN other int'));
  expect(await failureOf(client.query('SELECT 1'))).toMatchObject({ code: '40001' });
  await client.query('ROLLBACK');
  await client.end();
  await cluster.query(3, 'ALTER TABLE t DROP COLUMN other');
});

test('on its own node it is seen from all, waited for within lock_timeout, and ended by an administrator', async () => {
  const { client, pid } = await idler(2);
  const waiter = await cluster.client(2);
  await waiter.query(`SET lock_timeout = '300ms'`);
  expect(await failureOf(waiter.query('DROP TABLE t'))).toMatchObject({ code: '55P03' });
  await waiter.query('RESET lock_timeout');
  const waits = waiter.query('ALTER TABLE t ADD COLUMN waited int');
  await eventually('the waiting statement is seen', async () =>
    (await activity(1)).some(({ blocked_by }) => blocked_by?.includes(pid) === true),
  );
  const rows = await activity(3);
  expect(rows.find((row) => row.pid === pid)).toMatchObject({ node: 2, kind: 'session' });
  expect(rows.find((row) => row.blocked_by !== null)).toMatchObject({
    node: 2,
    statement: 'ALTER TABLE t ADD COLUMN waited int',
    waits_for: expect.stringMatching(new RegExp(`process ${pid} of postgres \\(idle in transaction\\)`)),
  });
  expect(await cluster.query(1, 'SELECT mtm.release_ddl(2, 1) AS ended')).toEqual([{ ended: false }]);
  expect(await failureOf(cluster.query(1, 'SELECT mtm.release_ddl(9, 1)'))).toMatchObject({ code: '22023' });
  expect(await cluster.query(1, 'SELECT mtm.release_ddl(2, $1) AS ended', [pid])).toEqual([{ ended: true }]);
  await within('the statement that waited', 30_000, waits);
  expect(await failureOf(client.query('COMMIT'))).toBeDefined();
  await waiter.query('ALTER TABLE t DROP COLUMN waited');
  await waiter.end();
});

test('others see nothing of it, and end nothing', async () => {
  await cluster.query(1, 'CREATE ROLE somebody LOGIN');
  await cluster.query(1, 'CREATE ROLE watcher LOGIN IN ROLE pg_monitor');
  const somebody = await cluster.client(1, { user: 'somebody' });
  const watcher = await cluster.client(1, { user: 'watcher' });
  for (const client of [somebody, watcher])
    expect(await failureOf(client.query('SELECT mtm.release_ddl(1, 1)'))).toMatchObject({ code: '42501' });
  expect(await failureOf(somebody.query('SELECT * FROM mtm.ddl_activity()'))).toMatchObject({
    code: '42501',
  });
  expect(Array.isArray((await watcher.query('SELECT * FROM mtm.ddl_activity()')).rows)).toBe(true);
  await Promise.all([somebody.end(), watcher.end()]);
});

test('a node that dies in the middle holds nobody up for long, and is named', async () => {
  let going = true;
  const done = [0, 0];
  const wrong: unknown[] = [];
  const worker = async (number: number): Promise<void> => {
    const client = await cluster.client(number);
    while (going) {
      try {
        await client.query(`CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT ${number}'`);
        await client.query(`ALTER TABLE t ALTER COLUMN a SET STATISTICS ${100 + number}`);
        done[number - 1]!++;
      } catch (error) {
        const { code } = error as { readonly code?: string };
        if (!isRepeatable(error) && !['57P03', '08007'].includes(code ?? '')) wrong.push(error);
      }
    }
    await client.end();
  };
  const holder = await idler(3);
  const workers = [worker(1), worker(2)];
  const progress = async (limitMs: number): Promise<void> => {
    const before = [...done];
    const all = async (): Promise<boolean> => done.every((n, index) => n > before[index]!);
    await eventually('both change definitions', all, limitMs);
  };
  await progress(30_000);
  await Promise.all([cluster.killGateway(3), cluster.killServer(3)]);
  await progress(40_000);
  await eventually('the dead node is named', async () => {
    const rows = await activity(1).catch(() => []); // not while the node waits for an election
    return rows.some(({ node, kind }) => node === 3 && kind === 'unreachable');
  });
  going = false;
  await within('both have ended', 30_000, Promise.all(workers));
  expect(wrong).toEqual([]);
  await holder.client.end().catch(() => undefined); // its server is gone
  await cluster.startServer(3);
  await cluster.startGateway(3);
  await cluster.whole();
});
