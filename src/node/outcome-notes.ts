/**
 * Keeps the server's table of outcomes up to date, from which mtm.transaction_outcome answers on every node.
 * Rule: what has not been written yet is "unknown" there, never something else, so writing may lag behind;
 * but before the node forgets what is below a new floor, all of it is written.
 */
import type { Logger } from 'pino';
import type { Gid } from '../core/identity.ts';
import { noteOutcomes } from '../io/store/outcome-table.ts';
import type { Control } from '../io/postgres/control.ts';

export class OutcomeNotes {
  readonly #control: Pick<Control, 'client'>;
  readonly #log: Pick<Logger, 'warn'>;
  #committed: Gid[] = [];
  /** All older generations are settled here: what is not among their commits was aborted. */
  #completeBelow = 0;
  #dirty = false;
  #failing = false;
  /** The last of the writes that were asked for: one follows the other. */
  #writing: Promise<void> | undefined;

  constructor(control: Pick<Control, 'client'>, log: Pick<Logger, 'warn'>) {
    this.#control = control;
    this.#log = log;
  }

  committed(gids: Iterable<Gid>): void {
    for (const gid of gids) this.#committed.push(gid);
    this.#dirty = true;
  }

  /** The node is online in this generation. */
  online(generation: number): void {
    this.#completeBelow = generation;
    this.#dirty = true;
  }

  /** Writes what has come since the last time, now and then. */
  write(): void {
    if (this.#writing === undefined && this.#dirty) this.flush().catch(() => undefined); // tried again
  }

  /** Resolves when everything that came before the call is written. Rejects when it could not be. */
  flush(): Promise<void> {
    const flushed = (this.#writing ?? Promise.resolve()).then(() => this.#flush());
    const writing = flushed
      .catch(() => undefined) // who flushes hears of it; it is written with the next
      .finally(() => {
        if (this.#writing === writing) this.#writing = undefined;
      });
    this.#writing = writing;
    return flushed;
  }

  async #flush(): Promise<void> {
    if (!this.#dirty) return;
    this.#dirty = false;
    const committed = this.#committed;
    this.#committed = [];
    try {
      await noteOutcomes(this.#control.client, { committed, completeBelow: this.#completeBelow });
      this.#failing = false;
    } catch (error) {
      this.#committed = [...committed, ...this.#committed];
      this.#dirty = true;
      if (!this.#failing) this.#log.warn({ err: error }, 'outcomes could not be noted: tried again');
      this.#failing = true;
      throw error;
    }
  }
}
