/**
 * The sensor: the server session is read-only by default, so that a statement outside of our blocks cannot
 * write.
 * Rule: whoever opens the session for writing (set_config in a function) finds it closed again before
 * anything else of the client's goes through; a session that cannot be closed ends.
 */
import { status } from '../wire/codes.ts';
import { cstringAt, parameterStatus } from '../wire/messages.ts';
import type { SessionMachine } from './session.ts';

export const sensorName = 'default_transaction_read_only';

const mostAttempts = 3;

export class Sensor {
  /** The server reports that its session is not read-only by default. */
  isOff = false;
  /** A statement that must run outside a block and read-write is under way. */
  suspended = false;
  #failures = 0;

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
  if (name !== sensorName) return session.ports.toClient(buffer, start, end);
  session.sensor.isOff = cstringAt(buffer, start + 6 + name.length, end) === 'off';
  if (!session.client.loggedIn) session.toClient(parameterStatus(name, session.wish.value ? 'on' : 'off'));
}
