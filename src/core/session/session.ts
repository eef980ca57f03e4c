/**
 * The machine of one client session: it stands between the client's and the server's byte streams, decides
 * for each unit (a simple Query, or the extended messages up to Sync) how it must run, and wraps writes.
 *
 * States: login (everything is relayed), quiet, a unit runs (a task: a generator that waits for replies,
 * outcomes and timers), a group is open (its task waits for the client), COPY (the client's data go straight
 * through), ended. While a unit runs, later client messages wait in the intake.
 *
 * Rules: outside a transaction the server session is read-only, so a statement taken for a read that writes
 * fails with 25006 before any effect and is run again in a READ WRITE block (invariant 8). The client hears
 * of success only after the outcome is decided (invariant 5). No result byte leaves without a lease
 * (invariant 9).
 */
import type { Gid, Refusal } from '../identity.ts';
import type { Answer } from '../commit/event.ts';
import { backend, status } from '../wire/codes.ts';
import { commandComplete, copyFail, errorFields } from '../wire/messages.ts';
import { errorResponse, parameterStatus, query } from '../wire/messages.ts';
import type { ErrorText } from '../wire/messages.ts';
import type { Block } from './block.ts';
import { unknownText } from './commit-flow.ts';
import type { PreparedBranch } from './client-two-phase.ts';
import { ClientSide } from './client-side.ts';
import { failBlock, mustFailBlock, newInterruption, statusShown } from './interruption.ts';
import type { Interruption } from './interruption.ts';
import { takeOwnMessage } from './own-message.ts';
import type { EverywhereResult, SessionLimits, SessionPorts } from './ports.ts';
import { PlainRead } from './plain-read.ts';
import { ReadOnlyWish } from './read-only-wish.ts';
import { Registry } from './registry.ts';
import { relay, relayNotice, relayPart, tellError } from './relay.ts';
import { ownReply } from './reply.ts';
import { Delivery } from './delivery.ts';
import { Seniority } from './seniority.ts';
import { SessionStatistics } from './session-statistics.ts';
import { learnDefault, relayParameter, Sensor, sensorName } from './sensor.ts';
import type { Reply } from './reply.ts';

export type Task = Generator<void, void, void>;

const serverLost = '[multimaster] the connection to the local PostgreSQL server was lost';

export class SessionMachine {
  readonly ports: SessionPorts;
  readonly limits: SessionLimits;
  readonly registry = new Registry();
  readonly wish: ReadOnlyWish;
  block: Block | undefined;
  /** The transaction status of the server session, from its last ReadyForQuery. */
  serverStatus: number = status.idle;
  /** The outcome of the last PREPARE, once it is known. */
  answer: { readonly gid: Gid; readonly answer: Answer } | undefined;
  everywhere: EverywhereResult | undefined; // how it ended
  /** What is being prepared under a name of the client's. */
  branch: PreparedBranch | undefined;
  retryIsDue = false;
  /** The client has cancelled the unit that runs: it is not repeated. Due: the server is to be asked. */
  clientCancelled = false;
  cancelDue = false;
  /** The open transaction was ended by the gateway. */
  interruption: Interruption | undefined;
  identifies = false; // the unit is repeated, because a table lacked a replica identity
  /** Its transactions may touch temporary tables, which PREPARE refuses: the server is asked before. */
  mayHaveTemporary = false;
  /** The reply whose results wait for the end of the transaction. */
  holding: Reply | undefined;
  clientEncoding = 'UTF8';
  standardStrings = true; // what the server has reported last
  readonly delivery = new Delivery();
  readonly client: ClientSide;
  readonly sensor = new Sensor();
  readonly seniority = new Seniority();
  readonly statistics = new SessionStatistics();
  #replies: Reply[] = [];
  #task: Pick<Task, 'next'> | PlainRead | undefined;
  #running = false;
  #cancelling = false;
  #wishReported: boolean;
  /** The server connection has gone while the other nodes decide: the client is still told the outcome. */
  #serverLost = false;
  #ended = false;

  constructor(ports: SessionPorts, limits: SessionLimits, readOnlyDefault: boolean | undefined) {
    this.ports = ports;
    this.limits = limits;
    this.wish = new ReadOnlyWish(readOnlyDefault);
    this.#wishReported = this.wish.value;
    this.client = new ClientSide(this);
  }

  // ---- what the owner asks

  /** A row of so many bytes need not be collected. */
  streamsRow(bytes: number): boolean {
    const reply = this.#replies[0];
    if (reply === undefined || reply.kind === 'own') return false;
    return !reply.hold || reply.heldBytes + bytes > this.limits.holdBytes;
  }

  /** Logged in, no unit runs and no transaction is open. */
  get idle(): boolean {
    if (this.#replies.length > 0 || this.#task !== undefined) return false;
    return this.client.loggedIn && this.block === undefined;
  }

  /** PREPARE is under way: the server connection stays until its end is known, also without the client. */
  get preparing(): boolean {
    return this.block?.preparing === true;
  }

  /** The client has said goodbye; what it sent before is still done. */
  get leaving(): boolean {
    return this.client.leaving && !this.#ended;
  }

  /** Waits for a reply of the server (not for its client). */
  get awaitsServer(): boolean {
    return this.#replies.length > 0;
  }

  get ended(): boolean {
    return this.#ended;
  }

  get cancelling(): boolean {
    return this.#cancelling;
  }

  // ---- tasks

  /** The client's next messages wait, unless it is a group that waits for them. */
  get busy(): boolean {
    return this.#cancelling || (this.#task !== undefined && !this.client.groupWaits);
  }

  get groupIsOpen(): boolean {
    return this.#task !== undefined;
  }

  start(task: Task): void {
    this.#task = task;
    this.resume();
  }

  /** Lets the task look whether what it waits for has come; then it is the client's turn. */
  resume(): void {
    if (this.#running) return;
    if (this.#task !== undefined) {
      this.#running = true;
      const { done } = this.#task.next();
      this.#running = false;
      if (done === true) {
        this.#task = undefined;
        this.cancelDue = false;
        this.client.groupWorks();
        this.#failIfInterrupted();
      }
    }
    this.client.pump();
  }

  /** What the client sees in ReadyForQuery: a block that the gateway opened does not exist for it. */
  get clientStatus(): number {
    return statusShown(this);
  }

  toClient(bytes: Uint8Array): void {
    this.ports.toClient(bytes, 0, bytes.length);
  }

  toServer(bytes: Uint8Array): void {
    this.ports.toServer(bytes, 0, bytes.length);
  }

  /** Sends a statement of the gateway's own; `cancellable`: it ends the client's transaction, or fails it. */
  sendOwn(sql: string, cancellable = false): Reply {
    this.registry.simpleQuerySent(false);
    this.toServer(query(sql));
    return this.expect(ownReply(cancellable));
  }

  cancelIfDue(): void {
    if (!this.cancelDue || this.#cancelling || this.#replies[0]?.cancellable !== true) return;
    this.cancelDue = false;
    this.#cancelServer();
  }

  #cancelServer(): void {
    this.#cancelling = true;
    this.ports.cancelServer();
  }

  expect(reply: Reply): Reply {
    this.#replies.push(reply);
    return reply;
  }

  error(text: ErrorText): void {
    this.toClient(errorResponse(text));
    if (text.severity === 'FATAL') this.end();
  }

  fatal(sqlstate: string, message: string): void {
    if (this.#ended) return;
    this.error({ severity: 'FATAL', sqlstate, message });
  }

  /** Ends the session for a reason outside of it. What became of what it has prepared is unknown. */
  abandon(sqlstate: string, message: string): void {
    const gid = this.block?.gid;
    if (gid === undefined) return this.fatal(sqlstate, message);
    if (!this.#ended) this.error({ ...unknownText(gid, message), severity: 'FATAL' });
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.ports.close();
  }

  complete(tag: string): void {
    this.toClient(commandComplete(tag));
  }

  /** The transaction has ended one way or the other. */
  blockEnded(committed: boolean): void {
    if (!committed && this.interruption !== undefined) this.seniority.lost(this.block, this.ports.clock());
    if (committed) this.statistics.commits++;
    else if (this.block !== undefined) this.statistics.rollbacks++;
    this.block = undefined;
    this.interruption = undefined;
    this.wish.blockEnded(committed);
  }

  /** Just before ReadyForQuery: the changed default is reported, as the server reports its settings. */
  reportWish(): void {
    if (this.clientStatus === status.idle) this.registry.transactionEnded();
    this.delivery.release(this);
    this.sensor.report(this);
    if (this.wish.value === this.#wishReported) return;
    this.#wishReported = this.wish.value;
    this.toClient(parameterStatus(sensorName, this.#wishReported ? 'on' : 'off'));
  }

  // ---- the short way of plain reads

  /** Nothing runs and nothing is special about the session: a plain read may take the short way. */
  get mayShorten(): boolean {
    if (this.#task !== undefined || this.block !== undefined || this.#replies.length > 0) return false;
    if (!this.client.quiet || this.#cancelling || this.interruption !== undefined) return false;
    return !this.sensor.isOff && this.wish.value === this.#wishReported;
  }

  get plainRead(): PlainRead | undefined {
    return this.#task instanceof PlainRead && !this.#ended && !this.#cancelling ? this.#task : undefined;
  }

  beginPlainRead(task: PlainRead): void {
    this.#task = task;
    this.#replies.push(task.reply);
  }

  plainReadAnswered(): void {
    this.#replies.length = 0;
    this.#task = undefined;
    this.serverStatus = status.idle;
    this.client.pump();
  }

  // ---- from the server

  serverMessage(type: number, buffer: Uint8Array, start: number, end: number): void {
    if (this.#ended) return;
    const reply = this.#replies[0];
    switch (type) {
      case backend.parameterStatus:
        return relayParameter(this, buffer, start, end);
      case backend.notificationResponse:
        return this.delivery.relay(this, buffer, start, end);
      case backend.noticeResponse:
        return relayNotice(this, reply, buffer, start, end);
      case backend.readyForQuery:
        return this.#ready(reply, buffer, start, end);
      case backend.errorResponse:
        // FATAL and PANIC end the session; field V is never translated.
        if (errorFields(buffer, start, end).get('V') !== 'ERROR')
          return this.#serverFatal(buffer, start, end);
        break;
    }
    if (reply === undefined) this.ports.toClient(buffer, start, end);
    else if (reply.kind === 'own') takeOwnMessage(reply, type, buffer, start, end);
    else relay(this, reply, type, buffer, start, end);
  }

  serverPart(buffer: Uint8Array, start: number, end: number, first: boolean): void {
    const reply = this.#replies[0];
    if (!this.#ended && reply?.kind === 'client') relayPart(this, reply, buffer, start, end, first);
  }

  #ready(reply: Reply | undefined, buffer: Uint8Array, start: number, end: number): void {
    if (reply === undefined) {
      if (this.client.loggedIn) return;
      if (!this.wish.isKnown) return this.start(learnDefault(this));
      this.ports.toClient(buffer, start, end);
      this.sensor.watch(this);
      return this.client.login();
    }
    this.#replies.shift();
    this.cancelIfDue();
    reply.statusBefore = this.serverStatus;
    this.serverStatus = buffer[start + 5]!;
    reply.status = this.serverStatus;
    reply.done = true;
    this.client.copying = false;
    if (reply.kind === 'client') this.registry.groupEnded(reply.error !== undefined);
    this.sensor.watch(this);
    this.resume();
  }

  /** The server ends the session. What was being prepared may still be decided by the nodes. */
  #serverFatal(buffer: Uint8Array, start: number, end: number): void {
    if (this.block?.gid !== undefined) return this.serverGone();
    const reply = this.#replies[0];
    if (reply?.error !== undefined && reply.kind === 'client') tellError(this, reply, reply.error);
    this.ports.toClient(buffer, start, end);
    this.end();
  }

  serverGone(): void {
    if (this.#ended || this.#serverLost) return;
    if (this.block?.prepared === true) this.#serverLost = true;
    else this.abandon('57P01', serverLost);
    this.delivery.serverGone(this);
  }

  // ---- from the node

  answered(gid: Gid, answer: Answer): void {
    this.answer = { gid, answer };
    this.resume();
    if (this.#serverLost) this.abandon('57P01', serverLost);
  }

  /** News of what is prepared for the client. */
  branchIs(id: string, state: PreparedBranch['state']): void {
    if (this.branch?.id === id) this.branch.state = state;
    this.resume();
  }

  retryDue(): void {
    this.retryIsDue = true;
    this.resume();
  }

  /**
   * An older transaction of another node needs a lock of this session: its transaction ends now, with 40001.
   * False: there is none to end, or its PREPARE is on the way (the conflict is judged between the two then).
   */
  interrupt(refusal: Refusal): boolean {
    if (this.block === undefined || this.block.preparing) return false;
    // A request that comes before its statement has begun is lost: whoever still waits asks again.
    this.interruption ??= newInterruption(refusal, this.serverStatus === status.failed);
    if (this.#cancelling || this.interruption.rolledBack) return true;
    if (this.#replies.length > 0) {
      this.#cancelServer();
    } else {
      this.resume();
      this.#failIfInterrupted();
    }
    return true;
  }

  /**
   * The generation ends: a PREPARE on its way is cancelled, or has just succeeded. To be repeated until its
   * end was told: a request that comes before it has begun is lost.
   */
  withdraw(refusal: Refusal): void {
    if (this.interrupt(refusal) || this.block?.preparing !== true || this.block.prepared) return;
    this.block.withdrawn ??= refusal;
    if (!this.#cancelling) this.#cancelServer();
  }

  cancelDelivered(): void {
    this.#cancelling = false;
    if (this.client.copying && this.interruption !== undefined) {
      // While it waits for copy data the server does not look at cancel requests.
      this.toServer(copyFail('the transaction is interrupted'));
      this.client.copyEnded();
    }
    this.resume();
    this.#failIfInterrupted();
  }

  /** Between two units: the server's transaction is rolled back, the client finds it failed. */
  #failIfInterrupted(): void {
    if (this.#task !== undefined || this.#cancelling || this.#replies.length > 0) return;
    if (mustFailBlock(this)) this.start(failBlock(this));
  }
}
