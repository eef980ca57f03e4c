/** One thing that is measured: where clients connect, and the processes between them and the servers. */
import type { CandidateKey, WorkloadKey } from './options.ts';
import type { PgbenchTarget } from './pgbench.ts';

export interface Candidate {
  readonly key: CandidateKey;
  readonly title: string;
  /** Where clients connect; with several, all of them work at once, each with the full number of clients. */
  readonly targets: readonly PgbenchTarget[];
  /** The servers behind it, reached without it. */
  readonly servers: readonly PgbenchTarget[];
  /**
   * With several targets: the speeds add up (`sum`), or all of them do the same work beside each other, without knowing of
   * each other, and the slowest one's speed is the candidate's.
   */
  readonly combine: 'sum' | 'slowest';
  readonly workloads: readonly WorkloadKey[];
  /** Roots of the process trees whose CPU time is the candidate's price; none when clients connect to the server. */
  readonly processes: readonly number[];
  /** Makes it usable again after a measurement that hung or broke. Throws when it cannot. */
  recover(): Promise<void>;
}

/** Why one candidate has no figures. */
export interface Skipped {
  readonly title: string;
  readonly reason: string;
  /** Installed, asked for, and yet not measurable. */
  readonly failure: boolean;
}

export const candidateTitles: Record<CandidateKey, string> = {
  direct: 'direct',
  pgbouncer: 'PgBouncer',
  gateway: 'gateway',
  gateways: '3 gateways',
  'pgpool-native': 'Pgpool native',
  'pgpool-snapshot': 'Pgpool snapshot',
  streaming: 'sync streaming',
  limit: 'limit',
};
