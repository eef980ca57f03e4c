/**
 * Hybrid logical clock: the maximum of the own wall clock and of every clock seen in a message, in ms.
 * Start times of transactions come from it, so that a node with a slow clock does not always look older and
 * win, nor a fast one always lose (architecture §3). Rule: it never goes back.
 */
export class HybridClock {
  #latest = 0;

  /** The greatest time seen so far. */
  get latest(): number {
    return this.#latest;
  }

  /** The time now, given what the wall clock says (ms since the epoch). */
  read(wallMs: number): number {
    this.observe(wallMs);
    return this.#latest;
  }

  /** Takes note of a time that somebody else has. */
  observe(clock: number): void {
    if (clock > this.#latest) this.#latest = clock;
  }
}
