/**
 * The sensor: the server session is read-only by default, so that a statement outside of our blocks cannot
 * write.
 * Rule: whoever opens the session for writing (set_config in a function) finds it closed again before
 * anything else of the client's goes through; a session that cannot be closed ends.
 */
import { status } from '../wire/codes.ts';
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
