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
  /** Medians of the 99th and 99.9th percentiles, in ms. */
  readonly p99Ms: number | undefined;
  readonly p999Ms: number | undefined;
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

const known = (values: readonly (number | undefined)[]): number[] =>
  values.filter((value) => value !== undefined);

/** Of all rounds of one place. */
export function cellOf(samples: readonly Sample[]): Cell {
  const measured = samples.flatMap(({ result }) => (result.kind === 'measured' ? [result] : []));
  return {
    perSecond: median(measured.map((result) => result.transactionsPerSecond)),
    cpuUs: median(known(samples.map((sample) => sample.cpuUs))),
    latencyMs: median(measured.map((result) => result.latencyMs)),
    p99Ms: median(known(measured.map((result) => result.slow.p99Ms))),
    p999Ms: median(known(measured.map((result) => result.slow.p999Ms))),
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
        const own = samplesAt(samples, { workload, clients, candidate });
        if (own.length > 0) cells.set(candidate, cellOf(own));
      }
      return { workload, clients, cells };
    }),
  );
}

export interface Place {
  readonly workload: WorkloadKey;
  readonly clients: number;
  readonly candidate: CandidateKey;
}

export function samplesAt(samples: readonly Sample[], place: Place): Sample[] {
  return samples.filter(
    ({ workload, clients, candidate }) =>
      workload === place.workload && clients === place.clients && candidate === place.candidate,
  );
}

/**
 * How many times as fast `left` was as `right`: the median of the ratios within each round, because the machine may be faster
 * in one round than in another. Undefined when they were never both measured.
 */
export function ratio(samples: readonly Sample[], left: Place, right: Place): number | undefined {
  const speeds = (place: Place) =>
    new Map(
      samplesAt(samples, place).flatMap(({ round, result }) =>
        result.kind === 'measured' ? [[round, result.transactionsPerSecond] as const] : [],
      ),
    );
  const base = speeds(right);
  const ratios = [...speeds(left)].flatMap(([round, speed]) => {
    const other = base.get(round);
    return other === undefined || other === 0 ? [] : [speed / other];
  });
  return median(ratios);
}
