/** What a node machine is made of: the configuration and what the takeover of the server found. */
import type { Floor } from '../commit/outcome-memory.ts';
import type { HybridClock } from '../generation/hybrid-clock.ts';
import type { DurableState } from '../generation/record.ts';
import type { Gid, NodeId } from '../identity.ts';
import type { CopiedNode } from './catch-up.ts';
import type { RefereeTimes } from './arbiter.ts';
import type { CommitSettings, MachineMaker } from './machines.ts';

export interface NodeOptions {
  readonly self: NodeId;
  /** Ascending, of the configuration file, this node included: counts until a record is known. */
  readonly configured: readonly NodeId[];
  /** This node's server is a copy of that node's, and what lies before the end of it is not noted yet. */
  readonly source?: CopiedNode | undefined;
  readonly incarnation: number;
  /** heartbeat_send_timeout, ms. */
  readonly sendTimeoutMs: number;
  /** heartbeat_recv_timeout, ms. */
  readonly recvTimeoutMs: number;
  readonly clock: HybridClock;
  /** When this process began, on its monotonic clock: before it answered anybody. */
  readonly now: number;
  /** What the server keeps of elections. */
  readonly state: DurableState;
  /** What pg_prepared_xacts lists after the takeover. */
  readonly prepared: readonly Gid[];
  /** What the retained slot shows as committed since the floor. */
  readonly committed: readonly Gid[];
  /** Those without changes: known here, and told to nobody. */
  readonly empty: readonly Gid[];
  readonly floor: Floor;
  readonly commit: CommitSettings;
  /** Only with two nodes, and on both of them. */
  readonly referee?: RefereeTimes;
  /** Makes other machines than the real ones: for tests of the tests. */
  readonly makeMachine?: MachineMaker;
}
