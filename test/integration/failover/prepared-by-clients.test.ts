/**
 * What clients have prepared lives through restarts of gateways, servers and everything, through nodes that are
 * away, and through a gateway that dies at any step: afterwards it is prepared on all nodes or on none, can be
 * finished from each, and nothing is left of it. Node 1 is a 15, the others are 18. MTM_TEST_FAIL_POINTS=all
 * takes all steps, else every third.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { stopGatewayProcess } from '../../../src/io/launcher/gateway-process.ts';
import { waitUntilGone } from '../../../src/io/launcher/process-control.ts';
import { failureOf, startCluster, type Cluster } from '../../support/cluster.ts';
import { eventually } from '../../support/polling.ts';

const run = promisify(execFile);

let cluster: Cluster;
/** The node whose gateway is to die at a step and has not reached it yet. */
let armed: number | undefined;

beforeAll(async () => {
  cluster = await startCluster({ majors: [15, 18, 18] });
  await cluster.query(1, 'CREATE TABLE account (id int PRIMARY KEY, amount int NOT NULL)');
});

afterAll(async () => {
  await cluster?.stop();
});

/** A test that failed in the middle must not take the others along. */
async function cleanUp(): Promise<void> {
  if (armed !== undefined) await stopGatewayProcess(cluster.node(armed));
  armed = undefined;
  for (const number of cluster.numbers) {
    await cluster.startServer(number);
    await cluster.startGateway(number);
  }
  await cluster.whole();
  const prepared = 'SELECT gid FROM mtm.client_prepared WHERE decision IS NULL';
  for (const { gid } of await cluster.directly<{ gid: string }>(1, prepared))
    await cluster.query(1, `ROLLBACK PREPARED '${gid}'`);
  const tables = `SELECT tablename AS name FROM pg_tables WHERE tablename LIKE 'of %'`;
  for (const { name } of await cluster.directly<{ name: string }>(1, tables))
    await cluster.query(1, `DROP TABLE "${name}"`);
}

beforeEach(async () => {
  await cleanUp();
  await cluster.query(1, 'DELETE FROM account');
  await cluster.query(1, 'INSERT INTO account VALUES (1, 100), (2, 200)');
});

/** Moves 10 from 1 to 2, and makes a row 3 and a table of the transaction's name. */
async function prepare(number: number, name: string): Promise<void> {
  const client = await cluster.client(number);
  try {
    await client.query('BEGIN');
    await client.query('UPDATE account SET amount = amount - 10 WHERE id = 1');
    await client.query('UPDATE account SET amount = amount + 10 WHERE id = 2');
    await client.query('INSERT INTO account VALUES (3, 3)');
    await client.query(`CREATE TABLE "of ${name}" AS SELECT random() AS chance`);
    await client.query(`PREPARE TRANSACTION '${name}'`);
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function isOnAll(name: string): Promise<boolean> {
  const rows = await cluster.onAllServers<{ n: number }>(
    'SELECT count(*)::int AS n FROM pg_prepared_xacts WHERE gid = $1',
    [name],
  );
  const counts = new Set(rows.map(([row]) => row?.n));
  expect(counts.size, 'the same on all nodes').toBe(1);
  return counts.has(1);
}

const before = [
  { id: 1, amount: 100 },
  { id: 2, amount: 200 },
];
const after = [
  { id: 1, amount: 90 },
  { id: 2, amount: 210 },
  { id: 3, amount: 3 },
];

/** All nodes are equal and hold nothing that is prepared. */
async function expectSettled(name: string, rows: object[]): Promise<void> {
  await eventually('all nodes are equal', async () => {
    const answers = await cluster.onAllServers('SELECT * FROM account ORDER BY id');
    return answers.every((answer) => JSON.stringify(answer) === JSON.stringify(rows));
  });
  for (const text of [
    'SELECT gid FROM pg_prepared_xacts',
    'SELECT id FROM mtm.client_prepared',
    'SELECT id FROM mtm.client_body',
  ])
    await eventually(`${text} is empty`, async () =>
      (await cluster.onAllServers(text)).every((answer) => answer.length === 0),
    );
  const tables = await cluster.onAllServers<{ t: string | null }>('SELECT to_regclass($1)::text AS t', [
    `"of ${name}"`,
  ]);
  expect(new Set(tables.map(([row]) => row?.t !== null))).toEqual(new Set([rows === after]));
  if (rows !== after) return;
  const chances = await cluster.onAllServers<{ chance: number }>(`SELECT chance FROM "of ${name}"`);
  expect(new Set(chances.map(([row]) => row?.chance)).size).toBe(1);
  await cluster.query(1, `DROP TABLE "of ${name}"`);
}

test('a restart of its gateway', async () => {
  await prepare(1, 'gateway');
  await cluster.killGateway(1);
  await cluster.startGateway(1);
  await cluster.whole();
  expect(await isOnAll('gateway')).toBe(true);
  await cluster.query(1, "COMMIT PREPARED 'gateway'");
  await expectSettled('gateway', after);
});

test('a crash of a server', async () => {
  await prepare(2, 'server');
  await cluster.killServer(2);
  await cluster.startServer(2);
  await cluster.whole();
  expect(await isOnAll('server')).toBe(true);
  await cluster.query(2, "ROLLBACK PREPARED 'server'");
  await expectSettled('server', before);
});

test('a restart of everything', async () => {
  await prepare(3, 'everything');
  await cluster.halt();
  await cluster.start();
  expect(await isOnAll('everything')).toBe(true);
  await cluster.query(1, "COMMIT PREPARED 'everything'");
  await expectSettled('everything', after);
});

test('a node is away while it is prepared, and finishes it', async () => {
  await cluster.killGateway(3);
  await eventually(
    'the others go on',
    () =>
      prepare(1, 'late').then(
        () => true,
        () => false,
      ),
    30_000,
  );
  await cluster.startGateway(3);
  await cluster.whole();
  expect(await isOnAll('late')).toBe(true);
  await cluster.query(3, "COMMIT PREPARED 'late'");
  await expectSettled('late', after);
});

test('a node is away while it is finished', async () => {
  await prepare(1, 'gone');
  await cluster.killGateway(3);
  const finish = (): Promise<boolean> =>
    cluster.query(2, "COMMIT PREPARED 'gone'").then(
      () => true,
      () => false,
    );
  await eventually('the others go on', finish);
  await cluster.startGateway(3);
  await cluster.whole();
  await expectSettled('gone', after);
});

test('a node is away all the time, and another one is prepared meanwhile', async () => {
  await prepare(2, 'first');
  await cluster.query(1, "ROLLBACK PREPARED 'first'");
  await prepare(2, 'first');
  await cluster.killGateway(3);
  const finish = (): Promise<boolean> =>
    cluster.query(2, "ROLLBACK PREPARED 'first'").then(
      () => true,
      () => false,
    );
  await eventually('the others go on', finish);
  await prepare(1, 'second');
  await cluster.query(2, "COMMIT PREPARED 'second'");
  // Of the name that node 3 still holds.
  const client = await cluster.client(1);
  await client.query("BEGIN; UPDATE account SET amount = 1000 WHERE id = 3; PREPARE TRANSACTION 'first'");
  await cluster.startGateway(3);
  await cluster.whole();
  expect(await isOnAll('first')).toBe(true);
  await cluster.query(3, "ROLLBACK PREPARED 'first'");
  await expectSettled('second', after);
});

test('a node that joins as a copy while something is prepared', async () => {
  await prepare(2, 'definitions');
  const refused = failureOf(cluster.query(1, "SELECT mtm.add_node('host=127.0.0.1 port=1')"));
  expect(await refused).toMatchObject({ code: '55000' });
  await cluster.query(1, "ROLLBACK PREPARED 'definitions'");
  await cluster.query(1, 'CREATE TABLE "of copied" AS SELECT random() AS chance');
  const client = await cluster.client(1);
  const moves = after.map(({ id, amount }) => `INSERT INTO account VALUES (${id}, ${amount})`).join('; ');
  await client.query(`BEGIN; DELETE FROM account; ${moves}; PREPARE TRANSACTION 'copied'`);
  await client.query("BEGIN; INSERT INTO account VALUES (77, 7); PREPARE TRANSACTION 'dropped'");
  const program = fileURLToPath(new URL('../../../src/main.ts', import.meta.url));
  await run(process.execPath, [program, 'dev', 'join', '--data', cluster.folder.folder]);
  cluster.refresh();
  await cluster.whole();
  expect(cluster.numbers).toEqual([1, 2, 3, 4]);
  expect(await isOnAll('copied')).toBe(true);
  await cluster.query(4, "COMMIT PREPARED 'copied'");
  await cluster.query(4, "ROLLBACK PREPARED 'dropped'");
  await expectSettled('copied', after);
  await cluster.query(1, 'DELETE FROM account WHERE id = 3');
  await prepare(4, 'of the new one');
  await cluster.query(1, "ROLLBACK PREPARED 'of the new one'");
  await expectSettled('of the new one', after.slice(0, 2));
});

const coordinator = [
  'branch:captured',
  'event:prepare-sent',
  'event:prepare-returned',
  'effect:send/transaction-start',
  'effect:send/transaction-end#2',
  'event:message-received/vote',
  'effect:finish',
  'event:finish-ended',
  'effect:answer',
];
const member = [
  'effect:open-apply',
  'event:apply-ended',
  'effect:send/vote',
  'effect:finish',
  'event:finish-ended',
];
const finisher = ['effect:finish', 'branch:finishing', 'branch:forgetting', 'event:finish-ended'];

async function restartWith(number: number, point: string): Promise<number> {
  await cluster.whole();
  armed = number;
  await cluster.restartGateway(number, { MTM_FAIL_POINT: point });
  await cluster.whole();
  return cluster.gatewayPid(number);
}

async function comeBack(number: number, pid: number, point: string): Promise<void> {
  expect(await waitUntilGone(pid, 60_000), `the gateway reaches ${point}`).toBe(true);
  armed = undefined;
  await cluster.startGateway(number);
  await cluster.whole();
}

const chosen = <Point>(points: readonly Point[]): readonly Point[] =>
  process.env['MTM_TEST_FAIL_POINTS'] === 'all' ? points : points.filter((_, at) => at % 3 === 0);

const preparing = [
  ...coordinator.map((point) => [1, point] as const),
  ...member.map((point) => [2, point] as const),
];

test.each(chosen(preparing))(
  'gateway %i dies just before %s while it is prepared through node 1',
  async (number, point) => {
    const pid = await restartWith(number, point);
    const told = await prepare(1, 'x').then(
      () => true,
      () => false,
    );
    await comeBack(number, pid, point);
    const there = await isOnAll('x');
    if (told) expect(there).toBe(true);
    if (there) await cluster.query(3, "COMMIT PREPARED 'x'");
    await expectSettled('x', there ? after : before);
  },
);

const finishing = [1, 2].flatMap((number) => finisher.map((point) => [number, point] as const));

test.each(chosen(finishing))(
  'gateway %i dies just before %s while it is committed through node 1',
  async (number, point) => {
    await prepare(3, 'x');
    const pid = await restartWith(number, point);
    const told = await cluster.query(1, "COMMIT PREPARED 'x'").then(
      () => true,
      () => false,
    );
    await comeBack(number, pid, point);
    const there = await isOnAll('x');
    if (told) expect(there).toBe(false);
    if (there) await cluster.query(2, "COMMIT PREPARED 'x'");
    await expectSettled('x', after);
  },
);
