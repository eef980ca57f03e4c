/**
 * The member's side of one node in one generation: every transaction of another node, from its first byte to
 * its executed outcome. The states are those of foreign-transaction.ts.
 *
 * Rules: a transaction is applied only after all its deps are committed here (invariant 6); a YES is sent
 * only after PREPARE has returned; after the node has voted NO on a gid, or confirmed its rollback, it never
 * prepares it (invariant 7). After `freeze` nothing is prepared, refused or confirmed as rolled back any
 * more; a commit that is decided is executed.
 */
import type { Gid, NodeId, Refusal } from '../identity.ts';
import { ApplyFeed } from './apply-feed.ts';
import { DependencyQueue } from './dependency-queue.ts';
import type { ApplyResult, CommitEffect, Finish } from './event.ts';
import { newForeignTransaction, type ForeignState, type ForeignTransaction } from './foreign-transaction.ts';
import { gatewayRefusal, generationEnded } from './refusal.ts';

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
  readonly #waitingFor = new DependencyQueue();
  readonly #feed: ApplyFeed;
  #frozen = false;
  #settled = false;

  constructor(context: ParticipantContext) {
    this.#context = context;
    this.#feed = new ApplyFeed(context.emit);
  }

  get size(): number {
    return this.#transactions.size;
  }

  /** Bytes of changes that wait for the deps of their transactions. */
  get keptBytes(): number {
    return this.#feed.keptBytes;
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
    if (this.#frozen) return;
    const known = this.#transactions.get(gid);
    if (known !== undefined) {
      if (known.state === 'prepared' || known.state === 'refused') this.#vote(known);
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
    if (transaction !== undefined && !this.#frozen) this.#feed.push(transaction, offset, data);
  }

  end(gid: Gid): void {
    const transaction = this.#transactions.get(gid);
    if (transaction !== undefined && !this.#frozen) this.#feed.end(transaction);
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
    if (this.#frozen) {
      transaction.state = 'refused';
    } else if (transaction.owed === 'vote') {
      transaction.state = 'refused';
      this.#vote(transaction);
    } else {
      transaction.state = 'finished';
      transaction.outcome = 'rollback';
      this.#confirm(transaction);
    }
  }

  #vote(transaction: ForeignTransaction): void {
    if (this.#frozen) return;
    const { gid, coordinator, refusal } = transaction;
    this.#context.emit({ kind: 'send', to: coordinator, message: { kind: 'vote', gid, refusal } });
  }

  #confirm(transaction: ForeignTransaction): void {
    if (this.#settled || (this.#frozen && transaction.outcome !== 'commit')) return;
    const { gid, coordinator, owed } = transaction;
    const kind = owed === 'rolled-back' ? 'rolled-back' : 'finished';
    this.#context.emit({ kind: 'send', to: coordinator, message: { kind, gid } });
  }

  /** This node refuses a transaction that it is applying: an older one needs the locks. */
  refuse(gid: Gid, refusal: Refusal): boolean {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined || transaction.state !== 'applying' || this.#frozen) return false;
    this.#context.emit({ kind: 'cancel-apply', gid, refusal });
    return true;
  }

  rollbackRequested(from: NodeId, gid: Gid): void {
    if (this.#frozen) return;
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
    this.#feed.forget(transaction);
  }

  /** The decision, from the coordinator. */
  outcome(from: NodeId, gid: Gid, outcome: 'commit' | 'abort'): void {
    let transaction = this.#transactions.get(gid);
    if (this.#frozen && (this.#settled || transaction === undefined || outcome === 'abort')) return;
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
    if (transaction.state === 'rolling-back') {
      this.#becomeUnprepared(transaction);
    } else {
      transaction.state = 'finished';
      this.#confirm(transaction);
    }
  }

  finishedEverywhere(gid: Gid): void {
    const transaction = this.#transactions.get(gid);
    if (transaction !== undefined && transaction.state === 'finished') this.#transactions.delete(gid);
  }

  /** The outgoing link to the node is new: what may have been lost with the former is said again. */
  linkUp(node: NodeId): void {
    for (const transaction of this.#transactions.values()) {
      if (transaction.coordinator !== node) continue;
      const { state } = transaction;
      if (state === 'finished') this.#confirm(transaction);
      else if (state === 'refused' || state === 'prepared') this.#vote(transaction);
    }
  }

  /** "Finished everywhere" is said once; who confirms again hears it again. */
  linkAccepted(node: NodeId): void {
    for (const transaction of this.#transactions.values()) {
      if (transaction.coordinator === node && transaction.state === 'finished') this.#confirm(transaction);
    }
  }

  /** The generation is over: nothing is applied any more, and nobody is told of what ends now. */
  freeze(): void {
    this.#frozen = true;
    for (const transaction of this.#transactions.values()) {
      const { gid, state } = transaction;
      if (state === 'applying') this.#context.emit({ kind: 'cancel-apply', gid, refusal: generationEnded });
      if (state !== 'waiting') continue;
      this.#leaveWaiting(transaction);
      transaction.state = 'refused';
    }
  }

  /** No PREPARE and no rollback is on its way. */
  get quiet(): boolean {
    for (const { state } of this.#transactions.values()) {
      if (state === 'applying' || state === 'rolling-back') return false;
    }
    return true;
  }

  /** COMMIT PREPARED or ROLLBACK PREPARED is on its way. */
  get finishing(): boolean {
    for (const { state } of this.#transactions.values()) {
      if (state === 'committing' || state === 'rolling-back') return true;
    }
    return false;
  }

  /** What is prepared or committed here; `committing` counts as committed, for that is decided. */
  addHoldings(prepared: Gid[], committed: Gid[]): void {
    for (const { gid, state, outcome } of this.#transactions.values()) {
      if (state === 'prepared') prepared.push(gid);
      else if (state === 'committing' || (state === 'finished' && outcome === 'commit')) committed.push(gid);
    }
  }

  holds(gid: Gid): boolean {
    const transaction = this.#transactions.get(gid);
    if (transaction === undefined) return false;
    const { state, outcome } = transaction;
    return state === 'prepared' || state === 'committing' || (state === 'finished' && outcome === 'commit');
  }

  /** The record of a higher generation has decided; see 'settled' in event.ts. */
  settle(commits: ReadonlySet<Gid>, complete: boolean): void {
    this.#settled = true;
    for (const transaction of this.#transactions.values()) {
      if (transaction.state !== 'prepared') continue;
      this.#finish(transaction, complete && commits.has(transaction.gid) ? 'commit' : 'rollback');
    }
  }

  #alarm(gid: Gid, text: string): void {
    this.#context.emit({ kind: 'alarm', gid, text });
  }
}
