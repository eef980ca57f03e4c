/**
 * A node that stays away for more than max_retained_wal: the others let go of its history and go on; when it
 * comes back it says that it must be seeded anew, and does not go online.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startGatewayProcess, stopGatewayProcess } from '../../../src/io/launcher/gateway-process.ts';
import { startCluster, type Cluster } from '../../support/cluster.ts';
import { eventually } from '../../support/polling.ts';

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({
    majors: [16, 16, 16],
    settings: { max_retained_wal: '4MB', syncpoint_interval: '1MB' },
    unequal: [{ away: [3], why: 'what it missed is not kept' }],
  });
});

afterAll(async () => {
  await cluster?.stop();
});

interface Place {
  readonly confirmed: string;
  readonly lost: string;
  readonly retained: string;
}

async function place(number: number): Promise<Place> {
  const [row] = await cluster.directly<Place>(
    number,
    `SELECT s.confirmed_flush_lsn - '0/0' AS confirmed, p.lost_generation AS lost,
       (SELECT retained_wal_bytes FROM mtm.status()) AS retained
     FROM pg_replication_slots s, mtm.syncpoint p WHERE s.slot_name = 'mtm_retain'`,
  );
  return row!;
}

/** Empty while a gateway takes its server over: that ends this session too. */
async function whatNodeSays(number: number): Promise<{ status: string; reason: string }> {
  const text = 'SELECT status, reason FROM mtm.status()';
  const rows = await cluster.directly<{ status: string; reason: string }>(number, text).catch(() => []);
  return rows[0] ?? { status: '', reason: '' };
}

/** Some 500 kB of WAL, not compressible. */
const write = `INSERT INTO kept SELECT coalesce((SELECT max(id) FROM kept), 0) + n,
  (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 30) WHERE n > 0) FROM generate_series(1, 300) n`;

async function writesOn(number: number): Promise<boolean> {
  return cluster.query(number, write).then(
    () => true,
    () => false,
  );
}

test('the slots of the others move past it, and it must be seeded anew', async () => {
  await cluster.query(1, 'CREATE TABLE kept (id int PRIMARY KEY, body text)');
  expect(await writesOn(1)).toBe(true);
  await eventually('node 3 has all', async () => {
    return (await cluster.directly<{ n: number }>(3, 'SELECT count(*)::int AS n FROM kept'))[0]?.n === 300;
  });
  await stopGatewayProcess(cluster.node(3));
  await eventually('the others go on', () => writesOn(1));
  const before = [await place(1), await place(2)];
  expect(before.map(({ lost }) => lost)).toEqual(['0', '0']);

  // Within the limit nothing of it is let go.
  for (let round = 0; round < 3; round++) expect(await writesOn(1)).toBe(true);
  await new Promise((resolve) => setTimeout(resolve, 2500));
  expect([await place(1), await place(2)].map(({ lost }) => lost)).toEqual(['0', '0']);

  let most = 0;
  await eventually(
    'both have let go of it',
    async () => {
      expect(await writesOn(2)).toBe(true);
      const places = [await place(1), await place(2)];
      most = Math.max(most, ...places.map(({ retained }) => Number(retained)));
      return places.every(({ lost }) => lost !== '0');
    },
    60_000,
  );
  // That it is let go is durable before the slot moves.
  await eventually('both slots have moved', async () => {
    const after = [await place(1), await place(2)];
    return after.every(({ confirmed }, index) => Number(confirmed) > Number(before[index]!.confirmed));
  });
  expect(most, 'what mtm.status() shows as held').toBeGreaterThan(1024 * 1024);

  await startGatewayProcess(cluster.node(3));
  const says =
    /^needs re-seed: node 3 was last online in generation \d+, and what it missed before generation \d+ is not kept/;
  await eventually('node 3 says so', async () => says.test((await whatNodeSays(3)).reason));
  expect((await whatNodeSays(3)).reason).toContain('mtm.drop_node');

  // It stays so, goes not online, and harms nobody.
  for (let round = 0; round < 20; round++) {
    expect(await writesOn(1 + (round % 2))).toBe(true);
    const { status, reason } = await whatNodeSays(3);
    expect(`${status}: ${reason}`).toMatch(/^disabled: needs re-seed/);
    expect(await cluster.isOnline(3)).toBe(false);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  expect((await whatNodeSays(1)).status).toBe('online');
  const counts = await cluster.onAllServers<{ n: number }>('SELECT count(*)::int AS n FROM kept');
  expect(counts[0]).toEqual(counts[1]);
  expect(counts[2]).toEqual([{ n: 300 }]);
});

test('what was let go stays so when gateways restart', async () => {
  await stopGatewayProcess(cluster.node(3));
  const lost = (await place(1)).lost;
  await stopGatewayProcess(cluster.node(1));
  await startGatewayProcess(cluster.node(1));
  await eventually('nodes 1 and 2 write', async () => (await writesOn(1)) && writesOn(2), 40_000);
  expect(Number((await place(1)).lost)).toBeGreaterThanOrEqual(Number(lost));
  await startGatewayProcess(cluster.node(3));
  await eventually(
    'node 3 still says so',
    async () => (await whatNodeSays(3)).reason.startsWith('needs re-seed'),
    30_000,
  );
});
