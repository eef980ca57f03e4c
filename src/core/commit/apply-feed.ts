/**
 * The changes of transactions of other nodes on their way to an apply connection: kept while the transaction
 * waits for its deps, and each byte passed on once, however often the coordinator repeats it.
 */
import type { CommitEffect } from './event.ts';
import type { ForeignTransaction } from './foreign-transaction.ts';

export class ApplyFeed {
  readonly #emit: (effect: CommitEffect) => void;

  constructor(emit: (effect: CommitEffect) => void) {
    this.#emit = emit;
  }

  open(transaction: ForeignTransaction): void {
    const { gid, kept } = transaction;
    transaction.state = 'applying';
    this.#emit({ kind: 'open-apply', gid });
    for (const data of kept) this.#emit({ kind: 'push-apply', gid, data });
    transaction.kept = [];
    if (transaction.ended) this.#emit({ kind: 'end-apply', gid });
  }

  push(transaction: ForeignTransaction, offset: number, data: Uint8Array): void {
    const { gid, state, received } = transaction;
    if (transaction.ended || (state !== 'waiting' && state !== 'applying')) return;
    if (offset > received) {
      const text = `bytes ${received} to ${offset} of its changes are missing`;
      this.#emit({ kind: 'alarm', gid, text });
      return;
    }
    const fresh = data.subarray(received - offset);
    if (fresh.length === 0) return;
    transaction.received += fresh.length;
    if (state === 'waiting') transaction.kept.push(fresh);
    else this.#emit({ kind: 'push-apply', gid, data: fresh });
  }

  end(transaction: ForeignTransaction): void {
    if (transaction.ended) return;
    transaction.ended = true;
    if (transaction.state === 'applying') this.#emit({ kind: 'end-apply', gid: transaction.gid });
  }
}
