/**
 * Notices that this process stood still: then the others may have gone on without it, and what waits in its
 * sockets is as old as the stall.
 * Rule: a matter of arithmetic on the times of ticks, so that the first question after a stall sees it.
 */
import { assert } from '../../lib/assert.ts';

export class StallWatch {
  readonly #limitMs: number;
  #last: { readonly now: number; readonly wallMs: number } | undefined;

  constructor(limitMs: number) {
    this.#limitMs = limitMs;
  }

  /** No tick for too long. */
  stalled(now: number): boolean {
    return this.#last !== undefined && now - this.#last.now > this.#limitMs;
  }

  /**
   * True when the machine was suspended: that stops the monotonic clock but not the wall clock. A wall clock
   * that was set forward looks the same; then the price is one heartbeat's round trip without a lease.
   */
  ticked(now: number, wallMs: number): boolean {
    const last = this.#last;
    assert(last === undefined || now >= last.now, 'the monotonic clock went back');
    this.#last = { now, wallMs };
    return last !== undefined && wallMs - last.wallMs - (now - last.now) > this.#limitMs;
  }

  /** The stall was noticed: what is heard and said from now on counts again. */
  over(now: number): void {
    const last = this.#last;
    if (last !== undefined) this.#last = { now, wallMs: last.wallMs + now - last.now };
  }
}
