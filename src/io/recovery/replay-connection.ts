/**
 * The one connection that replays the donor's transactions: in the donor's order, in one phase, many in one
 * commit, with synchronous_commit off, and without waiting for a commit before the next begins.
 *
 * A commit: *open* (BEGIN was written; units are added) → *sent* (COMMIT and a question for the positions of
 * the WAL, then Sync) → *committed* → *flushed*. A big transaction is a commit of its own, between two
 * moments at which nothing else is out, because it may have to be rolled back: its gid stands at its end.
 * Rules: after the first failure nothing more is committed (the commits behind it find an aborted
 * transaction); a position is reported only when what lies before it is durable here. Each transaction is
 * followed by its header, so that this node remembers its outcome and can be a donor itself.
 */
import { assert } from '../../lib/assert.ts';
import type { Gid, Lsn } from '../../core/identity.ts';
import { StatementPipeline } from '../../core/apply/statement-pipeline.ts';
import { backend } from '../../core/wire/codes.ts';
import { errorFields } from '../../core/wire/messages.ts';
import { readRow } from '../postgres/backend-message.ts';
import type { RawConnection, ServerLogin } from '../postgres/raw-connection.ts';
import { FlushProgress, newCommit } from './replay-commit.ts';
import type { ReplayCommit } from './replay-commit.ts';
import type { ReplayHandler } from './replay-handler.ts';
import { ReplayQueue } from './replay-queue.ts';
import type { ReplayItem } from './replay-queue.ts';
import { openReplaySession } from './replay-session.ts';
import { UnitWriter } from './unit-writer.ts';
import { askPositions, isLocal, readPositions, writeBegin, writeFlush } from './replay-statements.ts';

const unitsPerCommit = 200;
const openLimitMs = 100;
const commitsOut = 4;
const stopLimitMs = 10_000;
const sendBytes = 65_536;
const unsentLimit = 1_048_576;
/** Below this much waiting, more is asked for. */
const hungryBytes = 1_048_576;
const flushLookMs = 250;

export class ReplayConnection {
  readonly #connection: RawConnection;
  readonly #handler: ReplayHandler;
  readonly #pipeline = new StatementPipeline();
  readonly #queue = new ReplayQueue();
  readonly #writer: UnitWriter;
  #open: ReplayCommit | undefined;
  #sent: ReplayCommit[] = [];
  readonly #progress = new FlushProgress();
  #openTimer: NodeJS.Timeout | undefined;
  readonly #flushTimer: NodeJS.Timeout;
  /** A big transaction was given, but not its end. */
  #unended = false;
  #draining = false;
  #pumping = false;
  #failed = false;
  #stopping: (() => void) | undefined;

  private constructor(connection: RawConnection, handler: ReplayHandler) {
    this.#connection = connection;
    this.#handler = handler;
    this.#writer = new UnitWriter(this.#pipeline, (gid) => handler.proof(gid), connection.pid);
    connection.handle({
      message: (type, buffer, start, end) => this.#message(type, buffer, start, end),
      closed: (reason) => this.#closed(reason),
    });
    this.#flushTimer = setInterval(() => this.#lookForFlush(), flushLookMs);
  }

  /** Rejects with what the server said. */
  static async open(login: ServerLogin, handler: ReplayHandler): Promise<ReplayConnection> {
    return new ReplayConnection(await openReplaySession(login), handler);
  }

  /** Bytes that were given and are not with the server yet. */
  get buffered(): number {
    const written = this.#writer.queuedBytes + this.#pipeline.size;
    return this.#queue.bytes + written + this.#connection.unsentBytes;
  }

  give(item: ReplayItem): void {
    if (this.#failed || this.#stopping !== undefined) return;
    if (item.kind === 'begin') this.#unended = true;
    else if (item.kind === 'end') this.#unended = false;
    this.#queue.push(item);
    this.#pump();
  }

  /**
   * Resolves when every whole transaction given so far is committed and durable; a big one without its end is
   * rolled back. Never when it fails.
   */
  settle(): Promise<void> {
    if (this.#unended) this.give({ kind: 'end', gid: undefined, ddl: false, position: 0n });
    return new Promise((resolve) => this.give({ kind: 'flush', done: resolve }));
  }

  /**
   * Drops what is not begun, commits the whole transactions that are, and resolves when the connection is at
   * an end; nothing more commits afterwards, unless that took too long and `failed` was called.
   */
  stop(): Promise<void> {
    this.#queue.clear();
    return new Promise((resolve) => {
      if (this.#failed) return resolve();
      const limit = setTimeout(() => this.#fail('local', 'the server does not end a commit'), stopLimitMs);
      this.#stopping = () => {
        clearTimeout(limit);
        resolve();
      };
      if (this.#open !== undefined && !this.#open.big && this.#writer.idle) this.#commit('commit');
      this.#stopWhenIdle();
    });
  }

  #stopWhenIdle(): void {
    if (this.#stopping === undefined || this.#sent.length > 0) return;
    const resolve = this.#stopping;
    this.#end();
    this.#connection.destroy();
    resolve();
  }

  #end(): void {
    this.#failed = true;
    clearInterval(this.#flushTimer);
    clearTimeout(this.#openTimer);
    this.#queue.clear();
  }

  #fail(cause: 'local' | 'diverged', reason: string): void {
    if (this.#failed) return;
    this.#end();
    this.#connection.destroy();
    this.#handler.failed(cause, reason);
    this.#stopping?.();
  }

  #closed(reason: string): void {
    this.#fail('local', `the connection that replays was lost: ${reason}`);
  }

  /** Works until there is nothing more to do without an answer of the server. */
  #pump(): void {
    if (this.#pumping) return; // called from within a handler of its own
    this.#pumping = true;
    while (!this.#failed && !this.#draining && this.#advance());
    this.#pumping = false;
    if (this.#failed) return;
    this.#send();
    if (this.buffered < hungryBytes) this.#handler.hungry();
  }

  /** One step; false when an answer or more data must come first. */
  #advance(): boolean {
    if (this.#pipeline.size >= sendBytes) this.#send();
    if (this.#draining) return false;
    // A big transaction that failed is only waited out: its gid says whether that matters.
    const step = this.#open?.error === undefined ? this.#writer.step() : undefined;
    switch (step?.kind) {
      case 'refused':
        this.#refused(step.reason);
        return true;
      case 'written':
        this.#written(step.gid, step.ddl);
        return true;
      case 'on':
        return true;
      case 'waiting':
        return false;
      default:
        return this.#stopping === undefined && this.#next();
    }
  }

  #refused(reason: string): void {
    const open = this.#open;
    assert(open !== undefined, 'a unit is written inside a commit');
    if (!open.big || this.#writer.gid !== undefined) return this.#fail('diverged', this.#where(reason, open));
    open.error = reason;
  }

  #written(gid: Gid, ddl: boolean): void {
    const open = this.#open;
    assert(open !== undefined, 'a unit is written inside a commit');
    open.gids.push(gid);
    open.units++;
    open.ddl ||= ddl;
    if (open.big || open.ddl || open.units >= unitsPerCommit) this.#commit('commit');
  }

  #next(): boolean {
    const item = this.#queue.first;
    if (item === undefined) return false;
    if (!this.#admits(item)) return false;
    this.#queue.take();
    this.#take(item);
    return true;
  }

  /** Some items wait until others are through. */
  #admits(item: ReplayItem): boolean {
    if (item.kind === 'piece' || item.kind === 'end') return true;
    const apart = item.kind === 'begin' || (item.kind === 'unit' && item.ddl);
    if ((apart || item.kind === 'flush') && this.#open !== undefined) this.#commit('commit');
    // What a rolled back transaction parsed is forgotten before anything is written behind it.
    if (this.#sent.at(-1)?.ending === 'rollback') return false;
    const limit = item.kind === 'begin' ? 1 : commitsOut;
    return this.#open !== undefined || this.#sent.length < limit;
  }

  #take(item: ReplayItem): void {
    switch (item.kind) {
      case 'unit':
        if (!this.#handler.isKnown(item.gid)) return this.#begin(item.gid, item.data, item.position);
        return this.#passed(item.position);
      case 'begin':
        return this.#begin(undefined, undefined, 0n);
      case 'piece':
        return this.#open?.error === undefined ? this.#writer.push(item.data) : undefined;
      case 'end':
        return this.#endBig(item.gid, item.position);
      case 'position':
        return this.#passed(item.position);
      case 'flush':
        return this.#writeFlush(item.done);
    }
  }

  #begin(gid: Gid | undefined, data: Uint8Array | undefined, position: Lsn): void {
    if (this.#open === undefined) {
      this.#open = newCommit(gid === undefined);
      this.#pipeline.clean();
      writeBegin(this.#pipeline);
      if (gid !== undefined) this.#openTimer = setTimeout(() => this.#overdue(), openLimitMs);
    }
    this.#writer.begin(gid, data);
    if (position !== 0n) this.#open.position = position;
  }

  /** The gid of a big transaction is known at last. */
  #endBig(gid: Gid | undefined, position: Lsn): void {
    const open = this.#open;
    assert(open?.big === true, 'only a big transaction has an end');
    if (gid === undefined || this.#handler.isKnown(gid)) {
      this.#commit('rollback', position);
    } else if (open.error !== undefined) {
      this.#fail('diverged', `transaction ${gid} cannot be replayed: ${open.error}`);
    } else {
      this.#writer.name(gid);
      open.position = position;
    }
  }

  /** Nothing of the donor up to here is left to be done, but what is out already. */
  #passed(position: Lsn): void {
    if (position === 0n) return;
    const last = this.#open ?? this.#sent.at(-1);
    if (last !== undefined) last.position = position > last.position ? position : last.position;
    else this.#applied(position, 0n);
  }

  #overdue(): void {
    // A unit that is being written ends first.
    if (this.#open === undefined || this.#failed) return;
    if (this.#writer.idle) this.#commit('commit');
    else this.#open.units = unitsPerCommit;
    this.#pump();
  }

  #commit(ending: 'commit' | 'rollback', position: Lsn = 0n): void {
    const open = this.#open;
    assert(open !== undefined, 'what is ended has begun');
    clearTimeout(this.#openTimer);
    this.#open = undefined;
    this.#writer.drop();
    open.ending = ending;
    if (position !== 0n) open.position = position;
    if (open.ddl) this.#writer.invalidate();
    // After an error the server skips everything up to a Sync.
    if (ending === 'rollback') this.#pipeline.sync();
    this.#pipeline.runOnce(ending === 'commit' ? 'COMMIT' : 'ROLLBACK');
    this.#ask(open);
  }

  #writeFlush(done: () => void): void {
    const flush = newCommit(false, done);
    flush.ending = 'commit';
    writeFlush(this.#pipeline);
    this.#ask(flush);
  }

  #ask(commit: ReplayCommit): void {
    askPositions(this.#pipeline);
    this.#pipeline.sync();
    this.#sent.push(commit);
    this.#send();
  }

  /** The WAL writer flushes on its own; from time to time it is asked how far it has come. */
  #lookForFlush(): void {
    if (!this.#progress.waiting || this.#open !== undefined || this.#sent.length > 0) return;
    this.#ask({ ...newCommit(false), ending: 'commit' });
  }

  #send(): void {
    if (this.#pipeline.size === 0 || this.#failed) return;
    this.#connection.send(this.#pipeline.take());
    if (this.#connection.unsentBytes <= unsentLimit || this.#draining) return;
    this.#draining = true;
    this.#connection.onceDrained(() => {
      this.#draining = false;
      this.#pump();
    });
  }

  #message(type: number, buffer: Uint8Array, start: number, end: number): void {
    if (this.#failed) return;
    switch (type) {
      case backend.dataRow:
        return this.#row(readRow(buffer, start));
      case backend.errorResponse:
        return this.#error(buffer, start, end);
      case backend.readyForQuery:
        return this.#ready();
      default: // ParseComplete and the like carry nothing that we need.
    }
  }

  #row(columns: readonly string[]): void {
    const commit = this.#sent[0];
    const positions = readPositions(columns);
    if (positions !== undefined && commit !== undefined) {
      commit.inserted = positions.inserted;
      commit.flushedTo = positions.flushed;
      return;
    }
    this.#writer.answer(columns);
    this.#pump();
  }

  #error(buffer: Uint8Array, start: number, end: number): void {
    const fields = errorFields(buffer, start, end);
    const reason = `${fields.get('M') ?? ''} (${fields.get('C') ?? ''})`;
    const commit = this.#sent[0] ?? this.#open;
    // Without anything sent it says why it ends the connection.
    if (commit === undefined) return this.#fail('local', reason);
    if (isLocal(fields.get('C') ?? '')) return this.#fail('local', reason);
    if (commit.ending === 'rollback') return; // it is known here, and of no consequence
    if (!commit.big || commit.ending === 'commit' || this.#writer.gid !== undefined) {
      return this.#fail('diverged', this.#where(reason, commit));
    }
    commit.error = reason;
    this.#pump();
  }

  #where(reason: string, { gids }: ReplayCommit): string {
    const first = gids[0] ?? this.#writer.gid ?? 'of unknown id';
    const last = this.#writer.gid ?? gids.at(-1) ?? first;
    const which = first === last ? `transaction ${first}` : `a transaction from ${first} to ${last}`;
    return `${which} cannot be replayed: ${reason}`;
  }

  #ready(): void {
    const commit = this.#sent[0];
    // The Sync in front of a ROLLBACK has an answer of its own, before that with the positions.
    if (commit === undefined || commit.inserted === 0n) return;
    this.#sent.shift();
    if (commit.ending === 'rollback') this.#pipeline.forget();
    else if (this.#open === undefined && this.#sent.length === 0) this.#pipeline.confirm();
    if (commit.gids.length > 0 && commit.ending === 'commit') {
      this.#handler.committed(commit.gids, commit.ddl);
    }
    if (commit.position !== 0n) this.#applied(commit.position, commit.inserted);
    this.#flushed(commit.flushedTo);
    commit.done?.();
    this.#stopWhenIdle();
    this.#pump();
  }

  #applied(position: Lsn, inserted: Lsn): void {
    this.#handler.applied(position);
    this.#progress.committed(position, inserted);
    if (inserted === 0n && this.#sent.length === 0) this.#flushed(0n);
  }

  #flushed(upTo: Lsn): void {
    const position = this.#progress.flushed(upTo);
    if (position !== undefined) this.#handler.flushed(position);
  }
}
