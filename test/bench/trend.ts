/** Whether a series of values grows: its slope by least squares, in which single outliers count for little. */

export interface Point {
  /** In seconds. */
  readonly at: number;
  readonly value: number;
}

export interface Trend {
  readonly mean: number;
  /** What the slope adds up to from the first to the last point. */
  readonly growth: number;
}

/** Undefined with fewer than two points in time. */
export function trend(points: readonly Point[]): Trend | undefined {
  const mean = (pick: (point: Point) => number): number =>
    points.reduce((sum, point) => sum + pick(point), 0) / points.length;
  const at = mean((point) => point.at);
  const value = mean((point) => point.value);
  const spread = points.reduce((sum, point) => sum + (point.at - at) ** 2, 0);
  const first = points[0];
  const last = points.at(-1);
  if (first === undefined || last === undefined || spread === 0) return undefined;
  const slope = points.reduce((sum, point) => sum + (point.at - at) * (point.value - value), 0) / spread;
  return { mean: value, growth: slope * (last.at - first.at) };
}

/** Without the first quarter, in which compilers and caches are at work. */
export const settled = <T>(series: readonly T[]): readonly T[] => series.slice(Math.floor(series.length / 4));

/** Grows by no more than this share of its mean, or by no more than `least`, which nobody would notice. */
export function isFlat({ mean, growth }: Trend, share: number, least: number): boolean {
  return growth <= Math.max(share * mean, least);
}
