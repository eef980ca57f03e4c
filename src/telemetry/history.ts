/**
 * The last two minutes of a node, second by second: what a page draws. Rule: taken from the tally by one
 * timer, so that transactions pay nothing; memory is fixed.
 */
import { durationBounds, quantileOf } from './histogram.ts';
import type { NodeTally } from './node-tally.ts';

export const historySeconds = 120;
/** Over so many seconds a percentile is taken: of fewer it jumps about. */
const quantileSeconds = 10;

export interface HistoryPoint {
  /** Per second. */
  readonly reads: number;
  readonly writes: number;
  readonly aborts: number;
  readonly conflicts: number;
  /** Mean of the commits of this second, ms; null when there was none. */
  readonly commitMs: number | null;
  readonly readMs: number | null;
}

interface Totals {
  readonly at: number;
  readonly reads: number;
  readonly writes: number;
  readonly aborts: number;
  readonly conflicts: number;
  readonly commitSum: number;
  readonly commitCount: number;
  readonly readSum: number;
  readonly readCount: number;
}

export class History {
  readonly #tally: NodeTally;
  readonly #points: HistoryPoint[] = [];
  /** Of the buckets, one for each second. */
  readonly #commits: Float64Array[] = [];
  readonly #reads: Float64Array[] = [];
  #last: Totals;

  constructor(tally: NodeTally, now: number) {
    this.#tally = tally;
    this.#last = totalsOf(tally, now);
  }

  /** The oldest first. */
  get points(): readonly HistoryPoint[] {
    return this.#points;
  }

  /** Once a second. */
  sample(now: number): HistoryPoint {
    const last = this.#last;
    const next = totalsOf(this.#tally, now);
    this.#last = next;
    const seconds = Math.max((next.at - last.at) / 1000, 0.001);
    const rate = (from: number, to: number): number => Math.round(((to - from) / seconds) * 10) / 10;
    const point = {
      reads: rate(last.reads, next.reads),
      writes: rate(last.writes, next.writes),
      aborts: rate(last.aborts, next.aborts),
      conflicts: rate(last.conflicts, next.conflicts),
      commitMs: meanMs(next.commitSum - last.commitSum, next.commitCount - last.commitCount),
      readMs: meanMs(next.readSum - last.readSum, next.readCount - last.readCount),
    };
    keep(this.#points, point, historySeconds);
    keep(this.#commits, this.#tally.commit.whole.counts.slice(), quantileSeconds + 1);
    keep(this.#reads, this.#tally.read.counts.slice(), quantileSeconds + 1);
    return point;
  }

  /** Of the commits of the last seconds, ms; null when there was none. */
  commitQuantileMs(quantile: number): number | null {
    return recent(this.#commits, quantile);
  }

  readQuantileMs(quantile: number): number | null {
    return recent(this.#reads, quantile);
  }

  /** Over the last `seconds` together, each per second. */
  mean(seconds: number): Pick<HistoryPoint, 'reads' | 'writes' | 'aborts' | 'conflicts'> {
    const points = this.#points.slice(-seconds);
    const of = (name: 'reads' | 'writes' | 'aborts' | 'conflicts'): number =>
      points.length === 0 ? 0 : points.reduce((sum, point) => sum + point[name], 0) / points.length;
    return { reads: of('reads'), writes: of('writes'), aborts: of('aborts'), conflicts: of('conflicts') };
  }
}

function totalsOf(tally: NodeTally, at: number): Totals {
  const { commit, read, session } = tally;
  return {
    at,
    reads: session.reads,
    writes: tally.committed,
    aborts: tally.aborted,
    conflicts: tally.conflictsInAll,
    commitSum: commit.whole.sum,
    commitCount: commit.whole.count,
    readSum: read.sum,
    readCount: read.count,
  };
}

function meanMs(seconds: number, count: number): number | null {
  return count === 0 ? null : Math.round((seconds / count) * 1e5) / 100;
}

function keep<T>(list: T[], item: T, most: number): void {
  list.push(item);
  if (list.length > most) list.shift();
}

function recent(counts: readonly Float64Array[], quantile: number): number | null {
  const first = counts[0];
  const last = counts.at(-1);
  if (first === undefined || last === undefined || first === last) return null;
  const between = new Float64Array(durationBounds.length + 1);
  for (let at = 0; at < between.length; at++) between[at] = last[at]! - first[at]!;
  const seconds = quantileOf(between, quantile);
  return seconds === undefined ? null : Math.round(seconds * 1e5) / 100;
}
