/**
 * The notifications of a transaction that has just committed, told to the server's listeners by the session
 * itself: so they carry its own process as their sender, and what it listens to itself comes before the end
 * of the statement, as in PostgreSQL.
 * Rule: it never changes what the client is told of the commit.
 */
import type { Gid } from '../identity.ts';
import { status } from '../wire/codes.ts';
import { errorFields } from '../wire/messages.ts';
import type { Reply } from './reply.ts';
import type { SessionMachine } from './session.ts';

/**
 * Nothing of the client's ends the statement, and no disk is waited for: a notification outlives no crash.
 */
const settings =
  'SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; SET LOCAL synchronous_commit = off; ';

export class Delivery {
  /** The query that is due. */
  due: string | undefined;
  /** The session waits for the outcome of what it has prepared: it has time for this. */
  awaited = false;
  #reply: Reply | undefined;
  /** NotificationResponses that come meanwhile. */
  #held: Uint8Array[] = [];
  #impossible = false;

  /** The transaction has committed here. False: this session cannot tell what it notifies. */
  offer(session: SessionMachine, gid: Gid, sql: string): boolean {
    const { block } = session;
    if (!this.awaited || session.ended || this.#impossible || block?.gid !== gid) return false;
    this.due = sql;
    session.resume();
    return true;
  }

  *run(session: SessionMachine): Generator<void, void, void> {
    const reply = session.sendOwn(settings + this.due!);
    this.due = undefined;
    this.#reply = reply;
    while (!reply.done) yield;
    this.#reply = undefined;
    const { error } = reply;
    if (error === undefined) return;
    const fields = errorFields(error, 0, error.length);
    session.ports.deliveryFailed(
      `${fields.get('M') ?? 'the server connection was lost'} (${reply.sqlstate})`,
    );
  }

  /** PostgreSQL tells them between the completion and ReadyForQuery, outside of transactions. */
  relay(session: SessionMachine, buffer: Uint8Array, start: number, end: number): void {
    if (this.#reply === undefined) session.ports.toClient(buffer, start, end);
    else this.#held.push(buffer.slice(start, end));
  }

  release(session: SessionMachine): void {
    if (this.#held.length === 0 || session.clientStatus !== status.idle) return;
    for (const bytes of this.#held) session.toClient(bytes);
    this.#held = [];
  }

  /** The answer will not come; that of the transaction may. */
  serverGone(session: SessionMachine): void {
    this.#impossible = true;
    const reply = this.#reply;
    if (reply === undefined) return;
    reply.error = new Uint8Array(0);
    reply.sqlstate = '08006';
    reply.done = true;
    session.resume();
  }
}
