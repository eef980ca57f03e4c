/** What `--table` measures: for each kind of work the candidates that one would take for it, at the numbers of clients of the goals. */
import type { BenchOptions, CandidateKey, WorkloadKey } from './options.ts';

interface Plan {
  readonly candidates: readonly CandidateKey[];
  readonly clients: readonly number[];
}

const reads: Plan = { candidates: ['direct', 'pgbouncer', 'gateway', 'pgpool-native'], clients: [1, 8, 32] };
const writers: readonly CandidateKey[] = [
  'direct',
  'streaming',
  'limit',
  'pgpool-native',
  'pgpool-snapshot',
  'gateway',
];

export const tablePlan: Partial<Record<WorkloadKey, Plan>> = {
  select: reads,
  'select-new': reads,
  update: { candidates: writers, clients: [8, 32] },
  tpcb: { candidates: [...writers, 'gateways'], clients: [8] },
};

/** Whether these options ask for this; without `clients`: for any number of them. */
export function isPlanned(
  { table }: BenchOptions,
  workload: WorkloadKey,
  candidate: CandidateKey,
  clients?: number,
): boolean {
  if (!table) return true;
  const plan = tablePlan[workload];
  if (plan === undefined || !plan.candidates.includes(candidate)) return false;
  return clients === undefined || plan.clients.includes(clients);
}
