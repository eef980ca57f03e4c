/**
 * The member's side of one node: every transaction of another node, from its first byte to its executed
 * outcome. The states are those of foreign-transaction.ts.
 *
 * Rules: a transaction is applied only after all its deps are committed here (invariant 6); a YES is sent
 * only after PREPARE has returned; after the node has answered 'never' about a gid it never prepares it
 * (invariant 7).
 */
import { parseGid, type Gid, type NodeId, type Refusal } from '../identity.ts';
import type { Fate } from '../peer/message.ts';
import { ApplyFeed } from './apply-feed.ts';
import { DependencyQueue } from './dependency-queue.ts';
import { Doubts } from './doubt.ts';
import type { ApplyResult, CommitEffect, Finish } from './event.ts';
import { newForeignTransaction, type ForeignState, type ForeignTransaction } from './foreign-transaction.ts';
import { gatewayRefusal } from './refusal.ts';

export interface ParticipantContext {
  readonly emit: (effect: CommitEffect) => void;
  /** True when the gid is committed on this node, whoever coordinated it, or was finished everywhere. */
  readonly committedHere: (gid: Gid) => boolean;
  /** COMMIT PREPARED of the gid was ordered on this node. */
  readonly onCommitOrdered: (gid: Gid) => void;
}

export class Participant {
  readonly #context: ParticipantContext;
  readonly #transactions = new Map<Gid, ForeignTransaction>();
  /** Promised never to be prepared here. */
  readonly #never = new Set<Gid>();
  readonly #waitingFor = new DependencyQueue();
  readonly #doubts: Doubts;
  readonly #feed: ApplyFeed;

  constructor(others: readonly NodeId[], context: ParticipantContext) {
    this.#context = context;
    this.#doubts = new Doubts(others);
    this.#feed = new ApplyFeed(context.emit);
  }

  get size(): number {
    return this.#transactions.size;
  }

  /** Perhaps committed and acknowledged without this node: until they are settled it must not serve. */
  get doubtful(): number {
    return this.#doubts.size;
  }

  gids(): Iterable<Gid> {
    return this.#transactions.keys();
  }

  has(gid: Gid): boolean {
    return this.#transactions.has(gid);
  }

  priority(gid: Gid): { readonly ddl: boolean; readonly startTime: number; readonly gid: Gid } | undefined {
    return this.#transactions.get(gid);
  }

  coordinatorOf(gid: Gid): NodeId | undefined {
    return this.#transactions.get(gid)?.coordinator;
  }

  state(gid: Gid): ForeignState | undefined {
    return this.#transactions.get(gid)?.state;
  }

  /** 'pending' while COMMIT PREPARED has not returned. */
  commitState(gid: Gid): 'committed' | 'pending' | 'unknown' {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined) return 'unknown';
    return transaction.state === 'finished' && transaction.outcome === 'commit' ? 'committed' : 'pending';
  }

  start(from: NodeId, gid: Gid, startTime: number, ddl: boolean, deps: readonly Gid[]): void {
    const known = this.#transactions.get(gid);
    if (known !== undefined) {
      this.#doubts.stillOpen(known);
      if (known.state === 'prepared' || known.state === 'refused') this.#vote(known);
      return;
    }
    if (this.#never.has(gid)) {
      const refusal = gatewayRefusal('40001', 'the member had given it up', true);
      this.#context.emit({ kind: 'send', to: from, message: { kind: 'vote', gid, refusal } });
      return;
    }
    const transaction = newForeignTransaction(gid, from, 'waiting', startTime, ddl);
    this.#transactions.set(gid, transaction);
    for (const dep of deps) {
      if (this.#context.committedHere(dep)) continue;
      this.#waitingFor.add(transaction, dep);
      this.#committedElsewhere(dep);
    }
    this.#tryOpen(transaction);
  }

  /** A dep was committed on another node, so it is decided and, if another node's, prepared here. */
  #committedElsewhere(dep: Gid): void {
    const transaction = this.#transactions.get(dep);
    if (transaction !== undefined) this.#learn(transaction, 'commit');
  }

  /** The gid is committed on this node (also when it was coordinated here). */
  depCommitted(dep: Gid): void {
    for (const transaction of this.#waitingFor.committed(dep)) this.#tryOpen(transaction);
  }

  #tryOpen(transaction: ForeignTransaction): void {
    if (transaction.state === 'waiting' && transaction.missing.size === 0) this.#feed.open(transaction);
  }

  data(gid: Gid, offset: number, data: Uint8Array): void {
    const transaction = this.#transactions.get(gid);
    if (transaction !== undefined) this.#feed.push(transaction, offset, data);
  }

  end(gid: Gid): void {
    const transaction = this.#transactions.get(gid);
    if (transaction !== undefined) this.#feed.end(transaction);
  }

  applyEnded(gid: Gid, result: ApplyResult): void {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined || transaction.state !== 'applying') return;
    switch (result.kind) {
      case 'prepared':
        if (transaction.owed !== 'vote') {
          this.#finish(transaction, 'rollback');
          return;
        }
        transaction.state = 'prepared';
        this.#doubts.prepared(transaction);
        this.#vote(transaction);
        return;
      case 'refused':
        transaction.refusal = result.refusal;
        this.#becomeUnprepared(transaction);
        return;
      case 'lost':
        // It may be prepared here. Rolling it back makes the answer certain.
        transaction.refusal = gatewayRefusal(
          '40001',
          `the member lost its server connection: ${result.reason}`,
          true,
        );
        this.#finish(transaction, 'rollback');
        return;
    }
  }

  /** It is certain that nothing is prepared here: that is a NO, or what the coordinator asked for. */
  #becomeUnprepared(transaction: ForeignTransaction): void {
    if (transaction.owed === 'vote') {
      transaction.state = 'refused';
      this.#vote(transaction);
    } else {
      transaction.state = 'finished';
      transaction.outcome = 'rollback';
      this.#confirm(transaction);
    }
  }

  #vote(transaction: ForeignTransaction): void {
    const { gid, coordinator, refusal } = transaction;
    this.#context.emit({ kind: 'send', to: coordinator, message: { kind: 'vote', gid, refusal } });
  }

  #confirm(transaction: ForeignTransaction): void {
    const { gid, coordinator, owed } = transaction;
    const kind = owed === 'rolled-back' ? 'rolled-back' : 'finished';
    this.#context.emit({ kind: 'send', to: coordinator, message: { kind, gid } });
  }

  /** This node refuses a transaction that it is applying: an older one needs the locks. */
  refuse(gid: Gid, refusal: Refusal): boolean {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined || transaction.state !== 'applying') return false;
    this.#context.emit({ kind: 'cancel-apply', gid, refusal });
    return true;
  }

  rollbackRequested(from: NodeId, gid: Gid): void {
    let transaction = this.#transactions.get(gid);
    if (transaction === undefined) {
      // Never seen: the record keeps it so, and repeats the answer should it be lost.
      transaction = newForeignTransaction(gid, from, 'refused');
      this.#transactions.set(gid, transaction);
    }
    if (transaction.owed === 'vote') transaction.owed = 'rolled-back';
    this.#rollBack(transaction, gatewayRefusal('40001', 'rolled back by its coordinator', true));
  }

  /** The coordinator wants it gone, whatever has become of it. */
  #rollBack(transaction: ForeignTransaction, refusal: Refusal): void {
    const { gid } = transaction;
    switch (transaction.state) {
      case 'waiting':
        this.#leaveWaiting(transaction);
        this.#becomeUnprepared(transaction);
        return;
      case 'refused':
        this.#becomeUnprepared(transaction);
        return;
      case 'applying':
        this.#context.emit({ kind: 'cancel-apply', gid, refusal });
        return;
      case 'prepared':
        this.#finish(transaction, 'rollback');
        return;
      case 'rolling-back':
        return;
      case 'committing':
      case 'finished':
        if (transaction.outcome === 'commit') this.#alarm(gid, 'rolled back elsewhere, committed here');
        else this.#confirm(transaction);
        return;
    }
  }

  #leaveWaiting(transaction: ForeignTransaction): void {
    this.#waitingFor.remove(transaction);
    transaction.kept = [];
  }

  /** The decision, from the coordinator. */
  outcome(from: NodeId, gid: Gid, outcome: 'commit' | 'abort'): void {
    let transaction = this.#transactions.get(gid);
    if (transaction === undefined) {
      // Executed before, or never seen; the server knows and will perhaps say "missing".
      transaction = newForeignTransaction(gid, from, 'prepared');
      this.#transactions.set(gid, transaction);
    }
    transaction.owed = 'finished';
    this.#learn(transaction, outcome);
  }

  #learn(transaction: ForeignTransaction, outcome: 'commit' | 'abort'): void {
    const { gid } = transaction;
    if (outcome === 'abort') {
      this.#rollBack(transaction, gatewayRefusal('40001', 'aborted by its coordinator', true));
      return;
    }
    switch (transaction.state) {
      case 'prepared':
        this.#finish(transaction, 'commit');
        return;
      case 'committing':
        return;
      case 'finished':
      case 'rolling-back':
        if (transaction.outcome === 'rollback') this.#alarm(gid, 'committed elsewhere, rolled back here');
        else this.#confirm(transaction);
        return;
      case 'waiting':
      case 'refused':
      case 'applying':
        this.#alarm(gid, 'decided without the vote of this node');
        return;
    }
  }

  #finish(transaction: ForeignTransaction, finish: Finish): void {
    transaction.state = finish === 'commit' ? 'committing' : 'rolling-back';
    transaction.outcome = finish;
    if (finish === 'commit') this.#context.onCommitOrdered(transaction.gid);
    this.#context.emit({ kind: 'finish', gid: transaction.gid, finish });
  }

  finishEnded(gid: Gid): void {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined) return;
    this.#doubts.executed(transaction);
    if (transaction.state === 'rolling-back') {
      this.#becomeUnprepared(transaction);
    } else {
      transaction.state = 'finished';
      this.#confirm(transaction);
    }
  }

  finishedEverywhere(gid: Gid): void {
    const transaction = this.#transactions.get(gid);
    this.#never.delete(gid);
    if (transaction !== undefined && transaction.state === 'finished') this.#transactions.delete(gid);
  }

  /** Of unknown fate: prepared by another process, and the coordinator may have acknowledged it since. */
  recoveredPrepared(gid: Gid): void {
    const transaction = newForeignTransaction(gid, parseGid(gid)!.node, 'prepared');
    this.#transactions.set(gid, transaction);
    this.#doubts.begin(transaction);
  }

  /** Committed here by another process; whether all have it is not known. */
  recoveredCommitted(gid: Gid): void {
    const transaction = newForeignTransaction(gid, parseGid(gid)!.node, 'finished');
    transaction.outcome = 'commit';
    transaction.owed = 'finished';
    this.#transactions.set(gid, transaction);
    this.#context.onCommitOrdered(gid);
  }

  coordinatorLost(node: NodeId): void {
    this.#doubts.coordinatorLost(node);
  }

  leaseLost(): void {
    this.#doubts.leaseLost(this.#transactions.values());
  }

  leaseGained(): void {
    for (const node of this.#doubts.leaseGained()) this.#ask(node);
  }

  /** What it said before it was lost may be out of date: it is asked anew. */
  coordinatorBack(node: NodeId): void {
    this.#doubts.coordinatorBack(node);
    this.#ask(node);
  }

  #ask(node: NodeId): void {
    const gids: Gid[] = [];
    for (const { gid, coordinator, state } of this.#transactions.values()) {
      if (coordinator === node && state === 'prepared') gids.push(gid);
    }
    if (gids.length > 0)
      this.#context.emit({ kind: 'send', to: node, message: { kind: 'fate-question', gids } });
  }

  /** A link to or from the node is new: what may have been lost is said, or asked, again. */
  linkRenewed(node: NodeId, incarnation: number): void {
    for (const transaction of this.#transactions.values()) {
      if (transaction.coordinator !== node) continue;
      const orphaned = parseGid(transaction.gid)?.incarnation !== incarnation;
      if (transaction.state === 'finished') this.#confirm(transaction);
      else if (orphaned) this.#forgetUnprepared(transaction);
      else if (transaction.state === 'refused') this.#vote(transaction);
    }
    this.#ask(node);
  }

  /**
   * Its coordinator restarted before this node voted: without that vote it can never commit, so it ends here.
   */
  #forgetUnprepared(transaction: ForeignTransaction): void {
    const { state } = transaction;
    if (state === 'waiting' || state === 'refused') {
      this.#giveUp(transaction);
    } else if (state === 'applying' && transaction.owed === 'vote') {
      transaction.owed = 'rolled-back';
      this.#rollBack(transaction, gatewayRefusal('40001', 'its coordinator restarted', true));
    }
  }

  /** No record is needed: only the promise remains. */
  #giveUp(transaction: ForeignTransaction): void {
    this.#leaveWaiting(transaction);
    this.#transactions.delete(transaction.gid);
    this.#never.add(transaction.gid);
  }

  /** Its coordinator lives and has not decided: it will tell. */
  stillOpen(gid: Gid): void {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined) return;
    this.#doubts.stillOpen(transaction);
    if (transaction.state === 'prepared') this.#vote(transaction);
  }

  /** The answer is a promise: what is not prepared now never will be (invariant 7). */
  fate(gid: Gid): Fate | 'later' {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined) {
      this.#never.add(gid);
      return 'never';
    }
    switch (transaction.state) {
      case 'prepared':
        return 'prepared';
      case 'committing':
        return 'committed';
      case 'finished':
        return transaction.outcome === 'commit' ? 'committed' : 'never';
      case 'waiting':
      case 'refused':
        this.#giveUp(transaction);
        return 'never';
      case 'applying':
      case 'rolling-back':
        return 'later'; // its end is not known yet; the question is kept until it is
    }
  }

  #alarm(gid: Gid, text: string): void {
    this.#context.emit({ kind: 'alarm', gid, text });
  }
}
