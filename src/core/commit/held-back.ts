/**
 * What the slot shows while a transaction that is held open commits at home: it is heard of afterwards, in
 * order.
 */
import type { CommitEvent } from './event.ts';

type Captured = Omit<Extract<CommitEvent, { readonly kind: 'captured' }>, 'kind'>;

export class HeldBack {
  #captured: Captured[] = [];

  add(captured: Captured): void {
    this.#captured.push(captured);
  }

  /** All of it, which is not kept any longer. */
  take(): readonly Captured[] {
    const taken = this.#captured;
    this.#captured = [];
    return taken;
  }
}
