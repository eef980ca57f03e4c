/**
 * One transaction of a session: the client's own (explicit) or the one that the gateway opens around an autocommit unit.
 */
import type { Gid } from '../identity.ts';
import type { StatementClass, TransactionModes } from '../statement/statement-class.ts';

export interface Block {
  /** The client said BEGIN. Otherwise the gateway opened it and ends it with the unit. */
  explicit: boolean;
  /** Hybrid logical clock at its beginning, ms; kept over repeats. */
  readonly startTime: number;
  readonly modes: TransactionModes | undefined;
  /** A tag has proved that rows were written, or a command ran that always writes. */
  wrote: boolean;
  /** Something ran that may have done what PREPARE cannot bear (a function, DO, temporary tables). */
  uncertain: boolean;
  /** It made or used a temporary table by name. */
  temporary: boolean;
  /** A command was announced that event triggers do not see. */
  announced: boolean;
  /** PREPARE is under way or has happened: the transaction can no longer be interrupted here. */
  preparing: boolean;
  /** From the moment on that its PREPARE was sent. */
  gid: Gid | undefined;
}

export function newBlock(explicit: boolean, startTime: number, modes?: TransactionModes): Block {
  const notes = { wrote: false, uncertain: false, temporary: false, announced: false };
  return { explicit, startTime, modes, ...notes, preparing: false, gid: undefined };
}

/** Opens a block of the gateway's own: read-only when that is what the client has made its default. */
export function openingSql(readOnlyDefault: boolean): string {
  return readOnlyDefault ? 'BEGIN READ ONLY' : 'BEGIN READ WRITE';
}

/** Takes down what running a statement of this class means for the end of the transaction. */
export function noteStatement(block: Block, statement: StatementClass): void {
  if (statement.kind === 'write' && (!statement.certain || statement.temporary)) block.uncertain = true;
  if (statement.kind === 'write' && statement.temporary) block.temporary = true;
  if (statement.kind === 'announced') {
    block.announced = true;
    block.uncertain = true;
  }
  if (statement.kind === 'session' || statement.kind === 'notify') block.uncertain = true;
}

/** Classes that run outside a block exactly as the client sent them. */
export function runsAsIs(statement: StatementClass): boolean {
  switch (statement.kind) {
    case 'empty':
    case 'read':
    case 'session':
    case 'notify':
    case 'rollback':
    case 'savepoint':
      return true;
    default:
      return false;
  }
}
