/**
 * Which prepared transactions may have been committed and acknowledged by a coordinator that is not heard:
 * until they are settled, a read on this node could miss them.
 * Rule: a doubt ends only with the execution of the outcome, or with the word of a coordinator that this node
 * hears.
 */
import type { NodeId } from '../identity.ts';
import type { ForeignTransaction } from './foreign-transaction.ts';

export class Doubts {
  /** Nodes that are not heard; at first nobody has been. */
  readonly #lost: Set<NodeId>;
  readonly #doubtful = new Set<ForeignTransaction>();

  constructor(others: readonly NodeId[]) {
    this.#lost = new Set(others);
  }

  get size(): number {
    return this.#doubtful.size;
  }

  begin(transaction: ForeignTransaction): void {
    this.#doubtful.add(transaction);
  }

  /** It has just been prepared here. */
  prepared(transaction: ForeignTransaction): void {
    if (this.#lost.has(transaction.coordinator)) this.#doubtful.add(transaction);
  }

  /**
   * Its coordinator says that it is undecided; from here on it waits for this node before it acknowledges a
   * commit.
   */
  stillOpen(transaction: ForeignTransaction): void {
    if (transaction.state !== 'prepared' || this.#lost.has(transaction.coordinator)) return;
    this.#doubtful.delete(transaction);
  }

  /** Not before its outcome is executed: between the word and its execution a read would still miss it. */
  executed(transaction: ForeignTransaction): void {
    this.#doubtful.delete(transaction);
  }

  coordinatorLost(node: NodeId, transactions: Iterable<ForeignTransaction>): void {
    this.#lost.add(node);
    for (const transaction of transactions) {
      const { coordinator, state } = transaction;
      if (coordinator === node && (state === 'prepared' || state === 'committing')) this.begin(transaction);
    }
  }

  coordinatorBack(node: NodeId): void {
    this.#lost.delete(node);
  }
}
