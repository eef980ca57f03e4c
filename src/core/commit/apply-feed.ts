/**
 * The changes of transactions of other nodes on their way to an apply connection: kept while the transaction
 * waits for its deps, and each byte passed on once, however often the coordinator repeats it.
 */
import type { CommitEffect } from './event.ts';
import type { ForeignTransaction } from './foreign-transaction.ts';

export class ApplyFeed {
  readonly #emit: (effect: CommitEffect) => void;
  /** Of all transactions that wait. */
  keptBytes = 0;

  constructor(emit: (effect: CommitEffect) => void) {
    this.#emit = emit;
  }

  open(transaction: ForeignTransaction): void {
    const { gid, kept } = transaction;
    transaction.state = 'applying';
    this.#emit({ kind: 'open-apply', gid });
    for (const data of kept) this.#emit({ kind: 'push-apply', gid, data });
    this.forget(transaction);
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
    if (state === 'applying') return this.#emit({ kind: 'push-apply', gid, data: fresh });
    transaction.kept.push(fresh);
    this.keptBytes += fresh.length;
  }

  /** What was kept of it is not needed any more. */
  forget(transaction: ForeignTransaction): void {
    for (const { length } of transaction.kept) this.keptBytes -= length;
    transaction.kept = [];
  }

  end(transaction: ForeignTransaction): void {
    if (transaction.ended) return;
    transaction.ended = true;
    if (transaction.state === 'applying') this.#emit({ kind: 'end-apply', gid: transaction.gid });
  }
}
