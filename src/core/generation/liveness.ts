/**
 * The liveness machine of one node: whom it hears, whether it may serve clients, whom a write can reach.
 *
 * States of the node, in the order in which they are tested:
 *   recovery, catchup, disabled   the node layer says so (local health); also `disabled` when a newer
 *                                 generation than the own is known: a node works only in the highest.
 *   isolated                      healthy, but no lease: entered when the lease runs out or is dropped after
 *                                 a stall; left when a majority has answered a heartbeat sent since.
 *   online                        healthy and a lease. Reads are served. Writes need all members besides.
 *
 * Rule: a lease is a matter of arithmetic on sending times, never of a timer that fired; every query takes
 * the time now, so that a process that stood still finds its lease gone before it serves anything.
 * It must never: read a clock, count an answer to a heartbeat that this process did not send, wait with the
 * news that a peer or this node is unhealthy.
 *
 * Today the configured nodes are the members of the one generation; an election will replace `#generation`
 * and raise `#maxVoted`, and everything else reads those two.
 */
import { assert, unreachable } from '../../lib/assert.ts';
import type { NodeId } from '../identity.ts';
import type { HybridClock } from './hybrid-clock.ts';
import { Lease } from './lease.ts';
import type {
  Generation,
  Heartbeat,
  HeartbeatAnswer,
  LivenessEffect,
  LivenessEvent,
  LocalHealth,
  MemberTrouble,
  NodeStatus,
} from './liveness-event.ts';
import { PeerRecord } from './peer-record.ts';
import { majoritySize } from './quorum.ts';

export interface LivenessOptions {
  readonly self: NodeId;
  readonly generation: Generation;
  /** heartbeat_send_timeout, ms. */
  readonly sendTimeoutMs: number;
  /** heartbeat_recv_timeout, ms: the term of a lease and of silence. */
  readonly recvTimeoutMs: number;
  readonly clock: HybridClock;
}

export class Liveness {
  readonly #self: NodeId;
  readonly #sendTimeoutMs: number;
  readonly #recvTimeoutMs: number;
  readonly #clock: HybridClock;
  readonly #peers = new Map<NodeId, PeerRecord>();
  readonly #lease: Lease;
  #generation: Generation;
  /** The highest generation that this node voted for, and the highest that it heard of. */
  #maxVoted: number;
  #maxKnown: number;
  #health: LocalHealth = { healthy: false, status: 'recovery', reason: 'the gateway is starting' };
  #lastTick: { readonly now: number; readonly wallMs: number } | undefined;
  #nextSendAt = -Infinity;
  #leased = false;
  #reported: { readonly status: NodeStatus; readonly reason: string };

  constructor(options: LivenessOptions) {
    const { generation, self } = options;
    assert(generation.configured.includes(self), `node ${self} is not in the configuration`);
    assert(options.sendTimeoutMs > 0, 'heartbeat_send_timeout must be positive');
    assert(
      options.recvTimeoutMs > options.sendTimeoutMs,
      'heartbeat_recv_timeout must exceed the send timeout',
    );
    this.#self = self;
    this.#generation = generation;
    this.#maxVoted = generation.number;
    this.#maxKnown = generation.number;
    this.#sendTimeoutMs = options.sendTimeoutMs;
    this.#recvTimeoutMs = options.recvTimeoutMs;
    this.#clock = options.clock;
    const others = generation.configured.filter((node) => node !== self);
    for (const node of others) this.#peers.set(node, new PeerRecord(node));
    this.#lease = new Lease(others, options.recvTimeoutMs);
    this.#reported = this.status(-Infinity);
  }

  get generation(): Generation {
    return this.#generation;
  }

  get maxVoted(): number {
    return this.#maxVoted;
  }

  get health(): LocalHealth {
    return this.#health;
  }

  /** Handles one event; the effects are to be carried out in order. */
  step(event: LivenessEvent): LivenessEffect[] {
    const effects: LivenessEffect[] = [];
    if (this.#stalled(event.now)) this.#cutOff(event.now);
    this.#reportLease(event.now, effects);
    switch (event.kind) {
      case 'ticked':
        this.#tick(event.now, event.wallMs, effects);
        break;
      case 'heartbeat-received':
        this.#heartbeat(event.from, event.message, event.now, effects);
        break;
      case 'heartbeat-answer-received':
        this.#answer(event.from, event.message);
        break;
      case 'link-up':
        this.#peer(event.to).linkDownReason = undefined;
        // Not at the next turn: after a start or a cut every millisecond without a lease is an outage.
        this.#sendTo(this.#peer(event.to), event.now, effects);
        break;
      case 'link-down':
        this.#peer(event.to).linkDownReason = event.reason;
        break;
      case 'peer-introduced':
        this.#peer(event.from).introduce(event.incarnation);
        break;
      case 'local-health-changed':
        this.#health = event.health;
        // A node whose PostgreSQL died says so at once: nobody has to wait for a timeout.
        this.#sendToAll(event.now, effects);
        break;
      default:
        unreachable(event);
    }
    this.#reportLease(event.now, effects);
    this.#report(event.now, effects);
    return effects;
  }

  /**
   * Before an event as well as after it: a lease that lapsed and was renewed by the event had lapsed all the
   * same.
   */
  #reportLease(now: number, effects: LivenessEffect[]): void {
    const leased = this.hasLease(now);
    if (leased === this.#leased) return;
    this.#leased = leased;
    effects.push({ kind: leased ? 'lease-gained' : 'lease-lost' });
  }

  /**
   * May a result go to a client at `now`? To be asked when its first byte arrives, before it is forwarded,
   * with the generation in which the statement began. Cheap: a few comparisons.
   */
  hasLease(now: number, generation: number = this.#generation.number): boolean {
    const { number } = this.#generation;
    if (generation !== number || this.#maxVoted > number || this.#maxKnown > number) return false;
    return now < this.#lease.until && !this.#stalled(now);
  }

  /** The node answers clients: its PostgreSQL is well and it has a lease. */
  serving(now: number): boolean {
    return this.#health.healthy && this.hasLease(now);
  }

  /** Every member of the generation can vote: what a write needs. */
  membersReachable(now: number): boolean {
    return this.unreachableMembers(now).length === 0;
  }

  /** The members that cannot take part in a write now (this node included), with the reason of each. */
  unreachableMembers(now: number): MemberTrouble[] {
    const troubles: MemberTrouble[] = [];
    for (const node of this.#generation.members) {
      const trouble = node === this.#self ? this.#ownTrouble() : this.#peerTrouble(this.#peer(node), now);
      if (trouble !== undefined) troubles.push(trouble);
    }
    return troubles;
  }

  /**
   * The configured nodes heard within heartbeat_recv_timeout, this one included, in the order of the
   * configuration.
   */
  connected(now: number): NodeId[] {
    const stalled = this.#stalled(now);
    return this.#generation.configured.filter((node) => {
      return node === this.#self || (!stalled && this.#peer(node).heardWithin(this.#recvTimeoutMs, now));
    });
  }

  /** The status and, whenever somebody is missing, a sentence that names them; empty when all is well. */
  status(now: number): { readonly status: NodeStatus; readonly reason: string } {
    if (!this.#health.healthy) return { status: this.#health.status, reason: this.#health.reason };
    if (this.#maxKnown > this.#generation.number) {
      const own = this.#generation.number;
      const reason = `generation ${this.#maxKnown} exists and this node is in generation ${own}`;
      return { status: 'disabled', reason };
    }
    const missing = this.unreachableMembers(now).map(({ node, text }) => `node ${node} (${text})`);
    if (this.hasLease(now)) {
      return {
        status: 'online',
        reason: missing.length === 0 ? '' : `no writes without ${missing.join(', ')}`,
      };
    }
    const size = this.#generation.configured.length;
    const needed = `${majoritySize(size)} of ${size} nodes must be in contact`;
    return {
      status: 'isolated',
      reason: missing.length === 0 ? needed : `${needed}; missing: ${missing.join(', ')}`,
    };
  }

  #tick(now: number, wallMs: number, effects: LivenessEffect[]): void {
    const last = this.#lastTick;
    assert(last === undefined || now >= last.now, 'the monotonic clock went back');
    // A suspended machine stops the monotonic clock but not the wall clock. A wall clock that was set forward
    // looks the same; then the price is one heartbeat's round trip without a lease.
    if (last !== undefined && wallMs - last.wallMs - (now - last.now) > this.#recvTimeoutMs)
      this.#cutOff(now);
    this.#lastTick = { now, wallMs };
    this.#clock.observe(wallMs);
    if (now < this.#nextSendAt) return;
    // A tick that is a little late does not shift the rhythm; after a longer pause it begins anew.
    const onTime = now - this.#nextSendAt < this.#sendTimeoutMs / 2;
    this.#nextSendAt = (onTime ? this.#nextSendAt : now) + this.#sendTimeoutMs;
    this.#sendToAll(now, effects);
  }

  #heartbeat(from: NodeId, message: Heartbeat, now: number, effects: LivenessEffect[]): void {
    this.#clock.observe(message.clock);
    this.#maxKnown = Math.max(this.#maxKnown, message.generation);
    this.#peer(from).heard(now, message);
    const answer: HeartbeatAnswer = {
      kind: 'heartbeat-answer',
      sentAt: message.sentAt,
      maxVoted: this.#maxVoted,
      clock: this.#clock.latest,
    };
    effects.push({ kind: 'send', to: from, message: answer });
  }

  #answer(from: NodeId, message: HeartbeatAnswer): void {
    this.#clock.observe(message.clock);
    // A voter for a newer generation may already have excluded us: its answer is no promise.
    if (message.maxVoted > this.#generation.number) return;
    this.#lease.answerReceived(from, message.sentAt);
  }

  #sendToAll(now: number, effects: LivenessEffect[]): void {
    for (const peer of this.#peers.values()) {
      if (peer.linkDownReason === undefined) this.#sendTo(peer, now, effects);
    }
  }

  #sendTo(peer: PeerRecord, now: number, effects: LivenessEffect[]): void {
    this.#lease.heartbeatSent(now);
    const message: Heartbeat = {
      kind: 'heartbeat',
      sentAt: now,
      generation: this.#generation.number,
      maxVoted: this.#maxVoted,
      connected: this.connected(now),
      healthy: this.#health.healthy,
      reason: this.#health.healthy ? '' : this.#health.reason,
      clock: this.#clock.latest,
    };
    effects.push({ kind: 'send', to: peer.node, message });
  }

  /** The only place where news about members and status leave the machine. */
  #report(now: number, effects: LivenessEffect[]): void {
    for (const peer of this.#peers.values()) {
      const trouble = this.#peerTrouble(peer, now);
      const reachable = trouble === undefined;
      if (reachable === peer.reportedReachable || !this.#generation.members.includes(peer.node)) continue;
      peer.reportedReachable = reachable;
      if (trouble === undefined) effects.push({ kind: 'member-back', node: peer.node });
      else effects.push({ kind: 'member-lost', node: peer.node, reason: trouble.text });
    }
    const { status, reason } = this.status(now);
    if (status === this.#reported.status && reason === this.#reported.reason) return;
    this.#reported = { status, reason };
    effects.push({ kind: 'status-changed', status, reason });
  }

  #ownTrouble(): MemberTrouble | undefined {
    if (this.#health.healthy) return undefined;
    return { node: this.#self, kind: 'unhealthy', text: this.#health.reason };
  }

  #peerTrouble(peer: PeerRecord, now: number): MemberTrouble | undefined {
    if (this.#stalled(now)) return { node: peer.node, kind: 'not-heard', text: 'this gateway stood still' };
    const answeredAt = this.#lease.answeredAt(peer.node);
    return peer.trouble(now, this.#recvTimeoutMs, this.#generation.number, answeredAt);
  }

  /** No tick for so long that the others may have gone on without us. */
  #stalled(now: number): boolean {
    if (this.#peers.size === 0) return false;
    return this.#lastTick !== undefined && now - this.#lastTick.now > this.#recvTimeoutMs;
  }

  /**
   * After a stall: what waits in the sockets' buffers is as old as the stall, so everything has to be heard
   * anew, and the lease is earned with heartbeats sent from here on.
   */
  #cutOff(now: number): void {
    this.#lease.drop();
    for (const peer of this.#peers.values()) peer.forget('not heard since this gateway stood still');
    const last = this.#lastTick;
    if (last !== undefined) this.#lastTick = { now, wallMs: last.wallMs + now - last.now };
    this.#nextSendAt = -Infinity;
  }

  #peer(node: NodeId): PeerRecord {
    const peer = this.#peers.get(node);
    assert(peer !== undefined, `node ${node} is not a configured peer`);
    return peer;
  }
}
