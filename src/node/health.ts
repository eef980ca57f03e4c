/**
 * Whether the node can take part, as its own side sees it: the first thing that is wrong, in a clause.
 * Rule: news leaves once per change, from whoever looks first.
 */
import type { LocalHealth } from '../core/generation/liveness-event.ts';

export interface HealthSource {
  /** Why the server cannot be counted on. */
  serverTrouble(now: number): string | undefined;
  /** Whose word about this node's server is still missing. */
  waitsFor(now: number): string | undefined;
  changed(health: LocalHealth): void;
}

export class Health {
  readonly #source: HealthSource;
  #told = '';
  /** What has failed for good in this process. */
  failure: string | undefined = 'the change stream is not open yet';
  stopping = false;

  constructor(source: HealthSource) {
    this.#source = source;
  }

  look(): void {
    const health = this.#now();
    const text = JSON.stringify(health);
    if (text === this.#told) return;
    this.#told = text;
    this.#source.changed(health);
  }

  #now(): LocalHealth {
    if (this.stopping) return { healthy: false, status: 'disabled', reason: 'the gateway is shutting down' };
    const now = performance.now();
    const trouble = this.failure ?? this.#source.serverTrouble(now);
    if (trouble !== undefined) return { healthy: false, status: 'disabled', reason: trouble };
    const waits = this.#source.waitsFor(now);
    return waits === undefined ? { healthy: true } : { healthy: false, status: 'recovery', reason: waits };
  }
}
