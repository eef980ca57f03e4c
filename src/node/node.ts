/**
 * One node: the machine, the adapters, and what connects them. Every effect of the machine is executed here
 * and every end of an adapter's work becomes an event. Rule: it decides nothing. What is decided is decided
 * in src/core, so that the simulation runs the same code.
 */
import { HybridClock } from '../core/generation/hybrid-clock.ts';
import { sinceOf } from '../core/generation/configuration.ts';
import type { NodeEffect } from '../core/node/node-event.ts';
import { NodeMachine } from '../core/node/node-machine.ts';
import { unreachable } from '../lib/assert.ts';
import { GatewayError } from '../lib/gateway-error.ts';
import type { Reception } from '../io/clients/arrival.ts';
import { Applier } from '../io/postgres/applier.ts';
import { Finisher } from '../io/postgres/finisher.ts';
import { ServerProbe } from './server-probe.ts';
import { ServerWitness } from './server-witness.ts';
import { ApplyDesk } from './apply-desk.ts';
import { deskNode } from './desk-node.ts';
import { notOnline } from './desk-texts.ts';
import { commitsFinished, Drain } from './drain.ts';
import { DurableState } from './durable-state.ts';
import { Flow } from './flow.ts';
import { LocalServer } from './local-server.ts';
import { Health } from './health.ts';
import { machineOptions } from './machine-options.ts';
import { contacts, Members } from './members.ts';
import { closeConnections, type NodeParts } from './node-parts.ts';
import { OutcomeNotes } from './outcome-notes.ts';
import { Patience } from './patience.ts';
import { newQuestions, type Questions } from './questions.ts';
import { RecoveryDesk } from './recovery-desk.ts';
import { RefereeDesk } from './referee-desk.ts';
import { RuntimeReport } from './runtime-report.ts';
import { NodeWatch } from './node-watch.ts';
import { NodeView } from './node-view.ts';
import { SessionDesk } from './session-desk.ts';
import { SyncpointKeeper } from './syncpoint.ts';

/** What they tell is in mtm.status() and mtm.nodes(). */
const shown = new Set<NodeEffect['kind']>(['serve', 'status-changed', 'member-lost', 'member-back']);
const drainLimitMs = 10_000;
/** A gateway that is turned away by a peer and not online for so long is configured wrongly, ms. */
const misconfiguredMs = 3_000;

export class Node {
  readonly #parts: NodeParts;
  readonly machine: NodeMachine;
  readonly #clock = new HybridClock();
  readonly #drain: Drain;
  readonly members: Members;
  readonly #server: LocalServer;
  readonly #applier: Applier;
  readonly #finisher: Finisher;
  readonly desk: SessionDesk;
  readonly #apply: ApplyDesk;
  readonly #syncpoint: SyncpointKeeper;
  readonly #recovery: RecoveryDesk;
  readonly #durable: DurableState;
  readonly #referee: RefereeDesk;
  readonly #outcomes: OutcomeNotes;
  readonly #patience: Patience;
  readonly #probe: ServerProbe;
  readonly #witness: ServerWitness;
  readonly #health: Health;
  readonly #flow: Flow;
  readonly #report: RuntimeReport;
  readonly #watch: NodeWatch;
  /** For whoever watches. */
  readonly view: NodeView;
  readonly #questions: Questions;
  readonly #timers: NodeJS.Timeout[] = [];
  /** New transactions are stamped with it. */
  #generation: number | undefined;
  #wasOnline = false;
  #startedAt = 0;
  #ticks = 0;
  #draining = false;
  #fail: (error: Error) => void = () => undefined;
  readonly failed: Promise<never>;

  constructor(parts: NodeParts) {
    this.#parts = parts;
    const { config, log, slot, telemetry } = parts;
    const now = performance.now();
    this.machine = new NodeMachine(machineOptions(parts, this.#clock, now));
    this.#patience = new Patience(this.machine, config.heartbeatRecvTimeoutMs, now);
    this.#drain = new Drain(this.machine, (effect) => this.#execute(effect));
    this.#applier = new Applier({
      login: config.postgres,
      node: config.nodeId,
      maxWorkers: config.maxWorkers,
      cancelBackend: (pid) => parts.control.cancelBackend(pid),
    });
    this.#finisher = new Finisher({ login: config.postgres, connections: 8 });
    this.#outcomes = new OutcomeNotes(parts.observer, parts.log);
    this.#outcomes.committed([...parts.committed, ...parts.empty]);
    this.#server = new LocalServer(parts, this.#applier, this.#finisher, {
      event: (event) => this.#drain.push(event),
      committed: (gid) => this.#outcomes.committed([gid]),
      asked: (content) => this.#questions.asked(content),
      sessions: () => this.desk,
      lost: (reason) => this.#serverLost(reason),
      generation: () => this.#generation,
    });
    this.members = this.#newMembers();
    const desk = deskNode({
      parts,
      machine: this.machine,
      drain: this.#drain,
      server: this.#server,
      patience: this.#patience,
      clock: this.#clock,
      generation: () => this.#generation,
    });
    this.desk = new SessionDesk(config, desk, parts);
    this.#watch = new NodeWatch(telemetry, this.machine, config.nodeId, (gid) => this.desk.timesOf(gid));
    this.#apply = new ApplyDesk(parts, this.#applier, {
      event: (event) => this.#drain.push(event),
      startTimeOf: (pid) => this.desk.startTimeOf(pid),
      server: this.#server,
    });
    this.#syncpoint = new SyncpointKeeper(this.machine, slot, config, log, {
      raising: () => this.#outcomes.flush(),
      raised: (floor) => this.#drain.push({ kind: 'floor-raised', floor }),
      givenUp: (position) => this.#recovery.cutOff(position),
    });
    this.#recovery = this.#newRecovery();
    this.#durable = this.#newDurableState();
    this.#referee = new RefereeDesk(config, telemetry.chronicle, (event) => this.#drain.push(event));
    this.#probe = new ServerProbe(parts.probe, config.heartbeatRecvTimeoutMs);
    this.#witness = this.#newWitness();
    this.#health = this.#newHealth();
    this.#report = new RuntimeReport(parts, this.machine, {
      members: () => this.members,
      unsupervised: () => this.#server.unsupervised,
      workers: () => this.#apply.size,
      lost: (reason) => this.#serverLost(reason),
    });
    this.view = this.#newView();
    this.#flow = this.#newFlow();
    this.#questions = newQuestions(parts, this.members, this.machine, this.desk, this.#witness, (event) =>
      this.#drain.push(event),
    );
    this.failed = new Promise((_, reject) => {
      this.#fail = reject;
    });
    // Whoever runs the node awaits it; before that it must not count as unhandled.
    this.failed.catch(() => undefined);
  }

  #newMembers(): Members {
    const { config, takeOver, log, peerPort } = this.#parts;
    return new Members(config, takeOver.incarnation, this.machine.configuration, log, peerPort, {
      event: (event) => this.#drain.push(event),
      flow: (from, open) => this.#flow.asked(from, open, performance.now()),
      linkFull: (to, full) => this.#flow.linkFull(to, full),
      linkUp: (to) => {
        this.#flow.linkUp();
        this.#witness.linkUp(to);
      },
      serverPosition: (from, message) => this.#witness.received(from, message),
      question: (from, message) => this.#questions.received(from, message),
      linkDown: (to, reason) => this.#questions.linkDown(to, reason),
      startTimeSeen: (startTime) => this.#clock.observe(startTime),
      stream: (...asked) => this.#recovery.serve(...asked),
      changed: () => this.#report.changed(),
    });
  }

  #newView(): NodeView {
    return new NodeView({
      config: this.#parts.config,
      machine: this.machine,
      links: this.members.links,
      desk: this.desk,
      apply: this.#apply,
      applier: this.#applier,
      recovery: this.#recovery,
      retained: () => this.#report.retainedBytes,
    });
  }

  #newHealth(): Health {
    return new Health({
      serverTrouble: (now) => this.#probe.trouble(now),
      waitsFor: (now) => this.#parts.departure?.waiting ?? this.#witness.trouble(now),
      changed: (health) => this.#drain.push((now) => ({ kind: 'local-health-changed', now, health })),
    });
  }

  #newDurableState(): DurableState {
    return new DurableState(this.#parts, this.#recovery, this.#server.branches, {
      persisted: (token) => this.#drain.push((at) => ({ kind: 'persisted', now: at, token })),
      lost: (reason) => this.#serverLost(reason),
    });
  }

  #newFlow(): Flow {
    return new Flow({
      unappliedBytes: () => this.#apply.unappliedBytes + this.machine.openTransactions.keptBytes,
      tell: (message) => this.members.sendAll(message),
      source: this.#server,
    });
  }

  #newWitness(): ServerWitness {
    const { config, observer, peerPositions, positionAtStart, log } = this.#parts;
    const memory = { atStart: positionAtStart, known: peerPositions };
    return new ServerWitness(observer, memory, log, {
      self: config.nodeId,
      peers: () => this.members.ids,
      since: (peer) => sinceOf(this.machine.configuration, peer),
      aloneMs: config.heartbeatRecvTimeoutMs,
      send: (to, message) => this.members.send(to, message),
      contacts: () => contacts(this.members, this.machine),
      refused: (reason) => this.#fail(new GatewayError('server-went-back', reason)),
      answered: () => this.#health.look(),
    });
  }

  #newRecovery(): RecoveryDesk {
    return new RecoveryDesk(this.#parts, this.#parts.slot, {
      event: (event) => this.#drain.push(event),
      replayed: (gids, ddl) => {
        this.#outcomes.committed(gids);
        this.#drain.push({ kind: 'replayed', gids });
        if (!ddl) return;
        this.#applier.invalidate();
        void this.#server.refreshSuspicions();
      },
      openStream: (to) => this.members.links.openStream(to),
      isKnown: (gid) => this.machine.isKnown(gid),
      lastOnline: () => this.#parts.store.state.lastOnline,
      clearBranches: () => this.#server.branches.clear(),
      seeded: () => this.#drain.push((now) => ({ kind: 'seeded', now })),
      unfit: () => (this.machine.liveness.onlineIn === 0 ? 'it is not online itself' : undefined),
      lost: (reason) => this.#serverLost(reason),
    });
  }

  // ---- start and stop

  async start(): Promise<void> {
    const { config, takeOver, log } = this.#parts;
    await Promise.all([this.#finisher.start(), this.#referee.start()]);
    await this.#server.refreshSuspicions();
    await this.#server.openStream();
    this.#parts.departure?.begin(config.nodeId, this.machine, this.#server.branches, this.#outcomes);
    this.#health.failure = undefined;
    this.#startedAt = performance.now();
    this.#health.look();
    await this.members.links.start();
    this.#timers.push(setInterval(() => this.#tick(), Math.min(50, config.heartbeatSendTimeoutMs / 4)));
    const { incarnation, prepared } = takeOver;
    log.info({ incarnation, leftovers: prepared.length }, 'the gateway has started');
  }

  #tick(): void {
    this.#health.look();
    const wallMs = Date.now();
    this.#drain.push((now) => ({ kind: 'ticked', now, wallMs, random: Math.random() }));
    this.#patience.look(performance.now());
    this.#flow.look(performance.now());
    if (this.#ticks++ % 2 === 0) this.#slowTick(); // No timer of its own: each wakes the process.
  }

  #endIfMisconfigured(): void {
    if (this.#wasOnline || performance.now() - this.#startedAt < misconfiguredMs) return;
    const error = this.members.misconfiguration();
    if (error !== undefined) this.#fail(error);
  }

  #slowTick(): void {
    this.#endIfMisconfigured();
    this.#probe.look(performance.now());
    this.#witness.look(performance.now());
    void this.#syncpoint.look(this.#server.stream?.received ?? 0n);
    void this.#report.write();
    this.#outcomes.write();
    if (this.machine.openTransactions.own > 0 || this.#server.branchDesk.busy) this.#apply.lookAtWalsender();
  }

  async stop(): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    await this.desk.drain(drainLimitMs);
    this.#health.stopping = true;
    await commitsFinished(this.machine, 2000);
    await this.#close();
  }

  /** After a failure: nothing can be finished any more. */
  async abandon(): Promise<void> {
    this.#health.stopping = true;
    await this.desk.drain(0);
    await this.#close();
  }

  /** The links end last: their closing in good order tells the peers that nobody is served here any more. */
  async #close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    this.#recovery.close();
    this.#questions.stop();
    this.#referee.stop();
    this.#server.stop();
    this.#apply.stop();
    this.#finisher.stop();
    await this.members.links.stop();
    await closeConnections(this.#parts, this.#recovery.ended);
  }

  /** For a client that connects now; `outside`: to a database that the cluster does not replicate. */
  reception(outside?: string): Reception {
    if (this.#health.stopping) return notOnline('FATAL', this.status);
    return outside === undefined ? this.desk.services : this.desk.servicesOutside(outside);
  }

  get status(): { readonly status: string; readonly reason: string } {
    return this.machine.status(performance.now());
  }

  // ---- effects

  #execute(effect: NodeEffect): void {
    if (shown.has(effect.kind)) this.#report.changed();
    this.#watch.sees(effect);
    switch (effect.kind) {
      case 'send':
        return this.members.send(effect.to, effect.message);
      case 'open-apply':
        return this.#apply.open(effect.gid);
      case 'push-apply':
        return this.#apply.push(effect.gid, effect.data);
      case 'end-apply':
        return this.#apply.end(effect.gid);
      case 'cancel-apply':
        return this.#apply.cancel(effect.gid, effect.refusal);
      case 'finish':
        return this.#server.finish(effect.gid, effect.finish);
      case 'finish-open':
        return this.#server.open.finish(effect.gid, effect.finish);
      case 'answer':
        return this.desk.answer(effect.gid, effect.answer);
      case 'end-prepare':
        return this.desk.endPrepare(effect.gid, effect.refusal);
      case 'interrupt-session':
        return this.desk.interrupt(effect.pid, effect.winner);
      case 'persist':
        return this.#durable.write(effect.token, effect.change);
      case 'serve':
        return this.#serve(effect.generation);
      case 'configuration-changed':
        this.#report.changed();
        return this.members.configure(effect.configuration);
      case 'recover':
        this.desk.endTransactions();
        if (this.#parts.departure !== undefined) return this.#parts.departure.rolledBack();
        return this.#recovery.recover(effect.donor, effect.generation);
      case 'recovery-follow':
        return this.#recovery.follow(effect.generation);
      case 'stop-recovery':
        return this.#recovery.stop();
      case 'request-grant':
      case 'report-online':
        return this.#referee.carryOut(effect);
      case 'status-changed':
        if (effect.status === 'online') this.#wasOnline = true;
        return;
      case 'alarm':
      case 'member-lost':
      case 'member-back':
        return; // #watch has told
      default:
        return unreachable(effect);
    }
  }

  #serve(generation: number | undefined): void {
    this.#generation = generation;
    if (generation !== undefined) this.#outcomes.online(generation);
  }

  // ---- the local server

  /**
   * The server or a connection to it is gone: what this process remembers of its transactions may no longer
   * be true. The gateway ends; its successor takes the server over and looks (architecture §3: a restart ends
   * the node's part).
   */
  #serverLost(reason: string): void {
    if (this.#health.stopping) return;
    this.#health.failure = `PostgreSQL has failed here: ${reason}; the gateway waits until it is back`;
    this.#health.look();
    this.#fail(new Error(reason));
  }

  controlLost(reason: string): void {
    this.#serverLost(`the control connection was lost: ${reason}`);
  }
}
