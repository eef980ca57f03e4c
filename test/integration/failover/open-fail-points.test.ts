/**
 * The origin of transactions that cannot be prepared there dies just before a named step (src/node/fail-point.ts):
 * whatever the step, they are on all nodes or on none, as the client was told and mtm.transaction_outcome says.
 * MTM_TEST_FAIL_POINTS=all takes all points, else every third.
 */
import type { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { waitUntilGone } from '../../../src/io/launcher/process-control.ts';
import { startCluster, type Cluster } from '../../support/cluster.ts';
import { ledgerRows, outcomesHold, writeLedger, type ToldEntry } from '../../support/ledger.ts';
import { eventually } from '../../support/polling.ts';

const origin = [
  'event:held-open#3',
  'event:captured#3',
  'effect:send/transaction-start#5',
  'effect:send/transaction-end#6',
  'event:message-received/vote#5',
  'event:message-received/vote#6',
  'effect:finish-open#3',
  'event:finish-ended#3',
  'effect:send/outcome#5',
  'effect:send/outcome#6',
  'event:message-received/finished#5',
  'effect:answer#3',
];
const member = ['effect:open-apply#3', 'effect:send/vote#3', 'event:message-received/outcome#3'];
const points = [...origin.map((point) => [1, point] as const), ...member.map((point) => [2, point] as const)];
const chosen =
  process.env['MTM_TEST_FAIL_POINTS'] === 'all' ? points : points.filter((_, at) => at % 4 === 2);

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ majors: [18, 15, 16] });
  await cluster.query(1, 'CREATE TABLE ledger (id uuid, side int, node int, PRIMARY KEY (id, side))');
});

afterAll(async () => {
  await cluster?.stop();
});

/** The rows come from a temporary table. */
function write(number: number, goOn: () => boolean): Promise<ToldEntry[]> {
  const insert = (client: Client, id: string): Promise<unknown> =>
    client.query(
      `BEGIN; CREATE TEMP TABLE stage (id uuid, side int) ON COMMIT DROP;
       INSERT INTO stage VALUES ('${id}', 1), ('${id}', 2);
       INSERT INTO ledger SELECT id, side, ${number} FROM stage; COMMIT`,
    );
  return writeLedger(cluster, number, insert, goOn);
}

test.each(chosen)('node %i dies just before %s', async (number, point) => {
  await cluster.whole();
  await cluster.restartGateway(number, { MTM_FAIL_POINT: point });
  const pid = cluster.gatewayPid(number);
  let goOn = true;
  const writers = [1, 1, 2, 3].map((node) => write(node, () => goOn));
  try {
    expect(await waitUntilGone(pid, 60_000), `the gateway reaches ${point}`).toBe(true);
    const before = await ledgerRows(cluster, 3);
    await eventually('the others go on writing', async () => (await ledgerRows(cluster, 3)) > before);
    await cluster.startGateway(number);
    await cluster.whole();
  } finally {
    goOn = false;
    await Promise.all(writers);
  }
  const entries = (await Promise.all(writers)).flat();
  expect(entries.filter(({ outcome }) => outcome === 'acknowledged').length).toBeGreaterThan(0);
  await outcomesHold(cluster, entries, [number]);
});
