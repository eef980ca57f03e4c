/**
 * Does the own server answer, and can it still write? A connection that breaks says so by itself; a server that
 * hangs (a stopped process, a storage that does not come back, a full disk that blocks) says nothing.
 * Rule: one question at a time; what is not answered within the limit makes the node unhealthy until it is.
 */
import type { Control } from '../io/postgres/control.ts';

/** Between an answer and the next question, ms. */
const pauseMs = 500;

export class ServerProbe {
  readonly #control: Control;
  readonly #limitMs: number;
  #askedAt: number | undefined;
  #answeredAt = -Infinity;

  constructor(control: Control, limitMs: number) {
    this.#control = control;
    this.#limitMs = limitMs;
  }

  /** To be called often. */
  look(now: number): void {
    if (this.#askedAt !== undefined || now - this.#answeredAt < pauseMs) return;
    this.#askedAt = now;
    void this.#ask();
  }

  async #ask(): Promise<void> {
    try {
      await this.#control.writeProbe();
      this.#answeredAt = performance.now();
      this.#askedAt = undefined;
    } catch {
      // The connection reports its own end; another error is an answer that is still owed.
    }
  }

  /** Why the server cannot be counted on; undefined while it can. */
  trouble(now: number): string | undefined {
    if (this.#askedAt === undefined || now - this.#askedAt <= this.#limitMs) return undefined;
    return 'PostgreSQL does not answer, or cannot write';
  }
}
