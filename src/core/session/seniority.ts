/**
 * Who repeats at once what has lost a conflict keeps the age that it had: among all that want the same rows
 * it becomes the oldest in time, and wins. Otherwise each repetition would be the youngest again.
 * Rule: it holds for the next transaction that the client begins, and only for a short while.
 */
import type { Block } from './block.ts';

const keptMs = 2000;

export class Seniority {
  /** The start of a unit that has used temporary objects, as PREPARE said: its repeat commits without it. */
  unpreparable: number | undefined;
  #lost: { readonly startTime: number; readonly at: number } | undefined;

  /** A transaction of the client's was ended by a conflict, now. */
  lost(block: Block | undefined, now: number): void {
    if (block?.explicit === true) this.#lost = { startTime: block.startTime, at: now };
  }

  /** When the client's transaction that begins now counts as begun. */
  begin(now: number): number {
    const lost = this.#lost;
    this.#lost = undefined;
    return lost !== undefined && now - lost.at <= keptMs ? lost.startTime : now;
  }
}
