/**
 * The commit machines of a node: the one of the generation in which it is online, those of ended generations
 * that still owe answers, what a former process left, and the memory of outcomes.
 *
 * Rules: a gid goes to the machine of the generation that it is stamped with, or to nobody. A generation that
 * is frozen stays so; it is settled by one record and forgotten when all members of a newer generation are
 * online.
 */
import { assert } from '../../lib/assert.ts';
import type { CommitEffect, CommitEvent } from '../commit/event.ts';
import type { Leftovers } from '../commit/leftovers.ts';
import type { CommitMachine, CommitOptions } from '../commit/machine.ts';
import type { Floor, OutcomeMemory } from '../commit/outcome-memory.ts';
import type { Generation } from '../generation/liveness-event.ts';
import { blockingSize } from '../generation/quorum.ts';
import type { Holdings } from '../generation/record.ts';
import type { Gid, NodeId } from '../identity.ts';
import type { PeerMessage } from '../peer/message.ts';
import { Floors, type Syncpoint } from './floors.ts';
import type { GidEvent } from './node-event.ts';

/** What is the same in every generation. */
export type CommitSettings = Omit<CommitOptions, 'generation' | 'members' | 'blockingSize'>;
export type MachineMaker = (options: CommitOptions) => CommitMachine;

/** What has become of a transaction; to users a forgotten one is unknown (mtm.transaction_outcome). */
export type KnownOutcome = 'committed' | 'aborted' | 'in doubt' | 'unknown' | 'forgotten';

interface Closing {
  readonly machine: CommitMachine;
  settled: boolean;
}

export class Machines {
  readonly #settings: CommitSettings;
  readonly #make: MachineMaker;
  readonly #memory: OutcomeMemory;
  readonly #emit: (effect: CommitEffect) => void;
  /** One of two nodes may go on alone with what it holds, so both must have rolled back. */
  readonly #referee: boolean;
  #leftovers: Leftovers | undefined;
  #leftoversSettled = false;
  #current: CommitMachine | undefined;
  #floors: Floors | undefined;
  #closing: Closing[] = [];

  constructor(
    settings: CommitSettings,
    make: MachineMaker,
    leftovers: Leftovers,
    memory: OutcomeMemory,
    emit: (effect: CommitEffect) => void,
    referee: boolean,
  ) {
    this.#settings = settings;
    this.#make = make;
    this.#leftovers = leftovers;
    this.#memory = memory;
    this.#emit = emit;
    this.#referee = referee;
  }

  get current(): CommitMachine | undefined {
    return this.#current;
  }

  get floors(): Floors | undefined {
    return this.#floors;
  }

  /** Something older is not finished everywhere, as far as this node knows. */
  get owing(): boolean {
    return this.#closing.length > 0 || this.#leftovers !== undefined;
  }

  // ---- the life of a generation

  /** The node is online in the generation. */
  open(generation: Generation): CommitMachine {
    assert(this.#current === undefined, 'a node is online in one generation');
    const { number, members, configured } = generation;
    this.#floors = new Floors(number);
    this.#current = this.#make({
      ...this.#settings,
      generation: number,
      members,
      blockingSize: this.#referee ? members.length : blockingSize(configured.length),
    });
    return this.#current;
  }

  /** The generation is over for this node. */
  freeze(): void {
    const machine = this.#current;
    if (machine === undefined) return;
    this.#current = undefined;
    this.#floors = undefined;
    this.#closing.push({ machine, settled: false });
    this.#step(machine, { kind: 'frozen' });
  }

  /** Nothing that could still become prepared or rolled back is on its way. */
  get quiet(): boolean {
    return this.#closing.every(({ machine, settled }) => settled || machine.quiet);
  }

  /** Of all generations; `carried`: commits of a record that this node has executed. */
  holdings(carried: Iterable<Gid>): Holdings {
    const prepared = new Set<Gid>();
    const committed = new Set<Gid>(carried);
    const holders = this.#closing.map(({ machine }) => machine.holdings());
    if (this.#leftovers !== undefined) holders.push(this.#leftovers.holdings());
    for (const held of holders) {
      for (const gid of held.prepared) prepared.add(gid);
      for (const gid of held.committed) committed.add(gid);
    }
    return { prepared: [...prepared], committed: [...committed] };
  }

  /** Prepared or committed here, or finished everywhere and forgotten. */
  holds(gid: Gid): boolean {
    if (this.#memory.isKnown(gid) || this.#leftovers?.holds(gid) === true) return true;
    return this.#closing.some(({ machine }) => machine.holds(gid));
  }

  /**
   * A record decides about everything older. `complete`: what it does not list is aborted; otherwise
   * everything prepared is rolled back and comes again from a donor. Needs `quiet`.
   */
  settle(commits: ReadonlySet<Gid>, complete: boolean): void {
    for (const closing of this.#closing) {
      if (closing.settled) continue;
      closing.settled = true;
      this.#step(closing.machine, { kind: 'settled', commits, complete });
    }
    if (this.#leftovers === undefined || this.#leftoversSettled) return;
    this.#leftoversSettled = true;
    for (const effect of this.#leftovers.settle(commits, complete)) this.#emit(effect);
  }

  /** Everything that `settle` ordered is executed. */
  get settled(): boolean {
    if (this.#leftovers !== undefined && !(this.#leftoversSettled && this.#leftovers.settled)) return false;
    return this.#closing.every(({ machine, settled }) => settled && machine.settled);
  }

  /** All members of the present generation are online: everything older is finished everywhere. */
  release(): void {
    assert(this.#current !== undefined && this.settled, 'what is released was settled');
    this.#leftovers = undefined;
    const closing = this.#closing;
    this.#closing = [];
    for (const { machine } of closing) this.#step(machine, { kind: 'released', committed: this.#memory });
  }

  /** The floor of what was seen before the syncpoint, if that is finished everywhere (NodeMachine). */
  passedFloor(self: NodeId, syncpoint: Syncpoint): Floor | 'void' | undefined {
    const floors = this.#floors;
    if (floors === undefined || this.#current === undefined || floors.generation !== syncpoint.generation)
      return 'void';
    floors.ownFloor(self, this.#current.openGids());
    const counters = floors.passed(syncpoint);
    return counters === undefined ? undefined : { generation: syncpoint.generation, counters };
  }

  /** Nobody waits any longer for nodes that are not there. */
  giveUp(reason: string): void {
    this.broadcast({ kind: 'given-up', reason });
  }

  // ---- events

  /** To every machine: what belongs to no gid. */
  broadcast(event: CommitEvent): void {
    for (const { machine } of this.#closing) this.#step(machine, event);
    if (this.#current !== undefined) this.#step(this.#current, event);
  }

  /** To the machine of the generation that is being worked in. */
  toCurrent(event: CommitEvent): void {
    if (this.#current !== undefined) this.#step(this.#current, event);
  }

  gidEvent(event: GidEvent): void {
    const { gid } = event;
    if (event.kind === 'finish-ended') {
      if (event.finish === 'commit') this.#memory.committed(gid);
      if (this.#leftovers?.finishEnded(gid) === true) return;
    }
    if (event.kind === 'prepare-sent') this.#floors?.seen(gid);
    const machine = this.#machineOf(stampOf(gid));
    if (machine !== undefined) this.#step(machine, event);
  }

  /**
   * A peer's message about a transaction. One of a generation that this node has no part in is dropped: of an
   * older one nothing is prepared, confirmed or executed any more but by a record, and of a newer one nobody
   * begins a transaction before this node has said that it is online in it.
   */
  message(from: NodeId, message: PeerMessage): void {
    if (message.kind === 'finished-everywhere') {
      this.#floors?.told(from, message.generation, message.floor);
      this.#route(message.generation, from, message);
      return;
    }
    if (!('gid' in message)) return;
    if (message.kind === 'transaction-start') this.#floors?.seen(message.gid);
    this.#route(stampOf(message.gid), from, message);
  }

  #route(generation: number, from: NodeId, message: PeerMessage): void {
    const machine = this.#machineOf(generation);
    if (machine !== undefined) this.#step(machine, { kind: 'message-received', from, message });
  }

  #machineOf(generation: number): CommitMachine | undefined {
    if (this.#current?.generation === generation) return this.#current;
    return this.#closing.find(({ machine }) => machine.generation === generation)?.machine;
  }

  #step(machine: CommitMachine, event: CommitEvent): void {
    for (const effect of machine.step(event)) this.#emit(effect);
  }

  // ---- questions

  /** Not finished everywhere, or of a fate that is not known yet. */
  isOpen(gid: Gid): boolean {
    const left = this.#leftovers;
    if (left !== undefined && (left.holdings().prepared.includes(gid) || left.isFinishing(gid))) return true;
    return this.#machineOf(stampOf(gid))?.isOpen(gid) === true;
  }

  /** Transactions that are not finished: own, foreign, and what a former process left. */
  get openTransactions(): CommitMachine['openTransactions'] & { readonly left: number } {
    let own = 0;
    let foreign = 0;
    let keptBytes = 0;
    const machines = this.#closing.map(({ machine }) => machine);
    if (this.#current !== undefined) machines.push(this.#current);
    for (const machine of machines) {
      const open = machine.openTransactions;
      own += open.own;
      foreign += open.foreign;
      keptBytes += open.keptBytes;
    }
    return { own, foreign, keptBytes, left: this.#leftovers?.size ?? 0 };
  }
}

/** The generation of a gid (`mtm:<node>:<generation>:…`), 0 when it is none: on the way of every message. */
export function stampOf(gid: Gid): number {
  const start = gid.indexOf(':', 4) + 1;
  if (start === 0) return 0;
  const stamp = Number(gid.slice(start, gid.indexOf(':', start)));
  return Number.isSafeInteger(stamp) ? stamp : 0;
}
