/**
 * Rounds of faults under load, and what must be true after each: everybody online again, no prepared transaction left, equal
 * tables, right totals, a history that the judge accepts, unknown outcomes all or nothing and as mtm.transaction_outcome says.
 */
import { setTimeout as hold } from 'node:timers/promises';
import { expect } from 'vitest';
import type { Prng } from '../../../src/lib/prng.ts';
import { eventually, settled } from '../../support/polling.ts';
import { Bank } from './bank.ts';
import { faultText, inflict, mend, type Fault } from './faults.ts';
import { ListAppend } from './list-append.ts';
import { Load } from './load.ts';
import { ask, connect, hangUp, requireRunning, wholeAgain, type Site } from './site.ts';

/** A slow machine can ask for more. */
export const timeFactor = Number(process.env['MTM_TEST_TIME_FACTOR'] ?? 1);
/** Prepared before the fault was mended and still there. */
const leftoverLimitMs = 30_000 * timeFactor;
const onlineLimitMs = 90_000 * timeFactor;
const warmUp = 10;

export function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

export interface Workload {
  readonly bank: Bank;
  readonly lists: ListAppend;
  readonly random: Prng;
  /** What mtm.transaction_outcome has said of the unknown ones. */
  readonly said: Map<string, string>;
}

export async function createWorkload(site: Site, random: Prng): Promise<Workload> {
  await Bank.create(site);
  await ListAppend.create(site);
  return { bank: new Bank(random), lists: new ListAppend(random), random, said: new Map() };
}

/**
 * On every node, or on those that are given: two that move money, two that read totals, three that append and read, and one
 * that reads elsewhere. With more than three nodes half of them, so that the machine under the test has the same to do.
 */
export function startLoad(
  site: Site,
  { bank, lists, random }: Workload,
  numbers: readonly number[] = site.numbers,
): Load {
  const load = new Load(site, random);
  const share = site.nodes.length > 3 ? 1 : 2;
  for (const number of numbers) {
    for (let count = 0; count < share; count++) load.add(number, bank.transfers(number), true);
    load.add(number, bank.totals(number), false);
    if (share === 2) load.add(number, bank.snapshots(number), false);
    for (let count = 0; count < 2 * share - 1; count++) load.add(number, lists.client(number), false);
    const others = site.numbers.filter((other) => other !== number && numbers.includes(other));
    if (others.length === 0) continue;
    load.add(number, lists.chaser(number, others), true);
  }
  return load;
}

/** Every node acknowledges `count` more transactions. */
async function progress(site: Site, load: Load, count: number, limitMs: number): Promise<void> {
  const start = new Map(site.numbers.map((number) => [number, load.acknowledgedBy(number)]));
  await eventually(
    `every node acknowledges ${count} transactions`,
    () => site.numbers.every((number) => load.acknowledgedBy(number) - (start.get(number) ?? 0) >= count),
    limitMs,
  );
}

/** The prepared transactions of a node that are older than `before`; the trouble, when it cannot be asked now. */
async function prepared(site: Site, number: number, before: Date): Promise<string[]> {
  const query = 'SELECT gid FROM pg_prepared_xacts WHERE prepared < $1 ORDER BY gid';
  try {
    return (await ask<{ gid: string }>(site, number, 'postgres', query, [before])).map(({ gid }) => gid);
  } catch (error) {
    return [`not told: ${(error as Error).message}`]; // A gateway that takes its server over ends all sessions there.
  }
}

/** Resolves when none that is older than `before` is left on any node; how long that took, ms. */
async function noneLeft(site: Site, before: Date): Promise<number> {
  const begin = performance.now();
  const left = await settled(
    () => Promise.all(site.numbers.map((number) => prepared(site, number, before))),
    (lists) => lists.every((list) => list.length === 0),
    leftoverLimitMs,
  );
  expect(left, `prepared transactions after ${leftoverLimitMs} ms`).toEqual(site.nodes.map(() => []));
  return performance.now() - begin;
}

const tablesQuery = `SELECT c.oid::regclass::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname = 'public' ORDER BY 1`;

/** `table: rows, hash`, the rows ordered by their text. */
async function hashes(site: Site, number: number): Promise<string[]> {
  const client = await connect(site, number, 'postgres');
  try {
    const lines: string[] = [];
    for (const { name } of (await client.query<{ name: string }>(tablesQuery)).rows) {
      const { rows } = await client.query<{ count: string; hash: string | null }>(
        `SELECT count(*) AS count, md5(string_agg(md5(t::text), '' ORDER BY t::text COLLATE "C")) AS hash FROM ${name} AS t`,
      );
      lines.push(`${name}: ${rows[0]?.count} rows, ${rows[0]?.hash ?? 'empty'}`);
    }
    return lines;
  } finally {
    hangUp(client);
  }
}

async function equalTables(site: Site, limitMs = 10_000): Promise<void> {
  const all = await settled(
    () => Promise.all(site.numbers.map((number) => hashes(site, number))),
    ([first, ...others]) => others.every((other) => other.join() === first?.join()),
    limitMs,
  );
  for (const [index, lines] of all.entries()) expect(lines, `tables of node ${index + 1}`).toEqual(all[0]);
}

/** What a node says of each gid, in one session; 'forgotten' is what it will never know any more. */
async function toldBy(site: Site, number: number, gids: readonly string[]): Promise<string[]> {
  const client = await connect(site, number, 'gateway', { query_timeout: 10_000 });
  try {
    const answers: string[] = [];
    for (const gid of gids) {
      const text = `SELECT CASE WHEN mtm.is_forgotten($1) AND outcome = 'unknown' THEN 'forgotten' ELSE outcome END
        FROM mtm.transaction_outcome($1) AS outcome`;
      const { rows } = await client.query<{ outcome: string | null }>(text, [gid]);
      answers.push(rows[0]?.outcome ?? 'nothing');
    }
    return answers;
  } finally {
    hangUp(client);
  }
}

/** Asks every node about the gids that were not told yet: they must agree, and know. */
async function resolve(site: Site, gids: readonly string[], said: Map<string, string>): Promise<void> {
  const asked = gids.filter((gid) => !said.has(gid));
  if (asked.length === 0) return;
  const answers = await settled(
    () => Promise.all(site.numbers.map((number) => toldBy(site, number, asked))),
    (lists) => lists.every((list) => list.every((answer) => answer !== 'in doubt')),
  );
  for (const [index, gid] of asked.entries()) {
    const ofGid = answers.map((list) => list[index] ?? 'nothing');
    const told = [...new Set(ofGid)].filter((answer) => answer !== 'forgotten');
    const text = `${gid}: nodes 1 to ${ofGid.length} say ${ofGid.join(', ')}`;
    expect(told.length, text).toBeLessThanOrEqual(1);
    const outcome = told[0] ?? 'forgotten';
    expect(['committed', 'aborted', 'forgotten'], text).toContain(outcome);
    said.set(gid, outcome);
  }
}

/** Everything that is checked when nothing moves any more. */
export async function judgeAtRest(site: Site, { bank, lists, said }: Workload): Promise<void> {
  await noneLeft(site, new Date(Date.now() + 60_000));
  await equalTables(site);
  await bank.judge(site);
  const transfers = bank.unknown();
  const appends = lists.operations.filter(({ outcome }) => outcome === 'info');
  const gids = [...transfers.map(({ refused }) => refused.gid), ...appends.map(({ gid }) => gid)];
  await resolve(
    site,
    gids.filter((gid) => gid !== undefined),
    said,
  );
  const there = await Bank.rows(site);
  for (const { id, refused } of transfers) {
    const outcome = refused.gid === undefined ? undefined : said.get(refused.gid);
    if (outcome === undefined || outcome === 'forgotten') continue;
    const text = `${refused.gid} is said to be so, and its row is ${there.has(id) ? '' : 'not '}there`;
    expect(outcome, text).toBe(there.has(id) ? 'committed' : 'aborted');
  }
  const verdict = await lists.judge(site, said);
  const { ok, fail, info, edges } = verdict.statistics;
  const told = Map.groupBy(said.values(), (outcome) => outcome);
  const words = [...told].map(([outcome, all]) => `${all.length} ${outcome}`).join(', ');
  say(
    `    so far: lists ${ok} ok, ${fail} refused, ${info} unknown, ${edges} dependencies; ` +
      `allowed ${verdict.allowed.gSingle} read skews at READ COMMITTED, ${verdict.allowed.g2} knots of G2; ` +
      `bank ${bank.reads} totals\n    so far: ${transfers.length + appends.length} unknown outcomes, ` +
      `of them with a gid: ${said.size} (${words})`,
  );
}

/** The time that the others have to find out and to go on, ms: heartbeat_recv_timeout + 1 s when nobody says a word. */
function silentMs({ kind }: Fault): number | undefined {
  switch (kind) {
    case 'kill gateway':
    case 'kill server':
    case 'kill both':
      return 1000;
    case 'pause gateway':
    case 'pause server':
    case 'cut off':
    case 'cut link':
    case 'lose one way':
      return 3000;
    case 'restart gateway':
    case 'restart server':
    case 'kill all':
      return undefined;
  }
}

/** While it is broken a majority goes on writing, and a node that is cut off from all others answers nothing. */
async function during(site: Site, load: Load, fault: Fault): Promise<void> {
  const silent = silentMs(fault);
  if (silent === undefined) return hold(fault.holdMs);
  await hold(silent);
  const before = site.numbers.map((number) => ({
    number,
    written: load.writtenBy(number),
    acknowledged: load.acknowledgedBy(number),
  }));
  await hold(fault.holdMs);
  const writing = () => before.filter(({ number, written }) => load.writtenBy(number) > written);
  const majority = Math.floor(site.nodes.length / 2) + 1;
  // How soon is what timing.test.ts and network.test.ts measure, without load.
  await eventually('a majority goes on writing', () => writing().length >= majority);
  const working = writing();
  const served = before.find(({ number }) => number === fault.node)?.acknowledged;
  const names = working.map(({ number }) => number).join(', ') || 'none';
  say(`    went on writing ${silent / 1000} s after it: node ${names}`);
  if (fault.kind !== 'cut off') return;
  expect(load.acknowledgedBy(fault.node), 'what a node that is cut off answers').toBe(served);
}

/** Conflicts, a node that is not online, an outcome that is not known, a connection that broke. */
const expectedCodes = [
  ...['40001', '40P01', '57P01', '57P02', '57P03', '08001', '08006', '08007'],
  ...['lost', 'ECONNRESET', 'ECONNREFUSED', 'EPIPE'],
];

function codesText({ codes }: Load): string {
  const sorted = [...codes].sort(([, a], [, b]) => b - a);
  return sorted.map(([code, count]) => `${code}×${count}`).join(' ');
}

/** One round: load, fault, hold, mend, everybody back and working, rest, judgement. */
export async function faultRound(site: Site, workload: Workload, fault: Fault): Promise<void> {
  say(`  ${faultText(fault)}`);
  const load = startLoad(site, workload);
  let figures: { onlineMs: number; leftoverMs: number };
  try {
    await progress(site, load, warmUp, 20_000);
    await inflict(site, fault);
    await during(site, load, fault);
    await mend(site, fault.order);
    const mended = new Date();
    const [onlineMs, leftoverMs] = await Promise.all([
      wholeAgain(site, onlineLimitMs),
      noneLeft(site, mended),
    ]);
    figures = { onlineMs, leftoverMs };
    await progress(site, load, warmUp, 20_000);
  } finally {
    await load.stop();
  }
  requireRunning(site);
  const { acknowledged, refused, unknown } = load.tally;
  say(
    `    ${acknowledged} acknowledged, ${refused} refused, ${unknown} unknown; ${codesText(load)}\n` +
      `    all online ${(figures.onlineMs / 1000).toFixed(1)} s after mending, ` +
      `leftovers gone after ${(figures.leftoverMs / 1000).toFixed(1)} s`,
  );
  const strange = [...load.codes.keys()].filter((code) => !expectedCodes.includes(code));
  expect(strange, 'what a fault may not look like to a client').toEqual([]);
  await judgeAtRest(site, workload);
}

/** From the environment, or a new one; printed, because it repeats the choice of faults. */
export function testSeed(): number {
  const seed = Number(process.env['MTM_TEST_SEED'] ?? Math.floor(Math.random() * 1e9));
  say(`seed ${seed} (MTM_TEST_SEED=${seed} repeats the choice of faults)`);
  return seed;
}

/** The number of rounds that was asked for; undefined: the short version of all tests here. */
export const wishedRounds =
  process.env['MTM_TEST_FAULT_ROUNDS'] === undefined
    ? undefined
    : Number(process.env['MTM_TEST_FAULT_ROUNDS']);
