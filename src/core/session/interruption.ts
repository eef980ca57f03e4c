/**
 * A transaction that the gateway ends because an older one of another node needs its locks.
 * Rule: its locks go at once, whatever the client does; the client hears of it once, with 40001, as the
 * answer to the statement that runs or to the next one; its ROLLBACK succeeds, its COMMIT is an error.
 */
import type { Refusal } from '../identity.ts';
import { beginText } from '../statement/session-command.ts';
import { status } from '../wire/codes.ts';
import { errorResponse } from '../wire/messages.ts';
import type { ErrorText } from '../wire/messages.ts';
import type { SessionMachine } from './session.ts';

export interface Interruption {
  readonly refusal: Refusal;
  /** The client has got the error; what follows in the failed transaction is the server's own. */
  told: boolean;
  /** The server has rolled back; in a transaction of the client's a failed one stands in its place. */
  rolledBack: boolean;
  /** The client's transaction had failed before, by an error that it knows. */
  readonly hadFailed: boolean;
}

export function newInterruption(refusal: Refusal, hadFailed: boolean): Interruption {
  return { refusal, told: false, rolledBack: false, hadFailed };
}

export function refusalText(refusal: Refusal): ErrorText {
  return {
    severity: 'ERROR',
    sqlstate: refusal.sqlstate,
    message: refusal.message,
    detail: refusal.detail,
    hint: refusal.hint,
    schema: refusal.schema,
    table: refusal.table,
    column: refusal.column,
    constraint: refusal.constraint,
  };
}

/** The error to tell: the first one of an interrupted transaction names the true reason. */
export function translated(session: SessionMachine, error: Uint8Array): Uint8Array {
  const { interruption } = session;
  if (interruption === undefined || interruption.told) return error;
  interruption.told = true;
  return errorResponse(refusalText(interruption.refusal));
}

/** The client's own transaction is to be interrupted and still holds its locks. */
export function mustFailBlock(session: SessionMachine): boolean {
  return session.interruption?.rolledBack === false && session.block?.explicit === true;
}

const noModes = { isolation: undefined, readOnly: undefined, deferrable: undefined };

/**
 * Between two units of an interrupted transaction: the server rolls back, and the client's next statement
 * finds it failed.
 */
export function* failBlock(session: SessionMachine): Generator<void, void, void> {
  const { interruption } = session;
  if (interruption === undefined) return;
  interruption.rolledBack = true;
  while (session.cancelling) yield;
  session.sendOwn('ROLLBACK');
  yield* putFailedBlock(session);
}

/** A failed transaction in the place of the one that was rolled back. */
export function* putFailedBlock(session: SessionMachine): Generator<void, void, void> {
  session.sendOwn(beginText('BEGIN', session.block?.modes ?? noModes, false));
  const failing = session.sendOwn('ROLLBACK TO SAVEPOINT mtm_conflict');
  while (!failing.done) yield;
}

/** The client's transaction was rolled back and the client has not heard of it. */
export function isUntold(session: SessionMachine): boolean {
  const { interruption, block } = session;
  return (
    interruption?.rolledBack === true &&
    !interruption.told &&
    !interruption.hadFailed &&
    block?.explicit === true
  );
}

/** What ReadyForQuery says of an interrupted transaction: still open until the client has got the error. */
export function statusShown(session: SessionMachine): number {
  const { interruption, block, serverStatus } = session;
  if (block === undefined || block.explicit) {
    const untold = interruption !== undefined && !interruption.told && block !== undefined;
    return untold && !interruption.hadFailed ? status.inBlock : serverStatus;
  }
  return status.idle;
}
