/**
 * Transactions that wait until others are committed on this node (architecture §3, "deps").
 */
import type { Gid } from '../identity.ts';
import type { ForeignTransaction } from './foreign-transaction.ts';

export class DependencyQueue {
  readonly #waiters = new Map<Gid, Set<ForeignTransaction>>();

  add(transaction: ForeignTransaction, dep: Gid): void {
    transaction.missing.add(dep);
    const waiters = this.#waiters.get(dep);
    if (waiters === undefined) this.#waiters.set(dep, new Set([transaction]));
    else waiters.add(transaction);
  }

  /** The transaction waits no more. */
  remove(transaction: ForeignTransaction): void {
    for (const dep of transaction.missing) {
      const waiters = this.#waiters.get(dep);
      waiters?.delete(transaction);
      if (waiters?.size === 0) this.#waiters.delete(dep);
    }
    transaction.missing.clear();
  }

  /** Those that waited for the gid, which is committed here now. */
  committed(dep: Gid): Iterable<ForeignTransaction> {
    const waiters = this.#waiters.get(dep) ?? new Set();
    this.#waiters.delete(dep);
    for (const transaction of waiters) transaction.missing.delete(dep);
    return waiters;
  }
}
