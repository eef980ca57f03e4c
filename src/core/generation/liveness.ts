/**
 * The liveness machine of one node: whom it hears, whether it may serve clients, whom a write can reach.
 *
 * A node *claims* the right to serve in its heartbeats while it is healthy and online in a generation; with a
 * lease (lease.ts) it has it. When it ceases to claim, by a vote, an illness or a stall, it drops the lease
 * before it says so. Which peers it must not vote to leave out meanwhile is the matter of exclusion.ts.
 *
 * Rule: a lease is a matter of arithmetic on sending times, never of a timer that fired; every query takes
 * the time now, so that a process that stood still finds its lease gone before it serves anything.
 * It must never: read a clock, count an answer to a heartbeat that this process did not send, wait with the
 * news that a peer or this node is unhealthy.
 */
import { assert, unreachable } from '../../lib/assert.ts';
import type { NodeId } from '../identity.ts';
import { Exclusion } from './exclusion.ts';
import { Claim } from './claim.ts';
import { initialConfiguration } from './configuration.ts';
import type { Configuration } from './record.ts';
import type { HybridClock } from './hybrid-clock.ts';
import { Lease } from './lease.ts';
import type {
  Contact,
  Generation,
  Heartbeat,
  HeartbeatAnswer,
  LivenessEffect,
  LivenessEvent,
  LocalHealth,
  MemberTrouble,
  Standing,
} from './liveness-event.ts';
import { MemberNews } from './member-news.ts';
import { stoodStill, type PeerRecord } from './peer-record.ts';
import { PeerRecords } from './peer-records.ts';
import { isAlone, isMajority } from './quorum.ts';
import { StallWatch } from './stall-watch.ts';

export interface LivenessOptions {
  readonly self: NodeId;
  /** Of the configuration file: these are the nodes unless `configuration` says otherwise. */
  readonly configured: readonly NodeId[];
  /** As the chosen record says, where there is one. */
  readonly configuration?: Configuration | undefined;
  /** heartbeat_send_timeout, ms. */
  readonly sendTimeoutMs: number;
  /** heartbeat_recv_timeout, ms: the term of a lease and of silence. */
  readonly recvTimeoutMs: number;
  readonly clock: HybridClock;
  /** When this process began, on its monotonic clock. */
  readonly now: number;
}

export class Liveness {
  readonly #self: NodeId;
  #configured: readonly NodeId[];
  readonly #sendTimeoutMs: number;
  readonly #recvTimeoutMs: number;
  readonly #clock: HybridClock;
  readonly #peers: PeerRecords;
  readonly #lease: Lease;
  readonly exclusion: Exclusion;
  #standing: Standing = { generation: undefined, maxVoted: 0, lastOnline: 0, online: false, level: false };
  /** The highest generation that this node heard of. */
  #maxKnown = 0;
  #health: LocalHealth = { healthy: false, status: 'recovery', reason: 'the gateway is starting' };
  readonly #stall: StallWatch;
  readonly #claim = new Claim();
  readonly #news = new MemberNews();
  #nextSendAt = -Infinity;

  constructor(options: LivenessOptions) {
    const { configured, self, sendTimeoutMs, recvTimeoutMs, now } = options;
    const configuration = options.configuration ?? initialConfiguration(configured);
    assert(sendTimeoutMs > 0, 'heartbeat_send_timeout must be positive');
    assert(recvTimeoutMs > sendTimeoutMs, 'heartbeat_recv_timeout must exceed the send timeout');
    this.#self = self;
    this.#configured = configuration.configured;
    this.#sendTimeoutMs = sendTimeoutMs;
    this.#recvTimeoutMs = recvTimeoutMs;
    this.#clock = options.clock;
    this.#stall = new StallWatch(recvTimeoutMs);
    this.#peers = new PeerRecords(self, configuration);
    const peers = this.#configured.filter((node) => node !== self);
    this.#lease = new Lease(peers, recvTimeoutMs);
    this.exclusion = new Exclusion({ peers: this.#peers.nodes, sendTimeoutMs, recvTimeoutMs, now });
  }

  /** The cluster's nodes from now on. While this node serves they do not change: a vote comes first. */
  configure(configuration: Configuration): void {
    // Whoever elected without a node that is gone has made sure that its lease had ended.
    for (const gone of this.#peers.configure(configuration)) this.exclusion.processEnded(gone);
    this.exclusion.replacePeers(this.#peers.nodes);
    if (configuration.configured.join() === this.#configured.join()) return;
    assert(this.onlineIn === 0, 'a node that serves has left its generation before the nodes change');
    this.#configured = configuration.configured;
    this.#lease.replacePeers(this.#configured.filter((node) => node !== this.#self));
  }

  /** It is another node of the cluster: only of those anything may be told. */
  knows(node: NodeId): boolean {
    return this.#peers.has(node);
  }

  get generation(): Generation | undefined {
    return this.#standing.generation;
  }

  get standing(): Standing {
    return this.#standing;
  }

  /** The members last reported as back. */
  reachable(): NodeId[] {
    return [...this.#news.reachable];
  }

  get health(): LocalHealth {
    return this.#health;
  }

  /** The highest generation that this node voted for or heard of. */
  get maxKnown(): number {
    return Math.max(this.#maxKnown, this.#standing.maxVoted);
  }

  /** Handles one event; the effects are to be carried out in order. */
  step(event: LivenessEvent): LivenessEffect[] {
    const effects: LivenessEffect[] = [];
    if (this.#stalled(event.now)) this.#cutOff(event.now);
    switch (event.kind) {
      case 'ticked':
        this.#tick(event.now, event.wallMs, effects);
        break;
      case 'heartbeat-received':
        this.#heartbeat(event.from, event.message, event.now, effects);
        break;
      case 'heartbeat-answer-received':
        this.#answer(event.from, event.message, event.now, effects);
        break;
      case 'link-up':
        this.#peers.of(event.to).linkDownReason = undefined;
        // Not at the next turn: after a start or a cut every millisecond without a lease is an outage.
        this.#sendTo(this.#peers.of(event.to), event.now, effects);
        break;
      case 'link-down':
        this.#peers.of(event.to).linkDownReason = event.reason;
        break;
      case 'peer-introduced':
        if (this.#peers.of(event.from).introduce(event.incarnation)) this.exclusion.processEnded(event.from);
        break;
      case 'peer-stopped':
        this.exclusion.processEnded(event.from);
        this.#peers.of(event.from).forget(event.reason);
        // The others hear at once that it is not heard any more.
        this.#sendToAll(event.now, effects);
        break;
      case 'local-health-changed':
        this.#healthChanged(event.health, event.now, effects);
        break;
      case 'standing-changed':
        this.#standingChanged(event.standing, event.now, effects);
        break;
      default:
        unreachable(event);
    }
    this.#report(event.now, effects);
    return effects;
  }

  /** The generation that the heartbeats claim the right to serve in, 0 for none. */
  get onlineIn(): number {
    return this.#claim.of(this.#standing, this.#health);
  }

  /**
   * May a result go to a client at `now`? To be asked when its first byte arrives, before it is forwarded,
   * with the generation in which the statement began. Cheap: a few comparisons.
   */
  hasLease(now: number, generation: number = this.onlineIn): boolean {
    const online = this.onlineIn;
    if (online === 0 || generation !== online || this.#maxKnown > online) return false;
    return (now < this.#lease.until || this.#alone) && !this.#stalled(now);
  }

  /** The only member of two, by the referee's grant: the other gets none before both were online again. */
  get #alone(): boolean {
    const { generation } = this.#standing;
    return generation !== undefined && isAlone(generation.members, generation.configured);
  }

  /** Every member of the generation is online and can vote: what a write needs. */
  membersReachable(now: number): boolean {
    return this.onlineIn !== 0 && this.unreachableMembers(now).length === 0;
  }

  /** The members that cannot take part in a write now (this node included), with the reason of each. */
  unreachableMembers(now: number): MemberTrouble[] {
    const { generation } = this.#standing;
    if (generation === undefined) return [];
    const troubles: MemberTrouble[] = [];
    for (const node of generation.members) {
      const trouble =
        node === this.#self
          ? this.#ownTrouble(generation)
          : this.#peerTrouble(this.#peers.of(node), generation.number, now);
      if (trouble !== undefined) troubles.push(trouble);
    }
    return troubles;
  }

  /** The nodes that are not in contact, with the reason of each. */
  missing(now: number): MemberTrouble[] {
    const missing: MemberTrouble[] = [];
    for (const peer of this.#peers) {
      const silent = this.#stalled(now) ? stoodStill(peer.node) : peer.silence(now, this.#recvTimeoutMs);
      const heartbeat = peer.heartbeat;
      if (silent !== undefined) missing.push(silent);
      else if (heartbeat !== undefined && !heartbeat.healthy)
        missing.push({ node: peer.node, kind: 'unhealthy', text: heartbeat.reason });
    }
    return missing;
  }

  /** The nodes heard within heartbeat_recv_timeout, this one included, ascending. */
  connected(now: number): NodeId[] {
    const stalled = this.#stalled(now);
    const all = [this.#self, ...this.#peers.nodes].sort((a, b) => a - b);
    return all.filter((node) => {
      return node === this.#self || (!stalled && this.#peers.of(node).heardWithin(this.#recvTimeoutMs, now));
    });
  }

  /** Whom something can be agreed with now, this node first; empty while it does not know how it stands. */
  contacts(now: number): Contact[] {
    if (this.#stalled(now)) return [];
    const { generation, maxVoted, lastOnline, level } = this.#standing;
    const own: Contact = {
      node: this.#self,
      healthy: this.#health.healthy,
      connected: this.connected(now),
      generation: generation?.number ?? 0,
      maxVoted,
      lastOnline,
      onlineIn: this.onlineIn,
      level,
    };
    const contacts = [own];
    for (const peer of this.#peers) {
      const { heartbeat, node } = peer;
      if (heartbeat === undefined || peer.silence(now, this.#recvTimeoutMs) !== undefined) continue;
      contacts.push({ ...heartbeat, node });
    }
    return contacts;
  }

  /** This node and those in contact are a majority of the configuration, or it needs none. */
  inMajority(now: number): boolean {
    const healthy = this.contacts(now).filter((contact) => contact.healthy);
    if (this.#alone) return healthy.some(({ node }) => node === this.#self);
    return isMajority(new Set(healthy.map(({ node }) => node)), this.#configured);
  }

  #healthChanged(health: LocalHealth, now: number, effects: LivenessEffect[]): void {
    const claimed = this.onlineIn;
    this.#health = health;
    if (this.onlineIn !== claimed) this.#lease.drop();
    // A node whose PostgreSQL died says so at once: nobody has to wait for a timeout.
    this.#sendToAll(now, effects);
  }

  #standingChanged(standing: Standing, now: number, effects: LivenessEffect[]): void {
    const claimed = this.onlineIn;
    const former = this.#standing.generation?.number;
    this.#standing = standing;
    // Before anybody hears of it, and before the vote that follows: the end of a claim is the end of its
    // lease.
    if (this.onlineIn !== claimed) this.#lease.drop();
    if (standing.generation?.number !== former) this.#news.forget();
    this.#sendToAll(now, effects);
  }

  #tick(now: number, wallMs: number, effects: LivenessEffect[]): void {
    if (this.#stall.ticked(now, wallMs)) this.#cutOff(now);
    this.#claim.resume(now);
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
    const peer = this.#peers.of(from);
    const known = peer.heardWithin(this.#recvTimeoutMs, now);
    peer.heard(now, message);
    // Cliques are made of who hears whom, so the others learn at once of a new link.
    if (!known) this.#sendToAll(now, effects);
    const withheld = message.onlineIn !== 0 && this.exclusion.withholds(from, now);
    if (message.onlineIn === 0) this.exclusion.claimEnded(from, message.sentAt);
    else if (!withheld) this.exclusion.claimAnswered(from, message.sentAt, now);
    const answer: HeartbeatAnswer = {
      kind: 'heartbeat-answer',
      sentAt: message.sentAt,
      maxVoted: this.#standing.maxVoted,
      withheld,
      clock: this.#clock.latest,
    };
    effects.push({ kind: 'send', to: from, message: answer });
  }

  #answer(from: NodeId, message: HeartbeatAnswer, now: number, effects: LivenessEffect[]): void {
    this.#clock.observe(message.clock);
    const peer = this.#peers.of(from);
    if (message.sentAt <= now) peer.answeredAt = Math.max(peer.answeredAt, message.sentAt);
    if (message.withheld) return this.#cease(now, effects);
    // A voter for a newer generation may already have excluded us: its answer is no promise.
    if (message.maxVoted > this.onlineIn) return;
    this.#lease.answerReceived(from, message.sentAt);
  }

  /** The others would go on without this node: the sooner its lease has ended, the sooner they can. */
  #cease(now: number, effects: LivenessEffect[]): void {
    if (this.onlineIn === 0) return;
    this.#claim.cease(now + 1.5 * this.exclusion.termMs);
    this.#lease.drop();
    this.#sendToAll(now, effects);
  }

  #sendToAll(now: number, effects: LivenessEffect[]): void {
    for (const peer of this.#peers) {
      if (peer.linkDownReason === undefined) this.#sendTo(peer, now, effects);
    }
  }

  #sendTo(peer: PeerRecord, now: number, effects: LivenessEffect[]): void {
    const { generation, maxVoted, lastOnline, level } = this.#standing;
    const { onlineIn } = this;
    if (onlineIn !== 0) this.#lease.claimSent(now);
    const message: Heartbeat = {
      kind: 'heartbeat',
      sentAt: now,
      generation: generation?.number ?? 0,
      maxVoted,
      lastOnline,
      onlineIn,
      level,
      connected: this.connected(now),
      healthy: this.#health.healthy,
      reason: this.#health.healthy ? '' : this.#health.reason,
      clock: this.#clock.latest,
    };
    effects.push({ kind: 'send', to: peer.node, message });
  }

  /** The only place where news about members leave the machine. */
  #report(now: number, effects: LivenessEffect[]): void {
    const { generation } = this.#standing;
    if (generation === undefined) return;
    for (const peer of this.#peers) {
      if (!generation.members.includes(peer.node)) continue;
      const news = this.#news.look(peer.node, this.#peerTrouble(peer, generation.number, now));
      if (news !== undefined) effects.push(news);
    }
  }

  #ownTrouble(generation: Generation): MemberTrouble | undefined {
    const node = this.#self;
    if (!this.#health.healthy) return { node, kind: 'unhealthy', text: this.#health.reason };
    if (this.onlineIn === generation.number) return undefined;
    return { node, kind: 'not-online', text: 'is getting online' };
  }

  #peerTrouble(peer: PeerRecord, generation: number, now: number): MemberTrouble | undefined {
    if (this.#stalled(now)) return stoodStill(peer.node);
    return peer.trouble(now, this.#recvTimeoutMs, generation);
  }

  /** No tick for so long that the others may have gone on without us. */
  #stalled(now: number): boolean {
    return this.#peers.size > 0 && this.#stall.stalled(now);
  }

  /**
   * After a stall: what waits in the sockets' buffers is as old as the stall, so everything has to be heard
   * anew, and the lease is earned with heartbeats sent from here on.
   */
  #cutOff(now: number): void {
    this.#lease.drop();
    for (const peer of this.#peers) peer.forget('not heard since this gateway stood still');
    this.#stall.over(now);
    this.#nextSendAt = -Infinity;
  }
}
