/**
 * One transaction of a session: the client's own (explicit) or the one that the gateway opens around an
 * autocommit unit.
 */
import type { Finish } from '../commit/event.ts';
import type { Gid, Refusal } from '../identity.ts';
import type { StatementClass, TransactionModes } from '../statement/statement-class.ts';
import type { Reply } from './reply.ts';

export interface Block {
  /** The client said BEGIN. Otherwise the gateway opened it and ends it with the unit. */
  explicit: boolean;
  /** Hybrid logical clock at its beginning, ms; kept over repeats. */
  readonly startTime: number;
  readonly modes: TransactionModes | undefined;
  /**
   * The access mode to which it falls back when it has failed and goes on AND CHAIN: READ ONLY or not;
   * undefined: the server has it right.
   */
  readonly fallback: boolean | undefined;
  /**
   * It goes on AND CHAIN behind a commit, with these modes: they outlive a failure, unlike those of a BEGIN.
   */
  chained: string | undefined;
  /** A tag has proved that rows were written, or a command ran that always writes. */
  wrote: boolean;
  /** Something ran that may have done what PREPARE cannot bear (a function, DO, temporary tables). */
  uncertain: boolean;
  /** It made or used a temporary table by name. */
  temporary: boolean;
  /** A command was announced that event triggers do not see. */
  announced: boolean;
  /** It ran code that may have run the command NOTIFY where functions do: 'says' certainly its text does. */
  notifies: 'no' | 'may' | 'says';
  /** LISTEN or UNLISTEN wait for its commit. */
  listens: boolean;
  /** What announced commands have changed is noted in the server: any other change is not theirs. */
  accounted: boolean;
  /** PREPARE is under way or has happened: the transaction can no longer be interrupted here. */
  preparing: boolean;
  /** The PREPARE under way is being cancelled, for this reason. */
  withdrawn: Refusal | undefined;
  /**
   * Header and PREPARE were sent under this name: if the connection breaks now, only the nodes together know
   * the outcome.
   */
  gid: Gid | undefined;
  /** It is held open, and ends like this now. */
  openOrder: Finish | undefined;
  /** The server has confirmed its PREPARE: the outcome no longer needs this connection. */
  prepared: boolean;
}

export function newBlock(
  explicit: boolean,
  startTime: number,
  modes: TransactionModes | undefined,
  fallback: boolean | undefined,
): Block {
  return {
    explicit,
    startTime,
    modes,
    fallback,
    chained: undefined,
    wrote: false,
    uncertain: false,
    temporary: false,
    announced: false,
    notifies: 'no',
    listens: false,
    accounted: false,
    preparing: false,
    withdrawn: undefined,
    gid: undefined,
    openOrder: undefined,
    prepared: false,
  };
}

/** Takes down what running a statement of this class means for the end of the transaction. */
export function noteStatement(block: Block, statement: StatementClass): void {
  if (statement.kind === 'write' && (!statement.certain || statement.temporary)) block.uncertain = true;
  if (statement.kind === 'write' && statement.temporary) block.temporary = true;
  if (statement.kind === 'announced') {
    block.announced = true;
    block.accounted = false;
    block.uncertain = true;
  }
  if (statement.kind === 'session') block.uncertain = true;
  if (statement.kind === 'notify') block.wrote = true;
  if (statement.kind === 'write' && block.notifies !== 'says')
    block.notifies = statement.notifies === true ? 'says' : 'may';
  if (statement.kind === 'listen') {
    block.listens = true;
    block.uncertain = true;
  }
}

/** Statements that run without the gateway between them. */
export function noteStatements(block: Block, statements: readonly StatementClass[]): void {
  for (const each of statements) noteStatement(block, each);
  // Nothing tells apart what an announced command did and what a function did beside it: all of it is unseen.
  if (statements.length > 1 && statements.some(mayChangeUnseen)) block.announced = false;
}

/** Code of users may run: it can hold commands that no event trigger sees. */
function mayChangeUnseen(statement: StatementClass): boolean {
  return statement.kind === 'write' || statement.kind === 'session' || statement.kind === 'local';
}

/** The block has announced commands whose changes must be noted before these statements run. */
export function mustAccount(block: Block | undefined, statements: readonly StatementClass[]): boolean {
  if (block === undefined || !block.announced || block.accounted) return false;
  return statements.some((each) => each.kind === 'announced' || mayChangeUnseen(each));
}

export function noteReply(block: Block, reply: Reply): void {
  if (reply.written > 0) block.wrote = true;
  // What was defined may be in the way of decoding: the header function looks.
  if (reply.defined) block.uncertain = true;
}

/** Classes that run outside a block exactly as the client sent them. */
export function runsAsIs(statement: StatementClass): boolean {
  switch (statement.kind) {
    case 'empty':
    case 'read':
    case 'session':
    case 'listen':
    case 'rollback':
    case 'savepoint':
      return true;
    default:
      return false;
  }
}

/** Settings that the gateway puts into other words. */
export function isSetting(each: StatementClass): boolean {
  return each.kind === 'set-guarded' || each.kind === 'show-guarded' || each.kind === 'set-transaction';
}

/** Classes that come to nothing unless all members take part in the end of their transaction. */
export function needsMembers(each: StatementClass): boolean {
  return each.kind === 'write' || each.kind === 'announced' || each.kind === 'notify';
}
