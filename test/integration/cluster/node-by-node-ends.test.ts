/**
 * Commands that run node by node and are ended before their time: by a client that is gone, a cancel request, a
 * timeout, the end of a backend. Whatever was in their way stays there meanwhile.
 * Rule: the client hears at once; when nothing is in the way any more all nodes are the same, with nothing invalid.
 */
import type { Client } from 'pg';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { failureOf, startCluster, type Cluster, type SqlFailure } from '../../support/cluster.ts';
import { equalEverywhere } from '../../support/convergence.ts';
import { eventually, within } from '../../support/polling.ts';

let cluster: Cluster;

beforeAll(async () => {
  // Nobody falls silent here: a busy machine must not begin elections.
  cluster = await startCluster({ majors: [18, 15, 18], settings: { heartbeat_recv_timeout: '4s' } });
});

afterAll(async () => {
  await cluster?.stop();
});

/** All that was made of the tables, from every server, with what is invalid or half done. */
const shape = `SELECT t.relname || ' ' || c.relname || CASE WHEN i.indisvalid THEN '' ELSE ' invalid' END AS part
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
    WHERE t.relnamespace = 'public'::regnamespace OR c.relname ~ '_cc(new|old)[0-9]*$'
  UNION ALL SELECT inhrelid::regclass || CASE WHEN inhdetachpending THEN ' pending' ELSE '' END
    FROM pg_inherits WHERE inhparent = to_regclass('p') ORDER BY 1`;

/** How it ends when it is taken back, or carried through. */
const commands = {
  'CREATE INDEX CONCURRENTLY i_new ON t (b)': ['t_a', 'p1'],
  'DROP INDEX CONCURRENTLY t_a': ['p1'],
  'REINDEX INDEX CONCURRENTLY t_a': ['t_a', 'p1'],
  'REINDEX TABLE CONCURRENTLY t': ['t_a', 'p1'],
  'REINDEX SCHEMA CONCURRENTLY public': ['t_a', 'p1'],
  'ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY': ['t_a'],
} as const;

type Command = keyof typeof commands;
/** Where it waits: at home (1), or at a peer. */
type Case = readonly [number, Command];

beforeEach(async () => {
  await cluster.whole();
  await cluster.query(
    1,
    `DROP TABLE IF EXISTS t, p, p1;
     CREATE TABLE t (id int PRIMARY KEY, a int, b text);
     CREATE INDEX t_a ON t (a);
     INSERT INTO t SELECT g, g, g::text FROM generate_series(1, 100) AS g;
     CREATE TABLE p (a int) PARTITION BY RANGE (a);
     CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO (10)`,
  );
});

/** A session past the gateway that keeps the command waiting on this node. */
async function blocker(number: number): Promise<Client> {
  const client = await cluster.direct(number, { application_name: 'mtm_admin' });
  await client.query('BEGIN');
  await client.query('LOCK TABLE t IN ROW EXCLUSIVE MODE');
  await client.query('SELECT count(*) FROM p');
  return client;
}

/** The backend of the command that waits there. */
async function waitingOn(number: number): Promise<number> {
  const text = `SELECT pid FROM pg_stat_activity WHERE application_name = 'mtm_everywhere' AND wait_event_type = 'Lock'`;
  let pid: number | undefined;
  await eventually(`the command waits on node ${number}`, async () => {
    pid = (await cluster.directly<{ pid: number }>(number, text))[0]?.pid;
    return pid !== undefined;
  });
  return pid!;
}

async function allTheSame(parts: readonly string[]): Promise<void> {
  const names = ['t_a', 'p1', 'i_new'].filter((name) => parts.includes(name));
  const wanted = [...names.filter((name) => name !== 'p1').map((name) => `t ${name}`), 't t_pkey'];
  const all = [...wanted, ...names.filter((name) => name === 'p1')].toSorted();
  let seen: unknown;
  await eventually(
    'nothing is under way or half done',
    async () => {
      const shapes = await cluster.onAllServers<{ part: string }>(shape);
      const left = await cluster.onAllServers('SELECT id FROM mtm.everywhere');
      seen = shapes.map((rows) => rows.map(({ part }) => part).toSorted());
      return (
        JSON.stringify(seen) === JSON.stringify(cluster.numbers.map(() => all)) &&
        left.every((rows) => rows.length === 0)
      );
    },
    40_000,
  ).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${JSON.stringify(seen)} instead of ${JSON.stringify(all)}`);
  });
  await equalEverywhere(cluster);
}

/** The end of a command that waits on the node, whose obstacle stays; then the obstacle goes. */
async function ended(
  number: number,
  command: string,
  by: (client: Client, pid: number) => Promise<void>,
): Promise<SqlFailure> {
  const block = await blocker(number);
  const client = await cluster.client(1);
  const failure = failureOf(client.query(command), command);
  const pid = await waitingOn(number);
  await by(client, pid);
  const failed = await within('the error', 20_000, failure);
  // Also for a client that is gone nothing is carried on.
  await eventually('the command has ended', async () => {
    const text = 'SELECT 1 FROM pg_stat_activity WHERE pid = $1';
    return (await cluster.directly(number, text, [pid])).length === 0;
  });
  await block.query('ROLLBACK');
  await block.end();
  await client.end().catch(() => undefined); // it may be gone
  return failed;
}

function gone(client: Client): Promise<void> {
  (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
  return Promise.resolve();
}

const left: readonly Case[] = [
  [1, 'CREATE INDEX CONCURRENTLY i_new ON t (b)'],
  [2, 'DROP INDEX CONCURRENTLY t_a'],
  [1, 'REINDEX TABLE CONCURRENTLY t'],
  [2, 'REINDEX SCHEMA CONCURRENTLY public'],
  [2, 'ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY'],
];

test.each(left)('the client is gone while it waits on node %i: %s', async (number, command) => {
  await ended(number, command, gone);
  await allTheSame(commands[command]);
});

const terminated: readonly Case[] = [
  [2, 'CREATE INDEX CONCURRENTLY i_new ON t (b)'],
  [1, 'DROP INDEX CONCURRENTLY t_a'],
  [2, 'REINDEX INDEX CONCURRENTLY t_a'],
  [1, 'ALTER TABLE p DETACH PARTITION p1 CONCURRENTLY'],
];

test.each(terminated)('its backend on node %i is ended: %s', async (number, command) => {
  const failure = await ended(number, command, async (_client, pid) => {
    await cluster.directly(number, 'SELECT pg_terminate_backend($1)', [pid]);
  });
  expect(failure.code).toBe('57P01');
  if (number !== 1) expect(failure.hint).toMatch(/It failed on node 2/);
  await allTheSame(commands[command]);
});

const timed: readonly Case[] = [
  [2, 'CREATE INDEX CONCURRENTLY i_new ON t (b)'],
  [1, 'REINDEX TABLE CONCURRENTLY t'],
];

test.each(timed)('statement_timeout is one for all nodes (waits on %i): %s', async (number, command) => {
  const block = await blocker(number);
  const client = await cluster.client(1);
  await client.query(`SET statement_timeout = '3s'`);
  const failure = await within('the error', 30_000, failureOf(client.query(command), command));
  await block.query('ROLLBACK');
  await Promise.all([block.end(), client.end()]);
  expect(failure).toMatchObject({ code: '57014', message: expect.stringMatching(/statement timeout/) });
  await allTheSame(commands[command]);
});

test('a second command on the table waits within lock_timeout, and is told whose the first is', async () => {
  const block = await blocker(2);
  const first = cluster.query(3, 'CREATE INDEX CONCURRENTLY i_new ON t (b)');
  await waitingOn(2);
  const client = await cluster.client(1);
  await client.query(`SET lock_timeout = '500ms'`);
  expect(await failureOf(client.query('DROP INDEX CONCURRENTLY t_a'))).toMatchObject({
    code: '55P03',
    message: expect.stringMatching(/node 3 runs CREATE INDEX CONCURRENTLY i_new/),
  });
  await client.end();
  await block.query('ROLLBACK');
  await block.end();
  await within('the first', 30_000, first);
  await allTheSame(['t_a', 'p1', 'i_new']);
});

test('what a dead process has left of a REINDEX is dropped when its node is back', async () => {
  const block = await blocker(1);
  const lost = failureOf(cluster.query(1, 'REINDEX INDEX CONCURRENTLY t_a'));
  await waitingOn(1);
  await cluster.killGateway(1);
  await lost;
  // Still in the way of the new process, which serves nevertheless.
  await cluster.startGateway(1);
  await cluster.whole();
  expect(await cluster.query(1, 'SELECT count(*)::int AS n FROM t')).toEqual([{ n: 100 }]);
  await block.query('ROLLBACK').catch(() => undefined); // a starting gateway ends what it does not know
  await block.end().catch(() => undefined);
  await allTheSame(['t_a', 'p1']);
});

test('the schema of temporary tables is reindexed in its own session', async () => {
  const client = await cluster.client(1);
  await client.query('CREATE TEMPORARY TABLE own (a int PRIMARY KEY)');
  const { rows } = await client.query<{ name: string }>(
    'SELECT pg_my_temp_schema()::regnamespace::text AS name',
  );
  await client.query(`REINDEX SCHEMA CONCURRENTLY ${rows[0]!.name}`);
  expect(
    (await client.query(`SELECT indisvalid FROM pg_index WHERE indrelid = 'own'::regclass`)).rows,
  ).toEqual([{ indisvalid: true }]);
  await client.end();
});
