/**
 * What the node offers to client sessions, and its list of them.
 * Rule: every answer is of this moment: whether the node serves is asked of the liveness machine each time,
 * never remembered.
 */
import type { Answer, Finish } from '../core/commit/event.ts';
import type { Gid, Refusal } from '../core/identity.ts';
import { formatGid } from '../core/identity.ts';
import { orderOpen } from '../core/session/open-commit.ts';
import type { EverywhereOrder, EverywhereResult, Obstacle, PrepareEnd } from '../core/session/ports.ts';
import { assert } from '../lib/assert.ts';
import { SessionStatistics } from '../core/session/session-statistics.ts';
import type { Classifier } from '../core/statement/classifier.ts';
import type { ErrorText } from '../core/wire/messages.ts';
import { ClientMemory } from '../io/clients/client-memory.ts';
import type { ClientSession } from '../io/clients/client-session.ts';
import type { SessionServices } from '../io/clients/session-services.ts';
import type { SessionTimes } from '../io/clients/session-times.ts';
import type { GatewayConfig } from '../config/schema.ts';
import type { NodeTelemetry } from '../telemetry/node-telemetry.ts';
import type { BranchDesk } from './branch-desk.ts';
import type { CancelQuestion } from './cancel-question.ts';
import { CommitHolds } from './commit-holds.ts';
import { dollarQuoted, heldBack, notAllMembers, notOnline, notReplicated } from './desk-texts.ts';
import type { Trouble } from './desk-texts.ts';
import { frameSql } from './everywhere-frame.ts';
import { headerProof, keyProof } from './header-proof.ts';
import type { NodeParts } from './node-parts.ts';
import type { PauseFlags } from './pause-switch.ts';
import { tellDrain, tellEndedForMemory } from './session-events.ts';

const cancelRepeatMs = 50;
const heldBytes = { holdBytes: 64 * 1024, inboxBytes: 1024 * 1024 };
const adminReserve = 3; // sessions of mtm_admin beyond max_connections

export interface DeskNode {
  readonly classifier: Classifier;
  readonly incarnation: number;
  readonly announceKey: Uint8Array;
  /** Of protocol 3, the newest that the server speaks. */
  readonly newestMinor: number;
  /** Undefined while nothing may be prepared. */
  generation(): number | undefined;
  clock(): number;
  /** Undefined while the node is online; otherwise why not. */
  notOnline(): { readonly status: string; readonly reason: string; readonly passing: boolean } | undefined;
  /** Members that a write cannot reach now; empty: all can. */
  unreachable(): { readonly members: readonly Trouble[]; readonly passing: boolean } | undefined;
  prepareSent(gid: Gid, startTime: number): void;
  prepareEnded(gid: Gid, end: PrepareEnd): void;
  prepareLost(gid: Gid, backendPid: number): void;
  /** It stays open, with its header and all its changes in the WAL. */
  heldOpen(gid: Gid, xid: string, backendPid: number): void;
  /** COMMIT or ROLLBACK was executed as ordered, or COMMIT has failed. */
  openEnded(gid: Gid, end: Finish | 'failed'): void;
  /** The client has cancelled it. */
  giveUp(gid: Gid): void;
  mayBypass(user: string): Promise<boolean>;
  scramVerifier(user: string): Promise<string | undefined>;
  consoleRights(user: string): Promise<'all' | 'look' | undefined>;
  deliveryFailed(reason: string): void;
  /** What clients prepare under their own names. */
  readonly branches: Pick<BranchDesk, 'portsOf' | 'prepareFailed' | 'sessionEnded'>;
}

export interface EverywhereRunner {
  /** Never rejects. */
  run(session: object, order: EverywhereOrder): Promise<EverywhereResult>;
  cancel(session: object): void;
}

/** The first gid of a database; the counter has 15 digits. */
const countersOfDatabase = 1e12;

export class SessionDesk {
  readonly #config: GatewayConfig;
  readonly #node: DeskNode;
  readonly #memory: ClientMemory;
  readonly #telemetry: NodeTelemetry;
  readonly #sessions = new Set<ClientSession>();
  readonly #waiting = new Map<Gid, ClientSession>();
  /** Their PREPARE is on its way, or they are held open. */
  readonly #preparing = new Set<Gid>();
  readonly #startTimes = new Map<ClientSession, number>();
  readonly services: SessionServices;
  /** Where commands are given that run node by node. */
  everywhere: EverywhereRunner | undefined;
  /** Gids of one server are different, whichever of its databases they are of. */
  #counter: number;
  /** Where sessions of other gateways are cancelled. */
  cancels: CancelQuestion | undefined;
  readonly #pauses: PauseFlags;
  readonly #shown: Map<string, string>;
  readonly #limits: { conflictRetries: number; readonly holdBytes: number; readonly inboxBytes: number };
  /** What the sessions have done that have ended. */
  readonly #ended = new SessionStatistics();
  #draining = false;
  /** A moment in which nothing of this node is prepared (snapshot-desk.ts). */
  readonly holds = new CommitHolds();

  constructor(
    config: GatewayConfig,
    node: DeskNode,
    { shownSettings, pauses, telemetry }: Pick<NodeParts, 'shownSettings' | 'pauses' | 'telemetry'>,
  ) {
    this.#config = config;
    this.#telemetry = telemetry;
    this.#pauses = pauses;
    this.#shown = new Map(shownSettings);
    this.#limits = { conflictRetries: config.conflictRetries, ...heldBytes };
    this.#memory = new ClientMemory(config.maxClientMemoryBytes);
    this.#node = node;
    this.#counter = config.postgres.number * countersOfDatabase;
    this.services = this.#makeServices(this.#shown);
  }

  get size(): number {
    return this.#sessions.size;
  }

  get sessions(): Iterable<ClientSession> {
    return this.#sessions;
  }

  get memoryBytes(): number {
    return this.#memory.bytes;
  }

  get draining(): boolean {
    return this.#draining;
  }

  /** Of the session that waits for the gid; undefined when its client is gone. */
  timesOf(gid: Gid): SessionTimes | undefined {
    return this.#waiting.get(gid)?.times;
  }

  /** Of all sessions, also of those that have ended. */
  get totals(): SessionStatistics {
    const sum = new SessionStatistics();
    sum.add(this.#ended);
    for (const { machine } of this.#sessions) sum.add(machine.statistics);
    return sum;
  }

  /** The configuration was changed while the gateway runs. */
  reconfigured(shown: ReadonlyMap<string, string>): void {
    this.#memory.limitBytes = this.#config.maxClientMemoryBytes;
    this.#limits.conflictRetries = this.#config.conflictRetries;
    for (const [name, value] of shown) this.#shown.set(name, value);
  }

  #makeServices(shownSettings: ReadonlyMap<string, string>): SessionServices {
    const node = this.#node;
    return {
      server: this.#config.postgres,
      limits: this.#limits,
      shownSettings,
      classify: (text) => node.classifier.parse(text),
      hiddenNotify: () => node.classifier.hiddenNotify,
      identityNothing: () => node.classifier.identityNothing,
      obstacle: (write) => this.#obstacle(write),
      paused: () => this.#pauses.own.on,
      hasLease: () => node.notOnline() === undefined,
      clock: () => node.clock(),
      newTransaction: (session, startTime) => this.#newTransaction(session, startTime),
      headerSql: (gid, checked, announced) => this.#headerSql(gid, checked, announced),
      announceSql: (command, tag, pid) => this.#announceSql(command, tag, pid),
      everywherePorts: (session) => ({
        frameSql,
        everywhere: (order) => this.#runEverywhere(session, order),
        held: () => this.holds.held,
      }),
      prepareEnded: (gid, end) => {
        this.#preparing.delete(gid);
        if (end === 'failed') this.#waiting.delete(gid);
        if (end === 'failed') node.branches.prepareFailed(gid);
        else this.timesOf(gid)?.prepared(end === 'empty');
        node.prepareEnded(gid, end);
      },
      prepareLost: (gid, pid) => {
        this.#preparing.delete(gid);
        this.#waiting.delete(gid);
        node.prepareLost(gid, pid);
      },
      deliveryFailed: (reason) => node.deliveryFailed(reason),
      openHeaderSql: (gid, announced) =>
        `SELECT mtm.header_open('${gid}', '${headerProof(this.#config.clusterSecret, gid)}', ${announced})`,
      heldOpen: (gid, xid, backendPid) => node.heldOpen(gid, xid, backendPid),
      openEnded: (gid, end) => {
        this.#preparing.delete(gid);
        node.openEnded(gid, end);
      },
      branchPorts: (session) => node.branches.portsOf(session),
      mayBypass: (user) => node.mayBypass(user),
      scramVerifier: (user) => node.scramVerifier(user),
      consoleRights: (user) => node.consoleRights(user),
      admission: (admin) => this.#admission(admin),
      memory: this.#memory,
      tally: this.#telemetry.tally,
      endedForMemory: (session) => tellEndedForMemory(this.#telemetry, this.#config, session),
      sessionStarted: (session) => {
        this.#sessions.add(session);
        this.#telemetry.tally.sessionsStarted++;
      },
      sessionEnded: (session) => {
        if (this.#sessions.delete(session)) this.#ended.add(session.machine.statistics);
        this.#startTimes.delete(session);
        this.everywhere?.cancel(session);
        node.branches.sessionEnded(session);
      },
      cancel: (processId, key) => this.#cancel(processId, key),
      cancelElsewhere: async (processId, key) => this.cancels?.ask(processId, key),
      newestMinor: node.newestMinor,
      giveUp: (gid) => node.giveUp(gid),
    };
  }

  /**
   * For sessions in a database that the cluster does not replicate: they read, and run what is of this node
   * only (CREATE DATABASE …).
   */
  servicesOutside(database: string): SessionServices {
    const text = notReplicated(database);
    return {
      ...this.services,
      paused: () => this.#pauses.outside.on,
      obstacle: (write) => this.#obstacle(false) ?? (write ? { text, passing: false } : undefined),
      // Whatever wrote although it was not taken for a write: there is no mtm.header in that database.
      headerSql: () => `SELECT CASE WHEN pg_catalog.pg_current_xact_id_if_assigned() IS NULL THEN 'empty' ELSE
        (${dollarQuoted(text.message)} || pg_catalog.pg_current_xact_id())::pg_catalog.int4::text END`,
    };
  }

  #obstacle(write: boolean): Obstacle | undefined {
    const trouble = this.#node.notOnline();
    if (trouble !== undefined) {
      const severity = this.#config.breakConnection ? 'FATAL' : 'ERROR';
      return { text: notOnline(severity, trouble), passing: trouble.passing };
    }
    if (!write) return undefined;
    if (this.holds.held) return { text: heldBack, passing: true };
    const missing = this.#node.unreachable();
    return missing === undefined
      ? undefined
      : { text: notAllMembers(missing.members), passing: missing.passing };
  }

  #newTransaction(session: ClientSession, startTime: number): Gid | undefined {
    const node = this.#config.nodeId;
    const { incarnation } = this.#node;
    const generation = this.#node.generation();
    if (generation === undefined || this.holds.held) return undefined;
    const gid = formatGid({ node, generation, incarnation, counter: ++this.#counter });
    this.#waiting.set(gid, session);
    session.times.prepareSent();
    this.#preparing.add(gid);
    this.#node.prepareSent(gid, startTime);
    return gid;
  }

  #headerSql(gid: Gid, checked: boolean, announced: boolean): string {
    const proof = headerProof(this.#config.clusterSecret, gid);
    return checked
      ? `SELECT mtm.header_checked('${gid}', '${proof}', ${announced})`
      : `SELECT mtm.header('${gid}', '${proof}')`;
  }

  #announceSql(command: string, tag: string, pid: number): string {
    const proof = keyProof(this.#node.announceKey, `${pid}:${command}`);
    return `SELECT mtm.announce(${dollarQuoted(command)}, ${dollarQuoted(tag)}, '${proof}')`;
  }

  #runEverywhere(session: ClientSession, order: EverywhereOrder | undefined): void {
    assert(this.everywhere !== undefined, 'the desk was given before the first session');
    if (order === undefined) return this.everywhere.cancel(session);
    void this.everywhere.run(session, order).then((result) =>
      session.drive((machine) => {
        machine.everywhere = result;
        machine.resume();
      }),
    );
  }

  #admission(admin: boolean): ErrorText | undefined {
    if (this.#draining) {
      return { severity: 'FATAL', sqlstate: '57P03', message: '[multimaster] the gateway is shutting down' };
    }
    if (this.#sessions.size >= this.#config.maxConnections + (admin ? adminReserve : 0)) {
      return {
        severity: 'FATAL',
        sqlstate: '53300',
        message: '[multimaster] sorry, too many clients already',
      };
    }
    return undefined;
  }

  async #cancel(processId: number, key: Uint8Array): Promise<boolean> {
    for (const session of this.#sessions) {
      if (session.backendPid !== processId || !session.keyFits(key)) continue;
      await session.cancel();
      return true;
    }
    return false;
  }

  /** The outcome of a transaction is known: the session that waits for it may answer its client. */
  answer(gid: Gid, answer: Answer): void {
    const session = this.#waiting.get(gid);
    if (session === undefined) return; // its client is gone
    this.#waiting.delete(gid);
    session.drive((machine) => machine.answered(gid, answer));
  }

  /** Does a client of this gateway work in this backend, under supervision? */
  supervises(backendPid: number): boolean {
    return this.#byPid(backendPid)?.supervised === true;
  }

  /** Hybrid start time of the transaction that the backend runs; undefined when it is not one of ours. */
  startTimeOf(backendPid: number): number | undefined {
    return this.#byPid(backendPid)?.machine.block?.startTime;
  }

  /** The session that waits for the gid tells what it notifies; false: there is none that can. */
  notify(gid: Gid, sql: string): boolean {
    let taken = false;
    this.#waiting.get(gid)?.drive((machine) => (taken = machine.delivery.offer(machine, gid, sql)));
    return taken;
  }

  /** Ends the transaction of the session behind a backend with 40001: the older `winner` needs its locks. */
  interrupt(backendPid: number, winner: Gid): void {
    const node = this.#config.nodeId;
    const refusal: Refusal = {
      sqlstate: '40001',
      message:
        '[multimaster] could not serialize access: an older transaction of another node needs the locks',
      detail: `Gave way to ${winner} on node ${node}.`,
      hint: 'Repeat the transaction.',
      node,
      retryable: true,
    };
    this.#byPid(backendPid)?.drive((machine) => void machine.interrupt(refusal));
  }

  /** The session in this backend is to end the transaction that it holds open. */
  orderOpen(backendPid: number, gid: Gid, finish: Finish): void {
    this.#byPid(backendPid)?.drive((machine) => orderOpen(machine, gid, finish));
  }

  /** The generation ends: the PREPARE of this gid must end at once, one way or the other. */
  endPrepare(gid: Gid, refusal: Refusal): void {
    const session = this.#waiting.get(gid);
    if (session === undefined || !this.#preparing.has(gid)) return;
    session.drive((machine) => machine.withdraw(refusal));
    // A request that comes before PREPARE has begun is lost: deferred triggers may wait for locks for ever.
    setTimeout(() => this.endPrepare(gid, refusal), cancelRepeatMs).unref();
  }

  /** This node is about to replay what it missed: no open transaction may be in its way, or show old rows. */
  endTransactions(): void {
    const refusal: Refusal = {
      sqlstate: '40001',
      message: '[multimaster] the node fell behind and catches up: the transaction cannot go on',
      hint: 'Repeat the transaction.',
      node: this.#config.nodeId,
      retryable: true,
    };
    for (const session of this.#sessions) session.drive((machine) => void machine.interrupt(refusal));
  }

  #byPid(backendPid: number): ClientSession | undefined {
    for (const session of this.#sessions) if (session.backendPid === backendPid) return session;
    return undefined;
  }

  /**
   * No new sessions; those that do nothing or have not logged in end now, the others when their transaction
   * does, at the latest after `limitMs`.
   */
  async drain(limitMs: number): Promise<void> {
    this.#draining = true;
    const until = performance.now() + limitMs;
    tellDrain(this.#telemetry, this.#sessions.size, limitMs);
    for (;;) {
      const late = performance.now() > until;
      for (const session of [...this.#sessions]) {
        // Nothing was sent yet of what waits for RESUME.
        const works = !session.machine.idle && !session.machine.statistics.waitsForResume;
        if (!late && session.supervised && session.loggedIn && works) continue;
        session.shutDown('57P01', 'terminating connection due to administrator command');
        session.finish();
      }
      if (this.#sessions.size === 0) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
