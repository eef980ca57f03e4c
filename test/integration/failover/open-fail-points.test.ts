/**
 * The origin of transactions that cannot be prepared there dies just before a named step (src/node/fail-point.ts):
 * whatever the step, they are on all nodes or on none, as the client was told and mtm.transaction_outcome says.
 * MTM_TEST_FAIL_POINTS=all takes all points, else every third.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as hold } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { startGatewayProcess, stopGatewayProcess } from '../../../src/io/launcher/gateway-process.ts';
import { waitUntilGone } from '../../../src/io/launcher/process-control.ts';
import { startCluster, type Cluster, type SqlFailure } from '../../support/cluster.ts';
import { ledgerHolds, type LedgerEntry } from '../../support/ledger.ts';
import { eventually } from '../../support/polling.ts';

vi.setConfig({ testTimeout: 90_000 });

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
}, 120_000);

afterAll(async () => {
  await cluster?.stop();
});

interface Entry extends LedgerEntry {
  readonly gid: string | undefined;
}

/** Two rows from a temporary table in a transaction, again and again, through whatever sessions it takes. */
async function write(number: number, goOn: () => boolean): Promise<Entry[]> {
  const entries: Entry[] = [];
  while (goOn()) {
    const client = await cluster.client(number).catch(() => undefined);
    if (client === undefined) await hold(50);
    for (let usable = client !== undefined; usable && goOn();) {
      const id = randomUUID();
      try {
        await client!.query(
          `BEGIN; CREATE TEMP TABLE stage (id uuid, side int) ON COMMIT DROP;
           INSERT INTO stage VALUES ('${id}', 1), ('${id}', 2);
           INSERT INTO ledger SELECT id, side, ${number} FROM stage; COMMIT`,
        );
        entries.push({ id, outcome: 'acknowledged', gid: undefined });
      } catch (error) {
        const { code, detail } = error as SqlFailure;
        const told = /^[0-9A-Z]{5}$/.test(code ?? '') && code !== '08007';
        const gid = /mtm(?::\d+){4}/.exec(detail ?? '')?.[0];
        entries.push({ id, outcome: told ? 'refused' : 'unknown', gid });
        usable = told && code !== '57P01';
        if (usable) await client!.query('ROLLBACK').catch(() => undefined);
        await hold(20);
      }
    }
    await client?.end().catch(() => undefined);
  }
  return entries;
}

async function rowsOnNode3(): Promise<number> {
  const [row] = await cluster.directly<{ n: number }>(3, 'SELECT count(*)::int AS n FROM ledger');
  return row?.n ?? 0;
}

test.each(chosen)('node %i dies just before %s', async (number, point) => {
  await cluster.whole(60_000);
  await stopGatewayProcess(cluster.node(number));
  await startGatewayProcess(cluster.node(number), { MTM_FAIL_POINT: point });
  const pid = cluster.gatewayPid(number);
  let goOn = true;
  const writers = [1, 1, 2, 3].map((node) => write(node, () => goOn));
  try {
    expect(await waitUntilGone(pid, 30_000), `the gateway reaches ${point}`).toBe(true);
    const before = await rowsOnNode3();
    await eventually('the others go on writing', async () => (await rowsOnNode3()) > before, 30_000);
    await cluster.startGateway(number);
    await cluster.whole(60_000);
  } finally {
    goOn = false;
    await Promise.all(writers);
  }
  const entries = (await Promise.all(writers)).flat();
  expect(entries.filter(({ outcome }) => outcome === 'acknowledged').length).toBeGreaterThan(0);
  const there = await ledgerHolds(cluster, entries, 2);
  for (const { id, gid } of entries) {
    if (gid === undefined) continue;
    const [said] = await cluster.query<{ o: string }>(
      number,
      `SELECT CASE WHEN mtm.is_forgotten('${gid}') AND o = 'unknown' THEN 'forgotten' ELSE o END AS o
       FROM mtm.transaction_outcome('${gid}') AS o`,
    );
    expect(there.has(id) ? ['committed', 'forgotten'] : ['aborted', 'forgotten']).toContain(said?.o);
  }
});
