/** What a long run says: whether memory, latency and history are flat, and a table of some of its slices. */
import type { Endurance, EnduranceOutcome, Slice } from './endurance.ts';
import type { Judgement } from './goals.ts';
import { isFlat, settled, trend, type Point } from './trend.ts';

/** By how much something may grow during the run: a share of its mean, or what nobody would notice. */
const memoryLimit = [0.05, 5] as const;
const latencyLimit = [0.2, 0.1] as const;
const tablesLimit = [0.1, 2] as const;
const retainedLimit = [0.1, 64] as const;

function judgeSeries(
  slices: readonly Slice[],
  title: string,
  unit: string,
  pick: (slice: Slice) => number | undefined,
  [share, least]: readonly [number, number],
): Judgement[] {
  const points: Point[] = settled(slices).flatMap((slice) => {
    const value = pick(slice);
    return value === undefined ? [] : [{ at: slice.at, value }];
  });
  const found = trend(points);
  if (found === undefined) return [];
  const growth = `${found.growth >= 0 ? '+' : '−'}${Math.abs(found.growth).toFixed(2)} ${unit}`;
  const text = `${title}: ${found.mean.toFixed(2)} ${unit}, by its slope ${growth} during the run`;
  const limit = `flat: at most ${(share * 100).toFixed(0)} % or ${least} ${unit}`;
  return [{ text: `${text} (${limit})`, met: isFlat(found, share, least), strict: false }];
}

export function judgeEndurance(outcome: EnduranceOutcome): Judgement[] {
  if ('failure' in outcome) return [{ text: `endurance: ${outcome.failure}`, met: false, strict: true }];
  const { slices, agree } = outcome;
  const gateways = slices[0]?.megabytes.keys() ?? [];
  return [
    ...[...gateways].flatMap((index) =>
      judgeSeries(
        slices,
        `endurance, memory of gateway ${index + 1}`,
        'MB',
        (slice) => slice.megabytes[index],
        memoryLimit,
      ),
    ),
    ...judgeSeries(slices, 'endurance, p50', 'ms', (slice) => slice.p50Ms, latencyLimit),
    ...judgeSeries(slices, 'endurance, p99', 'ms', (slice) => slice.p99Ms, latencyLimit),
    ...judgeSeries(slices, 'endurance, tables in mtm', 'MB', ({ history }) => history.tables, tablesLimit),
    ...judgeSeries(
      slices,
      'endurance, WAL that slots retain',
      'MB',
      ({ history }) => history.retained,
      retainedLimit,
    ),
    { text: 'endurance: the same data on all servers afterwards', met: agree, strict: true },
  ];
}

const shownSlices = 12;

/** The first slice, the last one, and some between. */
export function enduranceTable({ slices }: Endurance): string[][] {
  const step = Math.max(1, (slices.length - 1) / (shownSlices - 1));
  const shown = new Set(
    Array.from({ length: Math.min(shownSlices, slices.length) }, (_, index) => Math.round(index * step)),
  );
  const figure = (value: number | undefined, digits: number): string => value?.toFixed(digits) ?? '–';
  const head = ['minute', 'tx/s', 'p50 ms', 'p99 ms', 'p99.9 ms', 'gateways, MB', 'mtm, MB', 'WAL kept, MB'];
  const body = slices
    .filter((_, index) => shown.has(index))
    .map((slice) => [
      (slice.at / 60).toFixed(1),
      figure(slice.perSecond, 0),
      figure(slice.p50Ms, 2),
      figure(slice.p99Ms, 1),
      figure(slice.p999Ms, 1),
      slice.megabytes.map((value) => value.toFixed(0)).join(' '),
      figure(slice.history.tables, 2),
      figure(slice.history.retained, 1),
    ]);
  return [head, ...body];
}
