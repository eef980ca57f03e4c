/**
 * Reads the changes of a transaction that is still open, which the slot of the hot path, made for prepared
 * ones, never shows: from a temporary copy of that slot, as SQL. The server sends a transaction in progress
 * when its decoded changes exceed logical_decoding_work_mem, and the message behind the header is longer
 * than that.
 *
 * Rules: what is to be read is flushed first, because only flushed WAL is decoded. A copy begins where the
 * slot's own restart lies, so it shows the whole transaction, whenever it began (measured on 15 to 18).
 */
import { OpenCapture, type OpenCaptureEnd } from '../../core/pgoutput/open-capture.ts';
import type { CapturedPiece } from '../../core/pgoutput/capture-handler.ts';
import type { Gid } from '../../core/identity.ts';
import { backend } from '../../core/wire/codes.ts';
import { errorFields, int32At, query } from '../../core/wire/messages.ts';
import { noTimeouts, pinnedFormats } from './pinned-settings.ts';
import { RawConnection } from './raw-connection.ts';
import type { ServerLogin } from './raw-connection.ts';
import { QueryError, simpleQuery } from './simple-query.ts';

export interface OpenRead {
  readonly gid: Gid;
  /** 64 bits, decimal. */
  readonly xid: string;
  piece(piece: CapturedPiece): void;
}

export interface OpenStreamOptions {
  readonly login: ServerLogin;
  readonly slot: string;
  readonly publication: string;
  verifyHeader(gid: Gid, hmac: string): boolean;
}

const settings = {
  ...pinnedFormats,
  ...noTimeouts,
  default_transaction_read_only: 'off',
  synchronous_commit: 'on',
  // Less than the message of mtm.header_open.
  logical_decoding_work_mem: '256kB',
  // Decoding that waits for a lock of the open transaction would wait for ever.
  lock_timeout: '5s',
};
/** Beside each other; more wait. */
const lanes = 2;
/** An unused connection is closed after this time, ms. */
const idleMs = 60_000;

interface Lane {
  readonly connection: RawConnection;
  timer: NodeJS.Timeout | undefined;
}

export class OpenStream {
  readonly #options: OpenStreamOptions;
  readonly #idle: Lane[] = [];
  readonly #busy = new Set<RawConnection>();
  readonly #waiting: (() => void)[] = [];
  #running = 0;
  #paused = false;
  #closed = false;

  constructor(options: OpenStreamOptions) {
    this.#options = options;
  }

  /** Rejects with what the server or the socket said: nothing that was handed over counts then. */
  async read(read: OpenRead): Promise<OpenCaptureEnd> {
    await this.#turn();
    try {
      return await this.#readNow(read);
    } finally {
      this.#running--;
      this.#waiting.shift()?.();
    }
  }

  async #turn(): Promise<void> {
    if (this.#running >= lanes) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#running++;
  }

  async #readNow(read: OpenRead): Promise<OpenCaptureEnd> {
    const lane = await this.#lane();
    const { connection } = lane;
    this.#busy.add(connection);
    let sound = false;
    try {
      const end = await this.#decode(connection, read);
      sound = true;
      return end;
    } finally {
      this.#busy.delete(connection);
      if (sound && !this.#closed) this.#keep(lane);
      else connection.destroy();
    }
  }

  async #decode(connection: RawConnection, read: OpenRead): Promise<OpenCaptureEnd> {
    const { slot, publication } = this.#options;
    const verifyHeader = (gid: Gid, hmac: string): boolean => this.#options.verifyHeader(gid, hmac);
    const copy = `mtm_open_${connection.pid}`;
    await simpleQuery(connection, "SELECT pg_catalog.pg_logical_emit_message(true, 'mtm-flush', '')");
    await simpleQuery(connection, `SELECT pg_copy_logical_replication_slot('${slot}', '${copy}', true)`);
    const xid = Number(BigInt(read.xid) & 0xffff_ffffn);
    const capture = new OpenCapture(read.gid, xid, { verifyHeader, piece: (piece) => read.piece(piece) });
    const rows = changes(
      connection,
      `SELECT data FROM pg_logical_slot_peek_binary_changes('${copy}', NULL, NULL, 'proto_version', '2',
         'streaming', 'on', 'publication_names', '"${publication}"', 'messages', 'true')
       WHERE xid = '${xid}'`,
      (message) => capture.message(message, 0, message.length),
    );
    if (this.#paused) connection.pause();
    await rows;
    const end = capture.end();
    await simpleQuery(connection, `SELECT pg_drop_replication_slot('${copy}')`);
    return end;
  }

  async #lane(): Promise<Lane> {
    const idle = this.#idle.pop();
    clearTimeout(idle?.timer); // its timer takes it out of the idle ones, where it is none any more
    if (idle !== undefined && !idle.connection.closed) return idle;
    const { login } = this.#options;
    const connection = await RawConnection.open({ login, applicationName: 'mtm_open', settings });
    return { connection, timer: undefined };
  }

  #keep(lane: Lane): void {
    lane.timer = setTimeout(() => {
      this.#idle.splice(this.#idle.indexOf(lane), 1);
      lane.connection.destroy();
    }, idleMs).unref();
    this.#idle.push(lane);
  }

  /** Stops reading; what has arrived already may still be delivered. */
  pause(): void {
    this.#paused = true;
    for (const connection of this.#busy) connection.pause();
  }

  resume(): void {
    this.#paused = false;
    for (const connection of this.#busy) connection.resume();
  }

  close(): void {
    this.#closed = true;
    for (const { connection, timer } of this.#idle.splice(0)) {
      clearTimeout(timer);
      connection.destroy();
    }
    for (const connection of this.#busy) connection.destroy();
  }
}

/** Runs a query with one bytea column; `row` gets the bytes of each row. */
function changes(connection: RawConnection, text: string, row: (bytes: Uint8Array) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    let failure: QueryError | undefined;
    connection.handle({
      message(type, buffer, start, end) {
        if (type === backend.dataRow) row(byteaAt(buffer, start));
        else if (type === backend.errorResponse) {
          const fields = errorFields(buffer, start, end);
          failure = new QueryError(fields.get('C') ?? 'XX000', fields.get('M') ?? '');
        } else if (type === backend.readyForQuery) {
          if (failure === undefined) resolve();
          else reject(failure);
        }
      },
      closed: (reason) => reject(failure ?? new Error(reason)),
    });
    connection.send(query(text));
  });
}

/** DataRow with one column: Int16 columns, Int32 length, `\x` and hexadecimal digits. */
function byteaAt(buffer: Uint8Array, start: number): Uint8Array {
  const length = int32At(buffer, start + 7);
  const at = buffer.byteOffset + start + 13;
  return Buffer.from(Buffer.from(buffer.buffer, at, length - 2).toString('latin1'), 'hex');
}
