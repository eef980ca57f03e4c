/**
 * The coordinator's side of one node: every transaction that began here, from its PREPARE to the last member's confirmation.
 * The states are those of own-transaction.ts.
 *
 * Rules: a decision is never taken back (invariant 2); commit needs the PREPARE of every member (invariant 3); abort is announced
 * only when N − majority + 1 members can never prepare (invariant 4); the client is answered once (invariant 5).
 * Whatever a member says about a gid that is not here any more is answered, or that member would wait for ever.
 */
import { assert } from '../../lib/assert.ts';
import type { Gid, NodeId, Refusal } from '../identity.ts';
import type { Fate, PeerMessage } from '../peer/message.ts';
import type { Answer, CommitEffect } from './event.ts';
import { newOwnTransaction, type OwnTransaction } from './own-transaction.ts';
import { gatewayRefusal } from './refusal.ts';

export interface Membership {
  readonly self: NodeId;
  /** M, the members of the generation, self included, ascending. */
  readonly members: readonly NodeId[];
  /** Size of the smallest set of members that no majority of the configured nodes can do without. */
  readonly blockingSize: number;
  /** wait_peer_commits: answer only after the members have committed too. */
  readonly waitPeerCommits: boolean;
  /** Bytes of changes kept for a repeat after a reconnect; a larger transaction is aborted instead. */
  readonly retainBytes: number;
}

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
  readonly #others: readonly NodeId[];
  readonly #transactions = new Map<Gid, OwnTransaction>();
  /** At first nobody has been heard. */
  readonly #lost: Set<NodeId>;
  /** Lost for so long that they serve nobody. */
  readonly #silenced = new Set<NodeId>();

  constructor(membership: Membership, context: CoordinatorContext) {
    this.#membership = membership;
    this.#context = context;
    this.#others = membership.members.filter((member) => member !== membership.self);
    this.#lost = new Set(this.#others);
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
    // Unknown: a gid that this node committed is here until every member has confirmed it (see recoveredCommitted), and a
    // member that has confirmed does not ask. So it was rolled back here, by this process or a former one.
    return state === 'aborted' || state === undefined ? 'abort' : 'open';
  }

  /** COMMIT PREPARED has returned on this node. */
  committedAtHome(gid: Gid): boolean {
    const transaction = this.#transactions.get(gid);
    return transaction !== undefined && transaction.state === 'committing' && transaction.homeFinished;
  }

  /** The member may already have been passed over in an answer. */
  isSilenced(node: NodeId): boolean {
    return this.#silenced.has(node);
  }

  #new(gid: Gid, startTime: number, state: 'preparing' | 'committing' | 'asking'): OwnTransaction {
    const transaction = newOwnTransaction(gid, startTime, state, this.#membership.retainBytes);
    this.#transactions.set(gid, transaction);
    return transaction;
  }

  #send(to: NodeId, message: PeerMessage): void {
    this.#context.emit({ kind: 'send', to, message });
  }

  #sendOutcome(to: NodeId, gid: Gid, outcome: 'commit' | 'abort'): void {
    this.#send(to, { kind: 'outcome', gid, outcome });
  }

  prepareSent(gid: Gid, startTime: number): void {
    assert(!this.#transactions.has(gid), `gid ${gid} is used once`);
    this.#new(gid, startTime, 'preparing');
  }

  prepareReturned(gid: Gid): void {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined) return; // already finished: the slot was faster than the session
    this.#becomePrepared(transaction);
    this.#decide(transaction);
  }

  /** Nothing is prepared at home: the session has told its client why. */
  prepareFailed(gid: Gid): void {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined) return;
    assert(!transaction.homePrepared, `gid ${gid} was captured, so its PREPARE cannot have failed`);
    this.#transactions.delete(gid);
  }

  /** Whether PREPARE happened is unknown, but its backend is gone: roll back whatever is there. */
  prepareLost(gid: Gid): void {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined || transaction.state !== 'preparing') return;
    this.#abort(transaction, gatewayRefusal('40001', 'the connection to the server was lost during PREPARE', true));
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
      this.#commitAtHome(transaction);
      return;
    }
    if (piece !== undefined) {
      if (!changes.announced) this.#announceStart(transaction);
      for (const to of this.#others) this.#send(to, { kind: 'transaction-data', gid, ...piece });
    }
    if (last) {
      changes.complete = true;
      for (const to of this.#others) this.#send(to, { kind: 'transaction-end', gid });
      this.#decide(transaction);
    }
  }

  #becomePrepared(transaction: OwnTransaction): void {
    transaction.homePrepared = true;
    if (transaction.state !== 'preparing') return;
    transaction.state = 'collecting';
    transaction.votes.add(this.#membership.self);
    for (const node of this.#lost) this.#abortWithoutVote(transaction, node, 'does not answer');
  }

  #announceStart(transaction: OwnTransaction): void {
    transaction.changes.announced = true;
    transaction.deps = this.#context.unconfirmed();
    for (const to of this.#others) this.#sendStart(transaction, to);
  }

  #sendStart(transaction: OwnTransaction, to: NodeId): void {
    const { gid, startTime, ddl, deps } = transaction;
    const members = this.#membership.members;
    this.#send(to, { kind: 'transaction-start', gid, startTime, ddl, members, deps });
  }

  vote(from: NodeId, gid: Gid, refusal: Refusal | undefined): void {
    const transaction = this.#transactions.get(gid);
    switch (transaction?.state) {
      case undefined:
        this.#sendOutcome(from, gid, 'abort'); // see outcomeOf
        return;
      case 'preparing':
      case 'collecting':
        if (refusal !== undefined) {
          transaction!.gone.add(from);
          this.#abort(transaction!, refusal);
        } else {
          transaction!.votes.add(from);
          this.#decide(transaction!);
        }
        return;
      case 'aborting':
        if (refusal === undefined) this.#send(from, { kind: 'rollback-request', gid });
        else this.#becomeGone(transaction!, from);
        return;
      case 'aborted':
        this.#sendOutcome(from, gid, 'abort');
        return;
      case 'committing':
        this.#sendOutcome(from, gid, 'commit');
        return;
      case 'asking':
        this.fateAnswered(from, gid, refusal === undefined ? 'prepared' : 'never');
        return;
    }
  }

  #decide(transaction: OwnTransaction): void {
    if (transaction.state !== 'collecting' || !transaction.changes.complete) return;
    for (const member of this.#membership.members) if (!transaction.votes.has(member)) return;
    this.#commit(transaction);
  }

  #commit(transaction: OwnTransaction): void {
    const { gid } = transaction;
    transaction.state = 'committing';
    transaction.changes.discard();
    this.#context.onCommitOrdered(gid);
    this.#context.emit({ kind: 'finish', gid, finish: 'commit' });
    for (const to of this.#others) this.#sendOutcome(to, gid, 'commit');
  }

  /** Nothing to replicate. */
  #commitAtHome(transaction: OwnTransaction): void {
    transaction.state = 'committing';
    transaction.homeOnly = true;
    for (const member of this.#others) transaction.finished.add(member);
    this.#context.emit({ kind: 'finish', gid: transaction.gid, finish: 'commit' });
  }

  /** An older transaction needs its locks, or its session gave up. False when it is too late. */
  refuse(gid: Gid, refusal: Refusal): boolean {
    const transaction = this.#transactions.get(gid);
    // While its PREPARE is on its way nothing can be done: the next look finds it prepared.
    if (transaction === undefined || transaction.state !== 'collecting') return false;
    this.#abort(transaction, refusal);
    return true;
  }

  #abort(transaction: OwnTransaction, refusal: Refusal): void {
    const { gid, state } = transaction;
    assert(state === 'preparing' || state === 'collecting' || state === 'asking', `gid ${gid} was decided`);
    transaction.state = 'aborting';
    transaction.refusal = refusal;
    transaction.changes.discard();
    this.#context.emit({ kind: 'finish', gid, finish: 'rollback' });
    for (const to of this.#others) {
      if (!transaction.gone.has(to)) this.#send(to, { kind: 'rollback-request', gid });
    }
    this.#answerIfUnreachable(transaction, 'members are not in contact');
  }

  rolledBack(from: NodeId, gid: Gid): void {
    const transaction = this.#transactions.get(gid);
    switch (transaction?.state) {
      case undefined:
      case 'aborted':
        this.#sendOutcome(from, gid, 'abort');
        return;
      case 'aborting':
        this.#becomeGone(transaction!, from);
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

  #becomeGone(transaction: OwnTransaction, node: NodeId): void {
    transaction.gone.add(node);
    this.#tryAnnounceAbort(transaction);
  }

  #tryAnnounceAbort(transaction: OwnTransaction): void {
    const { gid } = transaction;
    if (transaction.state !== 'aborting' || transaction.gone.size < this.#membership.blockingSize) return;
    if (!transaction.homeFinished) return;
    transaction.state = 'aborted';
    assert(transaction.refusal !== undefined, 'an abort has a reason');
    this.#answer(transaction, { kind: 'aborted', refusal: transaction.refusal });
    for (const to of this.#others) this.#sendOutcome(to, gid, 'abort');
    this.#tryForget(transaction);
  }

  /** COMMIT PREPARED or ROLLBACK PREPARED was executed on this node. */
  homeFinished(gid: Gid): void {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined) return;
    assert(transaction.state === 'committing' || transaction.state === 'aborting', `gid ${gid} is finished once, after a decision`);
    transaction.homeFinished = true;
    transaction.finished.add(this.#membership.self);
    if (transaction.state === 'aborting') {
      this.#becomeGone(transaction, this.#membership.self);
    } else {
      this.#tryAnswerCommit(transaction);
      this.#tryForget(transaction);
    }
  }

  /** A member has executed the outcome. */
  finished(from: NodeId, gid: Gid): void {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined) {
      this.#context.onFinishedAgain(gid, from);
      return;
    }
    transaction.finished.add(from);
    if (transaction.state === 'committing') this.#tryAnswerCommit(transaction);
    this.#tryForget(transaction);
  }

  #tryAnswerCommit(transaction: OwnTransaction): void {
    if (transaction.answered || !transaction.homeFinished) return;
    if (this.#membership.waitPeerCommits) {
      // Lost is not enough: until its own failure detector says so too, that member may serve a read without this commit.
      for (const member of this.#others) {
        if (!transaction.finished.has(member) && !this.#silenced.has(member)) return;
      }
    }
    this.#answer(transaction, { kind: 'committed' });
  }

  #tryForget(transaction: OwnTransaction): void {
    if (transaction.state !== 'committing' && transaction.state !== 'aborted') return;
    for (const member of this.#membership.members) if (!transaction.finished.has(member)) return;
    this.#transactions.delete(transaction.gid);
    if (!transaction.homeOnly) this.#context.onFinishedEverywhere(transaction.gid);
  }

  #answer(transaction: OwnTransaction, answer: Answer): void {
    if (transaction.answered) return;
    transaction.answered = true;
    this.#context.emit({ kind: 'answer', gid: transaction.gid, answer });
  }

  memberLost(node: NodeId, reason: string): void {
    this.#lost.add(node);
    for (const transaction of this.#transactions.values()) {
      if (transaction.state === 'collecting') this.#abortWithoutVote(transaction, node, reason);
      else if (transaction.state === 'aborting') this.#answerIfUnreachable(transaction, reason);
    }
  }

  memberSilenced(node: NodeId): void {
    assert(this.#lost.has(node), `node ${node} is silenced only while it is lost`);
    this.#silenced.add(node);
    for (const transaction of this.#transactions.values()) {
      if (transaction.state === 'committing') this.#tryAnswerCommit(transaction);
    }
  }

  memberBack(node: NodeId): void {
    this.#lost.delete(node);
    this.#silenced.delete(node);
  }

  /** No client waits for nodes that cannot answer. */
  #answerIfUnreachable(transaction: OwnTransaction, reason: string): void {
    const { members, blockingSize } = this.#membership;
    const reachable = members.filter((member) => !this.#lost.has(member) || transaction.gone.has(member));
    if (reachable.length >= blockingSize) return;
    this.#answer(transaction, { kind: 'unknown', reason: `too few members can confirm its rollback: ${reason}` });
  }

  #abortWithoutVote(transaction: OwnTransaction, node: NodeId, reason: string): void {
    if (transaction.state !== 'collecting' || transaction.votes.has(node)) return;
    this.#abort(transaction, gatewayRefusal('57P03', `node ${node}, a member of the generation, ${reason}`, false));
  }

  /** What the member may have missed is said again. `restarted`: its volatile NO is forgotten, so it no longer votes. */
  linkUp(node: NodeId, restarted: boolean): void {
    for (const transaction of this.#transactions.values()) {
      const { gid, state } = transaction;
      switch (state) {
        case 'collecting':
          if (transaction.votes.has(node)) break;
          if (restarted) this.#abortWithoutVote(transaction, node, 'has restarted');
          else this.#repeat(transaction, node);
          break;
        case 'aborting':
          if (!transaction.gone.has(node)) this.#send(node, { kind: 'rollback-request', gid });
          break;
        case 'aborted':
        case 'committing':
          if (transaction.finished.has(node)) break;
          this.#sendOutcome(node, gid, state === 'committing' ? 'commit' : 'abort');
          break;
        case 'preparing':
        case 'asking':
          break;
      }
    }
    this.askFates(node);
  }

  #repeat(transaction: OwnTransaction, to: NodeId): void {
    const { gid, changes } = transaction;
    if (!changes.announced) return;
    if (changes.pieces === undefined) {
      const text = `the link to node ${to} broke while a large transaction was on its way`;
      this.#abort(transaction, gatewayRefusal('40001', text, true));
      return;
    }
    this.#sendStart(transaction, to);
    for (const piece of changes.pieces) this.#send(to, { kind: 'transaction-data', gid, ...piece });
    if (changes.complete) this.#send(to, { kind: 'transaction-end', gid });
  }

  /** The question, or its answer, may be lost with a link. */
  askFates(node: NodeId): void {
    const gids: Gid[] = [];
    for (const { gid, state, fates } of this.#transactions.values()) {
      if (state === 'asking' && !fates.has(node)) gids.push(gid);
    }
    if (gids.length > 0) this.#send(node, { kind: 'fate-question', gids });
  }

  /** A gid of an older incarnation that is still prepared at home. */
  recoveredPrepared(gid: Gid): void {
    const transaction = this.#new(gid, 0, 'asking');
    transaction.answered = true; // its session died with the former process
    transaction.homePrepared = true;
    transaction.fates.set(this.#membership.self, 'prepared');
    this.#resolve(transaction);
  }

  /** A gid of an older incarnation that is committed at home, and perhaps not everywhere: the members are told again. */
  recoveredCommitted(gid: Gid): void {
    const transaction = this.#new(gid, 0, 'committing');
    transaction.answered = true;
    transaction.homePrepared = true;
    transaction.homeFinished = true;
    transaction.finished.add(this.#membership.self);
    this.#context.onCommitOrdered(gid);
    this.#tryForget(transaction);
  }

  fateAnswered(from: NodeId, gid: Gid, fate: Fate): void {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined || transaction.state !== 'asking') return;
    transaction.fates.set(from, fate);
    this.#resolve(transaction);
  }

  /** Until elections decide with a majority, all members must have answered: then nothing is left to guess. */
  #resolve(transaction: OwnTransaction): void {
    const fates = this.#membership.members.map((member) => transaction.fates.get(member));
    if (fates.includes('committed') || fates.every((fate) => fate === 'prepared')) {
      this.#commit(transaction);
    } else if (!fates.includes(undefined)) {
      for (const [member, fate] of transaction.fates) if (fate !== 'prepared') transaction.gone.add(member);
      this.#abort(transaction, gatewayRefusal('40001', 'its coordinator restarted before the decision', true));
    }
  }
}
