/** Gateways that die or stop: the others say why, nothing acknowledged is lost, nothing is half done. */
import { randomUUID } from 'node:crypto';
import type { Client } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { startGateways, startServers, stopNode } from '../../../src/io/launcher/embedded-cluster.ts';
import { isSqlstate } from '../../../src/lib/sqlstate.ts';
import { failureOf, startCluster, type Cluster, type SqlFailure } from '../../support/cluster.ts';
import { equalEverywhere, equalRows, noPrepared } from '../../support/convergence.ts';
import { ledgerHolds, type LedgerEntry } from '../../support/ledger.ts';
import { eventually, within } from '../../support/polling.ts';

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ majors: [17, 17, 17] });
  await cluster.query(1, 'CREATE TABLE ledger (id uuid, side int, node int, PRIMARY KEY (id, side))');
  await cluster.query(1, 'CREATE TABLE small (id serial PRIMARY KEY, t text)');
  await cluster.query(1, `INSERT INTO small (t) VALUES ('there')`);
});

/** A test that failed in the middle must not take the others along. */
beforeEach(async () => {
  await Promise.all(cluster.numbers.map((number) => cluster.startServer(number)));
  await Promise.all(cluster.numbers.map((number) => cluster.startGateway(number)));
  await cluster.whole();
});

afterAll(async () => {
  await cluster?.stop();
});

interface Entry extends LedgerEntry {
  readonly node: number;
  readonly failure?: SqlFailure;
}

/** It has an SQLSTATE: somebody has answered, and the connection did not just break. */
function isAnswer(failure: SqlFailure): boolean {
  return isSqlstate(failure.code);
}

/** Writes that are begun now succeed on these nodes. */
async function goesOn(numbers: readonly number[]): Promise<void> {
  const write = (number: number): Promise<boolean> =>
    cluster.query(number, `INSERT INTO small (t) VALUES ('goes on')`).then(
      () => true,
      () => false,
    );
  for (const number of numbers) await eventually(`node ${number} writes`, () => write(number));
}

/** Two rows in a transaction, again and again; what became of each. */
async function writeEntries(client: Client, number: number, goOn: () => boolean): Promise<Entry[]> {
  const entries: Entry[] = [];
  while (goOn()) {
    const id = randomUUID();
    try {
      await client.query('BEGIN');
      await client.query('INSERT INTO ledger VALUES ($1, 1, $2)', [id, number]);
      await client.query('INSERT INTO ledger VALUES ($1, 2, $2)', [id, number]);
      await client.query('COMMIT');
      entries.push({ id, node: number, outcome: 'acknowledged' });
    } catch (error) {
      const failure = error as SqlFailure;
      const told = isAnswer(failure);
      // Without an SQLSTATE, or with 08007, nobody has said what became of it.
      const outcome = told && failure.code !== '08007' ? 'refused' : 'unknown';
      entries.push({ id, node: number, outcome, failure });
      if (!told || !(await rolledBack(client))) break;
    }
  }
  return entries;
}

/** False: the session is over. */
async function rolledBack(client: Client): Promise<boolean> {
  try {
    await client.query('ROLLBACK');
    return true;
  } catch (error) {
    return (error as SqlFailure).severity === 'ERROR';
  }
}

describe('a gateway killed with kill -9 under load', () => {
  test('the others go on, sessions stay open, and nothing is lost when it is back', async () => {
    let goOn = true;
    const clients = await Promise.all(
      [1, 1, 1, 1, 2, 2, 3, 3, 3, 3].map(async (number) => ({
        number,
        client: await cluster.client(number),
      })),
    );
    const work = clients.map(({ number, client }) => writeEntries(client, number, () => goOn));
    const count = `SELECT count(*)::int AS n FROM ledger`;
    await eventually(
      'load runs',
      async () => ((await cluster.directly<{ n: number }>(3, count))[0]?.n ?? 0) > 200,
    );
    const reader = await cluster.client(1);
    await cluster.killGateway(2);
    await goesOn([1, 3]);
    expect((await reader.query('SELECT t FROM small WHERE id = 1')).rows).toEqual([{ t: 'there' }]);
    expect(await cluster.query(3, 'SELECT t FROM small WHERE id = 1')).toEqual([{ t: 'there' }]);
    const status = `SELECT status, reason, gen_members FROM mtm.status()`;
    await eventually('the status names the missing node', async () => {
      const [row] = await cluster.query<{ status: string; reason: string; gen_members: number[] }>(1, status);
      return (
        row?.status === 'online' && /without node 2/.test(row.reason) && row.gen_members.join() === '1,3'
      );
    });
    goOn = false;
    const entries = (await within('the workers', 60_000, Promise.all(work))).flat();
    await reader.end();
    for (const { failure } of entries) {
      if (failure !== undefined && isAnswer(failure)) {
        expect(['57P03', '57P01', '40001', '40P01', '08007'], failure.message).toContain(failure.code);
      }
    }
    const survivors = entries.filter(({ node }) => node !== 2);
    expect(survivors.filter(({ failure }) => failure !== undefined && !isAnswer(failure))).toEqual([]);
    await cluster.startGateway(2);
    await cluster.whole();
    await ledgerHolds(cluster, entries, 1);
    expect(entries.filter(({ outcome }) => outcome === 'acknowledged').length).toBeGreaterThan(50);
    await cluster.query(2, `INSERT INTO small (t) VALUES ('written after')`);
    await equalEverywhere(cluster);
  });
});

describe('without a majority', () => {
  test('the last one refuses reads and writes and recovers when the others return', async () => {
    const open = await cluster.client(3);
    await open.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    await open.query('SELECT t FROM small');
    await Promise.all([1, 2].map((number) => stopNode(cluster.node(number), ['gateway'])));
    const status = async () =>
      (await cluster.directly<{ status: string }>(3, 'SELECT status FROM mtm.status()'))[0]?.status;
    await eventually('node 3 is isolated', async () => (await status()) === 'isolated');
    expect(await cluster.isOnline(3)).toBe(false);
    for (const text of ['SELECT t FROM small', `INSERT INTO small (t) VALUES ('y')`, 'SELECT 1', 'BEGIN']) {
      const failure = await failureOf(cluster.query(3, text), text);
      expect(failure, text).toMatchObject({
        code: '57P03',
        severity: 'ERROR',
        message: '[multimaster] node is not online: current status "isolated"',
      });
      expect(failure.detail).toMatch(/node 1.*node 2/s);
      expect(failure.hint).toBeTruthy();
    }
    // Not even a transaction that was open before may read on.
    expect((await failureOf(open.query('SELECT t FROM small'))).code).toMatch(/^57P0[13]$/);
    await open.query('ROLLBACK');
    await open.end();
    const admin = await cluster.client(3, { application_name: 'mtm_admin' });
    expect((await admin.query('SELECT status, reason FROM mtm.status()')).rows).toEqual([
      { status: 'isolated', reason: expect.stringMatching(/node 1/) },
    ]);
    await admin.end();
    await Promise.all([1, 2].map((number) => cluster.startGateway(number)));
    await cluster.whole();
    await cluster.query(3, `INSERT INTO small (t) VALUES ('again')`);
    await noPrepared(cluster);
    await equalRows(cluster);
  });
});

describe('stop and start', () => {
  test('the data survive, and so do the sequences', async () => {
    const before = await cluster.query(1, 'SELECT * FROM small ORDER BY id');
    await cluster.halt();
    await startServers(cluster.folder);
    await startGateways(cluster.folder);
    await cluster.whole();
    expect(await cluster.query(2, 'SELECT * FROM small ORDER BY id')).toEqual(before);
    for (const number of cluster.numbers) await cluster.query(number, `INSERT INTO small (t) VALUES ('new')`);
    await cluster.query(2, 'CREATE TABLE later (id serial PRIMARY KEY)');
    await equalEverywhere(cluster);
  });

  test('a server killed with kill -9 comes back with all that was acknowledged', async () => {
    const clients = await Promise.all(
      cluster.numbers.map(async (number) => ({ number, client: await cluster.client(number) })),
    );
    let goOn = true;
    const work = clients.map(({ number, client }) => writeEntries(client, number, () => goOn));
    const count = `SELECT count(*)::int AS n FROM ledger WHERE side = 1`;
    const start = (await cluster.directly<{ n: number }>(2, count))[0]?.n ?? 0;
    await eventually(
      'load runs',
      async () => ((await cluster.directly<{ n: number }>(2, count))[0]?.n ?? 0) > start + 50,
    );
    await cluster.killServer(1);
    await goesOn([2, 3]);
    goOn = false;
    const entries = (await within('the workers', 60_000, Promise.all(work))).flat();
    await cluster.startServer(1);
    await cluster.whole();
    await ledgerHolds(cluster, entries, 1);
    await cluster.query(1, 'INSERT INTO later DEFAULT VALUES');
    await equalRows(cluster);
  });
});
