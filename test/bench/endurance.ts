/**
 * A mixed load at three gateways for a long time, in slices: what the gateways need, how long answers take and what is kept of
 * the past must be the same at the end as after the beginning.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { launchGateways } from './gateway.ts';
import { combined } from './measurement.ts';
import type { BenchOptions } from './options.ts';
import type { Pgbench, PgbenchTarget } from './pgbench.ts';
import { residentMegabytes } from './process-figures.ts';
import { query, serversAgree, startGroup } from './server-group.ts';
import { updateScript } from './workload.ts';

export interface Slice {
  /** Seconds since the load began, at the end of the slice. */
  readonly at: number;
  readonly perSecond: number;
  readonly retries: number;
  readonly p50Ms: number | undefined;
  readonly p99Ms: number | undefined;
  readonly p999Ms: number | undefined;
  /** VmRSS of each gateway, 10⁶ bytes. */
  readonly megabytes: readonly number[];
  /** Of the node that has most of it. */
  readonly history: History;
}

/** What a node keeps of the past, in MB. */
export interface History {
  /** The tables in schema mtm. */
  readonly tables: number;
  /** The WAL that a replication slot keeps from being removed. */
  readonly retained: number;
}

export interface Endurance {
  readonly slices: readonly Slice[];
  readonly agree: boolean;
}

export type EnduranceOutcome = Endurance | { readonly failure: string };

const clientsAtEach = 4;
const portOffset = 50;

/** Sixty of them, each long enough to tell what the slowest answers took. */
const sliceSeconds = (minutes: number): number => Math.max(5, Math.round(minutes));

const historyQuestion = `
  SELECT (SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class
          WHERE relnamespace = 'mtm'::regnamespace AND relkind IN ('r', 'm')) / 1e6 AS tables,
    (SELECT coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)), 0) FROM pg_replication_slots) / 1e6 AS retained`;

async function historyOf(servers: readonly PgbenchTarget[]): Promise<History> {
  const rows = await Promise.all(servers.map(async (server) => (await query(server, historyQuestion))[0]));
  const most = (name: string): number => Math.max(...rows.map((row) => Number(row?.[name])));
  return { tables: most('tables'), retained: most('retained') };
}

/** Starts three nodes of its own. Throws when they do not come up or a slice has no figures. */
export async function runEndurance(
  options: BenchOptions,
  pgbench: Pgbench,
  folder: string,
  signal: AbortSignal,
  report: (line: string) => void,
): Promise<Endurance> {
  await using stack = new AsyncDisposableStack();
  const own = join(folder, 'endurance');
  const group = await startGroup(stack, options, own, options.port + portOffset, 3, signal);
  const { all, pids } = await launchGateways(group, options.profileFolder, signal);
  for (const target of all.targets.slice(0, 1)) await pgbench.initialise(target, options.scale);
  const file = join(folder, 'endurance-update.sql');
  writeFileSync(file, `${updateScript.join('\n')}\n`);
  const load = [
    '-b',
    'select-only@6',
    '-b',
    'tpcb-like@2',
    '-D',
    `scale=${options.scale}`,
    '-f',
    `${file}@2`,
  ];
  const seconds = sliceSeconds(options.minutes);
  const slices: Slice[] = [];
  const begun = performance.now();
  while (performance.now() - begun < options.minutes * 60_000) {
    const results = await Promise.all(
      all.targets.map((target) =>
        pgbench.measure(target, ['-M', 'prepared', ...load], clientsAtEach, seconds),
      ),
    );
    const result = combined('sum', results);
    if (result.kind !== 'measured') throw new Error(`slice ${slices.length + 1}: ${JSON.stringify(result)}`);
    const slice = {
      at: (performance.now() - begun) / 1000,
      perSecond: result.transactionsPerSecond,
      retries: result.retries,
      ...result.slow,
      megabytes: pids.map((pid) => residentMegabytes(pid) ?? 0),
      history: await historyOf(group.servers),
    };
    report(`endurance: ${JSON.stringify(slice)}`);
    slices.push(slice);
  }
  return { slices, agree: await serversAgree(group.servers) };
}
