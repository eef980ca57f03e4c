/**
 * A simple Query: one statement, or a string of several with their own BEGIN and COMMIT, which runs statement by statement.
 * Rule: a string has one ReadyForQuery; what stands in it outside of BEGIN … COMMIT is one implicit transaction, as in PostgreSQL.
 */
import type { Refusal } from '../identity.ts';
import { beginText } from '../statement/session-command.ts';
import type { StatementClass } from '../statement/statement-class.ts';
import { statementText } from '../statement/statement-text.ts';
import { status } from '../wire/codes.ts';
import { cstringAt, errorResponse, parse, query, syncMessage, withErrorFields } from '../wire/messages.ts';
import type { ErrorText } from '../wire/messages.ts';
import { newBlock, noteStatement, openingSql, runsAsIs } from './block.ts';
import type { Block } from './block.ts';
import { endBlock, refusalText, rollBack } from './commit-flow.ts';
import { newReply } from './reply.ts';
import type { Reply } from './reply.ts';
import { rewritten } from './rewrite.ts';
import type { ClientMessage, SessionMachine, Task } from './session.ts';
import { blockMayHaveEnded, inExplicitBlock, isCompletion, noteReply, refuse } from './unit.ts';
import { runAutocommit, runPassing, sendReady } from './unit.ts';
import type { Unit } from './unit.ts';

type Part<T> = Generator<void, T, void>;

/**
 * A string may run as one message only when it defines nothing: the event triggers must find each definition alone, so that its
 * text is the one to be run at the other nodes.
 */
const changesRowsOnly = /^[\s(]*(?:select|insert|update|delete|merge|with|values|table|set|show|copy|truncate)\b/i;

export function planSimple(session: SessionMachine, message: ClientMessage): Task {
  const text = cstringAt(message.bytes, 5, message.bytes.length);
  const statements = session.ports.classify(text);
  session.registry.simpleQuerySent(true);
  const single = statements?.length === 1;
  const texts = (statements ?? []).map((statement) => (single ? text : statementText(text, statement)));
  const classes = (statements ?? []).map((statement) => statement.class);
  const items = [{ type: message.type, bytes: message.bytes }];
  const unit: Unit = { items: () => ({ items, prefix: 0 }), classes, texts, complete: true };
  if (statements === undefined) return runUnparsed(session, text);
  if (classes.every(runsAsIs)) return runPassing(session, unit);
  const failed = session.block !== undefined && session.serverStatus === status.failed;
  if (failed && session.doomed === undefined) return runPassing(session, unit);
  const oneByOne = !single && !texts.every((each) => changesRowsOnly.test(each));
  if (!oneByOne && classes.every((each) => runsAsIs(each) || each.kind === 'write')) {
    return inExplicitBlock(session) ? runPassing(session, unit) : runAutocommit(session, unit, 0);
  }
  if (single && classes[0]!.kind === 'announced' && session.block === undefined)
    return runAutocommit(session, unit, 0);
  return runString(
    session,
    statements.map((statement, index) => ({
      class: statement.class,
      text: texts[index]!,
      offset: single ? 0 : [...statementText(text, { ...statement, start: 0, end: statement.start })].length,
    })),
  );
}

/**
 * PostgreSQL 18's grammar refuses the text. The server gets it only as Parse, which executes nothing: it says best what is wrong,
 * and an older server that knows the syntax all the same must not run what nobody here understands.
 */
function* runUnparsed(session: SessionMachine, text: string): Task {
  session.toServer(parse('', text));
  session.toServer(syncMessage);
  const reply = session.expect(newReply('own', false));
  while (!reply.done || session.cancelling) yield;
  if (reply.error === undefined) {
    yield* refuse(session, {
      severity: 'ERROR',
      sqlstate: '42601',
      message: '[multimaster] the statement uses a syntax that PostgreSQL 18 no longer has',
      hint: 'Quote names that have become keywords.',
    });
  } else {
    session.toClient(session.translated(reply.error));
  }
  sendReady(session);
}

interface StatementText {
  readonly class: StatementClass;
  readonly text: string;
  /** Characters of the string before this statement: error positions count from the string's beginning. */
  readonly offset: number;
}

/** A string in which transaction control or other special commands stand: statement by statement, one ReadyForQuery. */
function* runString(session: SessionMachine, statements: readonly StatementText[]): Task {
  let tail: Reply | undefined;
  for (const statement of statements) {
    if (tail !== undefined) session.release(tail);
    const result = yield* runStatement(session, statement, statements.length === 1);
    if (result === false) break;
    tail = result === true ? undefined : result;
  }
  const { block } = session;
  if (block !== undefined && !block.explicit) {
    // What stood before a BEGIN, or after the last COMMIT, was one implicit transaction.
    yield* endImplicit(session, block, tail);
    session.block = undefined;
  } else if (tail !== undefined) {
    session.release(tail);
  }
  if (session.block === undefined) session.doomedIsOver();
  sendReady(session);
}

/** The completion of the last statement is told after the commit, as PostgreSQL does. */
function* endImplicit(session: SessionMachine, block: Block, tail: Reply | undefined): Part<void> {
  if (session.serverStatus === status.failed) return yield* rollBack(session);
  const end = yield* endBlock(session, block, undefined);
  if (tail !== undefined) {
    if (end.kind !== 'committed') tail.held = tail.held.filter((bytes) => !isCompletion(bytes));
    session.release(tail);
  }
  if (end.kind === 'error') session.toClient(end.error);
}

/** One statement of a string: its reply, with a completion that is still held; true when there is none; false after an error. */
function* runStatement(
  session: SessionMachine,
  statement: StatementText,
  alone: boolean,
): Part<Reply | boolean> {
  const { class: kind } = statement;
  const obstacle = kind.kind === 'rollback' ? undefined : session.ports.obstacle(!runsAsIs(kind));
  if (obstacle !== undefined) return yield* refuse(session, obstacle);
  switch (kind.kind) {
    case 'empty':
      return true;
    case 'begin':
      return yield* runBegin(session, statement);
    case 'commit':
      return yield* runCommit(session, kind.chain);
    case 'rollback':
      return yield* runRollback(session, statement);
    case 'refused':
      return yield* refuse(session, { severity: 'ERROR', ...kind });
    case 'prepare-transaction':
    case 'finish-prepared':
      return yield* refuse(session, clientTwoPhase(kind.gid));
    case 'local':
      if (session.block === undefined && alone) return yield* runLocal(session, statement);
      break;
    case 'set-guarded':
    case 'show-guarded':
    case 'set-transaction':
      if (session.block === undefined && alone)
        return yield* relayStatement(session, rewritten(session, kind) ?? statement.text, 0);
      break;
    default:
      break;
  }
  if (session.block === undefined) {
    session.block = newBlock(false, session.ports.clock());
    session.sendOwn(openingSql(session.readOnlyDefault));
  }
  noteStatement(session.block, kind);
  if (kind.kind === 'announced') session.sendOwn(session.ports.announceSql(statement.text, kind.tag));
  return yield* relayStatement(session, rewritten(session, kind) ?? statement.text, statement.offset);
}

/** Sends one statement of a string and relays its replies but for ReadyForQuery; false after an error. */
function* relayStatement(session: SessionMachine, text: string, offset: number): Part<Reply | false> {
  session.toServer(query(text));
  const reply = session.expect(newReply('client', session.block?.explicit === false));
  while (!reply.done || session.cancelling) yield;
  if (session.block !== undefined) noteReply(session.block, reply);
  if (reply.error === undefined) return reply;
  reply.held.pop(); // the error, which is told in its own words
  session.release(reply);
  session.toClient(moved(session.translated(reply.error), offset));
  return false;
}

function moved(error: Uint8Array, offset: number): Uint8Array {
  if (offset === 0) return error;
  const position = /\0P(\d+)\0/.exec(String.fromCharCode(...error.subarray(0, 4096)))?.[1];
  if (position === undefined) return error;
  return withErrorFields(error, 0, error.length, new Map([['P', String(Number(position) + offset)]]));
}

function* runBegin(session: SessionMachine, statement: StatementText): Part<Reply | boolean> {
  const { class: kind } = statement;
  if (kind.kind !== 'begin') return true;
  const { block } = session;
  if (block !== undefined && !block.explicit) {
    // BEGIN makes the implicit transaction of the string an explicit one.
    block.explicit = true;
    session.complete(kind.tag);
    return true;
  }
  const text = beginText(kind.tag, kind.modes, session.readOnlyDefault);
  const reply = yield* relayStatement(session, text, 0);
  if (reply !== false && session.block === undefined)
    session.block = newBlock(true, session.ports.clock(), kind.modes);
  return reply;
}

export function* runCommit(session: SessionMachine, chain: boolean): Part<Reply | boolean> {
  const { block } = session;
  if (block !== undefined && session.doomed !== undefined)
    return yield* commitDoomed(session, session.doomed);
  if (block === undefined || session.serverStatus === status.failed) {
    // No transaction (a warning) or a failed one (ROLLBACK): the server's own answer is the right one.
    const reply = yield* relayStatement(session, chain ? 'COMMIT AND CHAIN' : 'COMMIT', 0);
    blockMayHaveEnded(session);
    return reply;
  }
  if (!block.explicit) session.toClient(noTransaction);
  const end = yield* endBlock(session, block, undefined);
  session.block = undefined;
  if (end.kind === 'error') {
    session.toClient(end.error);
    return false;
  }
  if (chain && end.kind === 'committed') {
    const begin = session.sendOwn(beginText('BEGIN', block.modes ?? noModes, session.readOnlyDefault));
    while (!begin.done) yield;
    session.block = newBlock(true, session.ports.clock(), block.modes);
  }
  session.complete(end.kind === 'committed' ? 'COMMIT' : 'ROLLBACK');
  return true;
}

/** COMMIT of a transaction that the gateway has ended: an error, never a silent ROLLBACK. */
function* commitDoomed(session: SessionMachine, refusal: Refusal): Part<false> {
  yield* rollBack(session);
  session.block = undefined;
  session.doomedIsOver();
  session.error(refusalText(refusal));
  return false;
}

const noModes = { isolation: undefined, readOnly: undefined, deferrable: undefined };

const noTransaction = errorResponse({
  severity: 'WARNING',
  sqlstate: '25P01',
  message: 'there is no transaction in progress',
});

function* runRollback(session: SessionMachine, statement: StatementText): Part<Reply | false> {
  const reply = yield* relayStatement(session, statement.text, 0);
  if (reply !== false) session.release(reply);
  blockMayHaveEnded(session);
  return reply;
}

/** Outside a block and read-write: the sensor is off for exactly this statement. */
function* runLocal(session: SessionMachine, statement: StatementText): Part<Reply | false> {
  session.sensorSuspended = true;
  session.sendOwn('SET SESSION default_transaction_read_only = off');
  const reply = yield* relayStatement(session, statement.text, statement.offset);
  const restored = session.sendOwn('SET SESSION default_transaction_read_only = on');
  while (!restored.done) yield;
  session.sensorSuspended = false;
  return reply;
}

export function clientTwoPhase(gid: string): ErrorText {
  if (gid.startsWith('mtm:')) {
    return {
      severity: 'ERROR',
      sqlstate: '22023',
      message: '[multimaster] transaction identifiers that begin with "mtm:" belong to the gateway',
    };
  }
  return {
    severity: 'ERROR',
    sqlstate: '0A000',
    message: '[multimaster] the two-phase commands of clients are not supported',
    hint: 'Every COMMIT is already atomic on all nodes: use BEGIN and COMMIT.',
  };
}
