/**
 * A walsender connection that reads the node's own retained history in commit order: a temporary copy of
 * `mtm_retain` (a copy loses two-phase decoding, which is wanted), pgoutput, nothing filtered by origin.
 *
 * Rule: the copy ends with the connection; it moves only to positions that the reader released. While reading
 * is paused the status timer goes on, or wal_sender_timeout would end the connection.
 */
import { backend, frontend } from '../../core/wire/codes.ts';
import { MessageWriter } from '../../core/wire/message-writer.ts';
import { errorFields, query } from '../../core/wire/messages.ts';
import type { Lsn } from '../../core/identity.ts';
import { parseLsn } from './lsn-text.ts';
import { noTimeouts, pinnedFormats } from './pinned-settings.ts';
import { RawConnection } from './raw-connection.ts';
import type { ServerLogin } from './raw-connection.ts';
import { QueryError, simpleQuery } from './simple-query.ts';

export interface HistoryHandler {
  /** One message of pgoutput, valid during the call only. Returns what is wrong with it, if anything. */
  message(buffer: Uint8Array, start: number, end: number): string | undefined;
  /** Everything before this position has been handed over. */
  reached(position: Lsn): void;
  /** Called once, whoever ended it. */
  closed(reason: string): void;
}

/** Microseconds between 1970 and 2000. */
const postgresEpochUs = 946_684_800_000_000n;
const statusIntervalMs = 500;
/** The source slot may move while it is copied. */
const copyTries = 5;
const protocol = `proto_version '3', publication_names '"mtm"', messages 'true'`;

export class HistoryStream {
  readonly #connection: RawConnection;
  readonly #handler: HistoryHandler;
  /** Where the history begins. */
  readonly start: Lsn;
  #released: Lsn;
  #reached: Lsn = 0n;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  private constructor(connection: RawConnection, start: Lsn, handler: HistoryHandler) {
    this.#connection = connection;
    this.#handler = handler;
    this.start = start;
    this.#released = start;
  }

  /** Resolves when the copy exists; nothing is read before `run`. Rejects with what the server said. */
  static async open(login: ServerLogin, handler: HistoryHandler): Promise<HistoryStream> {
    const connection = await RawConnection.open({
      login,
      applicationName: 'mtm_donor',
      settings: { ...pinnedFormats, ...noTimeouts, wal_sender_timeout: '60s' },
      replication: 'database',
    });
    try {
      const start = await copySlot(connection, `mtm_donor_${connection.pid}`);
      return new HistoryStream(connection, start, handler);
    } catch (error) {
      connection.destroy();
      throw error;
    }
  }

  /** Begins to read. */
  run(): void {
    this.#connection.handle({
      message: (kind, buffer, start, end) => this.#message(kind, buffer, start, end),
      closed: (reason) => this.#end(reason),
    });
    if (this.#connection.closed) return this.#end('the connection is closed');
    this.#connection.send(
      query(`START_REPLICATION SLOT "mtm_donor_${this.#connection.pid}" LOGICAL 0/0 (${protocol})`),
    );
    this.#timer = setInterval(() => this.#sendStatus(), statusIntervalMs);
    this.#sendStatus();
  }

  /** The reader needs nothing before this position any more. */
  release(position: Lsn): void {
    if (position > this.#released) this.#released = position;
  }

  pause(): void {
    this.#connection.pause();
  }

  resume(): void {
    this.#connection.resume();
  }

  close(): void {
    this.#end('closed by the gateway');
    this.#connection.destroy();
  }

  #end(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    this.#handler.closed(reason);
  }

  #fail(reason: string): void {
    this.#end(reason);
    this.#connection.destroy();
  }

  #message(kind: number, buffer: Uint8Array, start: number, end: number): void {
    if (this.#closed) return;
    if (kind === backend.copyData) return this.#copyData(buffer, start + 5, end);
    if (kind === backend.errorResponse) {
      const fields = errorFields(buffer, start, end);
      return this.#fail(`${fields.get('M') ?? 'error without text'} (${fields.get('C') ?? ''})`);
    }
    if (kind === backend.copyDone) this.#fail('the server ended the stream');
  }

  /** As in io/postgres/replication-stream.ts. */
  #copyData(buffer: Uint8Array, start: number, end: number): void {
    const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
    if (buffer[start] === 0x77 && end - start > 25) {
      const problem = this.#handler.message(buffer, start + 25, end);
      if (problem !== undefined) this.#fail(problem);
    } else if (buffer[start] === 0x6b && end - start >= 18) {
      const position = view.getBigUint64(start + 1);
      if (position > this.#reached) this.#reached = position;
      this.#handler.reached(position);
      if (buffer[start + 17] === 1) this.#sendStatus();
    } else {
      this.#fail('malformed message in the stream');
    }
  }

  /** With the wish for an answer: it says how far the server has read when there is nothing to send. */
  #sendStatus(): void {
    const body = new Uint8Array(34);
    const view = new DataView(body.buffer);
    view.setUint8(0, 0x72);
    view.setBigUint64(1, this.#reached > this.#released ? this.#reached : this.#released);
    view.setBigUint64(9, this.#released);
    view.setBigUint64(17, this.#released);
    view.setBigInt64(25, BigInt(Date.now()) * 1000n - postgresEpochUs);
    view.setUint8(33, 1);
    this.#connection.send(new MessageWriter(64).begin(frontend.copyData).bytes(body).end().take());
  }
}

/** Returns the position at which the copy begins. */
async function copySlot(connection: RawConnection, name: string): Promise<Lsn> {
  for (let tries = 1; ; tries++) {
    try {
      const sql = `SELECT pg_copy_logical_replication_slot('mtm_retain', '${name}', true)`;
      await simpleQuery(connection, sql);
      break;
    } catch (error) {
      if (tries >= copyTries || !(error instanceof QueryError)) throw error;
    }
  }
  const rows = await simpleQuery(
    connection,
    `SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '${name}'`,
  );
  return parseLsn(rows[0]?.[0] ?? '0/0');
}
