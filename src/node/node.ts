/**
 * One node: the machines, the adapters, and what connects them. Every effect of a machine is executed here
 * and every end of an
 * adapter's work becomes an event.
 * Rule: it decides nothing. What is decided is decided in src/core, so that the simulation runs the same
 * code.
 */
import type { CommitEffect } from '../core/commit/event.ts';
import { CommitMachine } from '../core/commit/machine.ts';
import { HybridClock } from '../core/generation/hybrid-clock.ts';
import { Liveness } from '../core/generation/liveness.ts';
import type { LivenessEffect, LocalHealth } from '../core/generation/liveness-event.ts';
import { blockingSize } from '../core/generation/quorum.ts';
import type { Gid } from '../core/identity.ts';
import { GatewayError } from '../lib/gateway-error.ts';
import { ClientListener } from '../io/clients/client-listener.ts';
import { Applier } from '../io/postgres/applier.ts';
import type { ApplyHandle } from '../io/postgres/applier.ts';
import { Finisher } from '../io/postgres/finisher.ts';
import { Flow } from './flow.ts';
import { ConflictWatch } from './conflict-watch.ts';
import { Drain } from './drain.ts';
import type { NodeParts } from './node-parts.ts';
import { LocalServer } from './local-server.ts';
import { Members } from './members.ts';
import { RuntimeReport } from './runtime-report.ts';
import { SessionDesk, headerProof } from './session-desk.ts';
import { SyncpointKeeper } from './syncpoint.ts';

/** Bytes of a transaction's changes kept for a repeat after a link broke. */
const retainBytes = 8 * 1024 * 1024;
const drainLimitMs = 10_000;
const watchMs = 10;
/** A gateway that is turned away by a peer and not online for so long is configured wrongly, ms. */
const misconfiguredMs = 3_000;

export class Node {
  readonly #parts: NodeParts;
  readonly #commit: CommitMachine;
  readonly #liveness: Liveness;
  readonly #clock = new HybridClock();
  readonly #drain: Drain;
  readonly #members: Members;
  readonly #server: LocalServer;
  readonly #applier: Applier;
  readonly #finisher: Finisher;
  readonly #desk: SessionDesk;
  readonly #listener: ClientListener;
  readonly #watch: ConflictWatch;
  readonly #syncpoint: SyncpointKeeper;
  readonly #flow: Flow;
  readonly #applying = new Map<Gid, ApplyHandle>();
  readonly #timers: NodeJS.Timeout[] = [];
  #serverTrouble: string | undefined = 'the change stream is not open yet';
  readonly #report: RuntimeReport;
  #draining = false;
  #stopping = false;
  #fail: (error: Error) => void = () => undefined;
  readonly failed: Promise<never>;

  constructor(parts: NodeParts) {
    this.#parts = parts;
    const { config, log } = parts;
    const members = [config.nodeId, ...config.peers.map(({ id }) => id)].sort((a, b) => a - b);
    const generation = { number: 1, members, configured: members };
    this.#liveness = new Liveness({
      self: config.nodeId,
      generation,
      sendTimeoutMs: config.heartbeatSendTimeoutMs,
      recvTimeoutMs: config.heartbeatRecvTimeoutMs,
      clock: this.#clock,
    });
    this.#commit = new CommitMachine({
      self: config.nodeId,
      members,
      blockingSize: blockingSize(members.length),
      waitPeerCommits: config.waitPeerCommits,
      retainBytes,
      deadlockPrevention: config.deadlockPrevention,
      blockerTimeoutMs: config.blockerTimeoutMs,
    });
    this.#drain = new Drain(this.#commit, this.#liveness, (effect) => this.#execute(effect));
    const login = config.postgres;
    this.#applier = new Applier({
      login,
      node: config.nodeId,
      maxWorkers: config.maxWorkers,
      cancelBackend: (pid) => parts.control.cancelBackend(pid),
    });
    this.#finisher = new Finisher({ login, connections: 8 });
    this.#server = new LocalServer(parts, this.#applier, this.#finisher, {
      event: (event) => this.#drain.commit(event),
      lost: (reason) => this.#serverLost(reason),
    });
    this.#members = new Members(config, parts.takeOver.incarnation, log, {
      commit: (event) => this.#drain.commit(event),
      liveness: (event) => this.#drain.liveness(event),
      flow: (from, open) => (open ? this.#flow.released(from) : this.#flow.asked(from, false)),
      linkUp: () => this.#flow.linkUp(),
      startTimeSeen: (startTime) => this.#clock.observe(startTime),
      changed: () => this.#report.changed(),
    });
    this.#desk = new SessionDesk(config, this.#deskNode(), parts.shownSettings);
    this.#listener = new ClientListener(this.#desk.services);
    this.#watch = this.#newWatch();
    this.#syncpoint = new SyncpointKeeper(this.#commit, parts.control, config.syncpointIntervalBytes);
    this.#report = new RuntimeReport(parts, this.#liveness, {
      links: () => this.#members.links,
      unsupervised: () => this.#server.unsupervised,
      workers: () => this.#applying.size,
      lost: (reason) => this.#serverLost(reason),
    });
    this.#flow = new Flow({
      unappliedBytes: () => this.#unappliedBytes(),
      tell: (message) => {
        for (const { id } of config.peers) this.#members.send(id, message);
      },
      pauseSource: () => this.#server.stream?.pause(),
      resumeSource: () => this.#server.stream?.resume(),
    });
    this.failed = new Promise((_, reject) => {
      this.#fail = reject;
    });
    // Whoever runs the node awaits it; before that it must not count as unhandled.
    this.failed.catch(() => undefined);
  }

  #newWatch(): ConflictWatch {
    return new ConflictWatch(this.#parts.observer, {
      applying: () => this.#applying.values(),
      startTimeOf: (pid) => this.#desk.startTimeOf(pid),
      blocked: (event) => this.#drain.commit(event),
      walsender: () => this.#server.stream?.pid,
      captureBlocked: (gid) => this.#drain.commit({ kind: 'capture-blocked', gid }),
    });
  }

  #deskNode(): ConstructorParameters<typeof SessionDesk>[1] {
    const { classifier, announceKey, takeOver, control, config } = this.#parts;
    return {
      classifier,
      incarnation: takeOver.incarnation,
      announceKey,
      generation: () => this.#liveness.generation.number,
      clock: () => this.#clock.read(Date.now()),
      notOnline: () => {
        const now = performance.now();
        if (this.#liveness.serving(now) && this.#commit.doubtful === 0) return undefined;
        this.#updateHealth();
        return { ...this.#liveness.status(now), passing: false };
      },
      unreachable: () => {
        const members = this.#liveness.unreachableMembers(performance.now());
        return members.length === 0 ? undefined : { members, passing: false };
      },
      prepareSent: (gid, startTime) => this.#drain.commit({ kind: 'prepare-sent', gid, startTime }),
      prepareEnded: (gid, end) => this.#prepareEnded(gid, end),
      prepareLost: (gid, pid) => void this.#server.prepareLost(gid, pid),
      mayBypass: (user) => control.mayBypass(user, config.adminRole),
    };
  }

  #prepareEnded(gid: Gid, end: 'prepared' | 'empty' | 'failed'): void {
    if (end === 'failed') {
      this.#drain.commit({ kind: 'prepare-failed', gid });
      return;
    }
    this.#drain.commit({ kind: 'prepare-returned', gid });
    // Without a transaction id there is nothing that the slot could show.
    if (end === 'empty')
      this.#drain.commit({ kind: 'captured', gid, ddl: false, data: new Uint8Array(0), last: true });
  }

  // ---- start and stop

  async start(): Promise<void> {
    const { config, takeOver, log } = this.#parts;
    await this.#finisher.start();
    await this.#server.refreshSuspicions();
    this.#drain.commit({ kind: 'recovered', prepared: takeOver.prepared, committed: takeOver.committed });
    await this.#server.openStream();
    this.#serverTrouble = undefined;
    this.#startedAt = performance.now();
    await this.#members.links.start();
    await this.#listener.listen(config.listen.host, config.listen.port);
    this.#every(Math.min(50, config.heartbeatSendTimeoutMs / 4), () => this.#tick());
    this.#every(100, () => this.#slowTick());
    const { incarnation, prepared } = takeOver;
    log.info({ incarnation, leftovers: prepared.length }, 'the gateway has started');
  }

  #every(ms: number, action: () => void): void {
    this.#timers.push(setInterval(action, ms));
  }

  #tick(): void {
    this.#updateHealth();
    this.#drain.liveness(() => ({ kind: 'ticked', now: performance.now(), wallMs: Date.now() }));
    this.#members.lookForSilence(performance.now());
    this.#drain.commit({ kind: 'tick' });
    this.#flow.look();
  }

  /** No retry cures another secret. */
  #endIfMisconfigured(): void {
    if (this.#wasOnline || performance.now() - this.#startedAt < misconfiguredMs) return;
    const reason = this.#members.links.misconfiguration();
    if (reason !== undefined) this.#fail(new GatewayError('peer-rejected', reason.text));
  }

  #wasOnline = false;
  #startedAt = 0;

  #slowTick(): void {
    this.#endIfMisconfigured();
    void this.#syncpoint.look(this.#server.stream?.received ?? 0n);
    void this.#report.write();
    if (this.#commit.openTransactions.own > 0) void this.#watch.lookAtWalsender();
  }

  async stop(): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    this.#listener.close();
    await this.#desk.drain(drainLimitMs);
    this.#stopping = true;
    await this.#commitsFinished(2000);
    await this.#close();
  }

  /** Ends at once what is left after a failure: nothing can be finished any more. */
  async abandon(): Promise<void> {
    this.#stopping = true;
    this.#listener.close();
    await this.#desk.drain(0);
    await this.#close();
  }

  async #close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    clearInterval(this.#watchTimer);
    this.#server.stream?.close();
    await this.#members.links.stop();
    this.#applier.stop();
    this.#finisher.stop();
    const { control, observer } = this.#parts;
    await Promise.allSettled([control.close(), observer.close()]); // one of them may be what has failed
  }

  /** Gives what is decided the time to be executed, so that the next start has less to ask for. */
  async #commitsFinished(limitMs: number): Promise<void> {
    const until = performance.now() + limitMs;
    while (performance.now() < until) {
      const { own, foreign } = this.#commit.openTransactions;
      if (own === 0 && foreign === 0) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  get ready(): boolean {
    const now = performance.now();
    return !this.#draining && this.#liveness.serving(now) && this.#commit.doubtful === 0;
  }

  get writable(): boolean {
    return this.ready && this.#liveness.membersReachable(performance.now());
  }

  get status(): { readonly status: string; readonly reason: string } {
    return this.#liveness.status(performance.now());
  }

  // ---- effects

  #execute(effect: CommitEffect | LivenessEffect): void {
    switch (effect.kind) {
      case 'send':
        this.#members.send(effect.to, effect.message);
        return;
      case 'open-apply':
        this.#openApply(effect.gid);
        return;
      case 'push-apply':
        this.#applying.get(effect.gid)?.push(effect.data);
        return;
      case 'end-apply':
        this.#applying.get(effect.gid)?.end();
        return;
      case 'cancel-apply':
        this.#applying.get(effect.gid)?.cancel(effect.refusal);
        return;
      case 'finish':
        this.#server.finish(effect.gid, effect.finish);
        return;
      case 'answer':
        this.#desk.answer(effect.gid, effect.answer);
        return;
      case 'interrupt-session':
        this.#desk.interrupt(effect.pid, effect.winner);
        return;
      case 'alarm':
        this.#parts.log.error(
          { gid: effect.gid, text: effect.text },
          'the nodes may differ: stop writing and compare them',
        );
        return;
      case 'lease-lost':
      case 'lease-gained':
        this.#drain.commit({ kind: effect.kind });
        return;
      case 'status-changed':
        this.#statusChanged(effect.status, effect.reason);
        return;
      case 'member-lost':
        this.#parts.log.warn({ node: effect.node, reason: effect.reason }, 'a member cannot take part');
        this.#report.changed();
        this.#members.lost(effect.node);
        this.#drain.commit({ kind: 'member-lost', node: effect.node, reason: effect.reason });
        return;
      case 'member-back':
        this.#parts.log.info({ node: effect.node }, 'a member takes part again');
        this.#report.changed();
        this.#members.back(effect.node);
        this.#drain.commit({ kind: 'member-back', node: effect.node });
        return;
    }
  }

  #statusChanged(status: string, reason: string): void {
    this.#parts.log.info({ status, reason }, 'the status of the node has changed');
    if (status === 'online') this.#wasOnline = true;
    this.#report.changed();
  }

  #unappliedBytes(): number {
    let bytes = 0;
    for (const handle of this.#applying.values()) bytes += handle.buffered;
    return bytes;
  }

  /** Only while something is applied: an idle gateway wakes up as seldom as it can. */
  #lookForConflicts(): void {
    if (this.#applying.size > 0) {
      void this.#watch.look();
      return;
    }
    clearInterval(this.#watchTimer);
    this.#watchTimer = undefined;
  }

  #watchTimer: NodeJS.Timeout | undefined;

  #openApply(gid: Gid): void {
    const handle = this.#applier.open(gid, headerProof(this.#parts.config.clusterSecret, gid));
    this.#applying.set(gid, handle);
    this.#watchTimer ??= setInterval(() => this.#lookForConflicts(), watchMs);
    handle.onDone = (result) => {
      this.#applying.delete(gid);
      if (handle.ddl) this.#server.definitionsChange(gid);
      this.#drain.commit({ kind: 'apply-ended', gid, result });
    };
  }

  // ---- the local server

  /**
   * The server or a connection to it is gone: what this process remembers of its transactions may no longer
   * be true. The gateway
   * ends; its successor takes the server over and looks (architecture §3: a restart ends the node's part).
   */
  #serverLost(reason: string): void {
    if (this.#stopping) return;
    this.#serverTrouble = reason;
    this.#updateHealth();
    this.#fail(new Error(reason));
  }

  controlLost(reason: string): void {
    this.#serverLost(`the control connection was lost: ${reason}`);
  }

  #lastHealth = '';

  #updateHealth(): void {
    const health = this.#health();
    const text = JSON.stringify(health);
    if (text === this.#lastHealth) return;
    this.#lastHealth = text;
    this.#drain.liveness(() => ({ kind: 'local-health-changed', now: performance.now(), health }));
  }

  #health(): LocalHealth {
    if (this.#stopping) return { healthy: false, status: 'disabled', reason: 'the gateway is shutting down' };
    if (this.#serverTrouble !== undefined)
      return { healthy: false, status: 'disabled', reason: this.#serverTrouble };
    const { doubtful } = this.#commit;
    if (doubtful > 0) {
      const reason = `${doubtful} prepared transactions wait for the word of their coordinator`;
      return { healthy: false, status: 'recovery', reason };
    }
    return { healthy: true };
  }
}
