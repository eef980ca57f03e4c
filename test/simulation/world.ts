/**
 * What all parts of one simulated run share: time, chance, the checker, the trace.
 */
import type { DurableState } from '../../src/core/generation/record.ts';
import type { NodeMachine } from '../../src/core/node/node-machine.ts';
import type { NodeOptions } from '../../src/core/node/node-options.ts';
import type { Prng } from '../../src/lib/prng.ts';
import type { Checker } from './checker.ts';
import type { RefereeRules } from './referee.ts';
import type { Scheduler } from './scheduler.ts';

/** Mutants wrap the real one. */
export type MachineMaker = (options: NodeOptions) => NodeMachine;

/** Adapters that are broken on purpose. */
export interface Sabotage {
  /** Recovery tells of a mark while what stands before it is still being applied. */
  readonly reachesBeforeApplied?: boolean;
  /** The lease is looked at when a transaction begins, and not when its results leave. */
  readonly leaseCheckedBefore?: boolean;
  /** What is to be persisted counts as persisted at once. */
  readonly persistNotAwaited?: boolean;
  /** A commit that its session could not execute counts as executed. */
  readonly lostCommitCounts?: boolean;
  /** Whoever has the id of a peer is taken for it. */
  readonly takesSinceForGranted?: boolean;
  /** A copied server keeps what is given here of its donor's state. */
  readonly copiedState?: DurableState;
  /** What a copy holds counts as noted at once, or after that many entries. */
  readonly seedsOnly?: number;
  /** The floor is raised although its generation is over. */
  readonly raisesLate?: boolean;
  /** A node that began as a copy lets everybody recover from it. */
  readonly givesWhatItLacks?: boolean;
  /** The referee judges wrongly. */
  readonly refereeRules?: RefereeRules;
}

export interface World {
  readonly scheduler: Scheduler;
  readonly random: Prng;
  readonly checker: Checker;
  readonly makeMachine: MachineMaker;
  readonly sabotage: Sabotage;
  /** One line of the story; `undefined` in runs that nobody will read. */
  readonly trace: ((who: string, text: string) => void) | undefined;
}

/** The world is not as promised; the message says what is wrong. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

/** Heartbeats, ms: ten times as fast as the defaults, as everything here is. */
export const sendTimeoutMs = 40;
export const recvTimeoutMs = 200;
export const tickMs = 20;
