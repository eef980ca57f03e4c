/**
 * How long things took: counts in buckets with fixed bounds. Rule: adding costs a few comparisons and
 * allocates nothing; counts only grow, so that whoever reads computes differences.
 */

/** Seconds: from a tenth of a millisecond, a read, to minutes, a commit that waits for an election. */
export const durationBounds: readonly number[] = [
  0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 2.5,
  5, 10, 30,
];

export class Histogram {
  /** One more than there are bounds: the last is for everything beyond. */
  readonly counts = new Float64Array(durationBounds.length + 1);
  sum = 0;
  count = 0;

  addMs(ms: number): void {
    const seconds = ms > 0 ? ms / 1000 : 0;
    let at = 0;
    while (at < durationBounds.length && seconds > durationBounds[at]!) at++;
    this.counts[at]!++;
    this.sum += seconds;
    this.count++;
  }
}

/**
 * The seconds below which the share `quantile` of what was counted lies, interpolated inside its bucket;
 * undefined when nothing was. What lies beyond the last bound counts as lying there.
 */
export function quantileOf(counts: ArrayLike<number>, quantile: number): number | undefined {
  let total = 0;
  for (let at = 0; at < counts.length; at++) total += counts[at]!;
  if (total <= 0) return undefined;
  const wanted = quantile * total;
  let below = 0;
  for (let at = 0; at < durationBounds.length; at++) {
    const here = counts[at]!;
    if (here > 0 && below + here >= wanted) {
      const from = at === 0 ? 0 : durationBounds[at - 1]!;
      return from + ((wanted - below) / here) * (durationBounds[at]! - from);
    }
    below += here;
  }
  return durationBounds.at(-1);
}
