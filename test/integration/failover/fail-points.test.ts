/**
 * A gateway that dies just before a named step of the protocol (src/node/fail-point.ts), under load on all
 * nodes: whatever the step, what was acknowledged is there, what was refused is not, what is unknown is all
 * or nothing and as mtm.transaction_outcome says, and nothing stays prepared. MTM_TEST_FAIL_POINTS=all takes
 * all points, else every fourth.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as hold } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { startGatewayProcess, stopGatewayProcess } from '../../../src/io/launcher/gateway-process.ts';
import { waitUntilGone } from '../../../src/io/launcher/process-control.ts';
import { startCluster, type Cluster, type SqlFailure } from '../../support/cluster.ts';
import { ledgerHolds, type LedgerEntry } from '../../support/ledger.ts';
import { eventually } from '../../support/polling.ts';

vi.setConfig({ testTimeout: 60_000 });

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
  cluster = await startCluster();
  await cluster.query(1, 'CREATE TABLE ledger (id uuid, side int, node int, PRIMARY KEY (id, side))');
}, 90_000);

afterAll(async () => {
  await cluster?.stop();
});

interface Entry extends LedgerEntry {
  readonly gid: string | undefined;
}

/** Two rows in a transaction, again and again, through whatever sessions it takes. */
async function write(number: number, goOn: () => boolean): Promise<Entry[]> {
  const entries: Entry[] = [];
  while (goOn()) {
    const client = await cluster.client(number).catch(() => undefined);
    if (client === undefined) await hold(50);
    for (let usable = client !== undefined; usable && goOn();) {
      const id = randomUUID();
      try {
        const values = `('${id}', 1, ${number}), ('${id}', 2, ${number})`;
        await client!.query(`INSERT INTO ledger VALUES ${values}`);
        entries.push({ id, outcome: 'acknowledged', gid: undefined });
      } catch (error) {
        const { code, detail } = error as SqlFailure;
        const told = /^[0-9A-Z]{5}$/.test(code ?? '') && code !== '08007';
        const gid = /mtm(?::\d+){4}/.exec(detail ?? '')?.[0];
        entries.push({ id, outcome: told ? 'refused' : 'unknown', gid });
        usable = told && code !== '57P01';
        await hold(20);
      }
    }
    await client?.end().catch(() => undefined);
  }
  return entries;
}

async function rowsOnNode2(): Promise<number> {
  const [row] = await cluster.directly<{ n: number }>(2, 'SELECT count(*)::int AS n FROM ledger');
  return row?.n ?? 0;
}

async function judge(entries: readonly Entry[]): Promise<void> {
  const there = await ledgerHolds(cluster, entries, 2);
  for (const { id, gid } of entries) {
    if (gid === undefined) continue;
    for (const number of cluster.numbers) {
      const [said] = await cluster.query<{ o: string }>(
        number,
        `SELECT CASE WHEN mtm.is_forgotten('${gid}') AND o = 'unknown' THEN 'forgotten' ELSE o END AS o
         FROM mtm.transaction_outcome('${gid}') AS o`,
      );
      const right = there.has(id) ? ['committed', 'forgotten'] : ['aborted', 'forgotten'];
      expect(right, `outcome of ${gid} on node ${number}`).toContain(said?.o);
    }
  }
}

test.each(chosen)('node 1 dies just before %s', async (point) => {
  await cluster.whole();
  await stopGatewayProcess(cluster.node(1));
  await startGatewayProcess(cluster.node(1), { MTM_FAIL_POINT: point });
  const pid = cluster.gatewayPid(1);
  let goOn = true;
  const writers = [1, 1, 2, 2, 3, 3].map((number) => write(number, () => goOn));
  try {
    // Gone, not only dying: until then it has its ports.
    expect(await waitUntilGone(pid, 20_000), `the gateway reaches ${point}`).toBe(true);
    const before = await rowsOnNode2();
    await eventually('the others go on writing', async () => (await rowsOnNode2()) > before);
    await cluster.startGateway(1);
    await cluster.whole();
  } finally {
    goOn = false;
    await Promise.all(writers);
  }
  const entries = (await Promise.all(writers)).flat();
  expect(entries.filter(({ outcome }) => outcome === 'acknowledged').length).toBeGreaterThan(0);
  await judge(entries);
});
