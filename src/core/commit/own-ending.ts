/**
 * The end of a generation for the transactions that began here: freeze (nothing is decided any more), settle
 * (the record of a higher generation decides), and the answers that are still owed.
 *
 * Rules: what was decided before the freeze goes on. The record's silence means aborted only to a node that
 * is complete; any other rolls back, recovers, and knows the outcome afterwards. No answer before that.
 */
import { assert } from '../../lib/assert.ts';
import type { Gid, Refusal } from '../identity.ts';
import type { Decision } from './decision.ts';
import type { CommitEffect, CommittedGids } from './event.ts';
import { rollbackOrder, type OwnTransaction } from './own-transaction.ts';
import { generationEnded } from './refusal.ts';

export class OwnEnding {
  readonly #transactions: ReadonlyMap<Gid, OwnTransaction>;
  readonly #decision: Decision;
  readonly #emit: (effect: CommitEffect) => void;
  #frozen = false;
  #settlement: 'none' | 'complete' | 'recovering' = 'none';

  constructor(
    transactions: ReadonlyMap<Gid, OwnTransaction>,
    decision: Decision,
    emit: (effect: CommitEffect) => void,
  ) {
    this.#transactions = transactions;
    this.#decision = decision;
    this.#emit = emit;
  }

  get frozen(): boolean {
    return this.#frozen;
  }

  get settled(): boolean {
    return this.#settlement !== 'none';
  }

  /** What is not prepared here any more is aborted. */
  get silenceBinds(): boolean {
    return this.#settlement === 'complete';
  }

  /** The generation is over: PREPAREs on their way are to be ended, and nothing is decided any more. */
  freeze(): void {
    this.#frozen = true;
    for (const transaction of this.#transactions.values()) {
      const { gid, homeReturned, heldOpen, state, committingOpen } = transaction;
      if (!homeReturned || committingOpen) this.#emit({ kind: 'end-prepare', gid, refusal: generationEnded });
      // Nobody counts on what is only open here, so this node's vote says that it has not got it.
      if (heldOpen && state === 'collecting' && !committingOpen)
        this.makeUnprepared(transaction, generationEnded);
    }
  }

  /** No PREPARE, no rollback and no COMMIT that decides is on its way. */
  get quiet(): boolean {
    for (const { state, homeReturned, homeFinished, committingOpen } of this.#transactions.values()) {
      if (!homeReturned || committingOpen || (state === 'aborting' && !homeFinished)) return false;
    }
    return true;
  }

  /** Neither COMMIT PREPARED nor ROLLBACK PREPARED is on its way. */
  get finishing(): boolean {
    for (const { state, homeFinished } of this.#transactions.values()) {
      if ((state === 'committing' || state === 'aborting') && !homeFinished) return true;
    }
    return false;
  }

  /** Sessions that wait for an answer. */
  get answersOwed(): number {
    let owed = 0;
    for (const { answered } of this.#transactions.values()) if (!answered) owed += 1;
    return owed;
  }

  /** What is prepared or committed here; `committing` counts as committed, for that is decided. */
  addHoldings(prepared: Gid[], committed: Gid[]): void {
    for (const { gid, state, homeOnly } of this.#transactions.values()) {
      if (homeOnly) continue; // nobody else has it, and nobody needs to
      if (state === 'collecting') prepared.push(gid);
      else if (state === 'committing') committed.push(gid);
    }
  }

  holds(gid: Gid): boolean {
    const state = this.#transactions.get(gid)?.state;
    return state === 'collecting' || state === 'committing';
  }

  /** The record of a higher generation has decided; see 'settled' in event.ts. */
  settle(commits: ReadonlySet<Gid>, complete: boolean): void {
    this.#settlement = complete ? 'complete' : 'recovering';
    for (const transaction of this.#transactions.values()) {
      const { gid, state } = transaction;
      const commit = complete && commits.has(gid);
      switch (state) {
        case 'collecting':
          if (!commit) this.makeUnprepared(transaction, generationEnded);
          else {
            transaction.state = 'committing';
            this.#emit({ kind: 'finish', gid, finish: 'commit' });
          }
          break;
        case 'aborting':
          assert(!commit, `gid ${gid} is rolled back here, so this node is not complete`);
          if (complete) this.#decision.answerAborted(transaction);
          break;
        case 'committing': // was decided; the record need not say it
        case 'aborted':
          break;
        case 'preparing':
          assert(false, `gid ${gid} is still being prepared`);
      }
    }
  }

  /** Every read shows now what was committed. */
  release(committed: CommittedGids): void {
    assert(this.#settlement !== 'none', 'settled before it is released');
    for (const transaction of this.#transactions.values()) {
      const { gid, state, heldOpen } = transaction;
      if (state === 'committing') this.#decision.answer(transaction, { kind: 'committed' });
      else if (committed.isCommitted(gid)) {
        const reason = 'the other nodes have committed it, and what it did to temporary objects is lost';
        this.#decision.answer(transaction, heldOpen ? { kind: 'unknown', reason } : { kind: 'committed' });
      } else {
        this.#decision.answerAborted(transaction);
      }
    }
  }

  /** No client waits for nodes that cannot answer; one whose PREPARE is on its way is busy with that. */
  giveUp(reason: string): void {
    for (const transaction of this.#transactions.values()) {
      if (!transaction.homeReturned) continue;
      this.#decision.answer(transaction, { kind: 'unknown', reason });
    }
  }

  /** Nobody is told: it only makes certain what is here, before this node votes or when its fate is bound. */
  makeUnprepared(transaction: OwnTransaction, refusal: Refusal): void {
    this.leaveUnprepared(transaction, refusal);
    this.#emit(rollbackOrder(transaction));
  }

  /** It is certain already that nothing of it is here. */
  leaveUnprepared(transaction: OwnTransaction, refusal: Refusal): void {
    transaction.state = 'aborting';
    transaction.refusal = refusal;
  }
}
