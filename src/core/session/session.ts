/**
 * The machine of one client session: it stands between the client's and the server's byte streams, decides for each unit
 * (a simple Query, or the extended messages up to Sync) how it must run, wraps writes, and answers when their outcome is known.
 *
 * States of a unit: passing (relayed as it is), or run by a task (a generator that waits for replies, outcomes and timers).
 * While a unit runs, later client messages wait in the inbox; copy data are the exception and go straight through.
 *
 * Rules: outside a transaction the server session is read-only, so a statement taken for a read that writes fails with 25006
 * before any effect and is run again in a READ WRITE block (invariant 8). The client hears of success only after the outcome is
 * decided (invariant 5). No result byte leaves without a lease (invariant 9).
 */
import { assert } from '../../lib/assert.ts';
import type { Gid, Refusal } from '../identity.ts';
import type { Answer } from '../commit/event.ts';
import { backend, frontend, status } from '../wire/codes.ts';
import {
  commandComplete,
  cstringAt,
  errorFields,
  errorResponse,
  parameterStatus,
  query,
} from '../wire/messages.ts';
import { readyForQuery } from '../wire/messages.ts';
import type { ErrorText } from '../wire/messages.ts';
import type { Block } from './block.ts';
import type { SessionLimits, SessionPorts } from './ports.ts';
import { Registry } from './registry.ts';
import { holdMessage, isCopyStage, isFatal, refusalInsteadOf, takeError, takeOwnMessage } from './relay.ts';
import { newReply, writtenByTag } from './reply.ts';
import type { Reply } from './reply.ts';
import { failBlock, unknownText } from './commit-flow.ts';
import { groupTask } from './group-task.ts';
import { planSimple } from './query-string.ts';

export interface ClientMessage {
  readonly type: number;
  readonly bytes: Uint8Array;
}

export type Task = Generator<void, void, void>;

const leaseLost: ErrorText = {
  severity: 'ERROR',
  sqlstate: '57P01',
  message:
    '[multimaster] node lost its lease while the statement ran: its result may be outdated and was dropped',
  hint: 'Repeat the statement, on another node if this one stays without quorum.',
};

export class SessionMachine {
  readonly ports: SessionPorts;
  readonly limits: SessionLimits;
  readonly registry = new Registry();
  /** What the client takes default_transaction_read_only for. */
  readOnlyDefault: boolean;
  block: Block | undefined;
  /** The transaction status of the server session, from its last ReadyForQuery. */
  serverStatus: number = status.idle;
  /** The outcome of the last PREPARE, once it is known. */
  answer: { readonly gid: Gid; readonly answer: Answer } | undefined;
  retryIsDue = false;
  /** Why the open transaction was ended by the gateway; the next error tells the client. */
  doomed: Refusal | undefined;
  /** The interrupted transaction is rolled back on the server already and a failed one stands in its place. */
  blockFailed = false;
  /** Its transactions may touch temporary tables, which PREPARE refuses: the server is asked before. */
  mayHaveTemporary = false;
  /** The client's messages are ignored up to its Sync, as the server does after an error. */
  skipToSync = false;
  /** The entry of an extended group that was flushed but not synced. */
  openGroup: Reply | undefined;
  #login = true;
  #replies: Reply[] = [];
  #task: Task | undefined;
  #running = false;
  #inbox: ClientMessage[] = [];
  #inboxBytes = 0;
  #group: ClientMessage[] = [];
  #copyIn = false;
  #cancelling = false;
  #ended = false;

  constructor(ports: SessionPorts, limits: SessionLimits, readOnlyDefault: boolean) {
    this.ports = ports;
    this.limits = limits;
    this.readOnlyDefault = readOnlyDefault;
  }

  get wantsClientPaused(): boolean {
    return this.#inboxBytes > this.limits.inboxBytes;
  }

  /** Logged in, no unit runs and no transaction is open. */
  get idle(): boolean {
    return !this.#login && this.#replies.length === 0 && this.#task === undefined && this.block === undefined;
  }

  /** PREPARE is under way: the server connection must stay until its end is known, even when the client is gone. */
  get preparing(): boolean {
    return this.block?.preparing === true;
  }

  /** Waits for a reply of the server (not for its client). */
  get awaitsServer(): boolean {
    return this.#replies.length > 0;
  }

  // ---- from the client

  clientMessage(type: number, buffer: Uint8Array, start: number, end: number): void {
    if (this.#ended) return;
    if (this.#login) return this.#loginMessage(type, buffer, start, end);
    if (this.#copyIn && isCopyStage(type)) return this.ports.toServer(buffer, start, end);
    if (type === frontend.terminate && !this.preparing) return this.end();
    const message = { type, bytes: buffer.subarray(start, end) };
    if (this.#busy || this.#inbox.length > 0) {
      this.#inbox.push(message);
      this.#inboxBytes += end - start;
      return;
    }
    this.#accept(message);
    this.#pump();
  }

  /** A part of a streamed message: only copy data come so. Outside of COPY the server would ignore them, so they end here. */
  clientPart(buffer: Uint8Array, start: number, end: number): void {
    if (this.#copyIn && !this.#ended) this.ports.toServer(buffer, start, end);
  }

  get #busy(): boolean {
    return (
      this.#task !== undefined ||
      this.#cancelling ||
      (this.#replies.length > 0 && this.openGroup === undefined)
    );
  }

  #loginMessage(type: number, buffer: Uint8Array, start: number, end: number): void {
    if (type === frontend.password) this.ports.toServer(buffer, start, end);
    else if (type === frontend.terminate) this.end();
    else this.fatal('08P01', `unexpected message type ${type} during authentication`);
  }

  #pump(): void {
    while (!this.#busy && this.#inbox.length > 0 && !this.#ended) {
      const message = this.#inbox.shift()!;
      this.#inboxBytes -= message.bytes.length;
      this.#accept(message);
    }
  }

  #accept(message: ClientMessage): void {
    switch (message.type) {
      case frontend.query:
        if (this.openGroup !== undefined)
          return this.#violation('a simple query inside an extended group without Sync');
        return this.#start(planSimple(this, message));
      case frontend.functionCall:
        return this.#start(groupTask(this, [message], true));
      case frontend.parse:
      case frontend.bind:
      case frontend.describe:
      case frontend.execute:
      case frontend.close:
        if (!this.skipToSync) this.#group.push(message);
        return undefined;
      case frontend.flush:
        return this.#endGroup(message, false);
      case frontend.sync:
        return this.#endGroup(message, true);
      case frontend.copyData:
      case frontend.copyDone:
      case frontend.copyFail:
        return undefined; // the rest of a COPY that has failed: the server ignores it too
      case frontend.terminate:
        return this.end();
      default:
        return this.#violation(`invalid frontend message type ${message.type}`);
    }
  }

  #violation(reason: string): void {
    this.fatal('08P01', reason);
  }

  #endGroup(message: ClientMessage, complete: boolean): void {
    const group = this.#group;
    this.#group = [];
    if (this.skipToSync) {
      if (complete) {
        this.skipToSync = false;
        this.toClient(readyForQuery(this.clientStatus));
      }
      return;
    }
    group.push(message);
    this.#start(groupTask(this, group, complete));
  }

  // ---- tasks

  #start(task: Task | undefined): void {
    if (task === undefined) return;
    this.#task = task;
    this.#resume();
  }

  #resume(): void {
    if (this.#task === undefined || this.#running) return;
    this.#running = true;
    const { done } = this.#task.next();
    this.#running = false;
    if (done === true) {
      this.#task = undefined;
      this.#interruptIfDoomed();
    }
  }

  /** What the client sees in ReadyForQuery: a block that the gateway opened does not exist for it. */
  get clientStatus(): number {
    // An interrupted transaction is still open for the client: its next statement brings the error.
    if (this.doomed !== undefined && this.block?.explicit === true) return status.inBlock;
    return this.block === undefined || this.block.explicit ? this.serverStatus : status.idle;
  }

  toClient(bytes: Uint8Array): void {
    this.ports.toClient(bytes, 0, bytes.length);
  }

  toServer(bytes: Uint8Array): void {
    this.ports.toServer(bytes, 0, bytes.length);
  }

  /** Sends a statement of the gateway's own. */
  sendOwn(sql: string): Reply {
    this.registry.simpleQuerySent(false);
    this.toServer(query(sql));
    return this.expect(newReply('own', false));
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

  /** Ends the session for a reason outside of it. What became of a transaction behind its PREPARE is unknown, not "failed". */
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

  release(reply: Reply): void {
    for (const bytes of reply.held) this.toClient(bytes);
    if (reply.held.length > 0) reply.seen = true;
    reply.held = [];
    reply.heldBytes = 0;
  }

  // ---- from the server

  serverMessage(type: number, buffer: Uint8Array, start: number, end: number): void {
    if (this.#ended) return;
    if (type === backend.parameterStatus) return this.#parameter(buffer, start, end);
    const reply = this.#replies[0];
    if (reply === undefined || type === backend.noticeResponse || type === backend.notificationResponse) {
      this.#asynchronous(type, buffer, start, end);
      return;
    }
    if (type === backend.readyForQuery) return this.#ready(reply, buffer[start + 5]!);
    if (reply.kind === 'own') {
      if (type === backend.errorResponse && isFatal(buffer, start, end)) this.#serverFails(buffer, start, end);
      takeOwnMessage(reply, type, buffer, start, end);
      return;
    }
    this.#clientReply(reply, type, buffer, start, end);
  }

  #serverFails(buffer: Uint8Array, start: number, end: number): void {
    if (this.block?.gid === undefined) return this.ports.toClient(buffer, start, end);
    this.abandon('57P01', errorFields(buffer, start, end).get('M') ?? 'the server ended the session');
  }

  serverPart(buffer: Uint8Array, start: number, end: number, first: boolean): void {
    const reply = this.#replies[0];
    if (this.#ended || reply === undefined || reply.kind === 'own') return;
    if (first && !this.#checkLease(reply)) return;
    if (reply.dropped) return;
    this.release(reply);
    reply.seen = true;
    this.ports.toClient(buffer, start, end);
  }

  #asynchronous(type: number, buffer: Uint8Array, start: number, end: number): void {
    if (this.#login) {
      if (type === backend.readyForQuery) this.#login = false;
      this.ports.toClient(buffer, start, end);
      if (!this.#login) this.#pump();
      return;
    }
    if (type !== backend.readyForQuery) this.ports.toClient(buffer, start, end);
  }

  /** libpq's target_session_attrs looks at the reported default: it must be the client's, not the gateway's sensor. */
  #parameter(buffer: Uint8Array, start: number, end: number): void {
    const name = cstringAt(buffer, start + 5, end);
    if (name !== 'default_transaction_read_only') return this.ports.toClient(buffer, start, end);
    const value = cstringAt(buffer, start + 6 + name.length, end);
    if (this.#login) this.toClient(parameterStatus(name, this.readOnlyDefault ? 'on' : 'off'));
    else if (value === 'off' && !this.sensorSuspended) this.#restoreSensor = true;
  }

  /** A statement that must run outside a block and read-write is under way. */
  sensorSuspended = false;
  #restoreSensor = false;

  #ready(reply: Reply, transactionStatus: number): void {
    this.#replies.shift();
    this.serverStatus = transactionStatus;
    reply.status = transactionStatus;
    reply.done = true;
    this.#copyIn = false;
    if (reply.kind === 'client') this.registry.groupEnded();
    if (this.openGroup === reply) this.openGroup = undefined;
    if (this.#restoreSensor) {
      // Somebody opened the session for writing behind our back: close it before anything else is let through.
      this.#restoreSensor = false;
      this.sendOwn('SET SESSION default_transaction_read_only = on');
    }
    if (this.#task !== undefined) this.#resume();
    this.#pump();
  }

  #checkLease(reply: Reply): boolean {
    if (reply.free || reply.relayed > 0 || reply.dropped) return !reply.dropped;
    if (this.ports.hasLease()) return true;
    reply.dropped = true;
    reply.held = [errorResponse(leaseLost)];
    return false;
  }

  #clientReply(reply: Reply, type: number, buffer: Uint8Array, start: number, end: number): void {
    if (!this.#checkLease(reply)) {
      if (type === backend.copyInResponse) this.fatal('57P01', leaseLost.message);
      return;
    }
    if (reply.prefix > 0 && type !== backend.errorResponse) {
      reply.prefix--;
      return;
    }
    switch (type) {
      case backend.dataRow:
        break;
      case backend.commandComplete:
        reply.tag = cstringAt(buffer, start + 5, end);
        reply.written += writtenByTag(reply.tag);
        if (reply.tag === 'DISCARD ALL' || reply.tag === 'DEALLOCATE ALL') this.registry.clear();
        break;
      case backend.errorResponse:
        this.#copyIn = false;
        if (!this.#clientError(reply, buffer, start, end)) return;
        break;
      case backend.parseComplete:
        reply.parsed++;
        this.registry.parseCompleted();
        break;
      case backend.copyInResponse:
        // Never held: the client sends its data only now. They are gone then, so the statement cannot be repeated.
        this.#copyIn = true;
        this.release(reply);
        reply.seen = true;
        reply.relayed++;
        this.ports.toClient(buffer, start, end);
        return this.#drainCopy();
    }
    if (reply.skip > 0) {
      reply.skip--;
      return;
    }
    reply.relayed++;
    if (reply.hold)
      holdMessage(reply, buffer, start, end, this.limits.holdBytes, (early) => this.release(early));
    else {
      if (type === backend.dataRow || type === backend.commandComplete) reply.seen = true;
      this.ports.toClient(buffer, start, end);
    }
  }

  /** Copy data that the client had sent before the server was ready for them. */
  #drainCopy(): void {
    while (this.#copyIn && this.#inbox.length > 0 && isCopyStage(this.#inbox[0]!.type)) {
      const { bytes } = this.#inbox.shift()!;
      this.#inboxBytes -= bytes.length;
      this.toServer(bytes);
    }
  }

  /** False when the error must not reach the client (now): the task decides about it. */
  #clientError(reply: Reply, buffer: Uint8Array, start: number, end: number): boolean {
    const first = reply.error === undefined;
    if (first) takeError(reply, buffer, start, end);
    if (isFatal(buffer, start, end)) return true;
    if (reply.hold || this.#task !== undefined) {
      reply.skip = 0;
      reply.held.push(buffer.slice(start, end));
      return false;
    }
    if (this.doomed !== undefined) {
      this.toClient(this.translated(reply.error!));
      return false;
    }
    return true;
  }

  /** The error of a transaction that the gateway ended names the true reason. */
  translated(error: Uint8Array): Uint8Array {
    const refusal = this.doomed;
    if (refusal === undefined) return error;
    this.doomed = undefined;
    return refusalInsteadOf(error, refusal);
  }

  // ---- from the node

  answered(gid: Gid, answer: Answer): void {
    this.answer = { gid, answer };
    this.#resume();
    this.#pump();
  }

  retryDue(): void {
    this.retryIsDue = true;
    this.#resume();
    this.#pump();
  }

  /**
   * An older transaction of another node needs a lock that this session holds: its transaction ends now, with 40001.
   * False when there is none to end, or its PREPARE is on the way (then the conflict is judged between the two transactions).
   */
  interrupt(refusal: Refusal): boolean {
    if (this.block === undefined || this.block.preparing || this.serverStatus === status.failed) return false;
    if (this.doomed !== undefined) return true;
    this.doomed = refusal;
    this.blockFailed = false;
    if (this.#replies.length > 0) {
      this.#cancelling = true;
      this.ports.cancelServer();
    } else {
      this.#interruptIfDoomed();
    }
    return true;
  }

  get cancelling(): boolean {
    return this.#cancelling;
  }

  cancelDelivered(): void {
    this.#cancelling = false;
    this.#resume();
    this.#interruptIfDoomed();
    this.#pump();
  }

  /** Between two units: the server's transaction is rolled back, the client finds it failed. */
  #interruptIfDoomed(): void {
    if (this.doomed === undefined || this.#task !== undefined || this.#replies.length > 0 || this.#cancelling)
      return;
    if (this.mustFailBlock && this.openGroup === undefined) this.#start(failBlock(this));
  }

  /** The client's own transaction is to be interrupted and still holds its locks. */
  get mustFailBlock(): boolean {
    return this.doomed !== undefined && !this.blockFailed && this.block?.explicit === true;
  }

  /** The server connection is gone. */
  serverGone(): void {
    this.abandon('57P01', '[multimaster] the connection to the local PostgreSQL server was lost');
  }

  /** For tests and assertions. */
  assertQuiet(): void {
    assert(this.idle && this.#inbox.length === 0, 'nothing is under way');
  }

  /** The transaction that was to be interrupted has ended one way or the other. */
  doomedIsOver(): void {
    this.doomed = undefined;
  }

  complete(tag: string): void {
    this.toClient(commandComplete(tag));
  }
}
