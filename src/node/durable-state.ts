/**
 * What a node must not forget of elections, written when the machine says so.
 * Rule: in the order of the tokens. That the node is online is written only when everything that it must have
 * to be a member is there: what was replayed, and what clients have prepared.
 */
import type { DurableChange } from '../core/generation/record.ts';
import type { ClientBranches } from '../io/postgres/client-branches.ts';
import type { NodeParts } from './node-parts.ts';
import type { RecoveryDesk } from './recovery-desk.ts';

export interface DurableStateHandler {
  persisted(token: number): void;
  lost(reason: string): void;
}

export class DurableState {
  readonly #parts: Pick<NodeParts, 'store' | 'slot'>;
  readonly #recovery: Pick<RecoveryDesk, 'ended'>;
  readonly #branches: Pick<ClientBranches, 'level'>;
  readonly #handler: DurableStateHandler;
  #last: Promise<void> = Promise.resolve();

  constructor(
    parts: Pick<NodeParts, 'store' | 'slot'>,
    recovery: Pick<RecoveryDesk, 'ended'>,
    branches: Pick<ClientBranches, 'level'>,
    handler: DurableStateHandler,
  ) {
    this.#parts = parts;
    this.#recovery = recovery;
    this.#branches = branches;
    this.#handler = handler;
  }

  write(token: number, change: DurableChange): void {
    this.#last = this.#last.then(() => this.#write(token, change));
  }

  async #write(token: number, change: DurableChange): Promise<void> {
    const { store, slot } = this.#parts;
    try {
      // What was replayed is part of what a vote tells.
      await this.#recovery.ended;
      if (change.lastOnline !== undefined) await this.#branches.level();
      await store.persist(change);
      if (change.lastOnline !== undefined) await slot.refreshLost();
    } catch (error) {
      this.#handler.lost(`the state of this node could not be written: ${(error as Error).message}`);
      return;
    }
    this.#handler.persisted(token);
  }
}
