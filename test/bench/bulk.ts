/**
 * Much at once: a COPY of 1,000,000 rows of pgbench's and a transaction that updates 300,000 of them, through a gateway
 * (answered when all nodes have it) and on one server, in alternating order. The figures are ratios within a round. What three
 * nodes do shares the cores of this machine; so it can also be measured as if each process had a core of its own.
 */
import { spawn } from 'node:child_process';
import { createReadStream, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Gateways } from './gateway.ts';
import { OwnCores } from './own-cores.ts';
import type { PgbenchTarget } from './pgbench.ts';
import { cpuTimeOfTrees, hasProcessFigures, parentOf, residentMegabytes } from './process-figures.ts';
import { query, serversAgree } from './server-group.ts';
import { median } from './summary.ts';

export const copiedRows = 1_000_000;
export const updatedRows = 300_000;
const rounds = 3;
/** On cores of their own everything takes five times as long, and nothing disturbs. */
const roundsApart = 2;
const sampleEveryMs = 25;

export interface BulkResult {
  /** Time on one server / time through the gateway: the medians of the rounds. */
  readonly copyRatio: number;
  /** Time through the gateway / time on one server. */
  readonly updateRatio: number;
  /** CPU time of the three gateways for each row, µs; undefined without /proc. */
  readonly copyCpuUs: number | undefined;
  readonly updateCpuUs: number | undefined;
  /** The most that any of the gateways had, 10⁶ bytes. */
  readonly peakMegabytes: number | undefined;
  readonly agree: boolean;
}

/** `failure`: why there are no figures. */
export type BulkOutcome = BulkResult | { readonly failure: string };

const table = `CREATE TABLE IF NOT EXISTS bulk_accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84)) WITH (fillfactor = 100)`;
const contents = `SELECT count(*) || ' ' || sum(abalance) || ' ' || sum(aid::bigint * bid) AS sums FROM bulk_accounts`;

/** What pgbench -i sends at scale 10. */
function writeRows(folder: string): string {
  const file = join(folder, 'accounts.txt');
  const lines: string[] = [];
  for (let aid = 1; aid <= copiedRows; aid++)
    lines.push(`${aid}\t${Math.ceil(aid / 100_000)}\t0\t${' '.repeat(84)}\n`);
  writeFileSync(file, lines.join(''));
  return file;
}

/** Where a round takes place. */
interface Course {
  readonly target: PgbenchTarget;
  readonly servers: readonly PgbenchTarget[];
  /** Whose CPU time is counted. */
  readonly pids: readonly number[];
  readonly file: string;
  readonly cores: OwnCores | undefined;
  readonly signal: AbortSignal;
}

/** Seconds of one statement in psql, with `input` on its standard input. */
function timed({ target, cores, signal }: Course, sql: string, input?: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const place = ['-h', '127.0.0.1', '-p', String(target.port), '-U', 'postgres', '-d', target.database];
    const args = ['-X', '-q', '-v', 'ON_ERROR_STOP=1', ...place, '-c', sql];
    const begun = performance.now();
    const child = spawn('psql', args, { stdio: ['pipe', 'ignore', 'pipe'], signal });
    if (child.pid !== undefined) cores?.confine(child.pid);
    let errors = '';
    child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
    child.stdin.on('error', () => undefined); // It has ended early: its own words say why.
    if (input === undefined) child.stdin.end();
    else createReadStream(input).pipe(child.stdin);
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0) resolve((performance.now() - begun) / 1000);
      else reject(new Error(`psql: ${errors.trim().slice(0, 300)}`));
    });
  });
}

interface Round {
  readonly copy: number;
  readonly update: number;
  readonly copyCpuUs: number;
  readonly updateCpuUs: number;
}

async function round(course: Course): Promise<Round> {
  const { target, servers, pids, file } = course;
  await query(target, 'TRUNCATE bulk_accounts');
  for (const server of servers) await query(server, 'CHECKPOINT');
  const cpu = (): number => (hasProcessFigures ? cpuTimeOfTrees(pids) : 0);
  const before = cpu();
  const copy = await timed(course, 'COPY bulk_accounts FROM STDIN', file);
  const between = cpu();
  const sql = `UPDATE bulk_accounts SET abalance = abalance + 1 WHERE aid <= ${updatedRows}`;
  const update = await timed(course, sql);
  return {
    copy,
    update,
    copyCpuUs: (between - before) / copiedRows,
    updateCpuUs: (cpu() - between) / updatedRows,
  };
}

/** The parent of every server process, such as the checkpointer, which stays. */
async function postmasterOf(server: PgbenchTarget): Promise<number> {
  const sql = `SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'`;
  const postmaster = parentOf(Number((await query(server, sql))[0]?.['pid']));
  if (postmaster === 0) throw new Error(`the server on port ${server.port} has no checkpointer`);
  return postmaster;
}

/** `apart`: as if each process had a core of its own. Throws when something of it fails. */
export async function measureBulk(
  direct: PgbenchTarget,
  gateways: Gateways,
  apart: boolean,
  folder: string,
  signal: AbortSignal,
  report: (line: string) => void,
): Promise<BulkResult> {
  const gateway = gateways.one.targets[0]!;
  const { pids } = gateways;
  const file = writeRows(folder);
  for (const target of [direct, gateway]) await query(target, table);
  const postmasters = apart ? await Promise.all([direct, ...gateways.one.servers].map(postmasterOf)) : [];
  using cores = apart ? new OwnCores([...pids, ...postmasters]) : undefined;
  const common = { file, cores, signal };
  const title = apart ? 'bulk on own cores' : 'bulk';
  let peak = 0;
  const timer = setInterval(() => {
    for (const pid of pids) peak = Math.max(peak, residentMegabytes(pid) ?? 0);
  }, sampleEveryMs);
  const pairs: { direct: Round; gateway: Round }[] = [];
  try {
    // The first one warms up and does not count.
    for (let number = 0; number <= (apart ? roundsApart : rounds); number++) {
      const here = (): Promise<Round> => round({ target: direct, servers: [direct], pids: [], ...common });
      const there = (): Promise<Round> =>
        round({ target: gateway, servers: gateways.one.servers, pids, ...common });
      const first = number % 2 === 0 ? await here() : await there();
      const second = number % 2 === 0 ? await there() : await here();
      const pair = number % 2 === 0 ? { direct: first, gateway: second } : { direct: second, gateway: first };
      const seconds = (value: number): string => value.toFixed(2);
      report(
        `${title}, round ${number}: COPY ${seconds(pair.direct.copy)} s direct, ${seconds(pair.gateway.copy)} s gateway;` +
          ` update ${seconds(pair.direct.update)} s direct, ${seconds(pair.gateway.update)} s gateway`,
      );
      if (number > 0) pairs.push(pair);
    }
  } finally {
    clearInterval(timer);
  }
  const middle = (pick: (pair: (typeof pairs)[number]) => number): number => median(pairs.map(pick)) ?? 0;
  return {
    copyRatio: middle((pair) => pair.direct.copy / pair.gateway.copy),
    updateRatio: middle((pair) => pair.gateway.update / pair.direct.update),
    copyCpuUs: hasProcessFigures ? middle((pair) => pair.gateway.copyCpuUs) : undefined,
    updateCpuUs: hasProcessFigures ? middle((pair) => pair.gateway.updateCpuUs) : undefined,
    peakMegabytes: hasProcessFigures ? peak : undefined,
    agree: await serversAgree(gateways.one.servers, contents),
  };
}
