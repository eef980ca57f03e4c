/**
 * The right to serve that a node claims in its heartbeats: while it is healthy and online in a generation,
 * has not voted for a higher one, and nobody has told it that the others go on without it.
 * Rule: ceasing to claim is always safe; who is to be left out and ceases at once spares the others the wait
 * for the end of its lease.
 */
import type { LocalHealth, Standing } from './liveness-event.ts';

export class Claim {
  /** A node withholds its answers, because it would elect without this one. */
  #ceasedUntil: number | undefined;

  /** The generation of the claim, 0 for none. */
  of({ generation, online, maxVoted }: Standing, health: LocalHealth): number {
    if (this.#ceasedUntil !== undefined || !health.healthy || !online || generation === undefined) return 0;
    return maxVoted > generation.number ? 0 : generation.number;
  }

  cease(until: number): void {
    this.#ceasedUntil ??= until;
  }

  /** Whoever wanted to go on without it has had the time for it, or has done so. */
  resume(now: number): void {
    if (this.#ceasedUntil !== undefined && now >= this.#ceasedUntil) this.#ceasedUntil = undefined;
  }
}
