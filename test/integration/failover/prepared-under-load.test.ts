/**
 * Transfers that clients prepare on one node and finish on another, while gateways and servers die: whatever a
 * client was told is true, the total stays, all nodes are equal, and nothing is left prepared that nobody can
 * finish. MTM_TEST_FAULT_ROUNDS=n: as many faults (4).
 */
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { Prng } from '../../../src/lib/prng.ts';
import { startCluster, type Cluster, type SqlFailure } from '../../support/cluster.ts';
import { eventually } from '../../support/polling.ts';
import { testSeed } from './fault-rounds.ts';

const rounds = Number(process.env['MTM_TEST_FAULT_ROUNDS'] ?? 4);
vi.setConfig({ testTimeout: 300_000 + rounds * 40_000 });

const accounts = 12;
const random = new Prng(testSeed());
let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ majors: [18, 15, 18] });
  await cluster.query(1, 'CREATE TABLE account (id int PRIMARY KEY, amount int NOT NULL)');
  await cluster.query(1, 'CREATE TABLE ledger (name text PRIMARY KEY)');
  await cluster.query(1, `INSERT INTO account SELECT n, 1000 FROM generate_series(1, ${accounts}) AS n`);
});

afterAll(async () => {
  await cluster?.stop();
});

interface Transfer {
  readonly name: string;
  prepared: 'yes' | 'no' | 'unknown';
  ended: 'commit' | 'rollback' | 'unknown' | undefined;
}

/** The server has said that nothing of it is there. */
function isRefusal(error: unknown): boolean {
  const { code } = error as SqlFailure;
  return ['40001', '40P01', '57P03', '57014', '42710', '25P02'].includes(code);
}

async function work(worker: number, goOn: () => boolean): Promise<Transfer[]> {
  const done: Transfer[] = [];
  for (let count = 1; goOn(); count++) {
    const transfer: Transfer = { name: `${worker}-${count}`, prepared: 'no', ended: undefined };
    done.push(transfer);
    await attempt(transfer, random.below(3) + 1, random.below(3) + 1);
  }
  return done;
}

async function attempt(transfer: Transfer, at: number, end: number): Promise<void> {
  const { name } = transfer;
  const from = random.below(accounts) + 1;
  const to = (from % accounts) + 1;
  const decision = random.below(3) === 0 ? 'rollback' : 'commit';
  // What nobody has finished yet holds its locks, as in PostgreSQL.
  const client = await cluster.client(at, { statement_timeout: 3000 }).catch(() => undefined);
  if (client === undefined) return void (await new Promise((resolve) => setTimeout(resolve, 50)));
  try {
    await client.query('BEGIN');
    await client.query('UPDATE account SET amount = amount - 1 WHERE id = $1', [from]);
    await client.query('UPDATE account SET amount = amount + 1 WHERE id = $1', [to]);
    await client.query('INSERT INTO ledger VALUES ($1)', [name]);
    transfer.prepared = 'unknown';
    await client.query(`PREPARE TRANSACTION '${name}'`);
    transfer.prepared = 'yes';
  } catch (error) {
    if (isRefusal(error)) transfer.prepared = 'no';
    return;
  } finally {
    await client.end().catch(() => undefined);
  }
  const other = await cluster.client(end, { query_timeout: 20_000 }).catch(() => undefined);
  if (other === undefined) return;
  try {
    await other.query(`${decision} PREPARED '${name}'`);
    transfer.ended = decision;
  } catch (error) {
    if (!isRefusal(error)) transfer.ended = 'unknown';
  } finally {
    await other.end().catch(() => undefined);
  }
}

async function fault(): Promise<void> {
  const number = random.below(3) + 1;
  if (random.below(2) === 0) {
    await cluster.killGateway(number);
    await cluster.startGateway(number);
  } else {
    await cluster.killServer(number);
    await cluster.startServer(number);
  }
  await cluster.whole();
}

/** The same on all nodes. */
async function everywhere<R extends object>(text: string): Promise<R[]> {
  const answers = await cluster.onAllServers<R>(text);
  for (const answer of answers) expect(answer).toEqual(answers[0]);
  return answers[0]!;
}

test(`${rounds} faults`, async () => {
  let goOn = true;
  const workers = [1, 2, 3, 4].map((worker) => work(worker, () => goOn));
  try {
    for (let round = 0; round < rounds; round++) {
      await new Promise((resolve) => setTimeout(resolve, 1500));
      await fault();
    }
  } finally {
    goOn = false;
  }
  const transfers = (await Promise.all(workers)).flat();
  await cluster.whole();
  const names = 'SELECT gid FROM pg_prepared_xacts ORDER BY gid';
  await eventually('nothing is under way', async () =>
    (await cluster.onAllServers(names)).every(
      (answer, _, all) => JSON.stringify(answer) === JSON.stringify(all[0]),
    ),
  );
  const left = new Set((await everywhere<{ gid: string }>(names)).map(({ gid }) => gid));
  const there = new Set(
    (await everywhere<{ name: string }>('SELECT name FROM ledger ORDER BY name')).map(({ name }) => name),
  );
  const told = transfers.filter(({ ended }) => ended === 'commit' || ended === 'rollback');
  expect(told.length).toBeGreaterThan(5);
  for (const { name, prepared, ended } of transfers) {
    const is = left.has(name) ? 'prepared' : there.has(name) ? 'commit' : 'rollback';
    const allowed =
      prepared === 'no'
        ? ['rollback']
        : prepared === 'unknown'
          ? ['rollback', 'prepared']
          : ended === undefined
            ? ['prepared']
            : ended === 'unknown'
              ? ['prepared', 'commit', 'rollback']
              : [ended];
    expect(allowed, `${name}: prepared ${prepared}, ended ${ended}`).toContain(is);
  }
  for (const name of left) await cluster.query(random.below(3) + 1, `COMMIT PREPARED '${name}'`);
  await eventually('nothing is left', async () =>
    (
      await cluster.onAllServers(
        'SELECT gid FROM pg_prepared_xacts UNION SELECT id FROM mtm.client_prepared UNION SELECT id FROM mtm.client_body',
      )
    ).every((answer) => answer.length === 0),
  );
  await everywhere('SELECT * FROM account ORDER BY id');
  await everywhere('SELECT * FROM ledger ORDER BY name');
  expect(await everywhere('SELECT sum(amount)::int AS total FROM account')).toEqual([
    { total: accounts * 1000 },
  ]);
  for (const [row] of await cluster.onAllServers<{ n: number }>(
    'SELECT unsupervised_writes::int AS n FROM mtm.status()',
  ))
    expect(row?.n).toBe(0);
});
