/**
 * Transactions of several nodes that want the same rows: crossed updates, circles, hot rows, locking reads, foreign
 * keys, sessions that hold locks and do nothing; under each deadlock_prevention.
 * Rule: limits are told by what a transaction without conflict takes on the machine at that moment.
 * MTM_TEST_CONFLICT_ROUNDS=50 repeats each crossing so often, for the figures it prints.
 */
import type { Client } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { failureOf, startCluster, type Cluster } from '../../support/cluster.ts';
import { equalRows, noPrepared } from '../../support/convergence.ts';
import { isRepeatable, randomBelow, together } from '../../support/load.ts';
import { eventually, timed, within } from '../../support/polling.ts';
import type { PostgresMajor } from '../../../src/io/launcher/server-binaries.ts';

type Mode = 'off' | 'simple' | 'smart';
const blockerTimeoutMs = 1000;
const rounds = Number(process.env['MTM_TEST_CONFLICT_ROUNDS'] ?? 5);

/** The rows of crossings and hot rows, and behind them those that nobody else touches. */
const hot = 10;
const [quietOne, quietTwo] = [hot + 1, hot + 2];

let cluster: Cluster;

async function begin(mode: Mode, major: PostgresMajor): Promise<void> {
  cluster = await startCluster({
    majors: [major, major, major],
    settings: { deadlock_prevention: mode, blocker_timeout: `${blockerTimeoutMs}ms` },
  });
  await cluster.query(1, 'CREATE TABLE account (id int PRIMARY KEY, n int NOT NULL DEFAULT 0)');
  await cluster.query(1, 'INSERT INTO account SELECT generate_series(1, 12)');
  await cluster.query(1, 'CREATE TABLE child (id int PRIMARY KEY, account int REFERENCES account)');
}

async function check(): Promise<void> {
  await noPrepared(cluster);
  await equalRows(cluster);
}

const bump = (id: number): string => `UPDATE account SET n = n + 1 WHERE id = ${id}`;

/** What a transaction of two statements takes without any conflict, ms: the slowest of some. */
async function usualMs(): Promise<number> {
  const client = await cluster.client(1);
  let slowest = 0;
  for (let run = 0; run < 5; run++) {
    const begun = performance.now();
    await client.query('BEGIN');
    await client.query(bump(quietOne));
    await client.query(bump(quietTwo));
    await client.query('COMMIT');
    slowest = Math.max(slowest, performance.now() - begun);
  }
  await client.end();
  return slowest;
}

/** How it ended, and that it did in time: a second, plus ten times what the machine takes for nothing at all. */
interface Race {
  readonly codes: readonly string[];
  readonly tookMs: number;
  readonly limitMs: number;
}

/** Node k updates its row, and when all have, the next one's. */
async function ring(nodes: readonly number[]): Promise<Race> {
  const limitMs = 1000 + 10 * (await usualMs());
  const clients = await Promise.all(nodes.map((number) => cluster.client(number)));
  await Promise.all(clients.map((client) => client.query('BEGIN')));
  await Promise.all(clients.map((client, index) => client.query(bump(index + 1))));
  const begun = performance.now();
  const end = async (client: Client, index: number): Promise<string> => {
    try {
      await client.query(bump(1 + ((index + 1) % clients.length)));
      await client.query('COMMIT');
      return 'committed';
    } catch (error) {
      await client.query('ROLLBACK');
      return (error as { code?: string }).code ?? String(error);
    }
  };
  const codes = await within('the circle', 60_000, Promise.all(clients.map(end)));
  const tookMs = performance.now() - begun;
  await Promise.all(clients.map((client) => client.end()));
  return { codes, tookMs, limitMs };
}

async function stop(): Promise<void> {
  await cluster?.stop();
}

/** Smallest, middle and largest of the times. */
function printTimes(what: string, times: readonly number[]): void {
  const sorted = times.toSorted((a, b) => a - b);
  const [least, median, most] = [0, Math.floor(sorted.length / 2), sorted.length - 1].map((index) =>
    sorted[index]!.toFixed(0),
  );
  process.stdout.write(`${what}, ${times.length} times: ${least} to ${most} ms, median ${median} ms\n`);
}

describe.each([
  ['off', 16],
  ['simple', 17],
] as const)('deadlock_prevention %s, PostgreSQL %i', (mode, major) => {
  beforeAll(() => begin(mode, major));
  afterEach(check);
  afterAll(stop);

  test('a circle ends: after blocker_timeout, or by refusing who waits', timed, async () => {
    const times: number[] = [];
    for (let round = 0; round < 3; round++) {
      const { codes, tookMs, limitMs } = await ring([1, 2, 3]);
      times.push(tookMs);
      expect(codes.filter((code) => code !== 'committed' && code !== '40001')).toEqual([]);
      // Off: each of the three may have to wait for its turn.
      expect(tookMs).toBeLessThan(mode === 'off' ? limitMs + 3 * blockerTimeoutMs : limitMs);
    }
    printTimes(`a circle over three nodes, ${mode}`, times);
  });

  test('who repeats gets through', async () => {
    const { committed } = await hotRows(3, 1, 3000);
    expect(Math.min(...committed)).toBeGreaterThan(0);
  });
});

describe('smart, the default, PostgreSQL 18', () => {
  beforeAll(() => begin('smart', 18));
  afterEach(check);
  afterAll(stop);

  test('crossed updates on two nodes end within a second with one winner', timed, async () => {
    const times: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const { codes, tookMs, limitMs } = await ring([1, 2]);
      times.push(tookMs);
      expect(codes.toSorted()).toEqual(['40001', 'committed']);
      expect(tookMs).toBeLessThan(limitMs);
    }
    printTimes('crossed updates on two nodes', times);
  });

  test('a circle over three nodes ends within a second, and somebody wins', timed, async () => {
    const times: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const { codes, tookMs, limitMs } = await ring([1, 2, 3]);
      times.push(tookMs);
      expect(codes).toContain('committed');
      expect(new Set(codes.filter((code) => code !== 'committed'))).toEqual(new Set(['40001']));
      expect(tookMs).toBeLessThan(limitMs);
    }
    printTimes('a circle over three nodes', times);
  });

  test('crossed statements without BEGIN all succeed', async () => {
    const statement = (first: number, second: number): string =>
      `WITH a AS (${bump(first)} RETURNING pg_sleep(0.05)), b AS (${bump(second)} RETURNING 1) SELECT FROM a, b`;
    const clients = await Promise.all([1, 2, 3].map((number) => cluster.client(number)));
    const texts = [statement(4, 5), statement(5, 6), statement(6, 4)];
    for (let round = 0; round < 5; round++)
      await together(clients.map((client, index) => client.query(texts[index]!)));
    await Promise.all(clients.map((client) => client.end()));
    const sum = 'SELECT sum(n)::int AS n FROM account WHERE id BETWEEN 4 AND 6';
    expect(await cluster.query(2, sum)).toEqual([{ n: 30 }]);
  });

  test('ten hot rows updated from three nodes: steady progress, nobody starves', timed, async () => {
    await cluster.query(1, 'UPDATE account SET n = 0');
    const { committed, retries, longestMs, seconds } = await hotRows(3, 2, 6000);
    const least = Math.min(...committed);
    const most = Math.max(...committed);
    const sum = committed.reduce((a, b) => a + b, 0);
    const told = [`committed ${committed.join(', ')}`, `each second ${seconds.join(', ')}`];
    const figures = [...told, `${retries} retries`, `longest gap ${longestMs.toFixed(0)} ms`].join('; ');
    process.stdout.write(`ten hot rows, two workers at each of three nodes, 6 s: ${figures}\n`);
    expect(least, figures).toBeGreaterThan(most / 20);
    expect(seconds.filter((count) => count === 0).length, figures).toBeLessThan(seconds.length / 2);
    expect(longestMs, figures).toBeLessThan(3000 + 50 * (await usualMs()));
    expect(await cluster.query(3, 'SELECT sum(n)::int AS n FROM account WHERE id <= 10')).toEqual([
      { n: 2 * sum },
    ]);
  });

  test('who repeats what has lost keeps its age, and wins against what began meanwhile', async () => {
    const [older, loser, later] = await Promise.all([2, 1, 3].map((number) => cluster.client(number)));
    await older!.query('BEGIN');
    await older!.query(bump(1));
    await older!.query('SELECT pg_sleep(0.05)');
    await loser!.query('BEGIN');
    await loser!.query(bump(2));
    await loser!.query('SELECT pg_sleep(0.05)');
    await later!.query('BEGIN');
    await later!.query(bump(4));
    await older!.query(bump(2));
    await older!.query('COMMIT');
    expect((await failureOf(loser!.query(bump(3)))).code).toBe('40001');
    await loser!.query('ROLLBACK');
    await loser!.query('BEGIN');
    await Promise.all([loser!.query(bump(3)), later!.query(bump(3))]);
    const ends = await Promise.allSettled([loser!.query('COMMIT'), later!.query('COMMIT')]);
    const codes = ends.map((end) => (end.status === 'rejected' ? (end.reason as { code: string }).code : ''));
    expect(codes).toEqual(['', '40001']);
    await Promise.all([older, loser, later].map((client) => client!.end()));
  });

  test('a session that idles on a lock is ended after blocker_timeout, and told so', timed, async () => {
    const idle = await cluster.client(2);
    await idle.query('BEGIN');
    await idle.query(bump(1));
    const begun = performance.now();
    await cluster.query(1, bump(1));
    const tookMs = performance.now() - begun;
    expect(tookMs).toBeLessThan(blockerTimeoutMs + 1000 + 20 * (await usualMs()));
    const { code, message } = await failureOf(idle.query(bump(2)));
    expect(code).toBe('40001');
    expect(message).toMatch(/^\[multimaster\]/);
    await idle.query('ROLLBACK');
    await idle.query(bump(2));
    await idle.end();
  });

  test('locking reads are respected on the other nodes', timed, async () => {
    for (const lock of ['FOR UPDATE', 'FOR NO KEY UPDATE', 'FOR SHARE']) {
      const reader = await cluster.client(1);
      await reader.query('BEGIN');
      await reader.query(`SELECT * FROM account WHERE id = 3 ${lock}`);
      const writer = cluster.query(2, bump(3));
      await waitsOnNode1(); // The writer's branch there waits for the reader.
      await reader.query('COMMIT');
      await writer;
      await reader.end();
    }
    // FOR KEY SHARE lets updates pass that keep the key, as on one server.
    const reader = await cluster.client(1);
    await reader.query('BEGIN');
    await reader.query('SELECT * FROM account WHERE id = 3 FOR KEY SHARE');
    await cluster.query(2, bump(3));
    await reader.query('COMMIT');
    await reader.end();
  });

  test('a child here and the end of its parent there: one of the two', async () => {
    for (let round = 0; round < 6; round++) {
      const id = 100 + round;
      await cluster.query(1, 'INSERT INTO account VALUES ($1)', [id]);
      const ends = await Promise.allSettled([
        cluster.query(1, 'INSERT INTO child VALUES ($1, $1)', [id]),
        cluster.query(2, 'DELETE FROM account WHERE id = $1', [id]),
      ]);
      const failed = ends.flatMap((end) =>
        end.status === 'rejected' ? [end.reason as { code: string }] : [],
      );
      expect(failed.map(({ code }) => code)).toEqual([expect.stringMatching(/^(23503|40001)$/)]);
    }
  });

  test('a lock of a session that no gateway knows: the remote transaction gives up with the reason', async () => {
    const stranger = await cluster.direct(3);
    await stranger.query('BEGIN');
    await stranger.query('SELECT * FROM account WHERE id = 7 FOR UPDATE');
    const client = await cluster.client(1);
    await client.query('BEGIN');
    await client.query(bump(7));
    const { code, message, hint } = await failureOf(client.query('COMMIT'));
    expect(code).toBe('40001');
    expect(message).toMatch(/not supervised/);
    expect(hint).toMatch(/End that session/);
    await stranger.query('ROLLBACK');
    await stranger.end();
    await client.query(bump(7));
    await client.end();
  });
});

async function waitsOnNode1(): Promise<void> {
  const text = `SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = 'mtm_apply' AND wait_event_type = 'Lock'`;
  await eventually('a branch waits on node 1', async () => {
    const [row] = await cluster.directly<{ n: number }>(1, text);
    return (row?.n ?? 0) > 0;
  });
}

/**
 * Transfers between hot rows; what each worker has committed, and all of them in each second, all retries, and the
 * longest wait of any of them.
 */
async function hotRows(
  nodes: number,
  workers: number,
  forMs: number,
): Promise<{ committed: number[]; retries: number; longestMs: number; seconds: number[] }> {
  const start = performance.now();
  const until = start + forMs;
  const seconds = Array.from({ length: Math.floor(forMs / 1000) }, () => 0);
  const committed: number[] = [];
  let retries = 0;
  let longestMs = 0;
  const work = async (index: number): Promise<void> => {
    const client = await cluster.client(1 + (index % nodes));
    committed[index] = 0;
    while (performance.now() < until) {
      const begun = performance.now();
      const [a, b] = [1 + randomBelow(hot), 1 + randomBelow(hot)];
      for (;;) {
        try {
          await client.query('BEGIN');
          await client.query(bump(a));
          await client.query(bump(b));
          await client.query('COMMIT');
          break;
        } catch (error) {
          await client.query('ROLLBACK');
          if (!isRepeatable(error)) throw error;
          retries++;
        }
      }
      committed[index]!++;
      const second = Math.floor((performance.now() - start) / 1000);
      if (second < seconds.length) seconds[second]!++;
      longestMs = Math.max(longestMs, performance.now() - begun);
    }
    await client.end();
  };
  await together(Array.from({ length: nodes * workers }, (_, index) => work(index)));
  return { committed, retries, longestMs, seconds };
}
