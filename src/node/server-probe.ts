/**
 * Does the own server answer, and can it still write? A connection that breaks says so by itself; a server
 * that hangs (a stopped process, a storage that does not come back, a full disk that blocks) says nothing.
 * Rule: one question at a time; what is not answered within the limit makes the node unhealthy until it is.
 */
import type { Control } from '../io/postgres/control.ts';

/** Between the end of a question and the next one, ms. */
const pauseMs = 500;

export class ServerProbe {
  readonly #control: Control;
  readonly #limitMs: number;
  #asking = false;
  #endedAt = -Infinity;
  /** Since when an answer is owed. */
  #owedSince: number | undefined;

  constructor(control: Control, limitMs: number) {
    this.#control = control;
    this.#limitMs = limitMs;
  }

  /** To be called often. */
  look(now: number): void {
    if (this.#asking || now - this.#endedAt < pauseMs) return;
    this.#owedSince ??= now;
    this.#asking = true;
    void this.#ask();
  }

  async #ask(): Promise<void> {
    try {
      await this.#control.writeProbe();
      this.#owedSince = undefined;
    } catch {
      // No answer that counts: it is asked again. That the connection broke, that tells itself.
    }
    this.#asking = false;
    this.#endedAt = performance.now();
  }

  /** Why the server cannot be counted on; undefined while it can. */
  trouble(now: number): string | undefined {
    if (this.#owedSince === undefined || now - this.#owedSince <= this.#limitMs) return undefined;
    return 'PostgreSQL does not answer, or cannot write';
  }
}
