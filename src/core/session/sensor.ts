/**
 * The sensor: the server session is read-only by default, so that a statement outside of our blocks cannot
 * write.
 * Rule: whoever opens the session for writing (set_config in a function) finds it closed again before
 * anything else of the client's goes through; a session that cannot be closed ends.
 */
import { status } from '../wire/codes.ts';
import { cstringAt, parameterStatus, readyForQuery } from '../wire/messages.ts';
import { booleanOf } from './read-only-wish.ts';
import { settled } from './server-reply.ts';
import type { SessionMachine, Task } from './session.ts';

export const sensorName = 'default_transaction_read_only';

const mostAttempts = 3;

export class Sensor {
  /** The server reports that its session is not read-only by default. */
  isOff = false;
  /** A statement that must run outside a block and read-write is under way. */
  suspended = false;
  #failures = 0;
  /** What the server has reported while a unit runs, the last of each setting. */
  readonly #reports = new Map<string, Uint8Array>();

  /** The client hears of it as from a server: just before ReadyForQuery, whatever is held until then. */
  reportLater(name: string, message: Uint8Array): void {
    this.#reports.set(name, message);
  }

  report(session: SessionMachine): void {
    for (const message of this.#reports.values()) session.toClient(message);
    this.#reports.clear();
  }

  /** At each ReadyForQuery. */
  watch(session: SessionMachine): void {
    if (!this.isOff || this.suspended) {
      this.#failures = 0;
      return;
    }
    if (session.serverStatus === status.failed) return; // it is undone with the transaction
    this.#failures++;
    if (this.#failures > mostAttempts) {
      session.fatal('XX000', '[multimaster] the session could not be made read-only again');
    } else {
      session.sendOwn(`SET SESSION ${sensorName} = on`);
    }
  }
}

/**
 * A setting that the server reports. libpq's target_session_attrs looks at the reported default: it must be
 * the client's, not the gateway's sensor.
 */
export function relayParameter(
  session: SessionMachine,
  buffer: Uint8Array,
  start: number,
  end: number,
): void {
  const name = cstringAt(buffer, start + 5, end);
  if (name === 'client_encoding') {
    session.clientEncoding = cstringAt(buffer, start + 6 + name.length, end);
  }
  if (name === 'standard_conforming_strings') {
    session.standardStrings = cstringAt(buffer, start + 6 + name.length, end) === 'on';
  }
  if (name !== sensorName) {
    if (!session.client.loggedIn || !session.groupIsOpen) return session.ports.toClient(buffer, start, end);
    return session.sensor.reportLater(name, buffer.slice(start, end));
  }
  session.sensor.isOff = cstringAt(buffer, start + 6 + name.length, end) === 'off';
  if (!session.client.loggedIn) session.toClient(parameterStatus(name, session.wish.value ? 'on' : 'off'));
}

/**
 * What role and database set it to, the nearest first. Everything is qualified: they may set search_path,
 * too; and the session may be in a database that has no schema of ours.
 */
const defaultOfRole = `SELECT pg_catalog.substr(entry, 31)
  FROM pg_catalog.pg_db_role_setting, pg_catalog.unnest(setconfig) AS entry
  WHERE pg_catalog.starts_with(entry, '${sensorName}=')
    AND (setrole OPERATOR(pg_catalog.=) 0::pg_catalog.oid OR setrole OPERATOR(pg_catalog.=)
      (SELECT oid FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) session_user))
    AND (setdatabase OPERATOR(pg_catalog.=) 0::pg_catalog.oid OR setdatabase OPERATOR(pg_catalog.=)
      (SELECT oid FROM pg_catalog.pg_database
        WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database()))
  ORDER BY setrole OPERATOR(pg_catalog.=) 0::pg_catalog.oid,
    setdatabase OPERATOR(pg_catalog.=) 0::pg_catalog.oid
  LIMIT 1`;

/**
 * The end of a login whose packet does not say the default: ours hides what role and database give it. The
 * client is told of one that is on before its first ReadyForQuery; it has heard of `off` in its place among
 * the settings.
 */
export function* learnDefault(session: SessionMachine): Task {
  const asked = session.sendOwn(defaultOfRole);
  yield* settled(session, asked);
  if (asked.error !== undefined) {
    session.fatal('XX000', `[multimaster] the ${sensorName} of the role could not be read`);
    return;
  }
  session.wish.begin(booleanOf(asked.value ?? '') ?? false);
  session.reportWish();
  session.toClient(readyForQuery(status.idle));
  session.client.login();
}
