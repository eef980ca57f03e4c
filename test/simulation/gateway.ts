/**
 * One gateway: the real node machine, and a model of what src/node does around it. Everything that reaches it
 * goes through `deliver`: a paused process handles it later, a dead one never.
 */
import type { ApplyResult, Holder } from '../../src/core/commit/event.ts';
import { nodesOf, sinceOf, type ConfigurationWish } from '../../src/core/generation/configuration.ts';
import type { Configuration } from '../../src/core/generation/record.ts';
import { HybridClock } from '../../src/core/generation/hybrid-clock.ts';
import { formatGid } from '../../src/core/identity.ts';
import type { Gid, NodeId } from '../../src/core/identity.ts';
import type { RefereeNews } from '../../src/core/node/arbiter.ts';
import type { NodeMachine } from '../../src/core/node/node-machine.ts';
import type { NodeEffect, NodeEvent } from '../../src/core/node/node-event.ts';
import type { PeerMessage } from '../../src/core/peer/message.ts';
import { Applier } from './applier.ts';
import { finishPrepared } from './finisher.ts';
import { OpenTransactions } from './open-transactions.ts';
import type { RunOptions } from './options.ts';
import type { Endpoint, Network, Peer } from './network.ts';
import { nodesInFile, peersOf } from './peers.ts';
import { Process } from './process.ts';
import { Recovery } from './recovery.ts';
import { refereeTimes, type Referee } from './referee.ts';
import type { Backend, Identity } from './server-record.ts';
import type { Server } from './server.ts';
import type { Session } from './session.ts';
import { describe } from './story.ts';
import { Syncpoints } from './syncpoints.ts';
import { Walsender } from './walsender.ts';
import { recvTimeoutMs, sendTimeoutMs, tickMs } from './world.ts';
import type { World } from './world.ts';

/** The cluster as a gateway sees it beside the links. */
export interface GatewayCluster {
  /** Who answers that node's calls as the other one, if a connection can be made. */
  peer(from: Gateway, node: NodeId): Gateway | undefined;
  /** A connection between the two places holds. */
  connected(a: number, b: number): boolean;
  /** Another process listens at the address. */
  isTaken(identity: Identity): boolean;
  readonly referee: Referee | undefined;
}

export class Gateway extends Process implements Endpoint {
  readonly id: NodeId;
  readonly place: number;
  readonly server: Server;
  readonly options: RunOptions;
  readonly #world: World;
  readonly #network: Network;
  readonly #cluster: GatewayCluster;
  #machine!: NodeMachine;
  peers: ReadonlyMap<NodeId, Peer> = new Map();
  /** This process was online once. */
  wasOnline = false;
  #clock!: HybridClock;
  #syncpoints!: Syncpoints;
  #walsender: Walsender | undefined;
  #recovery: { readonly stream: Recovery | undefined; readonly donor: NodeId } | undefined;
  readonly #open: OpenTransactions;
  readonly #appliers = new Map<Gid, Applier>();
  readonly #sessions = new Map<Gid, Session>();
  readonly #openSessions = new Set<Session>();
  #counter = 0;
  /** Clocks differ, and run differently. */
  readonly #wallSkewMs: number;
  readonly #clockRate: number;

  constructor(world: World, network: Network, server: Server, options: RunOptions, cluster: GatewayCluster) {
    super(world);
    this.#world = world;
    this.#network = network;
    this.#cluster = cluster;
    this.id = server.identity.id;
    this.place = server.identity.place;
    this.server = server;
    this.options = options;
    this.#wallSkewMs = world.random.between(0, 500);
    this.#clockRate = 1 + options.clockDrift * world.random.pick([-1, 0, 1]);
    this.#open = new OpenTransactions(world, this);
    server.onWal = () => this.#walsender?.wake();
  }

  /** The monotonic clock of this machine, ms. */
  get #now(): number {
    return this.#world.scheduler.now * this.#clockRate;
  }

  get #wallMs(): number {
    return this.#now + this.#wallSkewMs;
  }

  /** Takeover: former backends are gone, the incarnation is raised, then the server is looked at. */
  start(): void {
    const attempt = (): void => {
      if (this.incarnation !== undefined) return;
      if (this.#cluster.isTaken(this.identity)) return;
      if (!this.server.up || this.server.running > 0) return this.#world.scheduler.after(5, attempt);
      this.#startNow();
    };
    attempt();
  }

  #startNow(): void {
    const { id, options, server } = this;
    this.incarnation = server.incarnation += 1;
    this.#counter = 0;
    this.wasOnline = false;
    this.#clock = new HybridClock();
    this.#machine = this.#world.makeMachine({
      self: id,
      configured: nodesInFile(options.nodes, id),
      source: server.seed?.done === false ? server.seed.source : undefined,
      incarnation: this.incarnation,
      sendTimeoutMs,
      recvTimeoutMs,
      clock: this.#clock,
      now: this.#now,
      state: server.durable,
      prepared: [...server.prepared.keys()],
      committed: server.retainedCommits(false),
      empty: server.retainedCommits(true),
      floor: server.floor,
      commit: {
        self: id,
        waitPeerCommits: options.waitPeerCommits,
        retainBytes: options.retainBytes,
        deadlockPrevention: options.deadlockPrevention,
        blockerTimeoutMs: 150,
      },
      ...(this.#cluster.referee === undefined ? {} : { referee: refereeTimes }),
    });
    this.#syncpoints = new Syncpoints(this.#world, this, this.#machine);
    this.peers = peersOf(id, this.#machine.configuration);
    this.step({ kind: 'local-health-changed', now: this.#now, health: { healthy: true } });
    this.#walsender = new Walsender(this.#world, server, this);
    this.#network.started(this.place);
    this.#cluster.referee?.serve(this);
    this.#tick();
  }

  /** kill -9 of the gateway. */
  crash(): void {
    if (this.incarnation === undefined) return;
    this.#world.trace?.(`node ${this.name}`, 'gateway crashes');
    this.ended();
    this.#walsender?.stop();
    this.#walsender = undefined;
    this.#recovery?.stream?.stop();
    this.#recovery = undefined;
    this.#appliers.clear();
    this.#open.clear();
    this.#sessions.clear();
    const sessions = [...this.#openSessions];
    this.#openSessions.clear();
    for (const session of sessions) session.connectionLost();
    this.server.orphanAll();
    this.#network.died(this.place);
  }

  /** The server is gone: the node says so, ends its part, and begins anew when the server is back. */
  serverLost(): void {
    const { incarnation } = this;
    this.#world.trace?.(`node ${this.name}`, 'server is lost');
    this.deliver(() => {
      if (this.incarnation !== incarnation) return;
      const health = { healthy: false, status: 'disabled', reason: 'PostgreSQL does not answer' } as const;
      this.step({ kind: 'local-health-changed', now: this.#now, health });
      this.crash();
      this.start();
    });
  }

  reconnectWalsender(): void {
    if (this.incarnation === undefined || !this.server.up) return;
    this.#walsender?.stop();
    this.step({ kind: 'capture-restarted' });
    this.#walsender = new Walsender(this.#world, this.server, this);
  }

  #tick(): void {
    this.later(tickMs, () => this.#tick());
    this.#syncpoints.look();
    this.step({
      kind: 'ticked',
      now: this.#now,
      wallMs: this.#wallMs,
      random: this.#world.random.next(),
    });
  }

  /** May a statement begin, may a result leave? Asked at both times. */
  get serving(): boolean {
    return this.incarnation !== undefined && this.#machine.liveness.hasLease(this.#now);
  }

  /** All that it has seen is finished everywhere, but it cannot know that. Asked when nothing is open. */
  get lacksFloors(): boolean {
    const syncpoint = this.#machine.takeSyncpoint();
    return syncpoint !== undefined && this.#machine.passedFloor(syncpoint) === undefined;
  }

  get writable(): boolean {
    return this.serving && this.#machine.liveness.membersReachable(this.#now);
  }

  /** The generation that this node is online in. */
  get generation(): number | undefined {
    if (this.incarnation === undefined) return undefined;
    const { onlineIn } = this.#machine.liveness;
    return onlineIn === 0 ? undefined : onlineIn;
  }

  /** Whom it recovers from. */
  get donor(): NodeId | undefined {
    return this.#recovery?.donor;
  }

  get openTransactions(): { readonly own: number; readonly foreign: number; readonly left: number } {
    return this.#machine.openTransactions;
  }

  /** mtm.transaction_outcome. */
  outcomeOf(gid: Gid): string {
    return this.#machine.outcomeOf(gid);
  }

  get identity(): Identity {
    return this.server.identity;
  }

  /** For a person. */
  get name(): string {
    return this.place === this.id ? `${this.id}` : `${this.id}/${this.place}`;
  }

  /** The nodes of the cluster as this process knows them. */
  get configuration(): Configuration | undefined {
    return this.incarnation === undefined ? undefined : this.#machine.configuration;
  }

  /** mtm.add_node, mtm.drop_node: until it is withdrawn. */
  wish(wish: ConfigurationWish | undefined): void {
    this.deliver(() => this.step({ kind: 'configuration-wished', now: this.#now, wish }));
  }

  /** It says that it must be seeded anew, or what it is to be seeded from has left the cluster. */
  hopeless(configuration: Configuration): boolean {
    if (this.incarnation === undefined) return false;
    const { seed } = this.server;
    const { status, reason } = this.#machine.status(this.#now);
    if (status === 'disabled' && reason.includes('re-seed')) return true;
    if (seed === undefined || seed.done) return false;
    const { id, since } = seed.source;
    return !nodesOf(configuration).includes(id) || sinceOf(configuration, id) !== since;
  }

  /** How it is, for a person. */
  get story(): string {
    if (this.incarnation === undefined) return 'down';
    return JSON.stringify(this.#machine.status(this.#now));
  }

  newStartTime(): number {
    return this.#clock.read(this.#wallMs);
  }

  newGid(): Gid {
    this.#counter += 1;
    return formatGid({
      node: this.id,
      generation: this.generation!,
      incarnation: this.incarnation!,
      counter: this.#counter,
    });
  }

  opened(session: Session): void {
    this.#openSessions.add(session);
  }

  closed(session: Session): void {
    this.#openSessions.delete(session);
  }

  /** This write could be committed last, and is to be. */
  commitsLast(): boolean {
    const { openShare = 0 } = this.options;
    return openShare > 0 && this.#world.random.chance(openShare);
  }

  hold(gid: Gid, backend: Backend): void {
    this.#open.hold(gid, backend);
  }

  waitForAnswer(gid: Gid, session: Session): void {
    this.#sessions.set(gid, session);
  }

  /** Its session has been told otherwise. */
  forget(gid: Gid): void {
    this.#sessions.delete(gid);
  }

  linkUp(to: NodeId, incarnation: number): void {
    this.deliver(() => {
      this.step({ kind: 'peer-introduced', now: this.#now, from: to, incarnation });
      this.step({ kind: 'link-up', now: this.#now, to });
    });
  }

  linkDown(to: NodeId): void {
    this.deliver(() => this.step({ kind: 'link-down', now: this.#now, to, reason: 'connection reset' }));
  }

  peerStopped(from: NodeId): void {
    this.deliver(() => this.step({ kind: 'peer-stopped', now: this.#now, from, reason: 'it has ended' }));
  }

  linkAccepted(from: NodeId, incarnation: number): void {
    this.deliver(() => this.step({ kind: 'peer-introduced', now: this.#now, from, incarnation }));
  }

  received(from: NodeId, message: PeerMessage): void {
    this.deliver(() => this.step({ kind: 'message-received', now: this.#now, from, message }));
  }

  applyEnded(gid: Gid, result: ApplyResult): void {
    const applier = this.#appliers.get(gid);
    this.deliver(() => {
      if (this.#appliers.get(gid) !== applier) return;
      this.#appliers.delete(gid);
      this.step({ kind: 'apply-ended', gid, result });
    });
  }

  applyBlocked(gid: Gid, holder: Holder, waitedMs: number): void {
    this.deliver(() => this.step({ kind: 'apply-blocked', gid, ddl: false, holder, waitedMs }));
  }

  /** News of the link to the referee. */
  hears(news: (now: number) => RefereeNews): void {
    this.step(news(this.#now));
  }

  // ---- recovery

  isKnown(gid: Gid): boolean {
    return this.#machine.isKnown(gid);
  }

  recoveryApplied(gid: Gid): void {
    this.step({ kind: 'replayed', gids: [gid] });
  }

  recoveryProgressed(lagBytes: number): void {
    this.step({ kind: 'recovery-progressed', now: this.#now, lagBytes });
  }

  recoveryReached(generation: number): void {
    this.#recovery = undefined;
    this.step({ kind: 'recovery-reached', now: this.#now, generation });
  }

  recoverySeeded(): void {
    this.step({ kind: 'seeded', now: this.#now });
  }

  recoveryFailed(reason: string, reseed: boolean): void {
    this.#recovery = undefined;
    this.step({ kind: 'recovery-failed', now: this.#now, reason, reseed });
  }

  #recover(donorId: NodeId, target: number | undefined): void {
    this.#recovery?.stream?.stop();
    const donor = this.#cluster.peer(this, donorId);
    if (donor === undefined) {
      const failing = { donor: donorId, stream: undefined };
      this.#recovery = failing;
      this.later(1, () => {
        if (this.#recovery === failing) this.recoveryFailed('the donor is not there', false);
      });
      return;
    }
    const connected = (): boolean =>
      this.#cluster.connected(this.place, donor.place) && this.#cluster.peer(this, donorId) === donor;
    this.#recovery = { donor: donorId, stream: new Recovery(this.#world, this, donor, target, connected) };
  }

  // ---- effects

  step(event: NodeEvent): void {
    this.#world.trace?.(`node ${this.name}`, `<- ${describe(event)}`);
    const { incarnation } = this;
    for (const effect of this.#machine.step(event)) {
      if (this.incarnation !== incarnation) return;
      this.#world.trace?.(`node ${this.name}`, `   -> ${describe(effect)}`);
      this.#world.checker.effect(this.place, effect);
      this.#execute(effect);
    }
  }

  #execute(effect: NodeEffect): void {
    switch (effect.kind) {
      case 'send':
        return this.#network.send(this, effect.to, effect.message);
      case 'persist':
        return this.#persist(effect.token, effect.change);
      case 'open-apply':
        this.#openApply(effect.gid);
        return;
      case 'push-apply':
        return this.#appliers.get(effect.gid)?.push(effect.data);
      case 'end-apply':
        return this.#appliers.get(effect.gid)?.end();
      case 'cancel-apply':
        return this.#appliers.get(effect.gid)?.cancel(effect.refusal);
      case 'end-prepare':
        for (const session of [...this.#openSessions]) session.endPrepare(effect.gid);
        return;
      case 'finish':
        return finishPrepared(this.#world, this, effect.gid, effect.finish);
      case 'finish-open':
        return this.#open.finish(effect.gid, effect.finish);
      case 'answer':
        return this.#answer(effect);
      case 'interrupt-session':
        for (const session of this.#openSessions) if (session.pid === effect.pid) session.interrupt();
        return;
      case 'serve':
        if (effect.generation !== undefined) this.wasOnline = true;
        else for (const session of [...this.#openSessions]) session.generationEnded();
        return;
      case 'recover':
        return this.#recover(effect.donor, effect.generation);
      case 'recovery-follow':
        return this.#recovery?.stream?.follow(effect.generation);
      case 'configuration-changed':
        this.peers = peersOf(this.id, effect.configuration);
        return this.#network.configured(this);
      case 'stop-recovery':
        this.#recovery?.stream?.stop();
        this.#recovery = undefined;
        return;
      case 'request-grant':
      case 'report-online':
        return this.#cluster.referee?.carryOut(this, effect);
      case 'member-lost':
      case 'member-back':
      case 'alarm':
      case 'status-changed':
        return;
    }
  }

  #persist(token: number, change: Parameters<Server['persist']>[0]): void {
    const { incarnation } = this;
    const persisted = (): void => {
      if (this.incarnation === incarnation)
        this.deliver(() => this.step({ kind: 'persisted', now: this.#now, token }));
    };
    if (change.chosen !== undefined) this.#world.checker.chosen(change.chosen);
    if (!this.#world.sabotage.persistNotAwaited) return this.server.persist(change, persisted);
    this.server.persist(change, () => {});
    this.later(0, persisted);
  }

  #openApply(gid: Gid): void {
    this.#appliers.set(gid, new Applier(this.#world, this.server, gid, this));
  }

  #answer(effect: Extract<NodeEffect, { kind: 'answer' }>): void {
    const { gid, answer } = effect;
    const session = this.#sessions.get(gid);
    this.#sessions.delete(gid);
    if (session === undefined) return;
    this.#world.checker.answered(this.place, gid, answer.kind);
    if (answer.kind === 'unknown') this.#open.abandon(gid);
    session.answered(answer);
  }
}
