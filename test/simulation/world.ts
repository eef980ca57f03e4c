/**
 * What all parts of one simulated run share: time, chance, the checker, the trace.
 */
import type { CommitEffect, CommitEvent } from '../../src/core/commit/event.ts';
import type { CommitOptions } from '../../src/core/commit/machine.ts';
import type { Prng } from '../../src/lib/prng.ts';
import type { Checker } from './checker.ts';
import type { Scheduler } from './scheduler.ts';

/** What the simulation needs of the commit machine; mutants wrap the real one. */
export interface Machine {
  step(event: CommitEvent): readonly CommitEffect[];
  readonly doubtful: number;
  readonly openTransactions: { readonly own: number; readonly foreign: number };
}

export type MachineMaker = (options: CommitOptions) => Machine;

export interface World {
  readonly scheduler: Scheduler;
  readonly random: Prng;
  readonly checker: Checker;
  readonly makeMachine: MachineMaker;
  /** Runs a machine that does not know the newest events. */
  readonly legacy: boolean;
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
/**
 * A member that has had no answer to a heartbeat for this long has noticed: its own view of us ended after
 * recvTimeoutMs, or it stood still for so long that it found its lease gone.
 */
export const tickMs = 20;
