/**
 * Keeps the server's table of outcomes up to date, from which mtm.transaction_outcome answers on every node.
 * Rule: what has not been written yet is "unknown" there, never something else, so writing may lag behind.
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
  #writing = false;

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

  /** Writes what has come since the last time. */
  async write(): Promise<void> {
    if (this.#writing || !this.#dirty) return;
    this.#writing = true;
    this.#dirty = false;
    const committed = this.#committed;
    this.#committed = [];
    try {
      await noteOutcomes(this.#control.client, { committed, completeBelow: this.#completeBelow });
    } catch {
      // The control connection reports its own end, and with it the node's part ends.
    } finally {
      this.#writing = false;
    }
  }
}
