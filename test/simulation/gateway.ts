/**
 * One gateway: the real commit machine and the real liveness machine, and a model of what src/node does
 * around them. Everything that reaches it goes through `deliver`: a paused process handles it later, a dead
 * one never.
 */
import type { ApplyResult, CommitEffect, CommitEvent, Holder } from '../../src/core/commit/event.ts';
import { HybridClock } from '../../src/core/generation/hybrid-clock.ts';
import { Liveness } from '../../src/core/generation/liveness.ts';
import { SilenceWatch } from '../../src/core/generation/silence.ts';
import type { LivenessEvent } from '../../src/core/generation/liveness-event.ts';
import { formatGid } from '../../src/core/identity.ts';
import type { Gid, NodeId } from '../../src/core/identity.ts';
import type { PeerMessage } from '../../src/core/peer/message.ts';
import { Applier } from './applier.ts';
import { finishPrepared } from './finisher.ts';
import type { RunOptions } from './options.ts';
import type { Endpoint, Network } from './network.ts';
import type { Server } from './server.ts';
import type { Session } from './session.ts';
import { describe } from './story.ts';
import { Walsender } from './walsender.ts';
import { recvTimeoutMs, sendTimeoutMs, tickMs } from './world.ts';
import type { Machine, World } from './world.ts';

export interface RecoverySource {
  /** Commits of this node since its retained position. */
  retained(node: NodeId): readonly Gid[];
}

export class Gateway implements Endpoint {
  readonly id: NodeId;
  readonly server: Server;
  readonly options: RunOptions;
  incarnation: number | undefined;
  readonly #world: World;
  readonly #network: Network;
  readonly #recovery: RecoverySource;
  #machine!: Machine;
  #liveness!: Liveness;
  #clock!: HybridClock;
  #walsender: Walsender | undefined;
  readonly #appliers = new Map<Gid, Applier>();
  readonly #sessions = new Map<Gid, Session>();
  readonly #openSessions = new Set<Session>();
  #silence: SilenceWatch | undefined;
  readonly #lost = new Set<NodeId>();
  readonly #silenced = new Set<NodeId>();
  #lastIncarnation = 0;
  #counter = 0;
  /** Clocks differ. */
  readonly #wallSkewMs: number;
  #pausedUntil = 0;
  #serverWell = true;
  /** Why it said that it is not healthy. */
  #trouble = '';
  #inbox: (() => void)[] = [];

  constructor(
    world: World,
    network: Network,
    id: NodeId,
    server: Server,
    options: RunOptions,
    recovery: RecoverySource,
  ) {
    this.#world = world;
    this.#network = network;
    this.#recovery = recovery;
    this.id = id;
    this.server = server;
    this.options = options;
    this.#wallSkewMs = world.random.between(0, 500);
    server.onWal = () => this.#walsender?.wake();
  }

  get #now(): number {
    return this.#world.scheduler.now;
  }

  get machine(): Machine {
    return this.#machine;
  }

  deliver(action: () => void): void {
    if (this.incarnation === undefined) return;
    if (this.#pausedUntil > this.#now || this.#inbox.length > 0) this.#inbox.push(action);
    else action();
  }

  /** An action of this process, later; it dies with the process. */
  later(ms: number, action: () => void): void {
    const incarnation = this.incarnation;
    this.#world.scheduler.after(ms, () => {
      if (this.incarnation === incarnation) this.deliver(action);
    });
  }

  pause(ms: number): void {
    if (this.incarnation === undefined) return;
    this.#pausedUntil = Math.max(this.#pausedUntil, this.#now + ms);
    const incarnation = this.incarnation;
    this.#world.scheduler.after(ms, () => {
      if (this.#pausedUntil > this.#now || this.incarnation !== incarnation) return;
      while (this.#inbox.length > 0) {
        const inbox = this.#inbox;
        this.#inbox = [];
        for (const action of inbox) if (this.incarnation === incarnation) action();
      }
    });
  }

  /** Takeover: former backends are gone, the incarnation is raised, then the server is looked at. */
  start(): void {
    const attempt = (): void => {
      if (this.incarnation !== undefined) return;
      if (!this.server.up || this.server.running > 0) return this.#world.scheduler.after(5, attempt);
      this.#startNow();
    };
    attempt();
  }

  #startNow(): void {
    const { id, options } = this;
    this.incarnation = this.#lastIncarnation += 1;
    this.#counter = 0;
    this.#clock = new HybridClock();
    const generation = { number: 1, members: options.members, configured: options.members };
    this.#liveness = new Liveness({ self: id, generation, sendTimeoutMs, recvTimeoutMs, clock: this.#clock });
    this.#machine = this.#world.makeMachine({
      self: id,
      members: options.members,
      blockingSize: options.blockingSize,
      waitPeerCommits: options.waitPeerCommits,
      retainBytes: options.retainBytes,
      deadlockPrevention: options.deadlockPrevention,
      blockerTimeoutMs: 150,
    });
    this.#silence = new SilenceWatch({
      self: id,
      configured: options.members,
      recvTimeoutMs,
      sendTimeoutMs,
      now: this.#now,
    });
    this.#silenced.clear();
    this.#lost.clear();
    for (const peer of options.members) {
      if (peer !== id) this.#lost.add(peer);
    }
    const prepared = [...this.server.prepared.keys()];
    this.step({ kind: 'recovered', prepared, committed: this.#recovery.retained(id) });
    this.#trouble = '';
    this.#serverWell = true;
    this.#alive({ kind: 'local-health-changed', now: this.#now, health: { healthy: true } });
    this.#walsender = new Walsender(this.#world, this.server, this);
    this.#network.started(id);
    this.#tick();
  }

  /** kill -9 of the gateway. */
  crash(): void {
    if (this.incarnation === undefined) return;
    this.#world.trace?.(`node ${this.id}`, 'gateway crashes');
    this.incarnation = undefined;
    this.#inbox = [];
    this.#pausedUntil = 0;
    this.#walsender?.stop();
    this.#walsender = undefined;
    this.#appliers.clear();
    this.#sessions.clear();
    const sessions = [...this.#openSessions];
    this.#openSessions.clear();
    for (const session of sessions) session.connectionLost();
    this.server.orphanAll();
    this.#network.died(this.id);
  }

  /** The server alone crashes and comes back; the gateway lives on. */
  serverCrash(downMs: number): void {
    if (!this.server.up) return;
    this.#world.trace?.(`node ${this.id}`, 'server crashes');
    this.server.crash();
    this.deliver(() => {
      this.#serverWell = false;
      this.#reportHealth();
      this.#walsender?.stop();
      for (const applier of [...this.#appliers.values()]) applier.serverCrashed();
      for (const session of [...this.#openSessions]) session.serverCrashed();
    });
    this.#world.scheduler.after(downMs, () => {
      this.server.start();
      this.deliver(() => {
        this.#serverWell = this.server.up;
        this.#reportHealth();
        this.reconnectWalsender();
      });
    });
  }

  /** As src/node does: a node in doubt is not healthy either. */
  #reportHealth(): void {
    const { doubtful } = this.#machine;
    const reason = !this.#serverWell
      ? 'PostgreSQL does not answer'
      : doubtful > 0
        ? `${doubtful} in doubt`
        : '';
    if (reason === this.#trouble) return;
    this.#trouble = reason;
    const health =
      reason === ''
        ? ({ healthy: true } as const)
        : ({ healthy: false, status: 'recovery', reason } as const);
    this.#alive({ kind: 'local-health-changed', now: this.#now, health });
  }

  reconnectWalsender(): void {
    if (this.incarnation === undefined || !this.server.up) return;
    this.#walsender?.stop();
    if (!this.#world.legacy) this.step({ kind: 'capture-restarted' });
    this.#walsender = new Walsender(this.#world, this.server, this);
  }

  #tick(): void {
    this.later(tickMs, () => this.#tick());
    this.#alive({ kind: 'ticked', now: this.#now, wallMs: this.#now + this.#wallSkewMs });
    for (const peer of this.#lost) {
      if (this.#silenced.has(peer) || !this.#silence!.isSilent(peer, this.#now)) continue;
      this.#silenced.add(peer);
      if (!this.#world.legacy) this.step({ kind: 'member-silenced', node: peer });
    }
    this.step({ kind: 'tick' });
    this.#reportHealth();
  }

  #alive(event: LivenessEvent): void {
    for (const effect of this.#liveness.step(event)) {
      switch (effect.kind) {
        case 'send':
          if (effect.message.kind === 'heartbeat-answer') this.#silence!.answered(effect.to, this.#now);
          this.#network.send(this.id, effect.to, effect.message);
          break;
        case 'member-lost':
          this.#lost.add(effect.node);
          this.step({ kind: 'member-lost', node: effect.node, reason: effect.reason });
          break;
        case 'member-back':
          this.#lost.delete(effect.node);
          this.#silenced.delete(effect.node);
          this.step({ kind: 'member-back', node: effect.node });
          break;
        case 'lease-lost':
        case 'lease-gained':
          this.step({ kind: effect.kind });
          break;
        case 'status-changed':
          break;
      }
    }
  }

  /** May a statement begin, may a result leave? Asked at both times. */
  get serving(): boolean {
    return (
      this.incarnation !== undefined && this.#liveness.serving(this.#now) && this.#machine.doubtful === 0
    );
  }

  get writable(): boolean {
    return this.serving && this.#liveness.membersReachable(this.#now);
  }

  newStartTime(): number {
    return this.#clock.read(this.#now + this.#wallSkewMs);
  }

  newGid(): Gid {
    this.#counter += 1;
    return formatGid({
      node: this.id,
      generation: 1,
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

  waitForAnswer(gid: Gid, session: Session): void {
    this.#sessions.set(gid, session);
  }

  linkUp(to: NodeId, incarnation: number): void {
    this.deliver(() => {
      this.#alive({ kind: 'peer-introduced', now: this.#now, from: to, incarnation });
      this.#alive({ kind: 'link-up', now: this.#now, to });
      this.step({ kind: 'link-up', node: to, incarnation });
    });
  }

  linkDown(to: NodeId): void {
    this.deliver(() => {
      this.#alive({ kind: 'link-down', now: this.#now, to, reason: 'connection reset' });
      this.step({ kind: 'link-down', node: to });
    });
  }

  linkAccepted(from: NodeId, incarnation: number): void {
    this.deliver(() => {
      this.#alive({ kind: 'peer-introduced', now: this.#now, from, incarnation });
      if (!this.#world.legacy) this.step({ kind: 'link-accepted', node: from, incarnation });
    });
  }

  received(from: NodeId, message: PeerMessage): void {
    this.deliver(() => {
      if (message.kind === 'heartbeat') {
        this.#silence?.heartbeat(from, message.connected, this.#now);
        this.#alive({ kind: 'heartbeat-received', now: this.#now, from, message });
      } else if (message.kind === 'heartbeat-answer') {
        this.#alive({ kind: 'heartbeat-answer-received', now: this.#now, from, message });
      } else {
        this.step({ kind: 'message-received', from, message });
      }
    });
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

  step(event: CommitEvent): void {
    this.#world.trace?.(`node ${this.id}`, `<- ${describe(event)}`);
    for (const effect of this.#machine.step(event)) {
      this.#world.trace?.(`node ${this.id}`, `   -> ${describe(effect)}`);
      this.#world.checker.effect(this.id, effect);
      this.#execute(effect);
    }
  }

  #execute(effect: CommitEffect): void {
    switch (effect.kind) {
      case 'send':
        return this.#network.send(this.id, effect.to, effect.message);
      case 'open-apply':
        this.#openApply(effect.gid);
        return;
      case 'push-apply':
        return this.#appliers.get(effect.gid)?.push(effect.data);
      case 'end-apply':
        return this.#appliers.get(effect.gid)?.end();
      case 'cancel-apply':
        return this.#appliers.get(effect.gid)?.cancel(effect.refusal);
      case 'finish':
        return finishPrepared(this.#world, this, effect.gid, effect.finish);
      case 'answer':
        return this.#answer(effect);
      case 'interrupt-session':
        for (const session of this.#openSessions) if (session.pid === effect.pid) session.interrupt();
        return;
      case 'alarm':
        return;
    }
  }

  #openApply(gid: Gid): void {
    if (!this.server.up) {
      // No connection to be had: its end is told like that of any other lost connection.
      this.later(1, () =>
        this.step({ kind: 'apply-ended', gid, result: { kind: 'lost', reason: 'no server' } }),
      );
      return;
    }
    this.#appliers.set(gid, new Applier(this.#world, this.server, gid, this));
  }

  #answer(effect: Extract<CommitEffect, { kind: 'answer' }>): void {
    const { gid, answer } = effect;
    const session = this.#sessions.get(gid);
    this.#sessions.delete(gid);
    if (session === undefined) return;
    this.#world.checker.answered(this.id, gid, answer.kind);
    session.answered(answer);
  }
}
