/**
 * The coordinator's side of one node in one generation: every transaction that began here, from its PREPARE
 * to its decision (decision.ts takes over there). The states are those of own-transaction.ts.
 *
 * Rules: commit needs the PREPARE of every member (invariant 3), or, when it is held open here, that of every
 * other one and then its own COMMIT (invariant 27). After `freeze` it decides nothing any more:
 * what it has decided goes on, the rest waits for `settle`.
 */
import { assert } from '../../lib/assert.ts';
import type { Gid, NodeId, Refusal } from '../identity.ts';
import { Decision } from './decision.ts';
import type { CommitEffect } from './event.ts';
import { Reachability, type Membership } from './membership.ts';
import { HeldBack } from './held-back.ts';
import { MemberMessages } from './member-messages.ts';
import { OwnEnding } from './own-ending.ts';
import { newOwnTransaction, type OwnTransaction } from './own-transaction.ts';
import { gatewayRefusal, generationEnded } from './refusal.ts';

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
  /** In the order of their counters. */
  readonly #transactions = new Map<Gid, OwnTransaction>();
  readonly #heldBack = new HeldBack();
  #lastCounter = 0;
  /** The end of the generation, from the freeze on. */
  readonly ending: OwnEnding;

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
    this.ending = new OwnEnding(this.#transactions, this.#decision, context.emit);
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
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined || transaction.committingOpen) return false;
    return transaction.state === 'preparing' || transaction.state === 'collecting';
  }

  /** What a conflict needs to know of it. */
  priority(gid: Gid): { readonly ddl: boolean; readonly startTime: number; readonly gid: Gid } | undefined {
    return this.#transactions.get(gid);
  }

  /** COMMIT PREPARED has returned on this node. */
  committedAtHome(gid: Gid): boolean {
    const transaction = this.#transactions.get(gid);
    return transaction !== undefined && transaction.state === 'committing' && transaction.homeFinished;
  }

  /** Every own counter below it is finished everywhere. */
  get floor(): number {
    for (const gid of this.#transactions.keys()) return counterOf(gid);
    return this.#lastCounter + 1;
  }

  prepareSent(gid: Gid, startTime: number): void {
    const counter = counterOf(gid);
    assert(counter > this.#lastCounter, `gid ${gid} is used once, and in the order of the counters`);
    assert(!this.ending.frozen, `gid ${gid} is of an ended generation`);
    this.#lastCounter = counter;
    this.#transactions.set(gid, newOwnTransaction(gid, startTime, this.#membership.retainBytes));
  }

  prepareReturned(gid: Gid, early: boolean): void {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined || transaction.homeReturned) return;
    transaction.early = early;
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
    if (this.ending.frozen) return;
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
    const refusal = gatewayRefusal('40001', text, true);
    if (this.ending.frozen) this.ending.makeUnprepared(transaction, refusal);
    else this.#decision.abort(transaction, refusal);
  }

  /** It stays open at home, where nothing of it can fail any more but its COMMIT. */
  heldOpen(gid: Gid): void {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined) return;
    assert(transaction.state === 'preparing', `gid ${gid} is held open from the beginning`);
    transaction.heldOpen = true;
    transaction.homeReturned = true;
    this.#becomePrepared(transaction);
    if (this.ending.frozen) this.ending.makeUnprepared(transaction, generationEnded);
  }

  /** Nothing of it is left at home. */
  openLost(gid: Gid, refusal: Refusal): void {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined || !transaction.heldOpen || transaction.homeFinished) return;
    assert(transaction.state !== 'committing', `gid ${gid} is committed here`);
    transaction.committingOpen = false;
    transaction.homeFinished = true;
    if (transaction.state === 'collecting') {
      if (this.ending.frozen) this.ending.leaveUnprepared(transaction, refusal);
      else this.#decision.abort(transaction, refusal);
    }
    this.homeFinished(gid);
    this.#releaseHeldBack();
  }

  captureRestarted(): void {
    this.#heldBack.take();
    for (const { changes, heldOpen } of this.#transactions.values())
      if (!heldOpen) changes.captureRestarted();
  }

  /**
   * While an open transaction commits at home nobody hears of another one: that may have seen it, and is to
   * depend on it.
   */
  captured(gid: Gid, ddl: boolean, data: Uint8Array, last: boolean): void {
    for (const { committingOpen } of this.#transactions.values()) {
      if (!committingOpen) continue;
      this.#heldBack.add({ gid, ddl, data, last });
      return;
    }
    this.#captured(gid, ddl, data, last);
  }

  #releaseHeldBack(): void {
    for (const { gid, ddl, data, last } of this.#heldBack.take()) this.captured(gid, ddl, data, last);
  }

  #captured(gid: Gid, ddl: boolean, data: Uint8Array, last: boolean): void {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined) return; // rolled back before it was decoded
    this.#becomePrepared(transaction);
    const { changes } = transaction;
    if (transaction.state !== 'collecting' || changes.complete || this.ending.frozen) return;
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
    if (this.ending.frozen) return;
    for (const node of this.#reach.lost) this.#abortWithoutVote(transaction, node, 'does not answer');
  }

  #announceStart(transaction: OwnTransaction): void {
    transaction.changes.announced = true;
    transaction.deps = this.#context.unconfirmed();
    this.#tell.announce(transaction);
  }

  vote(from: NodeId, gid: Gid, refusal: Refusal | undefined): void {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined) return this.#context.onFinishedAgain(gid, from);
    switch (transaction.state) {
      case 'preparing':
      case 'collecting':
        if (this.ending.frozen || transaction.committingOpen) return;
        if (refusal !== undefined) {
          transaction.gone.add(from);
          this.#decision.abort(transaction, refusal);
        } else {
          transaction.votes.add(from);
          this.#decide(transaction);
        }
        return;
      case 'aborting':
        if (this.ending.frozen) return;
        if (refusal === undefined) this.#tell.rollback(from, gid);
        else this.#decision.becomeGone(transaction, from);
        return;
      case 'aborted':
        this.#tell.outcome(from, gid, 'abort');
        return;
      case 'committing':
        if (!this.ending.settled) this.#tell.outcome(from, gid, 'commit');
        return;
    }
  }

  #decide(transaction: OwnTransaction): void {
    if (this.ending.frozen || transaction.state !== 'collecting' || transaction.committingOpen) return;
    if (!transaction.changes.complete || !transaction.homeReturned) return;
    if (!transaction.homeOnly && !this.#reach.othersIn(transaction.votes)) return;
    if (transaction.heldOpen) this.#decision.commitOpen(transaction);
    else if (transaction.homeOnly || transaction.votes.has(this.#membership.self))
      this.#decision.commit(transaction);
  }

  /** An older transaction needs its locks, or its session gave up. False when it is too late. */
  refuse(gid: Gid, refusal: Refusal): boolean {
    const transaction = this.#transactions.get(gid);
    // While its PREPARE is on its way nothing can be done: the next look finds it prepared.
    if (transaction === undefined || transaction.state !== 'collecting' || this.ending.frozen) return false;
    if (transaction.committingOpen) return false;
    this.#decision.abort(transaction, refusal);
    return true;
  }

  rolledBack(from: NodeId, gid: Gid): void {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined) return this.#context.onFinishedAgain(gid, from);
    switch (transaction.state) {
      case 'aborted':
        this.#tell.outcome(from, gid, 'abort');
        return;
      case 'aborting':
        if (!this.ending.frozen) this.#decision.becomeGone(transaction, from);
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
    if (transaction === undefined) return;
    if (transaction.committingOpen) this.#decision.committedOpen(transaction, !this.ending.settled);
    const { state } = transaction;
    assert(state === 'committing' || state === 'aborting', `gid ${gid} is finished once, after a decision`);
    transaction.homeFinished = true;
    const { self } = this.#membership;
    if (state === 'committing') {
      this.#decision.finished(transaction, self);
      this.#releaseHeldBack();
      return;
    }
    transaction.finished.add(self);
    if (!this.ending.frozen) this.#decision.becomeGone(transaction, self);
    else if (this.ending.silenceBinds) this.#decision.answerAborted(transaction);
  }

  /** A member has executed the outcome. */
  finished(from: NodeId, gid: Gid): void {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined) this.#context.onFinishedAgain(gid, from);
    else this.#decision.finished(transaction, from);
  }

  memberLost(node: NodeId, reason: string): void {
    this.#reach.memberLost(node);
    if (this.ending.frozen) return;
    for (const transaction of this.#transactions.values()) this.#abortWithoutVote(transaction, node, reason);
  }

  memberBack(node: NodeId): void {
    this.#reach.memberBack(node);
  }

  /**
   * Its locks must not wait for the next generation. The text is what the client sees if it is not repeated.
   */
  #abortWithoutVote(transaction: OwnTransaction, node: NodeId, reason: string): void {
    if (transaction.state !== 'collecting' || transaction.votes.has(node) || transaction.homeOnly) return;
    this.#decision.abort(
      transaction,
      gatewayRefusal('40001', `node ${node}, a member of the generation, ${reason}`, true),
    );
  }

  /**
   * What the member may have missed is said again. `restarted`: it is not in this generation any more.
   */
  linkUp(node: NodeId, restarted: boolean): void {
    // Nothing is expected of a node that is no member.
    if (this.ending.settled || !this.#reach.others.includes(node)) return;
    for (const transaction of this.#transactions.values()) {
      const { gid, state } = transaction;
      switch (state) {
        case 'collecting':
          if (transaction.votes.has(node) || transaction.homeOnly || this.ending.frozen) break;
          if (restarted) this.#abortWithoutVote(transaction, node, 'has restarted');
          else this.#repeat(transaction, node);
          break;
        case 'aborting':
          if (!transaction.gone.has(node) && !this.ending.frozen) this.#tell.rollback(node, gid);
          break;
        case 'aborted':
        case 'committing':
          if (transaction.finished.has(node)) break;
          this.#tell.outcome(node, gid, state === 'committing' ? 'commit' : 'abort');
          break;
        case 'preparing':
          break;
      }
    }
  }

  #repeat(transaction: OwnTransaction, to: NodeId): void {
    if (this.#tell.repeat(to, transaction)) return;
    const text = `the link to node ${to} broke while a large transaction was on its way`;
    this.#decision.abort(transaction, gatewayRefusal('40001', text, true));
  }
}

function counterOf(gid: Gid): number {
  return Number(gid.slice(gid.lastIndexOf(':') + 1));
}
