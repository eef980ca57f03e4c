/**
 * Which prepared transactions may have been committed and acknowledged without this node: a coordinator
 * passes over a
 * member only when that member's lease has certainly lapsed (core/generation/silence.ts). So when the lease
 * lapses,
 * everything that is prepared here is doubtful, and until it is settled a read on this node could miss a
 * commit.
 * While the lease holds nothing becomes doubtful, also when a coordinator is lost: whoever it is waits for
 * this node.
 * Rule: a doubt ends only with the execution of the outcome, or with the word of a coordinator that this node
 * hears.
 */
import type { NodeId } from '../identity.ts';
import type { ForeignTransaction } from './foreign-transaction.ts';

export class Doubts {
  /** Nodes that are not heard; at first nobody has been. */
  readonly #lost: Set<NodeId>;
  readonly #doubtful = new Set<ForeignTransaction>();
  #leased = false;

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
    if (!this.#leased) this.#doubtful.add(transaction);
  }

  /**
   * Its coordinator says that it is undecided; from here on it waits for this node before it acknowledges a
   * commit.
   */
  stillOpen(transaction: ForeignTransaction): void {
    if (transaction.state !== 'prepared' || this.#lost.has(transaction.coordinator) || !this.#leased) return;
    this.#doubtful.delete(transaction);
  }

  /** Not before its outcome is executed: between the word and its execution a read would still miss it. */
  executed(transaction: ForeignTransaction): void {
    this.#doubtful.delete(transaction);
  }

  leaseLost(transactions: Iterable<ForeignTransaction>): void {
    this.#leased = false;
    for (const transaction of transactions) {
      if (transaction.state === 'prepared' || transaction.state === 'committing') this.begin(transaction);
    }
  }

  /** The coordinators that must be asked now. */
  leaseGained(): Set<NodeId> {
    this.#leased = true;
    return new Set([...this.#doubtful].map(({ coordinator }) => coordinator));
  }

  coordinatorLost(node: NodeId): void {
    this.#lost.add(node);
  }

  coordinatorBack(node: NodeId): void {
    this.#lost.delete(node);
  }
}
