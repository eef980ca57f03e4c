/**
 * A gateway that dies just before a named step of the protocol (src/node/fail-point.ts), under load on all
 * nodes: whatever the step, what was acknowledged is there, what was refused is not, what is unknown is all
 * or nothing and as mtm.transaction_outcome says, and nothing stays prepared. MTM_TEST_FAIL_POINTS=all takes
 * all points, else every fourth.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitUntilGone } from '../../../src/io/launcher/process-control.ts';
import { startCluster, type Cluster } from '../../support/cluster.ts';
import { ledgerRows, outcomesHold, writeLedger, type ToldEntry } from '../../support/ledger.ts';
import { eventually } from '../../support/polling.ts';

const coordinator = [
  'event:prepare-sent#3',
  'event:prepare-returned#3',
  'event:captured#3',
  'effect:send/transaction-start#5',
  'effect:send/transaction-start#6',
  'effect:send/transaction-end#5',
  'effect:send/transaction-end#6',
  'event:message-received/vote#5',
  'event:message-received/vote#6',
  'effect:finish#3',
  'effect:send/outcome#5',
  'effect:send/outcome#6',
  'event:finish-ended#3',
  'event:message-received/finished#5',
  'event:message-received/finished#6',
  'effect:answer#3',
  'effect:send/finished-everywhere#3',
];
const member = [
  'event:message-received/transaction-start#3',
  'effect:open-apply#3',
  'event:apply-ended#3',
  'effect:send/vote#3',
  'event:message-received/outcome#3',
  'effect:send/finished#3',
];
/** On its way into a generation, when it begins. */
const elector = [
  'effect:persist#1',
  'event:persisted#1',
  'effect:persist#2',
  'event:persisted#2',
  'effect:persist#3',
  'event:persisted#3',
  'effect:serve#1',
];
const points = [...coordinator, ...member, ...elector];
const chosen =
  process.env['MTM_TEST_FAIL_POINTS'] === 'all' ? points : points.filter((_, at) => at % 4 === 1);

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ majors: [16, 16, 16] });
  await cluster.query(1, 'CREATE TABLE ledger (id uuid, side int, node int, PRIMARY KEY (id, side))');
});

afterAll(async () => {
  await cluster?.stop();
});

function write(number: number, goOn: () => boolean): Promise<ToldEntry[]> {
  const rows = (id: string): string => `('${id}', 1, ${number}), ('${id}', 2, ${number})`;
  return writeLedger(
    cluster,
    number,
    (client, id) => client.query(`INSERT INTO ledger VALUES ${rows(id)}`),
    goOn,
  );
}

test.each(chosen)('node 1 dies just before %s', async (point) => {
  await cluster.whole();
  await cluster.restartGateway(1, { MTM_FAIL_POINT: point });
  const pid = cluster.gatewayPid(1);
  let goOn = true;
  const writers = [1, 1, 2, 2, 3, 3].map((number) => write(number, () => goOn));
  try {
    // Gone, not only dying: until then it has its ports.
    expect(await waitUntilGone(pid, 60_000), `the gateway reaches ${point}`).toBe(true);
    const before = await ledgerRows(cluster, 2);
    await eventually('the others go on writing', async () => (await ledgerRows(cluster, 2)) > before);
    await cluster.startGateway(1);
    await cluster.whole();
  } finally {
    goOn = false;
    await Promise.all(writers);
  }
  const entries = (await Promise.all(writers)).flat();
  expect(entries.filter(({ outcome }) => outcome === 'acknowledged').length).toBeGreaterThan(0);
  await outcomesHold(cluster, entries, cluster.numbers);
});

/** The rows that are to be repaired, as each server has them. */
function repaired(): Promise<{ n: number }[][]> {
  return cluster.onAllServers<{ n: number }>('SELECT n FROM repaired ORDER BY id');
}

/** Of two nodes whose rows are not those of node 1. Past the gateways, so that nobody hears of it. */
async function breakRows(): Promise<void> {
  for (const number of [2, 3]) {
    const client = await cluster.direct(number);
    await client.query('SET session_replication_role = replica');
    await client.query(`SELECT pg_replication_origin_create('test')
      WHERE pg_replication_origin_oid('test') IS NULL`);
    await client.query(`SELECT pg_replication_origin_session_setup('test')`);
    await client.query('UPDATE repaired SET n = -id');
    await client.end();
  }
}

const right = [1, 2, 3].map((n) => ({ n }));
const wrong = [-1, -2, -3].map((n) => ({ n }));

test.each([
  { point: 'repair:written', victim: 1, dies: 'whoever repairs' },
  { point: 'repair:committing', victim: 2, dies: 'a node that is repaired' },
])('$dies dies between the writing of a repair and its commit', async ({ point, victim }) => {
  const repair = (): Promise<unknown> =>
    cluster.query(1, 'SELECT mtm.repair_rows($1)', [{ from: 1, table: 'repaired', apply: true }]);
  await cluster.whole();
  await cluster.query(1, 'DROP TABLE IF EXISTS repaired');
  await cluster.query(1, 'CREATE TABLE repaired (id int PRIMARY KEY, n int)');
  await cluster.query(1, 'INSERT INTO repaired SELECT g, g FROM generate_series(1, 3) AS g');
  await breakRows();
  await cluster.restartGateway(victim, { MTM_FAIL_POINT: point });
  await cluster.whole();
  const pid = cluster.gatewayPid(victim);
  const failure = repair().then(
    () => undefined,
    (error: Error) => error,
  );
  expect(await waitUntilGone(pid, 60_000), `the gateway reaches ${point}`).toBe(true);
  expect(await failure, 'the repair says that it was not done').toBeInstanceOf(Error);
  await cluster.startGateway(victim);
  await cluster.whole();
  // A node is as it was or as it should be; the one that died has committed nothing.
  const [first, second, third] = await repaired();
  expect([first, second]).toEqual([right, wrong]);
  expect([right, wrong]).toContainEqual(third);
  if (victim === 1) expect(third).toEqual(wrong);
  const prepared = await cluster.onAllServers<{ gid: string }>('SELECT gid FROM pg_prepared_xacts');
  expect(prepared.flat()).toEqual([]);
  await repair();
  expect(await repaired()).toEqual([right, right, right]);
});
