/**
 * Keeps the server's table of outcomes up to date, from which mtm.transaction_outcome answers on every node.
 * Rule: what has not been written yet is "unknown" there, never something else, so writing may lag behind;
 * but before the node forgets what is below a new floor, all of it is written.
 */
import type { Gid } from '../core/identity.ts';
import { noteOutcomes } from '../io/store/outcome-table.ts';
import type { Control } from '../io/postgres/control.ts';

export class OutcomeNotes {
  readonly #control: Control;
  #committed: Gid[] = [];
  /** All older generations are settled here: what is not among their commits was aborted. */
  #completeBelow = 0;
  #dirty = false;
  #writing: Promise<void> | undefined;

  constructor(control: Control) {
    this.#control = control;
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
    if (this.#writing === undefined && this.#dirty) this.flush().catch(() => undefined);
  }

  /** Resolves when everything that came before the call is written. Rejects when it could not be. */
  flush(): Promise<void> {
    const flushed = (this.#writing ?? Promise.resolve()).then(() => this.#flush());
    this.#writing = flushed
      .catch(() => undefined) // who flushes hears of it; the control connection reports its own end
      .finally(() => (this.#writing = undefined));
    return flushed;
  }

  async #flush(): Promise<void> {
    if (!this.#dirty) return;
    this.#dirty = false;
    const committed = this.#committed;
    this.#committed = [];
    await noteOutcomes(this.#control.client, { committed, completeBelow: this.#completeBelow });
  }
}
