/**
 * One node: liveness, elections, commit machines, catching up – and what each of them means for the others.
 * Both the gateway and the simulation drive only this: `step(event)` gives the effects in their order.
 *
 * The way of a node, again and again:
 *   in no generation → votes → the record is chosen and noted → (complete: everything older is finished as
 *   the record says | otherwise: what is prepared is rolled back, a donor's history replayed up to its mark)
 *   → notes that it is online, with its own mark → online → votes for a higher one: at once out, frozen.
 *
 * Rules: it serves only in the generation that it is online in, and leaves it before its vote is told. It is
 * complete only when it is one of the record's donors and holds every commit of the record. A process takes
 * part only in a generation that it voted for itself. Nothing is done with a record while a higher ballot is
 * promised.
 */
import { unreachable } from '../../lib/assert.ts';
import { Leftovers } from '../commit/leftovers.ts';
import { CommitMachine } from '../commit/machine.ts';
import { OutcomeMemory, type Floor } from '../commit/outcome-memory.ts';
import { Election } from '../generation/election.ts';
import { nodesOf } from '../generation/configuration.ts';
import type { ElectionEffect } from '../generation/election-event.ts';
import { Liveness } from '../generation/liveness.ts';
import type { LivenessEvent, Standing } from '../generation/liveness-event.ts';
import type { Configuration, GenerationRecord } from '../generation/record.ts';
import type { Gid, NodeId } from '../identity.ts';
import { isElectionMessage, type PeerMessage } from '../peer/message.ts';
import { Acquaintances } from './acquaintances.ts';
import { arbiterOf, type Arbiter, type RefereeNews } from './arbiter.ts';
import { CatchUp, type Replay } from './catch-up.ts';
import { Execution } from './execution.ts';
import type { Syncpoint } from './floors.ts';
import { Machines, type KnownOutcome } from './machines.ts';
import type { NodeEffect, NodeEvent } from './node-event.ts';
import type { NodeOptions } from './node-options.ts';
import { statusOfNode, type StatusParts, type StatusWords } from './status.ts';

export class NodeMachine {
  readonly #self: NodeId;
  readonly #recvTimeoutMs: number;
  readonly #liveness: Liveness;
  readonly #election: Election;
  readonly #machines: Machines;
  readonly #memory: OutcomeMemory;
  readonly #catchUp: CatchUp;
  readonly #execution: Execution;
  readonly #arbiter: Arbiter | undefined;
  readonly #acquaintances = new Acquaintances();
  readonly #statusParts: StatusParts;
  #effects: NodeEffect[] = [];
  #now: number;
  #servedAt: number;
  #random = 0.5;
  /** The generation that it is online in, 0 for none. */
  #online = 0;
  /** All members of this generation were seen online in it. */
  #releasedIn = 0;
  #reported: StatusWords = { status: 'recovery', reason: 'the gateway is starting' };

  constructor(options: NodeOptions) {
    const { self, now, recvTimeoutMs } = options;
    this.#self = self;
    this.#recvTimeoutMs = recvTimeoutMs;
    this.#now = now;
    this.#servedAt = now;
    const emit = (effect: NodeEffect): void => void this.#effects.push(effect);
    this.#memory = new OutcomeMemory(options.floor, [...options.committed, ...options.empty]);
    this.#machines = new Machines(
      options.commit,
      options.makeMachine ?? ((commitOptions) => new CommitMachine(commitOptions)),
      new Leftovers(options.prepared, options.committed),
      this.#memory,
      emit,
      options.referee !== undefined,
    );
    this.#liveness = new Liveness({ ...options, configuration: options.state.chosen });
    this.#election = new Election(options, this.#electionNode(options), options.state, now);
    this.#arbiter = arbiterOf(options, this.#election);
    this.#acquaintances.configure(this.#election.configuration);
    this.#catchUp = new CatchUp(self, recvTimeoutMs / 4, emit, options.source);
    this.#execution = new Execution(self, this.#election, this.#machines, this.#catchUp);
    const parts = { self, liveness: this.#liveness, election: this.#election, arbiter: this.#arbiter };
    this.#statusParts = { ...parts, execution: this.#execution, catchUp: this.#catchUp };
    this.#liveness.step({ kind: 'standing-changed', now, standing: this.#standing() });
  }

  #electionNode({ referee }: NodeOptions): ConstructorParameters<typeof Election>[1] {
    return {
      exclusion: this.#liveness.exclusion,
      contacts: (now) => this.#liveness.contacts(now),
      quiet: () => this.#machines.quiet,
      holdings: () => this.#machines.holdings(this.#election.carried(this.#releasedIn)),
      ...(referee !== undefined ? { grant: () => this.#arbiter?.grant } : {}),
    };
  }

  // ---- events

  /** Executes one event; the effects are to be carried out in their order. */
  step(event: NodeEvent): readonly NodeEffect[] {
    this.#effects = [];
    if ('now' in event) this.#now = event.now;
    // Of a node that has left the cluster something may still be on its way.
    const peer = 'from' in event ? event.from : 'to' in event ? event.to : undefined;
    if (peer !== undefined && !this.#liveness.knows(peer)) return this.#effects;
    this.#handle(event);
    // Only on the way between two generations: while online and all is finished, a commit costs nothing here.
    if (this.#online === 0 || this.#machines.owing) this.#advance();
    return this.#effects;
  }

  #handle(event: NodeEvent): void {
    switch (event.kind) {
      case 'message-received':
        return this.#message(event.from, event.message, event.now);
      case 'ticked':
        return this.#tick(event.now, event.wallMs, event.random);
      case 'link-up':
        this.#acquaintances.linkUp(event.to);
        this.#live(event);
        return this.#tellLinkUp(event.to);
      case 'link-down':
        this.#acquaintances.linkDown(event.to);
        this.#live(event);
        return this.#machines.broadcast({ kind: 'link-down', node: event.to });
      case 'peer-introduced':
        return this.#introduced(event);
      case 'peer-stopped':
      case 'local-health-changed':
        return this.#live(event);
      case 'persisted':
        return this.#elect(this.#election.persisted(event.token));
      case 'replayed':
        for (const gid of event.gids) this.#memory.committed(gid);
        return undefined;
      case 'recovery-progressed':
        return this.#catchUp.progressed(event.lagBytes);
      case 'recovery-reached':
        return this.#elect(this.#execution.markReached(event.generation));
      case 'recovery-failed':
        return this.#catchUp.failed(event.reason, event.now, event.reseed);
      case 'seeded':
        return this.#catchUp.seeded();
      case 'configuration-wished':
        this.#election.wish(event.wish);
        return this.#elect(this.#election.tick(this.#now, this.#random, this.#execution.takesPart));
      case 'floor-raised':
        return this.#memory.raise(event.floor);
      case 'capture-restarted':
        return this.#machines.broadcast(event);
      case 'referee-connected':
      case 'referee-lost':
      case 'referee-answered':
        return this.#consult(event.now, event);
      default:
        return this.#machines.gidEvent(event);
    }
  }

  #message(from: NodeId, message: PeerMessage, now: number): void {
    switch (message.kind) {
      case 'heartbeat':
        return this.#live({ kind: 'heartbeat-received', now, from, message });
      case 'heartbeat-answer':
        return this.#live({ kind: 'heartbeat-answer-received', now, from, message });
      case 'flow':
        return undefined; // between the adapters
      default:
        if (isElectionMessage(message)) return this.#elect(this.#election.received(from, message, now));
        return this.#machines.message(from, message);
    }
  }

  #tick(now: number, wallMs: number, random: number): void {
    this.#random = random;
    this.#live({ kind: 'ticked', now, wallMs });
    this.#machines.broadcast({ kind: 'tick' });
    this.#consult(now);
    this.#giveUp(now);
    this.#reportStatus(now);
  }

  #introduced(event: Extract<NodeEvent, { kind: 'peer-introduced' }>): void {
    const { from, incarnation, now } = event;
    const news = this.#acquaintances.introduce(from, incarnation);
    if (news === 'restarted') this.#election.peerRestarted(from, now);
    this.#live(event);
    if (news !== 'known') this.#tellLinkUp(from);
    this.#machines.broadcast({ kind: 'link-accepted', node: from });
  }

  #tellLinkUp(node: NodeId): void {
    const linked = this.#acquaintances.linkedTo(node);
    if (linked) this.#machines.broadcast({ kind: 'link-up', ...linked });
  }

  // ---- liveness

  #live(event: LivenessEvent): void {
    for (const effect of this.#liveness.step(event)) {
      this.#effects.push(effect);
      if (effect.kind !== 'send') this.#machines.toCurrent(effect);
    }
    // What a heartbeat or the end of a process tells may make an election necessary, or possible.
    if (event.kind === 'standing-changed' || event.kind === 'heartbeat-answer-received') return;
    this.#lookForRelease();
    this.#elect(this.#election.tick(this.#now, this.#random, this.#execution.takesPart));
  }

  #standing(): Standing {
    const { chosen, promised, lastOnline } = this.#election;
    const { takesPart } = this.#execution;
    return {
      generation: takesPart ? chosen : undefined,
      maxVoted: promised.generation,
      lastOnline,
      online: this.#online !== 0,
      level: this.#online === 0 && this.#catchUp.level(takesPart),
    };
  }

  /** What has changed is in a heartbeat at once: the others wait for it. */
  #tellStanding(): void {
    const standing = this.#standing();
    const told = this.#liveness.standing;
    const same =
      standing.generation?.number === told.generation?.number &&
      standing.maxVoted === told.maxVoted &&
      standing.lastOnline === told.lastOnline &&
      standing.online === told.online &&
      standing.level === told.level;
    if (!same) this.#live({ kind: 'standing-changed', now: this.#now, standing });
  }

  // ---- elections

  #elect(effects: readonly ElectionEffect[]): void {
    for (const effect of effects) {
      switch (effect.kind) {
        case 'send':
        case 'persist':
        case 'alarm':
          this.#effects.push(effect);
          break;
        case 'leave-generation':
          this.#leave();
          break;
        case 'record-chosen':
          this.#configure(effect.record);
          this.#arbiter?.recordChosen(effect.record);
          this.#execution.recordChosen(effect.record, effect.voted);
          this.#tellStanding();
          break;
        case 'online-noted':
          this.#onlineNoted(effect.number);
          break;
        default:
          unreachable(effect);
      }
    }
  }

  #configure(configuration: Configuration): void {
    this.#liveness.configure(configuration);
    this.#acquaintances.configure(configuration);
    this.#effects.push({ kind: 'configuration-changed', configuration });
  }

  #consult(now: number, news?: RefereeNews): void {
    for (const effect of this.#arbiter?.step(now, news) ?? []) {
      if (effect.kind === 'grant-gained')
        this.#elect(this.#election.tick(now, this.#random, this.#execution.takesPart));
      else if (effect.kind !== 'referee-changed') this.#effects.push(effect);
    }
  }

  #leave(): void {
    if (this.#online !== 0) this.#effects.push({ kind: 'serve', generation: undefined });
    this.#online = 0;
    // First nobody is served any more, then the others hear of it, then the vote can follow.
    this.#tellStanding();
    this.#machines.freeze();
  }

  #onlineNoted(number: number): void {
    const record = this.#election.chosen;
    if (record?.number !== number || !this.#execution.takesPart) return this.#tellStanding();
    this.#online = number;
    this.#machines.open(record);
    for (const { node } of this.#acquaintances.linked()) this.#tellLinkUp(node);
    for (const node of this.#liveness.reachable()) this.#machines.toCurrent({ kind: 'member-back', node });
    this.#effects.push({ kind: 'serve', generation: number });
    this.#tellStanding();
    this.#lookForRelease();
  }

  /** A vote may have waited for quiet, a record for the end of what it ordered. */
  #advance(): void {
    this.#elect(this.#election.look());
    if (this.#online === 0) this.#elect(this.#execution.look(this.#now, this.#liveness));
    this.#tellStanding();
  }

  /** When all members are online, everything older is finished everywhere, and who waited for it may know. */
  #lookForRelease(): void {
    if (this.#online === 0 || this.#releasedIn === this.#online) return;
    const contacts = this.#liveness.contacts(this.#now);
    const online = contacts.filter(({ onlineIn }) => onlineIn === this.#online).map(({ node }) => node);
    if (this.#election.chosen?.members.every((node) => online.includes(node)) !== true) return;
    this.#releasedIn = this.#online;
    this.#machines.release();
  }

  /** Without a quorum no client waits longer than the term, in any case not much longer. */
  #giveUp(now: number): void {
    if (this.#liveness.hasLease(now)) this.#servedAt = now;
    const patienceMs = (this.hopeful(now) ? 5 : 1) * this.#recvTimeoutMs;
    if (now - this.#servedAt > patienceMs) this.#machines.giveUp(this.status(now).reason);
  }

  #reportStatus(now: number): void {
    const words = this.status(now);
    if (words.status === this.#reported.status && words.reason === this.#reported.reason) return;
    this.#reported = words;
    this.#effects.push({ kind: 'status-changed', ...words });
  }

  // ---- questions

  /** A generation may be there soon: there is a majority, or the referee may stand for the other node. */
  hopeful(now: number): boolean {
    return this.#liveness.inMajority(now) || this.#arbiter?.hopeful === true;
  }

  /** Whom it hears and whether it may serve. Nobody else may step it. */
  get liveness(): Omit<Liveness, 'exclusion' | 'step'> {
    return this.#liveness;
  }

  /** The highest generation that this node knows to be chosen, whether it takes part in it or not. */
  get generation(): GenerationRecord | undefined {
    return this.#election.chosen;
  }

  /** The nodes of the cluster, as far as this node knows. */
  get configuration(): Configuration {
    return this.#election.configuration;
  }

  get incarnations(): Acquaintances['incarnations'] {
    return this.#acquaintances.incarnations;
  }

  get openTransactions(): Machines['openTransactions'] {
    return this.#machines.openTransactions;
  }

  /** The replay that runs. */
  get replay(): Readonly<Replay> | undefined {
    return this.#catchUp.replay;
  }

  /** What was committed here since the floor. */
  get memory(): Pick<OutcomeMemory, 'floor' | 'gids' | 'isKnown'> {
    return this.#memory;
  }

  /** The effects of the gid are in this node's rows, or it is below the floor: a replay leaves it out. */
  isKnown(gid: Gid): boolean {
    return this.#memory.isKnown(gid);
  }

  outcomeOf(gid: Gid): KnownOutcome {
    const outcome = this.#memory.outcomeOf(gid, this.#online);
    return outcome !== 'committed' && this.#machines.isOpen(gid) ? 'in doubt' : outcome;
  }

  status(now: number): StatusWords {
    return statusOfNode(this.#statusParts, now);
  }

  /**
   * Begins a syncpoint at the position in the WAL that the caller reads *before* this call; undefined while
   * not all nodes concerned are online members of one generation. 'members': only to give up what others
   * need.
   */
  takeSyncpoint(concerned: 'configured' | 'members' = 'configured'): Syncpoint | undefined {
    const members = this.#election.chosen?.members.length;
    if (this.#online === 0 || this.#releasedIn !== this.#online) return undefined;
    if (concerned === 'configured' && members !== nodesOf(this.configuration).length) return undefined;
    return this.#machines.floors?.take();
  }

  /**
   * The floor to be made durable, after which the retained slot may move to the syncpoint's position;
   * undefined while something seen before it is not finished everywhere, 'void' when its generation is over.
   */
  passedFloor(syncpoint: Syncpoint): Floor | 'void' | undefined {
    return this.#machines.passedFloor(this.#self, syncpoint);
  }
}
