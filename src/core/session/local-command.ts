/**
 * Commands that are local by rule, cannot run in a block and need a session that may write (VACUUM, CREATE
 * DATABASE, ALTER SYSTEM …).
 * Rule: the sensor is off for exactly this statement; a session whose sensor cannot be put back ends.
 */
import { admission } from './admission.ts';
import { settled } from './server-reply.ts';
import { newReply } from './reply.ts';
import type { SessionMachine, Task } from './session.ts';
import { endPassing, refuseUnit } from './unit.ts';
import type { Unit } from './unit.ts';

/** `behind`: runs when the command has ended, well or not; it tells errors itself. */
export function* runLocalUnit(
  session: SessionMachine,
  unit: Unit,
  behind?: () => Generator<void, boolean, void>,
): Task {
  const obstacle = yield* admission(session, false);
  if (obstacle !== undefined) return yield* refuseUnit(session, obstacle);
  session.sensor.suspended = true;
  session.sendOwn('SET SESSION default_transaction_read_only = off');
  const { messages, prefix } = unit.build(false);
  const reply = session.expect(newReply('client', false, prefix));
  reply.free = true;
  for (const bytes of messages) session.toServer(bytes);
  yield* settled(session, reply);
  // What DROP DATABASE deletes from shared catalogs is not to be held against the next transaction.
  session.sendOwn('SELECT pg_catalog.pg_stat_force_next_flush()');
  yield* restoreSensor(session);
  session.sensor.suspended = false;
  if (behind !== undefined) yield* behind();
  yield* endPassing(session, reply, unit);
}

/** A cancel request of the client may hit the SET itself. */
function* restoreSensor(session: SessionMachine): Task {
  for (let attempt = 0; attempt < 3; attempt++) {
    const set = session.sendOwn('SET SESSION default_transaction_read_only = on');
    yield* settled(session, set);
    if (set.error === undefined) return;
  }
  session.fatal('XX000', '[multimaster] the session could not be made read-only again');
}
