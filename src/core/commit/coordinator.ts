/**
 * The coordinator's side of one node: every transaction that began here, from its PREPARE to its decision
 * (decision.ts takes over there). The states are those of own-transaction.ts.
 *
 * Rules: commit needs the PREPARE of every member (invariant 3). Whatever a member says about a gid that is
 * not here any more is answered, or that member would wait for ever.
 */
import { assert } from '../../lib/assert.ts';
import type { Gid, NodeId, Refusal } from '../identity.ts';
import type { Fate } from '../peer/message.ts';
import { Decision } from './decision.ts';
import type { CommitEffect } from './event.ts';
import { Reachability, type Membership } from './membership.ts';
import { MemberMessages } from './member-messages.ts';
import { newOwnTransaction, type OwnTransaction } from './own-transaction.ts';
import { gatewayRefusal } from './refusal.ts';

export interface CoordinatorContext {
  readonly emit: (effect: CommitEffect) => void;
  /** Gids committed on this node that some member has not confirmed (architecture §3, "deps"). */
  readonly unconfirmed: () => readonly Gid[];
  /** COMMIT PREPARED of the gid was ordered on this node. */
  readonly onCommitOrdered: (gid: Gid) => void;
  /** Every member has executed the outcome. */
  readonly onFinishedEverywhere: (gid: Gid) => void;
  /** A member confirms a gid that was finished everywhere before: it has missed the news. */
  readonly onFinishedAgain: (gid: Gid, from: NodeId) => void;
}

export class Coordinator {
  readonly #membership: Membership;
  readonly #context: CoordinatorContext;
  readonly #reach: Reachability;
  readonly #tell: MemberMessages;
  readonly #decision: Decision;
  readonly #transactions = new Map<Gid, OwnTransaction>();

  constructor(membership: Membership, context: CoordinatorContext) {
    this.#membership = membership;
    this.#context = context;
    this.#reach = new Reachability(membership);
    this.#tell = new MemberMessages(membership.members, membership.self, context.emit);
    this.#decision = new Decision(membership, this.#reach, this.#tell, {
      emit: context.emit,
      onCommitOrdered: context.onCommitOrdered,
      onFinished: ({ gid, homeOnly }) => {
        this.#transactions.delete(gid);
        if (!homeOnly) context.onFinishedEverywhere(gid);
      },
    });
  }

  get size(): number {
    return this.#transactions.size;
  }

  gids(): Iterable<Gid> {
    return this.#transactions.keys();
  }

  has(gid: Gid): boolean {
    return this.#transactions.has(gid);
  }

  /** True while a conflict can still be decided against it. */
  undecided(gid: Gid): boolean {
    const state = this.#transactions.get(gid)?.state;
    return state === 'preparing' || state === 'collecting';
  }

  /** What a conflict needs to know of it. */
  priority(gid: Gid): { readonly ddl: boolean; readonly startTime: number; readonly gid: Gid } | undefined {
    return this.#transactions.get(gid);
  }

  /** What a member that asks may be told. */
  outcomeOf(gid: Gid): 'commit' | 'abort' | 'open' {
    const state = this.#transactions.get(gid)?.state;
    if (state === 'committing') return 'commit';
    // Unknown: a gid that this node committed is here until every member has confirmed it (see
    // recoveredCommitted), and a member that has confirmed does not ask. So it was rolled back here, by this
    // process or a former one.
    return state === 'aborted' || state === undefined ? 'abort' : 'open';
  }

  /** COMMIT PREPARED has returned on this node. */
  committedAtHome(gid: Gid): boolean {
    const transaction = this.#transactions.get(gid);
    return transaction !== undefined && transaction.state === 'committing' && transaction.homeFinished;
  }

  /** The member may already have been passed over in an answer. */
  isSilenced(node: NodeId): boolean {
    return this.#reach.isSilenced(node);
  }

  #new(gid: Gid, startTime: number, state: 'preparing' | 'committing' | 'asking'): OwnTransaction {
    const transaction = newOwnTransaction(gid, startTime, state, this.#membership.retainBytes);
    this.#transactions.set(gid, transaction);
    return transaction;
  }

  prepareSent(gid: Gid, startTime: number): void {
    assert(!this.#transactions.has(gid), `gid ${gid} is used once`);
    this.#new(gid, startTime, 'preparing');
  }

  prepareReturned(gid: Gid): void {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined || transaction.homeReturned) return;
    this.#becomePrepared(transaction);
    this.#prepareIsFinal(transaction);
  }

  /**
   * The home branch can be found by its gid from now on: it votes, or the rollback that waited for this is
   * ordered.
   */
  #prepareIsFinal(transaction: OwnTransaction): void {
    transaction.homeReturned = true;
    if (transaction.state === 'aborting') {
      this.#decision.rollBackHome(transaction);
      return;
    }
    transaction.votes.add(this.#membership.self);
    this.#decide(transaction);
  }

  /** Nothing is prepared at home: the session has told its client why. */
  prepareFailed(gid: Gid): void {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined) return;
    assert(!transaction.homePrepared, `gid ${gid} was captured, so its PREPARE cannot have failed`);
    this.#transactions.delete(gid);
  }

  /** Whether PREPARE happened is unknown unless the slot showed it, but its backend is gone. */
  prepareLost(gid: Gid): void {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined || transaction.homeReturned) return;
    if (transaction.state !== 'preparing') {
      this.#prepareIsFinal(transaction);
      return;
    }
    transaction.homeReturned = true;
    const text = 'the connection to the server was lost during PREPARE';
    this.#decision.abort(transaction, gatewayRefusal('40001', text, true));
  }

  captureRestarted(): void {
    for (const { changes } of this.#transactions.values()) changes.captureRestarted();
  }

  captured(gid: Gid, ddl: boolean, data: Uint8Array, last: boolean): void {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined) return; // rolled back before it was decoded
    this.#becomePrepared(transaction);
    const { changes } = transaction;
    if (transaction.state !== 'collecting' || changes.complete) return;
    if (ddl) transaction.ddl = true;
    const piece = changes.append(data);
    if (last && changes.length === 0) {
      changes.complete = true;
      this.#becomeHomeOnly(transaction);
      this.#decide(transaction);
      return;
    }
    if (piece !== undefined) {
      if (!changes.announced) this.#announceStart(transaction);
      this.#tell.piece(gid, piece);
    }
    if (last) {
      changes.complete = true;
      this.#tell.end(gid);
      this.#decide(transaction);
    }
  }

  /** It changed nothing, so whatever becomes of it, the others have nothing to do. */
  #becomeHomeOnly(transaction: OwnTransaction): void {
    transaction.homeOnly = true;
    for (const member of this.#reach.others) {
      transaction.gone.add(member);
      transaction.finished.add(member);
    }
  }

  #becomePrepared(transaction: OwnTransaction): void {
    transaction.homePrepared = true;
    if (transaction.state !== 'preparing') return;
    transaction.state = 'collecting';
    for (const node of this.#reach.lost) this.#abortWithoutVote(transaction, node, 'does not answer');
  }

  #announceStart(transaction: OwnTransaction): void {
    transaction.changes.announced = true;
    transaction.deps = this.#context.unconfirmed();
    this.#tell.announce(transaction);
  }

  vote(from: NodeId, gid: Gid, refusal: Refusal | undefined): void {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined) return this.#tell.outcome(from, gid, 'abort'); // see outcomeOf
    switch (transaction.state) {
      case 'preparing':
      case 'collecting':
        if (refusal !== undefined) {
          transaction.gone.add(from);
          this.#decision.abort(transaction, refusal);
        } else {
          transaction.votes.add(from);
          this.#decide(transaction);
        }
        return;
      case 'aborting':
        if (refusal === undefined) this.#tell.rollback(from, gid);
        else this.#decision.becomeGone(transaction, from);
        return;
      case 'aborted':
        this.#tell.outcome(from, gid, 'abort');
        return;
      case 'committing':
        this.#tell.outcome(from, gid, 'commit');
        return;
      case 'asking':
        this.fateAnswered(from, gid, refusal === undefined ? 'prepared' : 'never');
        return;
    }
  }

  #decide(transaction: OwnTransaction): void {
    if (transaction.state !== 'collecting' || !transaction.changes.complete || !transaction.homeReturned)
      return;
    for (const member of this.#membership.members) {
      if (!transaction.votes.has(member) && !transaction.homeOnly) return;
    }
    this.#decision.commit(transaction);
  }

  /** An older transaction needs its locks, or its session gave up. False when it is too late. */
  refuse(gid: Gid, refusal: Refusal): boolean {
    const transaction = this.#transactions.get(gid);
    // While its PREPARE is on its way nothing can be done: the next look finds it prepared.
    if (transaction === undefined || transaction.state !== 'collecting') return false;
    this.#decision.abort(transaction, refusal);
    return true;
  }

  rolledBack(from: NodeId, gid: Gid): void {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined) return this.#tell.outcome(from, gid, 'abort'); // see outcomeOf
    switch (transaction.state) {
      case 'aborted':
        this.#tell.outcome(from, gid, 'abort');
        return;
      case 'aborting':
        this.#decision.becomeGone(transaction, from);
        return;
      case 'asking': // asked by the former process, or given up at the restart
        this.fateAnswered(from, gid, 'never');
        return;
      case 'preparing':
      case 'collecting':
      case 'committing':
        this.#context.emit({ kind: 'alarm', gid, text: `node ${from} rolled it back without being asked` });
        return;
    }
  }

  /** COMMIT PREPARED or ROLLBACK PREPARED was executed on this node. */
  homeFinished(gid: Gid): void {
    const transaction = this.#transactions.get(gid);
    if (transaction !== undefined) this.#decision.homeFinished(transaction);
  }

  /** A member has executed the outcome. */
  finished(from: NodeId, gid: Gid): void {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined) this.#context.onFinishedAgain(gid, from);
    else this.#decision.finished(transaction, from);
  }

  memberLost(node: NodeId, reason: string): void {
    this.#reach.memberLost(node);
    for (const transaction of this.#transactions.values()) {
      if (transaction.state === 'collecting') this.#abortWithoutVote(transaction, node, reason);
      else if (transaction.state === 'aborting') this.#decision.answerIfUnreachable(transaction, reason);
    }
  }

  memberSilenced(node: NodeId): void {
    this.#reach.memberSilenced(node);
    for (const transaction of this.#transactions.values()) {
      if (transaction.state === 'committing') this.#decision.tryAnswerCommit(transaction);
    }
  }

  memberBack(node: NodeId): void {
    this.#reach.memberBack(node);
  }

  #abortWithoutVote(transaction: OwnTransaction, node: NodeId, reason: string): void {
    if (transaction.state !== 'collecting' || transaction.votes.has(node) || transaction.homeOnly) return;
    this.#decision.abort(
      transaction,
      gatewayRefusal('57P03', `node ${node}, a member of the generation, ${reason}`, false),
    );
  }

  /**
   * What the member may have missed is said again. `restarted`: its volatile NO is forgotten, so it no longer
   * votes.
   */
  linkUp(node: NodeId, restarted: boolean): void {
    for (const transaction of this.#transactions.values()) {
      const { gid, state } = transaction;
      switch (state) {
        case 'collecting':
          if (transaction.votes.has(node) || transaction.homeOnly) break;
          if (restarted) this.#abortWithoutVote(transaction, node, 'has restarted');
          else this.#repeat(transaction, node);
          break;
        case 'aborting':
          if (!transaction.gone.has(node)) this.#tell.rollback(node, gid);
          break;
        case 'aborted':
        case 'committing':
          if (transaction.finished.has(node)) break;
          this.#tell.outcome(node, gid, state === 'committing' ? 'commit' : 'abort');
          break;
        case 'preparing':
        case 'asking':
          break;
      }
    }
    this.askFates(node);
  }

  #repeat(transaction: OwnTransaction, to: NodeId): void {
    if (this.#tell.repeat(to, transaction)) return;
    const text = `the link to node ${to} broke while a large transaction was on its way`;
    this.#decision.abort(transaction, gatewayRefusal('40001', text, true));
  }

  /** The question, or its answer, may be lost with a link. */
  askFates(node: NodeId): void {
    const gids: Gid[] = [];
    for (const { gid, state, fates } of this.#transactions.values()) {
      if (state === 'asking' && !fates.has(node)) gids.push(gid);
    }
    this.#tell.askFates(node, gids);
  }

  /** A gid of an older incarnation that is still prepared at home. */
  recoveredPrepared(gid: Gid): void {
    const transaction = this.#new(gid, 0, 'asking');
    transaction.answered = true; // its session died with the former process
    transaction.homePrepared = true;
    transaction.homeReturned = true;
    transaction.fates.set(this.#membership.self, 'prepared');
    this.#resolve(transaction);
  }

  /**
   * A gid of an older incarnation that is committed at home, and perhaps not everywhere: the members are told
   * again.
   */
  recoveredCommitted(gid: Gid): void {
    const transaction = this.#new(gid, 0, 'committing');
    transaction.answered = true;
    transaction.homePrepared = true;
    transaction.homeReturned = true;
    transaction.homeFinished = true;
    this.#context.onCommitOrdered(gid);
    this.#decision.finished(transaction, this.#membership.self);
  }

  fateAnswered(from: NodeId, gid: Gid, fate: Fate): void {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined || transaction.state !== 'asking') return;
    transaction.fates.set(from, fate);
    this.#resolve(transaction);
  }

  /**
   * Until elections decide with a majority, all members must have answered: then nothing is left to guess.
   */
  #resolve(transaction: OwnTransaction): void {
    const fates = this.#membership.members.map((member) => transaction.fates.get(member));
    if (fates.includes('committed') || fates.every((fate) => fate === 'prepared')) {
      this.#decision.commit(transaction);
    } else if (!fates.includes(undefined)) {
      for (const [member, fate] of transaction.fates) if (fate !== 'prepared') transaction.gone.add(member);
      this.#decision.abort(
        transaction,
        gatewayRefusal('40001', 'its coordinator restarted before the decision', true),
      );
    }
  }
}
