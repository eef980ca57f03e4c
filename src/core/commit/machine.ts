/**
 * The commit machine of one node for one generation: routes events to its coordinator and participant sides
 * and judges conflicts between them. Pure: `step(event)` returns the effects in the order in which they must
 * be executed. The simulation runs this very code.
 *
 * Its life: it works; `frozen` (the node votes for a higher generation): nothing undecided moves on; `quiet`
 * (nothing that could still become prepared or rolled back is on its way), then its `holdings` go into the
 * vote; `settled` by the record of a higher generation. What it must never do: let a vote, an abort or a
 * rollback count after `frozen`.
 *
 * Conflicts (architecture §3): a transaction T that is applied here waits for a lock of H. Both are
 * undecided, so one must give way, and every node that sees the pair must pick the same one without talking:
 * the older wins (`comparePriority`).
 */
import { comparePriority } from '../identity.ts';
import type { Gid, NodeId, Priority, Refusal } from '../identity.ts';
import type { Holdings } from '../generation/record.ts';
import type { PeerMessage } from '../peer/message.ts';
import { assert, unreachable } from '../../lib/assert.ts';
import { Coordinator } from './coordinator.ts';
import type { CommitEffect, CommitEvent, Holder } from './event.ts';
import { Participant } from './participant.ts';
import { chainRefusal, cancelRefusal, conflictRefusal, lockRefusal, undecodable } from './refusal.ts';

/** How long a transaction waits for a session that waits itself, ms. */
const chainPatienceMs = 20;

/** The floor of a node that began nothing in the generation: nobody needs to be told. */
const firstFloor = 1;

export type DeadlockPrevention = 'off' | 'simple' | 'smart';

export interface CommitOptions {
  readonly self: NodeId;
  /** The number of the generation that every gid here is stamped with. */
  readonly generation: number;
  /** M: the members of the generation, ascending, self included. */
  readonly members: readonly NodeId[];
  /** N − majority + 1 of the configured nodes. */
  readonly blockingSize: number;
  readonly waitPeerCommits: boolean;
  readonly retainBytes: number;
  readonly deadlockPrevention: DeadlockPrevention;
  /** How long an applied transaction waits for a local session that holds its lock, ms. */
  readonly blockerTimeoutMs: number;
}

export class CommitMachine {
  readonly #options: CommitOptions;
  readonly #coordinator: Coordinator;
  readonly #participant: Participant;
  readonly #incarnations = new Map<NodeId, number>();
  readonly #unconfirmed = new Set<Gid>();
  /** News about gids that are finished everywhere, by the member that is to be told at the next tick. */
  readonly #finishedEverywhere = new Map<NodeId, Gid[]>();
  /** The floor that the member was told last, since its link came up. */
  readonly #toldFloor = new Map<NodeId, number>();
  readonly #others: readonly NodeId[];
  #frozen = false;
  #settled = false;
  #effects: CommitEffect[] = [];

  constructor(options: CommitOptions) {
    this.#options = options;
    const emit = (effect: CommitEffect): void => void this.#effects.push(effect);
    const onCommitOrdered = (gid: Gid): void => void this.#unconfirmed.add(gid);
    this.#others = options.members.filter((member) => member !== options.self);
    this.#coordinator = new Coordinator(options, {
      emit,
      unconfirmed: () => [...this.#unconfirmed],
      onCommitOrdered,
      onFinishedEverywhere: (gid) => {
        this.#unconfirmed.delete(gid);
        for (const member of this.#others) this.#tellFinished(member, gid);
      },
      onFinishedAgain: (gid, from) => this.#tellFinished(from, gid),
    });
    const committedHere = (gid: Gid): boolean => this.#committedHere(gid);
    this.#participant = new Participant({ emit, committedHere, onCommitOrdered });
  }

  /**
   * Transactions of this node that are not finished everywhere, and those of others that are not finished
   * here; and the bytes of their changes that wait until what they depend on is committed here.
   */
  get openTransactions(): { readonly own: number; readonly foreign: number; readonly keptBytes: number } {
    const { size, keptBytes } = this.#participant;
    return { own: this.#coordinator.size, foreign: size, keptBytes };
  }

  /** Every transaction that is not finished on all nodes, as far as this node knows. */
  openGids(): Gid[] {
    return [...this.#coordinator.gids(), ...this.#participant.gids()];
  }

  isOpen(gid: Gid): boolean {
    return this.#coordinator.has(gid) || this.#participant.has(gid);
  }

  get generation(): number {
    return this.#options.generation;
  }

  get frozen(): boolean {
    return this.#frozen;
  }

  /** Frozen, and no apply, no PREPARE of this node and no rollback is on its way: the node may vote. */
  get quiet(): boolean {
    return this.#frozen && this.#coordinator.ending.quiet && this.#participant.quiet;
  }

  /** The record of a higher generation is executed here. */
  get settled(): boolean {
    return this.#settled && !this.#coordinator.ending.finishing && !this.#participant.finishing;
  }

  /** Sessions that still wait for an answer. */
  get answersOwed(): number {
    return this.#coordinator.ending.answersOwed;
  }

  /**
   * What a vote tells: to be asked while quiet. A gid that is finished everywhere is in neither list, nor is
   * a transaction without changes, which no other node has.
   */
  holdings(): Holdings {
    assert(this.quiet || this.#settled, 'holdings are certain only when nothing is on its way');
    const prepared: Gid[] = [];
    const committed: Gid[] = [];
    this.#coordinator.ending.addHoldings(prepared, committed);
    this.#participant.addHoldings(prepared, committed);
    return { prepared, committed };
  }

  /** Prepared or committed here; false also for what was finished everywhere and is forgotten. */
  holds(gid: Gid): boolean {
    return this.#coordinator.ending.holds(gid) || this.#participant.holds(gid);
  }

  /** Executes one event; the returned effects are to be executed in their order. */
  step(event: CommitEvent): readonly CommitEffect[] {
    this.#effects = [];
    this.#handle(event);
    return this.#effects;
  }

  #handle(event: CommitEvent): void {
    switch (event.kind) {
      case 'prepare-sent':
        return this.#coordinator.prepareSent(event.gid, event.startTime);
      case 'prepare-returned':
        return this.#coordinator.prepareReturned(event.gid, event.early === true);
      case 'prepare-failed':
        return this.#coordinator.prepareFailed(event.gid);
      case 'prepare-lost':
        return this.#coordinator.prepareLost(event.gid);
      case 'held-open':
        return this.#coordinator.heldOpen(event.gid);
      case 'open-lost':
        return this.#coordinator.openLost(event.gid, event.refusal);
      case 'client-cancelled':
        this.#coordinator.refuse(event.gid, cancelRefusal(this.#options.self));
        return undefined;
      case 'capture-failed':
        this.#coordinator.refuse(event.gid, event.refusal);
        return undefined;
      case 'captured':
        // It rides along with what is about to be sent, and so the newcomer carries fewer deps that are none.
        this.#sayFinished();
        return this.#coordinator.captured(event.gid, event.ddl, event.data, event.last);
      case 'capture-blocked':
        this.#coordinator.refuse(event.gid, undecodable);
        return undefined;
      case 'capture-restarted':
        return this.#coordinator.captureRestarted();
      case 'message-received':
        return this.#message(event.from, event.message);
      case 'apply-ended':
        return this.#participant.applyEnded(event.gid, event.result);
      case 'finish-ended':
        return this.#finishEnded(event.gid, event.finish === 'commit');
      case 'apply-blocked':
        return this.#blocked(event.gid, event.ddl, event.holder, event.waitedMs);
      case 'link-up':
        return this.#linkUp(event.node, event.incarnation);
      case 'link-accepted':
        return this.#participant.linkAccepted(event.node);
      case 'link-down':
        return undefined; // what was lost with the link is said again at link-up
      case 'member-lost':
        return this.#coordinator.memberLost(event.node, event.reason);
      case 'member-back':
        return this.#coordinator.memberBack(event.node);
      case 'frozen':
        return this.#freeze();
      case 'settled':
        return this.#settle(event.commits, event.complete);
      case 'released':
        return this.#coordinator.ending.release(event.committed);
      case 'given-up':
        return this.#coordinator.ending.giveUp(event.reason);
      case 'tick':
        this.#noteFloor();
        return this.#sayFinished();
      default:
        return unreachable(event);
    }
  }

  #message(from: NodeId, message: PeerMessage): void {
    switch (message.kind) {
      case 'transaction-start':
        return this.#participant.start(from, message.gid, message.startTime, message.ddl, message.deps);
      case 'transaction-data':
        return this.#participant.data(message.gid, message.offset, message.data);
      case 'transaction-end':
        return this.#participant.end(message.gid);
      case 'vote':
        return this.#coordinator.vote(from, message.gid, message.refusal);
      case 'rollback-request':
        return this.#participant.rollbackRequested(from, message.gid);
      case 'rolled-back':
        return this.#coordinator.rolledBack(from, message.gid);
      case 'outcome':
        return this.#participant.outcome(from, message.gid, message.outcome);
      case 'finished':
        return this.#coordinator.finished(from, message.gid);
      case 'finished-everywhere':
        for (const gid of message.gids) {
          this.#unconfirmed.delete(gid);
          this.#participant.finishedEverywhere(gid);
        }
        return undefined;
      case 'refuse-request':
        this.#coordinator.refuse(message.gid, conflictRefusal(message.gid, message.winner, from));
        return undefined;
      default:
        return undefined; // not this machine's
    }
  }

  #finishEnded(gid: Gid, committed: boolean): void {
    if (this.#coordinator.has(gid)) this.#coordinator.homeFinished(gid);
    else this.#participant.finishEnded(gid);
    if (committed) this.#participant.depCommitted(gid);
  }

  #committedHere(gid: Gid): boolean {
    if (this.#coordinator.has(gid)) return this.#coordinator.committedAtHome(gid);
    return this.#participant.commitState(gid) !== 'pending';
  }

  #linkUp(node: NodeId, incarnation: number): void {
    const former = this.#incarnations.get(node);
    this.#incarnations.set(node, incarnation);
    this.#toldFloor.delete(node); // it may have been lost with the former link
    const restarted = former !== undefined && former !== incarnation;
    this.#coordinator.linkUp(node, restarted);
    this.#participant.linkUp(node);
  }

  #freeze(): void {
    if (this.#frozen) return;
    this.#frozen = true;
    this.#coordinator.ending.freeze();
    this.#participant.freeze();
  }

  #settle(commits: ReadonlySet<Gid>, complete: boolean): void {
    assert(this.quiet, 'a generation is settled when nothing of it is on its way');
    assert(!this.#settled, 'a generation is settled once');
    this.#settled = true;
    this.#coordinator.ending.settle(commits, complete);
    this.#participant.settle(commits, complete);
  }

  #blocked(gid: Gid, ddl: boolean, holder: Holder, waitedMs: number): void {
    const waiter = this.#participant.priority(gid);
    if (waiter === undefined || this.#participant.state(gid) !== 'applying') return;
    const waiting: Priority = { ddl: ddl || waiter.ddl, startTime: waiter.startTime, gid };
    const { deadlockPrevention: mode, blockerTimeoutMs } = this.#options;
    const expired = waitedMs >= blockerTimeoutMs;
    if (mode === 'off' && !expired) return;
    if (holder.kind === 'session') this.#blockedBySession(waiting, holder, waitedMs);
    else if (mode === 'simple') this.#refuseWaiter(waiting, holder.gid);
    else this.#blockedByTransaction(waiting, holder.gid, expired);
  }

  /**
   * An older transaction ends the session's; a younger one waits for it, but not for ever, and hardly at all
   * when the session waits itself: such chains close to circles over several nodes, which no node can see.
   */
  #blockedBySession(waiter: Priority, holder: Extract<Holder, { kind: 'session' }>, waitedMs: number): void {
    const expired = waitedMs >= this.#options.blockerTimeoutMs;
    if (holder.startTime === undefined) {
      if (expired) this.#refuse(waiter.gid, lockRefusal(waiter.gid, this.#options.self, holder));
      return;
    }
    const older = waiter.ddl || waiter.startTime < holder.startTime;
    if (older || holder.mutual || expired) {
      this.#effects.push({ kind: 'interrupt-session', pid: holder.pid, winner: waiter.gid });
    } else if (holder.waiting && waitedMs >= chainPatienceMs) {
      this.#refuse(waiter.gid, chainRefusal(waiter.gid, this.#options.self));
    }
  }

  #blockedByTransaction(waiter: Priority, holderGid: Gid, expired: boolean): void {
    const own = this.#coordinator.priority(holderGid);
    const foreign = this.#participant.priority(holderGid);
    const held = own ?? foreign;
    if (held === undefined) {
      // A prepared transaction that is not ours, such as a client's own: nobody here can decide about it.
      const prepared = { prepared: holderGid };
      if (expired) this.#refuse(waiter.gid, lockRefusal(waiter.gid, this.#options.self, prepared));
      return;
    }
    if (own !== undefined ? !this.#coordinator.undecided(holderGid) : !this.#undecidedHere(holderGid)) return;
    if (comparePriority(waiter, held) > 0) {
      this.#refuseWaiter(waiter, holderGid);
    } else if (own !== undefined) {
      this.#coordinator.refuse(holderGid, conflictRefusal(holderGid, waiter.gid, this.#options.self));
    } else if (
      !this.#participant.refuse(holderGid, conflictRefusal(holderGid, waiter.gid, this.#options.self))
    ) {
      const to = this.#participant.coordinatorOf(holderGid)!;
      this.#send(to, { kind: 'refuse-request', gid: holderGid, winner: waiter.gid });
    }
  }

  #undecidedHere(gid: Gid): boolean {
    const state = this.#participant.state(gid);
    return state === 'applying' || state === 'prepared';
  }

  #refuseWaiter(waiter: Priority, winner: Gid): void {
    this.#refuse(waiter.gid, conflictRefusal(waiter.gid, winner, this.#options.self));
  }

  #refuse(gid: Gid, refusal: Refusal): void {
    this.#participant.refuse(gid, refusal);
  }

  #tellFinished(member: NodeId, gid: Gid): void {
    const gids = this.#finishedEverywhere.get(member);
    if (gids === undefined) this.#finishedEverywhere.set(member, [gid]);
    else gids.push(gid);
  }

  /**
   * A transaction that ends without a word to the others raises the floor too, and their retained slots wait
   * for that. What is told of an ended generation moves no slot.
   */
  #noteFloor(): void {
    if (this.#frozen) return;
    const { floor } = this.#coordinator;
    for (const member of this.#others) {
      const told = this.#toldFloor.get(member) ?? firstFloor;
      if (floor > told && !this.#finishedEverywhere.has(member)) this.#finishedEverywhere.set(member, []);
    }
  }

  #sayFinished(): void {
    if (this.#finishedEverywhere.size === 0) return;
    const { generation } = this.#options;
    const { floor } = this.#coordinator;
    for (const [member, gids] of this.#finishedEverywhere) {
      this.#send(member, { kind: 'finished-everywhere', gids, generation, floor });
      this.#toldFloor.set(member, floor);
    }
    this.#finishedEverywhere.clear();
  }

  #send(to: NodeId, message: PeerMessage): void {
    this.#effects.push({ kind: 'send', to, message });
  }
}
