/**
 * The walsender connection to the node's own slot: START_REPLICATION, keepalives, positions.
 *
 * States: *opening* (inside `open`) → *streaming* → *closed*; nothing leads back: a reconnect is a new
 * object.
 * Rule: the flush position that is reported never passes what the owner released, so nothing is lost in a
 * crash. While reading is paused the status timer goes on, or wal_sender_timeout would end the connection.
 * Grammar: manual, "Streaming Replication Protocol".
 */
import { backend, frontend } from '../../core/wire/codes.ts';
import { MessageWriter } from '../../core/wire/message-writer.ts';
import { cstringAt, errorFields, query } from '../../core/wire/messages.ts';
import { Capture } from '../../core/pgoutput/capture.ts';
import type { CaptureHandler } from '../../core/pgoutput/capture.ts';
import type { Lsn, NodeId } from '../../core/identity.ts';
import { noTimeouts, pinnedFormats } from './pinned-settings.ts';
import { RawConnection } from './raw-connection.ts';
import type { ServerLogin } from './raw-connection.ts';

export interface StreamHandler extends CaptureHandler {
  /** Called once, whoever ended it. */
  closed(reason: string): void;
}

export interface StreamOptions {
  readonly login: ServerLogin;
  /** Whose gids are "ours". */
  readonly node: NodeId;
  readonly slot: string;
  readonly publication: string;
  /** Between two reports of the released position; default 2000. */
  readonly statusIntervalMs?: number;
}

/** Microseconds between 1970 and 2000. */
const postgresEpochUs = 946_684_800_000_000n;

export class ReplicationStream {
  readonly #connection: RawConnection;
  readonly #handler: StreamHandler;
  readonly #capture: Capture;
  #received: Lsn = 0n;
  #released: Lsn = 0n;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  private constructor(connection: RawConnection, options: StreamOptions, handler: StreamHandler) {
    this.#connection = connection;
    this.#handler = handler;
    this.#capture = new Capture(options.node, handler);
  }

  /**
   * Resolves when the server streams. Rejects with what the server said (slot busy, publication missing, …).
   */
  static async open(options: StreamOptions, handler: StreamHandler): Promise<ReplicationStream> {
    const connection = await RawConnection.open({
      login: options.login,
      applicationName: 'mtm_walsender',
      settings: { ...pinnedFormats, ...noTimeouts, wal_sender_timeout: '60s' },
      replication: 'database',
    });
    const stream = new ReplicationStream(connection, options, handler);
    try {
      const version = Number(await ask(connection, 'SHOW server_version_num'));
      // The first changes may stand in the same packet as the answer: the handler changes within the call.
      await ask(connection, startCommand(options, version), () =>
        stream.#run(options.statusIntervalMs ?? 2000),
      );
    } catch (error) {
      connection.destroy();
      throw error;
    }
    return stream;
  }

  #run(statusIntervalMs: number): void {
    this.#connection.handle({
      message: (type, buffer, start, end) => this.#message(type, buffer, start, end),
      closed: (reason) => this.#end(reason),
    });
    this.#timer = setInterval(() => this.#sendStatus(), statusIntervalMs);
  }

  /** The walsender's process. */
  get pid(): number {
    return this.#connection.pid;
  }

  /**
   * Everything before this position has been handed to the handler. With nothing outstanding it may be
   * released.
   */
  get received(): Lsn {
    return this.#received;
  }

  /**
   * The owner needs nothing before this position any more, even after a crash: the slot may move on to it.
   */
  release(lsn: Lsn): void {
    if (lsn > this.#released) this.#released = lsn;
  }

  /** Stops reading; what has arrived already may still be delivered. */
  pause(): void {
    this.#connection.pause();
  }

  resume(): void {
    this.#connection.resume();
  }

  close(): void {
    if (!this.#closed) this.#sendStatus();
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

  #message(type: number, buffer: Uint8Array, start: number, end: number): void {
    if (this.#closed) return;
    switch (type) {
      case backend.copyData:
        this.#copyData(buffer, start + 5, end);
        return;
      case backend.errorResponse:
        this.#fail(errorText(buffer, start, end));
        return;
      case backend.copyDone:
        this.#fail('the server ended the stream');
        return;
      case backend.copyBothResponse:
      case backend.noticeResponse:
      case backend.parameterStatus:
        return;
      default:
        this.#fail(`unexpected message ${String.fromCharCode(type)} in the stream`);
    }
  }

  /**
   * 'w': Int64 start, Int64 end of WAL, Int64 time, data. 'k': Int64 end of WAL, Int64 time, Byte1 answer
   * wanted.
   */
  #copyData(buffer: Uint8Array, start: number, end: number): void {
    const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
    if (buffer[start] === 0x77 && end - start > 25) {
      const problem = this.#capture.message(buffer, start + 25, end);
      if (problem !== undefined) this.#fail(problem);
      // The position of a change lies inside its transaction; that of the end of WAL at sending may lie
      // behind it.
      else this.#received = maximum(this.#received, view.getBigUint64(start + 1));
    } else if (buffer[start] === 0x6b && end - start >= 18) {
      this.#received = maximum(this.#received, view.getBigUint64(start + 1));
      if (buffer[start + 17] === 1) this.#sendStatus();
    } else {
      this.#fail('malformed message in the stream');
    }
  }

  /**
   * Standby status update: 'r', Int64 written, Int64 flushed, Int64 applied, Int64 time, Byte1 answer wanted.
   */
  #sendStatus(): void {
    const now = BigInt(Date.now()) * 1000n - postgresEpochUs;
    const written = maximum(this.#received, this.#released);
    const body = new Uint8Array(34);
    const view = new DataView(body.buffer);
    view.setUint8(0, 0x72);
    view.setBigUint64(1, written);
    view.setBigUint64(9, this.#released);
    view.setBigUint64(17, this.#released);
    view.setBigInt64(25, now);
    this.#connection.send(new MessageWriter(64).begin(frontend.copyData).bytes(body).end().take());
  }
}

function maximum(a: Lsn, b: Lsn): Lsn {
  return a > b ? a : b;
}

function errorText(buffer: Uint8Array, start: number, end: number): string {
  const fields = errorFields(buffer, start, end);
  return `${fields.get('M') ?? 'error without text'} (${fields.get('C') ?? ''})`;
}

function startCommand(options: StreamOptions, version: number): string {
  const literal = (text: string) => `'${text.replaceAll("'", "''")}'`;
  const pairs = [
    `proto_version '${version >= 160_000 ? 4 : 3}'`,
    `publication_names ${literal(`"${options.publication.replaceAll('"', '""')}"`)}`,
    `messages 'true'`,
    ...(version >= 160_000 ? [`origin 'none'`] : []),
  ];
  return `START_REPLICATION SLOT "${options.slot.replaceAll('"', '""')}" LOGICAL 0/0 (${pairs.join(', ')})`;
}

/**
 * Runs one replication command; resolves with the first column of its last row, or when the stream has begun.
 */
function ask(
  connection: RawConnection,
  command: string,
  streaming = () => undefined as void,
): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = '';
    connection.handle({
      message(type, buffer, start, end) {
        if (type === backend.dataRow) answer = cstringAt(buffer, start + 11, end);
        else if (type === backend.errorResponse) reject(new Error(errorText(buffer, start, end)));
        else if (type === backend.readyForQuery) resolve(answer);
        else if (type === backend.copyBothResponse) {
          streaming();
          resolve(answer);
        }
      },
      closed: (reason) => reject(new Error(reason)),
    });
    connection.send(query(command));
  });
}
