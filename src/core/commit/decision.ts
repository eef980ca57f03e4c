/**
 * The last part of a transaction that began here: the decision, its execution at home and at the members, the
 * answer to the client, and the moment from which nobody needs to know of it.
 *
 * Rules: a decision is never taken back (invariant 2); abort is announced only when N − majority + 1 members
 * can never prepare (invariant 4); the client is answered once (invariant 5).
 */
import { assert } from '../../lib/assert.ts';
import type { Gid, NodeId, Refusal } from '../identity.ts';
import type { Answer, CommitEffect } from './event.ts';
import type { MemberMessages } from './member-messages.ts';
import type { Membership, Reachability } from './membership.ts';
import { rollbackOrder, type OwnTransaction } from './own-transaction.ts';

export interface DecisionContext {
  readonly emit: (effect: CommitEffect) => void;
  /** COMMIT PREPARED of the gid was ordered on this node, and other members have it too. */
  readonly onCommitOrdered: (gid: Gid) => void;
  /** Every member has executed the outcome. */
  readonly onFinished: (transaction: OwnTransaction) => void;
}

export class Decision {
  readonly #membership: Membership;
  readonly #reach: Reachability;
  readonly #tell: MemberMessages;
  readonly #context: DecisionContext;

  constructor(membership: Membership, reach: Reachability, tell: MemberMessages, context: DecisionContext) {
    this.#membership = membership;
    this.#reach = reach;
    this.#tell = tell;
    this.#context = context;
  }

  /** All others are prepared: the COMMIT at home decides. */
  commitOpen(transaction: OwnTransaction): void {
    transaction.committingOpen = true;
    this.#context.emit({ kind: 'finish-open', gid: transaction.gid, finish: 'commit' });
  }

  /** It has committed at home: that is decided, and the others hear of it only now. `tell`: they do. */
  committedOpen(transaction: OwnTransaction, tell: boolean): void {
    const { gid, homeOnly } = transaction;
    transaction.committingOpen = false;
    transaction.state = 'committing';
    transaction.changes.discard();
    if (homeOnly) return;
    this.#context.onCommitOrdered(gid);
    if (tell) this.#tell.outcomeToAll(gid, 'commit');
  }

  commit(transaction: OwnTransaction): void {
    const { gid } = transaction;
    transaction.state = 'committing';
    transaction.changes.discard();
    if (!transaction.homeOnly) this.#context.onCommitOrdered(gid);
    this.#context.emit({ kind: 'finish', gid, finish: 'commit' });
    if (!transaction.homeOnly) this.#tell.outcomeToAll(gid, 'commit');
  }

  abort(transaction: OwnTransaction, refusal: Refusal): void {
    const { gid, state } = transaction;
    assert(state === 'preparing' || state === 'collecting', `gid ${gid} was decided`);
    transaction.state = 'aborting';
    transaction.refusal = refusal;
    transaction.changes.discard();
    for (const to of this.#reach.others) {
      if (!transaction.gone.has(to)) this.#tell.rollback(to, gid);
    }
    if (transaction.homeReturned && !transaction.homeFinished) this.rollBackHome(transaction);
  }

  /** PREPARE has returned, or its backend is gone: the branch can be found, if there is one. */
  rollBackHome(transaction: OwnTransaction): void {
    this.#context.emit(rollbackOrder(transaction));
  }

  /** The member can never prepare it. */
  becomeGone(transaction: OwnTransaction, node: NodeId): void {
    const { gid, gone } = transaction;
    gone.add(node);
    if (transaction.state !== 'aborting' || !transaction.homeFinished) return;
    if (gone.size < this.#membership.blockingSize) return;
    transaction.state = 'aborted';
    this.answerAborted(transaction);
    if (!transaction.homeOnly) this.#tell.outcomeToAll(gid, 'abort');
    this.#tryForget(transaction);
  }

  /** A member, perhaps this one, has executed the outcome. */
  finished(transaction: OwnTransaction, member: NodeId): void {
    transaction.finished.add(member);
    if (transaction.state === 'committing') this.#tryAnswerCommit(transaction);
    this.#tryForget(transaction);
  }

  #tryAnswerCommit(transaction: OwnTransaction): void {
    if (!transaction.homeFinished) return;
    // Nobody is passed over inside a generation: a member that is lost may still serve a read without it.
    const waits = this.#membership.waitPeerCommits && !transaction.early;
    if (waits && !this.#reach.othersIn(transaction.finished)) return;
    this.answer(transaction, { kind: 'committed' });
  }

  answerAborted(transaction: OwnTransaction): void {
    assert(transaction.refusal !== undefined, 'an abort has a reason');
    this.answer(transaction, { kind: 'aborted', refusal: transaction.refusal });
  }

  /** The first answer counts. */
  answer(transaction: OwnTransaction, answer: Answer): void {
    if (transaction.answered) return;
    transaction.answered = true;
    this.#context.emit({ kind: 'answer', gid: transaction.gid, answer });
  }

  #tryForget(transaction: OwnTransaction): void {
    if (transaction.state !== 'committing' && transaction.state !== 'aborted') return;
    for (const member of this.#membership.members) if (!transaction.finished.has(member)) return;
    this.#context.onFinished(transaction);
  }
}
