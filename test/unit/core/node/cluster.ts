/**
 * Several node machines with a network, stores and servers that do what they are told at once or a little
 * later: enough of a world to see generations come and go. A server here is a list of prepared transactions
 * and a history of commits and marks; a crash loses what a store had not written.
 */
import type { ApplyResult } from '../../../../src/core/commit/event.ts';
import { lowestFloor } from '../../../../src/core/commit/outcome-memory.ts';
import { HybridClock } from '../../../../src/core/generation/hybrid-clock.ts';
import {
  isFulfilled,
  nodesOf,
  type ConfigurationWish,
} from '../../../../src/core/generation/configuration.ts';
import {
  ballotOf,
  freshState,
  type DurableChange,
  type DurableState,
} from '../../../../src/core/generation/record.ts';
import type { Gid, NodeId } from '../../../../src/core/identity.ts';
import type { NodeEffect, NodeEvent } from '../../../../src/core/node/node-event.ts';
import { assert } from '../../../../src/lib/assert.ts';
import { NodeMachine } from '../../../../src/core/node/node-machine.ts';
import type { NodeOptions } from '../../../../src/core/node/node-options.ts';
import type { PeerMessage } from '../../../../src/core/peer/message.ts';

export const sendTimeoutMs = 200;
export const recvTimeoutMs = 2000;
const stepMs = 10;

type Entry =
  { readonly kind: 'commit'; readonly gid: Gid } | { readonly kind: 'mark'; readonly number: number };

/** What survives the process. */
export interface Disk {
  state: DurableState;
  readonly prepared: Set<Gid>;
  readonly history: Entry[];
  incarnation: number;
}

export class Node {
  readonly id: NodeId;
  readonly disk: Disk = { state: freshState(), prepared: new Set(), history: [], incarnation: 0 };
  machine: NodeMachine | undefined;
  readonly answers = new Map<Gid, string>();
  status = '';
  readonly statuses: string[] = [];
  counter = 0;
  /** What waits for a process that stands still. */
  inbox: NodeEvent[] | undefined;
  replay: { readonly donor: NodeId; next: number; target: number | undefined; mark: number } | undefined;
  readonly alarms: string[] = [];

  constructor(id: NodeId) {
    this.id = id;
  }

  get committed(): Gid[] {
    return this.disk.history.flatMap((entry) => (entry.kind === 'commit' ? [entry.gid] : []));
  }
}

interface Pending {
  readonly at: number;
  readonly run: () => void;
}

export class Cluster {
  readonly nodes: Node[];
  readonly #first: readonly NodeId[];
  now = 0;
  /** True for a pair between which nothing gets through, in this direction. */
  cut: (from: NodeId, to: NodeId) => boolean = () => false;
  /** Transactions that are applied nowhere but stay on their way. */
  holdApply = false;
  /** Called after every step of time. */
  watch: () => void = () => undefined;
  random: () => number = () => 0.5;
  #pending: Pending[] = [];

  /** Options beside the usual ones. */
  readonly #more: Partial<NodeOptions>;
  /** What the nodes order beside the usual things. */
  carryOut: (node: Node, effect: NodeEffect) => void = () => undefined;

  constructor(size: number, more: Partial<NodeOptions> = {}) {
    this.#more = more;
    this.nodes = Array.from({ length: size }, (_, index) => new Node(index + 1));
    this.#first = this.ids;
  }

  node(id: NodeId): Node {
    return this.nodes[id - 1]!;
  }

  get ids(): NodeId[] {
    return this.nodes.map(({ id }) => id);
  }

  #later(ms: number, run: () => void): void {
    this.#pending.push({ at: this.now + ms, run });
  }

  start(...ids: NodeId[]): void {
    for (const id of ids) {
      const node = this.node(id);
      const { disk } = node;
      disk.incarnation += 1;
      node.counter = 0;
      node.machine = new NodeMachine({
        self: id,
        configured: this.#first.includes(id) ? this.#first : this.ids,
        incarnation: disk.incarnation,
        sendTimeoutMs,
        recvTimeoutMs,
        clock: new HybridClock(),
        now: this.now,
        state: disk.state,
        prepared: [...disk.prepared],
        committed: node.committed,
        empty: [],
        floor: lowestFloor,
        commit: {
          self: id,
          waitPeerCommits: true,
          retainBytes: 1e6,
          deadlockPrevention: 'smart',
          blockerTimeoutMs: 1000,
        },
        ...this.#more,
      });
      this.step(node, { kind: 'local-health-changed', now: this.now, health: { healthy: true } });
      for (const other of this.nodes) {
        if (other === node || other.machine === undefined) continue;
        this.#introduce(node, other);
        this.#introduce(other, node);
      }
    }
  }

  /** A new node whose server is a copy of that of `source`, everything in which is noted already. */
  copy(id: NodeId, source: NodeId): Node {
    const { state, history } = this.node(source).disk;
    const { chosen } = state;
    assert(chosen?.joining.includes(id) === true, 'a copy is taken after the node was added');
    const node = new Node(id);
    node.disk.state = { ...freshState(), chosen, promised: ballotOf(chosen) };
    node.disk.history.push(...history.filter(({ kind }) => kind === 'commit'));
    this.nodes.splice(id - 1, 1, node);
    return node;
  }

  /** Asks the node for it until it has come true. */
  wish(id: NodeId, wish: ConfigurationWish): void {
    const node = this.node(id);
    this.step(node, { kind: 'configuration-wished', now: this.now, wish });
    this.until(() => isFulfilled(wish, node.machine!.configuration), 5000);
    this.step(node, { kind: 'configuration-wished', now: this.now, wish: undefined });
  }

  /** What was lost in a cut was lost with its link: all links are made anew. */
  relink(): void {
    for (const from of this.nodes) {
      for (const to of this.nodes) {
        if (from === to || from.machine === undefined || to.machine === undefined) continue;
        this.step(from, { kind: 'link-down', now: this.now, to: to.id, reason: 'made anew' });
        this.#introduce(from, to);
      }
    }
  }

  /** A gateway dials whoever is in the cluster, and is let in by those who know it. */
  #link(node: Node, known: readonly NodeId[]): void {
    this.#later(stepMs, () => {
      for (const other of this.nodes) {
        if (other === node || !known.includes(other.id)) continue;
        if (other.machine === undefined || node.machine === undefined) continue;
        this.#introduce(node, other);
        this.#introduce(other, node);
      }
    });
  }

  #introduce(from: Node, to: Node): void {
    const { now } = this;
    this.step(to, { kind: 'peer-introduced', now, from: from.id, incarnation: from.disk.incarnation });
    this.step(from, { kind: 'link-up', now, to: to.id });
  }

  /** The process dies; `seen`: the others' systems tell them so at once. */
  crash(id: NodeId, seen: boolean): void {
    const node = this.node(id);
    node.machine = undefined;
    node.replay = undefined;
    node.inbox = undefined;
    for (const other of this.nodes) {
      if (other.machine === undefined) continue;
      this.step(other, { kind: 'link-down', now: this.now, to: id, reason: 'connection refused' });
      if (seen)
        this.step(other, { kind: 'peer-stopped', now: this.now, from: id, reason: 'its process ended' });
    }
  }

  /** Lets time pass; everything that is due happens in between. */
  run(ms: number): void {
    const end = this.now + ms;
    while (this.now < end) {
      this.now += stepMs;
      const due = this.#pending.filter(({ at }) => at <= this.now);
      this.#pending = this.#pending.filter(({ at }) => at > this.now);
      for (const { run } of due) run();
      for (const node of this.nodes) {
        if (node.machine === undefined || node.inbox !== undefined) continue;
        if (this.now % 50 === 0)
          this.step(node, { kind: 'ticked', now: this.now, wallMs: this.now, random: this.random() });
        this.#replay(node);
      }
      this.watch();
    }
  }

  /** Until `done`, at most `limitMs`; gives the time that it took, or throws what the nodes say of themselves. */
  until(done: () => boolean, limitMs: number): number {
    const begin = this.now;
    while (!done()) {
      if (this.now - begin >= limitMs) {
        throw new Error(
          `not within ${limitMs} ms: ` +
            this.nodes.map(({ id, machine, status }) => `${id}: ${machine ? status : 'down'}`).join(' | '),
        );
      }
      this.run(stepMs);
    }
    return this.now - begin;
  }

  serving(...ids: NodeId[]): boolean {
    return ids.every((id) => this.node(id).machine?.liveness.hasLease(this.now) === true);
  }

  writable(...ids: NodeId[]): boolean {
    return ids.every((id) => this.node(id).machine?.liveness.membersReachable(this.now) === true);
  }

  /** A client of the node commits one row; its answer comes into `answers`. */
  write(id: NodeId): Gid {
    const node = this.node(id);
    const generation = node.machine!.liveness.onlineIn;
    node.counter += 1;
    const gid = `mtm:${id}:${generation}:${node.disk.incarnation}:${node.counter}`;
    this.step(node, { kind: 'prepare-sent', gid, startTime: this.now });
    this.#onServer(node, 2, () => {
      node.disk.prepared.add(gid);
      this.step(node, { kind: 'prepare-returned', gid });
      this.step(node, { kind: 'captured', gid, ddl: false, data: new Uint8Array(8), last: true });
    });
    return gid;
  }

  /** Something that the process of now has ordered; it is done even if nobody waits for it any more. */
  #onServer(node: Node, ms: number, run: () => void): void {
    const { machine } = node;
    this.#later(ms, () => {
      if (node.machine === machine) run();
    });
  }

  /** The process stands still until it is resumed. */
  pause(id: NodeId): void {
    if (this.node(id).machine !== undefined) this.node(id).inbox ??= [];
  }

  resume(id: NodeId): void {
    const node = this.node(id);
    const waited = node.inbox ?? [];
    node.inbox = undefined;
    for (const event of waited) this.step(node, 'now' in event ? { ...event, now: this.now } : event);
  }

  step(node: Node, event: NodeEvent): void {
    if (node.machine === undefined) return;
    if (node.inbox !== undefined) {
      if (event.kind !== 'ticked') node.inbox.push(event);
      return;
    }
    const { machine } = node;
    for (const effect of machine.step(event)) this.#execute(node, effect);
  }

  #execute(node: Node, effect: NodeEffect): void {
    switch (effect.kind) {
      case 'send':
        return this.#send(node, effect.to, effect.message);
      case 'persist':
        return this.#persist(node, effect.token, effect.change);
      case 'end-apply':
        if (this.holdApply) return undefined;
        return this.#onServer(node, 3, () => this.#applied(node, effect.gid, { kind: 'prepared' }));
      case 'cancel-apply':
        return this.#onServer(node, 3, () =>
          this.#applied(node, effect.gid, { kind: 'refused', refusal: effect.refusal }),
        );
      case 'finish':
        return this.#onServer(node, 3, () => {
          const { gid, finish } = effect;
          const missing = !node.disk.prepared.delete(gid);
          if (finish === 'commit' && !missing) node.disk.history.push({ kind: 'commit', gid });
          this.step(node, { kind: 'finish-ended', gid, finish, missing });
        });
      case 'answer':
        return void node.answers.set(effect.gid, effect.answer.kind);
      case 'alarm':
        return void node.alarms.push(effect.text);
      case 'status-changed':
        node.status = `${effect.status}: ${effect.reason}`;
        return void node.statuses.push(node.status);
      case 'configuration-changed':
        return this.#link(node, nodesOf(effect.configuration));
      case 'recover':
        return void (node.replay = { donor: effect.donor, next: 0, target: effect.generation, mark: 0 });
      case 'recovery-follow':
        return void (node.replay!.target = effect.generation);
      case 'stop-recovery':
        return void (node.replay = undefined);
      default:
        return this.carryOut(node, effect);
    }
  }

  #applied(node: Node, gid: Gid, result: ApplyResult): void {
    if (result.kind === 'prepared') node.disk.prepared.add(gid);
    this.step(node, { kind: 'apply-ended', gid, result });
  }

  #send(from: Node, to: NodeId, message: PeerMessage): void {
    const sender = from.machine;
    // A node that was added may not have been started yet.
    const receiver = this.nodes[to - 1]?.machine;
    if (receiver === undefined || this.cut(from.id, to)) return;
    this.#later(stepMs, () => {
      const target = this.node(to);
      if (target.machine === undefined || target.machine !== receiver || from.machine !== sender) return;
      if (this.cut(from.id, to)) return;
      this.step(target, { kind: 'message-received', now: this.now, from: from.id, message });
    });
  }

  #persist(node: Node, token: number, change: DurableChange): void {
    this.#onServer(node, 5, () => {
      node.disk.state = { ...node.disk.state, ...change };
      if (change.lastOnline !== undefined)
        node.disk.history.push({ kind: 'mark', number: change.lastOnline });
      this.step(node, { kind: 'persisted', now: this.now, token });
    });
  }

  /** A few entries of the donor's history in each step. */
  #replay(node: Node): void {
    for (let count = 0; count < 20 && node.replay !== undefined; count += 1) {
      const { replay } = node;
      const { target, mark } = replay;
      if (target !== undefined && mark >= target) {
        node.replay = undefined;
        return this.step(node, { kind: 'recovery-reached', now: this.now, generation: target });
      }
      const donor = this.node(replay.donor);
      const entry = donor.disk.history[replay.next];
      if (donor.machine === undefined || this.cut(donor.id, node.id)) {
        node.replay = undefined;
        this.step(node, { kind: 'recovery-failed', now: this.now, reason: 'the donor is gone' });
        return;
      }
      const lagBytes = (donor.disk.history.length - replay.next) * 100_000;
      this.step(node, { kind: 'recovery-progressed', now: this.now, lagBytes });
      if (entry === undefined || node.replay !== replay) return;
      replay.next += 1;
      if (entry.kind === 'mark') {
        replay.mark = entry.number;
      } else if (!node.machine!.isKnown(entry.gid)) {
        node.disk.history.push(entry);
        this.step(node, { kind: 'replayed', gids: [entry.gid] });
      }
    }
  }
}
