/** What the slowest answers took, from the log that pgbench writes of its transactions (-l). */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

export interface SlowAnswers {
  /** In ms; undefined when there were too few transactions to tell. */
  readonly p50Ms: number | undefined;
  readonly p99Ms: number | undefined;
  readonly p999Ms: number | undefined;
}

/** `sorted` ascending; undefined unless at least one value is beyond it. */
export function percentile(sorted: readonly number[], share: number): number | undefined {
  return sorted.length * (1 - share) < 1 ? undefined : sorted[Math.floor(sorted.length * share)];
}

/** The third word of a line is the time in µs, or why there is none. */
export function timesOf(log: string): number[] {
  return log
    .split('\n')
    .map((line) => Number(line.split(' ')[2]) / 1000)
    .filter((ms) => !Number.isNaN(ms));
}

export function slowAnswers(times: readonly number[]): SlowAnswers {
  const sorted = times.toSorted((one, other) => one - other);
  return {
    p50Ms: percentile(sorted, 0.5),
    p99Ms: percentile(sorted, 0.99),
    p999Ms: percentile(sorted, 0.999),
  };
}

/** Reads and removes the logs of one run, one of each thread. */
export function takeLogs(prefix: string): SlowAnswers {
  const folder = dirname(prefix);
  const times: number[] = [];
  for (const name of readdirSync(folder).filter((one) => one.startsWith(`${basename(prefix)}.`))) {
    const file = join(folder, name);
    for (const ms of timesOf(readFileSync(file, 'utf8'))) times.push(ms);
    rmSync(file);
  }
  return slowAnswers(times);
}
