/**
 * What every connection to a walsender has to do: take changes and keepalives apart, and report at intervals
 * how far its owner is.
 *
 * Rule: the flush position that is reported never passes what the owner released, so nothing is lost in a
 * crash. While reading is paused the status timer goes on, or wal_sender_timeout would end the connection.
 * Grammar: manual, "Streaming Replication Protocol".
 */
import { backend, frontend } from '../../core/wire/codes.ts';
import { MessageWriter } from '../../core/wire/message-writer.ts';
import { errorFields, int32At } from '../../core/wire/messages.ts';
import type { Lsn } from '../../core/identity.ts';
import type { RawConnection } from './raw-connection.ts';

export interface FeedHandler {
  /** The data of one change, valid during the call only. Returns what is wrong with it, if anything. */
  change(buffer: Uint8Array, start: number, end: number): string | undefined;
  /** A keepalive: everything before this position has been handed over. */
  alive(position: Lsn): void;
  /** Called once, whoever ended it. */
  closed(reason: string): void;
}

export interface FeedOptions {
  /** Where it begins. */
  readonly released: Lsn;
  /** Each report asks for a keepalive, which says how far the server has read with nothing to send. */
  readonly wantsAnswer: boolean;
  /**
   * No keepalive of the server's own accord. It sends one whenever it has nothing more to send and the report
   * says that less was written than sent: twice per transaction of the cluster, each waking two processes.
   * Only the flushed position decides what the server keeps; of the written one we say that all of it is.
   */
  readonly quiet: boolean;
}

/** Microseconds between 1970 and 2000. */
const postgresEpochUs = 946_684_800_000_000n;
const endOfWal: Lsn = 0x7fff_ffff_ffff_ffffn;

export class WalsenderFeed {
  readonly #connection: RawConnection;
  readonly #handler: FeedHandler;
  readonly #options: FeedOptions;
  /** The position read, in two halves: a row is too little for a bigint of its own. */
  #readHigh = 0;
  #readLow = 0;
  #released: Lsn;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(connection: RawConnection, options: FeedOptions, handler: FeedHandler) {
    this.#connection = connection;
    this.#released = options.released;
    this.#options = options;
    this.#handler = handler;
  }

  /** Takes the connection's messages from here on. */
  begin(statusIntervalMs: number): void {
    this.#connection.handle({
      message: (type, buffer, start, end) => this.#message(type, buffer, start, end),
      closed: (reason) => this.#end(reason),
    });
    this.#timer = setInterval(() => this.sendStatus(), statusIntervalMs);
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Everything before this position has been handed to the handler. */
  get read(): Lsn {
    return (BigInt(this.#readHigh) << 32n) | BigInt(this.#readLow);
  }

  /** Positions only grow; the one that stands at `at` is taken if it is later. */
  #noteRead(buffer: Uint8Array, at: number): void {
    const high = int32At(buffer, at) >>> 0;
    const low = int32At(buffer, at + 4) >>> 0;
    if (high < this.#readHigh || (high === this.#readHigh && low <= this.#readLow)) return;
    this.#readHigh = high;
    this.#readLow = low;
  }

  /** The owner needs nothing before this position any more, even after a crash. */
  release(position: Lsn): void {
    this.#released = later(this.#released, position);
  }

  /** Ends it, and the connection. */
  close(reason = 'closed by the gateway'): void {
    this.#end(reason);
    this.#connection.destroy();
  }

  #end(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    this.#handler.closed(reason);
  }

  #message(type: number, buffer: Uint8Array, start: number, end: number): void {
    if (this.#closed) return;
    switch (type) {
      case backend.copyData:
        return this.#copyData(buffer, start + 5, end);
      case backend.errorResponse:
        return this.close(errorText(buffer, start, end));
      case backend.copyDone:
        return this.close('the server ended the stream');
      case backend.copyBothResponse:
      case backend.noticeResponse:
      case backend.parameterStatus:
        return;
      default:
        this.close(`unexpected message ${String.fromCharCode(type)} in the stream`);
    }
  }

  /**
   * 'w': Int64 start, Int64 end of WAL, Int64 time, data. 'k': Int64 end of WAL, Int64 time, Byte1 answer
   * wanted.
   */
  #copyData(buffer: Uint8Array, start: number, end: number): void {
    if (buffer[start] === 0x77 && end - start > 25) {
      const problem = this.#handler.change(buffer, start + 25, end);
      if (problem !== undefined) this.close(problem);
      // The position of a change lies inside its transaction; that of the end of WAL at sending may lie
      // behind it.
      else this.#noteRead(buffer, start + 1);
    } else if (buffer[start] === 0x6b && end - start >= 18) {
      this.#noteRead(buffer, start + 1);
      const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
      this.#handler.alive(view.getBigUint64(start + 1));
      if (buffer[start + 17] === 1) this.sendStatus();
    } else {
      this.close('malformed message in the stream');
    }
  }

  /** While nothing is flushed the server takes the written position for the flushed one. */
  get #written(): Lsn {
    return this.#options.quiet && this.#released > 0n ? endOfWal : later(this.read, this.#released);
  }

  /**
   * Standby status update: 'r', Int64 written, Int64 flushed, Int64 applied, Int64 time, Byte1 answer wanted.
   */
  sendStatus(): void {
    const body = new Uint8Array(34);
    const view = new DataView(body.buffer);
    view.setUint8(0, 0x72);
    view.setBigUint64(1, this.#written);
    view.setBigUint64(9, this.#released);
    view.setBigUint64(17, this.#released);
    view.setBigInt64(25, BigInt(Date.now()) * 1000n - postgresEpochUs);
    view.setUint8(33, this.#options.wantsAnswer ? 1 : 0);
    this.#connection.send(new MessageWriter(64).begin(frontend.copyData).bytes(body).end().take());
  }
}

/** What the server said, for a reason or a message. */
export function errorText(buffer: Uint8Array, start: number, end: number): string {
  const fields = errorFields(buffer, start, end);
  return `${fields.get('M') ?? 'error without text'} (${fields.get('C') ?? ''})`;
}

function later(a: Lsn, b: Lsn): Lsn {
  return a > b ? a : b;
}
