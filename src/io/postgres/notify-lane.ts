/**
 * One connection on which the gateway notifies the server's listeners, transaction by transaction.
 *
 * Rules: in the order of `send`; each at most once, so what was sent on a connection that died is lost, while
 * what was not sent yet waits for the next one. It is opened when it is needed first. What waits is bounded.
 */
import { backend } from '../../core/wire/codes.ts';
import { errorFields, query } from '../../core/wire/messages.ts';
import { noTimeouts } from './pinned-settings.ts';
import { RawConnection } from './raw-connection.ts';
import type { ServerLogin } from './raw-connection.ts';

interface Delivery {
  readonly sql: string;
  /** Notifications in it. */
  readonly count: number;
  readonly done: () => void;
}

/** On their way to the server at a time. */
const depth = 32;
const waitingCharacters = 64 * 1024 * 1024;
const reconnectMs = 200;
/** A notification outlives no crash, so its commit waits for no disk. */
const settings = {
  ...noTimeouts,
  synchronous_commit: 'off',
  default_transaction_read_only: 'off',
  client_encoding: 'UTF8',
  standard_conforming_strings: 'on',
};

export class NotifyLane {
  readonly #login: ServerLogin;
  readonly #lost: (count: number, reason: string) => void;
  readonly #waiting: Delivery[] = [];
  readonly #sent: Delivery[] = [];
  #characters = 0;
  #connection: RawConnection | undefined;
  #opening = false;
  #error: string | undefined;
  #stopped = false;

  constructor(login: ServerLogin, lost: (count: number, reason: string) => void) {
    this.#login = login;
    this.#lost = lost;
  }

  /** `done` is called when the server's listeners are told, or never will be. */
  send(sql: string, count: number, done: () => void): void {
    if (this.#stopped) return done();
    if (this.#characters + sql.length > waitingCharacters) {
      this.#lost(count, 'too many wait for the server');
      return done();
    }
    this.#characters += sql.length;
    this.#waiting.push({ sql, count, done });
    this.#serve();
  }

  stop(): void {
    this.#stopped = true;
    this.#connection?.destroy();
  }

  #serve(): void {
    if (this.#connection === undefined) {
      void this.#open();
      return;
    }
    while (this.#sent.length < depth) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      this.#characters -= next.sql.length;
      this.#sent.push(next);
      this.#connection.send(query(next.sql));
    }
  }

  async #open(): Promise<void> {
    if (this.#opening || this.#stopped) return;
    this.#opening = true;
    try {
      const connection = await RawConnection.open({
        login: this.#login,
        applicationName: 'mtm_notify',
        settings,
      });
      this.#opening = false;
      if (this.#stopped) return connection.destroy();
      connection.handle({
        message: (type, buffer, start, end) => this.#message(type, buffer, start, end),
        closed: (reason) => this.#closed(reason),
      });
      if (connection.closed) return this.#later();
      this.#connection = connection;
      this.#serve();
    } catch {
      // What waits goes on waiting: without its server the whole node begins anew.
      this.#opening = false;
      this.#later();
    }
  }

  #later(): void {
    if (!this.#stopped) setTimeout(() => this.#serve(), reconnectMs).unref();
  }

  #message(type: number, buffer: Uint8Array, start: number, end: number): void {
    if (type === backend.errorResponse) {
      const fields = errorFields(buffer, start, end);
      this.#error ??= `${fields.get('M') ?? ''} (${fields.get('C') ?? ''})`;
    } else if (type === backend.readyForQuery) {
      const done = this.#sent.shift();
      if (done !== undefined && this.#error !== undefined) this.#lost(done.count, this.#error);
      this.#error = undefined;
      done?.done();
      this.#serve();
    }
  }

  #closed(reason: string): void {
    this.#connection = undefined;
    this.#error = undefined;
    for (const { count, done } of this.#sent.splice(0)) {
      if (!this.#stopped) this.#lost(count, `the connection was lost: ${reason}`);
      done();
    }
    if (this.#waiting.length > 0) this.#later();
  }
}
