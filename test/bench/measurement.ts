/** The measurements: all candidates in each round, in alternating order, so that a slow minute of the machine meets them all. */
import type { Candidate } from './candidate.ts';
import type { BenchOptions, CandidateKey, WorkloadKey } from './options.ts';
import { isPlanned } from './plan.ts';
import type { Pgbench, PgbenchResult } from './pgbench.ts';
import { cpuTimeOfTrees, hasProcessFigures } from './process-figures.ts';
import { vacuumHotTables } from './server-group.ts';
import type { Workload } from './workload.ts';

export interface Sample {
  readonly round: number;
  readonly workload: WorkloadKey;
  /** At each of the candidate's targets. */
  readonly clients: number;
  readonly candidate: CandidateKey;
  readonly result: PgbenchResult;
  /** CPU time of the proxy's processes for each transaction, in µs; undefined without a proxy or without /proc. */
  readonly cpuUs: number | undefined;
}

export interface Measuring {
  readonly options: BenchOptions;
  readonly pgbench: Pgbench;
  readonly workloads: readonly Workload[];
  readonly report: (line: string) => void;
}

/** Of several targets; undefined when one of them has none. */
function worst(values: readonly (number | undefined)[]): number | undefined {
  return values.some((value) => value === undefined) ? undefined : Math.max(...values.map(Number));
}

/** Several targets at once count as one: transactions and speeds add up, or the slowest one's are all of theirs. */
export function combined(combine: Candidate['combine'], results: readonly PgbenchResult[]): PgbenchResult {
  const unusable = results.find((result) => result.kind !== 'measured');
  if (unusable !== undefined) return unusable;
  const measured = results.filter((result) => result.kind === 'measured');
  const slowest = measured.toSorted((a, b) => a.transactionsPerSecond - b.transactionsPerSecond)[0];
  if (combine === 'slowest' && slowest !== undefined) return slowest;
  const total = (pick: (result: (typeof measured)[number]) => number) =>
    measured.reduce((sum, result) => sum + pick(result), 0);
  return {
    kind: 'measured',
    steps: [],
    slow: {
      p50Ms: worst(measured.map((result) => result.slow.p50Ms)),
      p99Ms: worst(measured.map((result) => result.slow.p99Ms)),
      p999Ms: worst(measured.map((result) => result.slow.p999Ms)),
    },
    transactionsPerSecond: total((result) => result.transactionsPerSecond),
    transactions: total((result) => result.transactions),
    latencyMs: total((result) => result.latencyMs) / measured.length,
    retries: total((result) => result.retries),
    failed: total((result) => result.failed),
  };
}

function inWords(sample: Sample): string {
  const { result } = sample;
  if (result.kind === 'hung') return 'hung';
  if (result.kind === 'broken') return `broken: ${result.reason}`;
  const retries = result.retries === 0 ? '' : `, ${result.retries} retries`;
  const failed = result.failed === 0 ? '' : `, ${result.failed} FAILED`;
  const cpu = sample.cpuUs === undefined ? '' : `, proxy ${sample.cpuUs.toFixed(0)} µs`;
  return `${result.transactionsPerSecond.toFixed(0)}/s${cpu}${retries}${failed}`;
}

/** Candidates whose servers know nothing of each other get the same random numbers at each of them. */
function argumentsOf({ combine }: Candidate, workload: Workload, round: number): readonly string[] {
  const { protocol, args, twoPhase, writes } = workload;
  // Reads are so many that writing them all down would cost them something.
  const logged = writes ? [] : ['--sampling-rate=0.1'];
  if (combine === 'sum' || twoPhase === undefined) return ['-M', protocol, ...logged, ...args];
  return ['-M', 'simple', `--random-seed=${round + 1}`, ...twoPhase];
}

async function measure(
  measuring: Measuring,
  candidate: Candidate,
  workload: Workload,
  clients: number,
  round: number,
  seconds: number,
): Promise<Sample> {
  const { pgbench, report } = measuring;
  if (workload.writes) await vacuumHotTables(candidate.servers);
  const cpuBefore = cpuTimeOfTrees(hasProcessFigures ? candidate.processes : []);
  const args = argumentsOf(candidate, workload, round);
  const results = await Promise.all(
    candidate.targets.map((target) => pgbench.measure(target, args, clients, seconds)),
  );
  const result = combined(candidate.combine, results);
  const priced = hasProcessFigures && candidate.processes.length > 0 && result.kind === 'measured';
  const cpuUs = priced
    ? (cpuTimeOfTrees(candidate.processes) - cpuBefore) / Math.max(1, result.transactions)
    : undefined;
  const sample = { round, workload: workload.key, clients, candidate: candidate.key, result, cpuUs };
  report(`${workload.title}, ${clients} clients, ${candidate.title}: ${inWords(sample)}`);
  if (result.kind !== 'measured') await candidate.recover();
  return sample;
}

function runs({ options }: Measuring, candidate: Candidate, { key }: Workload, clients?: number): boolean {
  return candidate.workloads.includes(key) && isPlanned(options, key, candidate.key, clients);
}

/**
 * Without this the first rounds would measure the compiler of V8 and empty caches: a gateway's CPU time for a
 * transaction falls for the first thousands of them, to about half (TPC-B, 8 clients).
 */
export async function warmUp(measuring: Measuring, candidates: readonly Candidate[]): Promise<void> {
  for (const candidate of candidates) {
    for (const workload of measuring.workloads.filter((one) => runs(measuring, candidate, one))) {
      await measure(measuring, candidate, workload, 8, 0, measuring.options.warmUpSeconds);
    }
  }
}

/** A measurement that hung is not tried again in later rounds: it would hang again and keep the others waiting. */
export async function measureAll(measuring: Measuring, candidates: readonly Candidate[]): Promise<Sample[]> {
  const samples: Sample[] = [];
  const given = new Set<string>();
  for (let round = 1; round <= measuring.options.rounds; round++) {
    measuring.report(`round ${round} of ${measuring.options.rounds}`);
    const order = round % 2 === 1 ? candidates : candidates.toReversed();
    for (const workload of measuring.workloads) {
      for (const clients of measuring.options.clients) {
        for (const candidate of order) {
          const cell = `${candidate.key} ${workload.key} ${clients}`;
          if (given.has(cell) || !runs(measuring, candidate, workload, clients)) continue;
          const sample = await measure(
            measuring,
            candidate,
            workload,
            clients,
            round,
            measuring.options.seconds,
          );
          samples.push(sample);
          if (sample.result.kind === 'hung') given.add(cell);
        }
      }
    }
  }
  return samples;
}
