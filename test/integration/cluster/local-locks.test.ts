/** Advisory locks and LOCK TABLE are each node's own: what that means for who works on another one. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { failureOf, startCluster, type Cluster } from '../../support/cluster.ts';
import { eventually } from '../../support/polling.ts';

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ majors: [18, 15, 18] });
  await cluster.query(1, 'CREATE TABLE t (id int PRIMARY KEY)');
});

afterAll(async () => {
  await cluster?.stop();
});

test('an advisory lock excludes the sessions of its own node only', async () => {
  const holder = await cluster.client(1);
  await holder.query('SELECT pg_advisory_lock(7)');
  const tries = await Promise.all(
    cluster.numbers.map((number) => cluster.query(number, 'SELECT pg_try_advisory_xact_lock(7) AS got')),
  );
  expect(tries).toEqual([[{ got: false }], [{ got: true }], [{ got: true }]]);
  // It outlives a transaction that is committed on all nodes, and belongs to the session still.
  await holder.query('INSERT INTO t VALUES (1)');
  await holder.query('BEGIN; SELECT pg_advisory_xact_lock(8); INSERT INTO t VALUES (2); COMMIT');
  expect(await cluster.query(1, 'SELECT pg_try_advisory_xact_lock(7) AS got')).toEqual([{ got: false }]);
  expect(await cluster.query(1, 'SELECT pg_try_advisory_xact_lock(8) AS got')).toEqual([{ got: true }]);
  expect((await holder.query('SELECT pg_advisory_unlock(7) AS had')).rows).toEqual([{ had: true }]);
  await holder.end();
});

test('the same key held by session and transaction cannot be prepared, which is said', async () => {
  const holder = await cluster.client(2);
  await holder.query('SELECT pg_advisory_lock(9)');
  await holder.query('BEGIN; SELECT pg_advisory_xact_lock(9); INSERT INTO t VALUES (3)');
  const failure = await failureOf(holder.query('COMMIT'));
  expect(failure.code).toBe('0A000');
  await holder.end();
  expect(await cluster.query(1, 'SELECT 1 FROM t WHERE id = 3')).toEqual([]);
});

test('LOCK TABLE does not keep others from reading elsewhere, and gives way to a write of another node', async () => {
  const holder = await cluster.client(1);
  await holder.query('BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE');
  expect(await cluster.query(2, 'SELECT count(*)::int AS n FROM t')).toHaveLength(1);
  // It is applied at node 1, where the lock is: an idle holder is waited for no longer than blocker_timeout.
  await cluster.query(3, 'INSERT INTO t VALUES (10)');
  expect((await failureOf(holder.query('SELECT 1 FROM t'))).code).toBe('40001');
  await holder.query('ROLLBACK');
  expect(await cluster.query(1, 'SELECT id FROM t WHERE id = 10')).toHaveLength(1);
  await holder.end();
});

test('LOCK TABLE serialises the transactions of one node, and its transaction commits everywhere', async () => {
  const first = await cluster.client(2);
  const second = await cluster.client(2);
  await first.query('BEGIN; LOCK TABLE t IN EXCLUSIVE MODE; INSERT INTO t VALUES (20)');
  const waits = second.query('INSERT INTO t SELECT max(id) + 1 FROM t');
  await eventually('the second waits', async () => {
    const waiting = `SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO t SELECT max%'`;
    return (await cluster.directly(2, waiting)).length === 1;
  });
  await first.query('COMMIT');
  await waits;
  for (const number of cluster.numbers)
    expect(await cluster.query(number, 'SELECT max(id) FROM t')).toEqual([{ max: 21 }]);
  await Promise.all([first.end(), second.end()]);
});
