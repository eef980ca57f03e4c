/**
 * A connection of the gateway's own to PostgreSQL with raw, pipelined messages.
 * `pg` opens it and authenticates (every method that `pg` knows); then the socket is taken over.
 * Rule: after `open` nobody but this class touches the socket; a connection that closed is never used again.
 */
import type { Socket } from 'node:net';
import pg from 'pg';
import { readDirectly } from '../wire/direct-reading.ts';
import { writeDirectly } from '../wire/direct-writing.ts';
import { pgLogin, sendCancel, type ServerAddress } from './server-connection.ts';
import { FrameScanner } from '../../core/wire/frame-scanner.ts';
import type { NumberedDatabase } from './slot-names.ts';

export interface ServerLogin extends NumberedDatabase, ServerAddress {}

export interface RawHandler {
  /** One whole message: buffer[start…end) with the type byte at `start`; valid during the call only. */
  message(type: number, buffer: Uint8Array, start: number, end: number): void;
  /** Called once. `reason` says why the connection ended. */
  closed(reason: string): void;
}

export interface RawOptions {
  readonly login: ServerLogin;
  readonly applicationName: string;
  /** Settings for the startup packet; they outrank those of database and role. */
  readonly settings: Readonly<Record<string, string>>;
  readonly replication?: 'database';
  /** Milliseconds until an unanswered connection attempt fails. */
  readonly connectTimeoutMs?: number;
}

interface PgInternals {
  readonly processID: number;
  readonly secretKey: number;
  readonly connection: { readonly stream: Socket };
}

const maxMessageBytes = 0x3fffffff;

export class RawConnection {
  readonly pid: number;
  readonly #secretKey: number;
  readonly #socket: Socket;
  readonly #login: ServerLogin;
  #handler: RawHandler | undefined;
  #closed = false;

  private constructor(socket: Socket, login: ServerLogin, pid: number, secretKey: number) {
    const scanner = new FrameScanner({
      limit: () => maxMessageBytes,
      streams: () => false,
      message: (type, buffer, start, end) => this.#handler?.message(type, buffer, start, end),
      part: () => undefined,
    });
    const received = (chunk: Uint8Array): void => {
      const result = scanner.push(chunk);
      if (result.kind === 'violation') this.#socket.destroy(new Error(result.reason));
    };
    // The scanner copies what it keeps.
    this.#socket = readDirectly(socket, received, true);
    this.#login = login;
    this.pid = pid;
    this.#secretKey = secretKey;
  }

  /** Rejects with the server's own error (pg.DatabaseError) or the socket's. */
  static async open(options: RawOptions): Promise<RawConnection> {
    const client = new pg.Client({
      ...pgLogin(options.login),
      application_name: options.applicationName,
      connectionTimeoutMillis: options.connectTimeoutMs ?? 5000,
      options: startupOptions(options.settings),
      ...(options.replication === undefined ? {} : { replication: options.replication }),
    } as pg.ClientConfig);
    // Reported by connect() or, after the takeover, by the socket's own handler.
    client.on('error', () => undefined);
    try {
      await client.connect();
    } catch (error) {
      // The attempt has failed already: its error is the one that counts.
      void client.end().catch(() => undefined);
      throw error;
    }
    const internals = client as unknown as PgInternals;
    const socket = internals.connection.stream;
    const connection = new RawConnection(socket, options.login, internals.processID, internals.secretKey);
    connection.#takeOver();
    return connection;
  }

  #takeOver(): void {
    this.#socket.setNoDelay(true);
    this.#socket.setKeepAlive(true, 10_000);
    this.#socket.on('error', (error) => this.#end(error.message));
    this.#socket.on('close', () => this.#end('connection closed by the server'));
    this.#socket.resume();
  }

  #end(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#handler?.closed(reason);
  }

  /** Must be called before the first `send`. */
  handle(handler: RawHandler): void {
    this.#handler = handler;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Bytes handed over and not yet accepted by the kernel: for back-pressure. */
  get unsentBytes(): number {
    return this.#socket.writableLength;
  }

  /** Calls `drained` once when the socket's buffer has emptied. */
  onceDrained(drained: () => void): void {
    this.#socket.once('drain', drained);
  }

  /**
   * False when the caller should wait for `onceDrained`. The bytes are taken in any case; `sent` is called
   * when nobody needs them any more, perhaps within the call.
   */
  send(bytes: Uint8Array, sent?: () => void): boolean {
    if (this.#closed) return false;
    return writeDirectly(this.#socket, bytes, sent);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /**
   * Asks the server to cancel the statement that runs on this connection; resolves when the request was
   * delivered.
   */
  async cancel(): Promise<void> {
    const key = new Uint8Array(4);
    new DataView(key.buffer).setInt32(0, this.#secretKey);
    const delivered = await sendCancel(this.#login, this.pid, key);
    if (!delivered) this.destroy();
  }

  destroy(): void {
    this.#socket.destroy();
    this.#end('closed by the gateway');
  }
}

/**
 * `options` of the startup packet: -c name=value with blanks and backslashes escaped (manual, "Client
 * Connection Defaults").
 */
export function startupOptions(settings: Readonly<Record<string, string>>): string {
  return Object.entries(settings)
    .map(([name, value]) => `-c ${name}=${value.replace(/([\\ ])/g, '\\$1')}`)
    .join(' ');
}
