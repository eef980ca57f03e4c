/** From single measurements to the figures of the table: medians, and ratios of what was measured in the same round. */
import type { BenchOptions, CandidateKey, WorkloadKey } from './options.ts';
import type { Sample } from './measurement.ts';

export interface Cell {
  /** Median transactions per second; undefined when nothing was measured. */
  readonly perSecond: number | undefined;
  /** Median CPU time of the proxy for each transaction, in µs. */
  readonly cpuUs: number | undefined;
  /** Median of the mean latencies, in ms. */
  readonly latencyMs: number | undefined;
  readonly retries: number;
  readonly failed: number;
  readonly hung: number;
  readonly broken: number;
}

export interface Row {
  readonly workload: WorkloadKey;
  readonly clients: number;
  readonly cells: ReadonlyMap<CandidateKey, Cell>;
}

export function median(values: readonly number[]): number | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle];
  const lower = sorted[middle - 1];
  if (upper === undefined) return undefined;
  return sorted.length % 2 === 1 || lower === undefined ? upper : (lower + upper) / 2;
}

function cellOf(samples: readonly Sample[]): Cell {
  const measured = samples.flatMap(({ result }) => (result.kind === 'measured' ? [result] : []));
  return {
    perSecond: median(measured.map((result) => result.transactionsPerSecond)),
    cpuUs: median(samples.flatMap(({ cpuUs }) => (cpuUs === undefined ? [] : [cpuUs]))),
    latencyMs: median(measured.map((result) => result.latencyMs)),
    retries: measured.reduce((sum, result) => sum + result.retries, 0),
    failed: measured.reduce((sum, result) => sum + result.failed, 0),
    hung: samples.filter(({ result }) => result.kind === 'hung').length,
    broken: samples.filter(({ result }) => result.kind === 'broken').length,
  };
}

export function summarise(options: BenchOptions, samples: readonly Sample[]): Row[] {
  return options.workloads.flatMap((workload) =>
    options.clients.map((clients) => {
      const cells = new Map<CandidateKey, Cell>();
      for (const candidate of options.candidates) {
        const own = samples.filter(
          (sample) =>
            sample.workload === workload && sample.clients === clients && sample.candidate === candidate,
        );
        if (own.length > 0) cells.set(candidate, cellOf(own));
      }
      return { workload, clients, cells };
    }),
  );
}

/**
 * How many times as fast `left` was as `right`: the median of the ratios within each round, because the machine may be faster
 * in one round than in another. Undefined when they were never both measured.
 */
export function ratio(
  samples: readonly Sample[],
  workload: WorkloadKey,
  clients: number,
  left: CandidateKey,
  right: CandidateKey,
): number | undefined {
  const speeds = (candidate: CandidateKey) =>
    new Map(
      samples.flatMap(({ round, result, ...sample }) =>
        sample.workload === workload &&
        sample.clients === clients &&
        sample.candidate === candidate &&
        result.kind === 'measured'
          ? [[round, result.transactionsPerSecond] as const]
          : [],
      ),
    );
  const base = speeds(right);
  const ratios = [...speeds(left)].flatMap(([round, speed]) => {
    const other = base.get(round);
    return other === undefined || other === 0 ? [] : [speed / other];
  });
  return median(ratios);
}
