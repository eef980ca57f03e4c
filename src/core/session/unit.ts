/**
 * How one unit of a client runs: which path it takes and, for writes, the block around it.
 * Every function here is a task or a part of one: a generator that yields while it waits for the server, an outcome or a timer.
 */
import { assert } from '../../lib/assert.ts';
import type { Refusal } from '../identity.ts';
import type { StatementClass } from '../statement/statement-class.ts';
import { statementText } from '../statement/statement-text.ts';
import { beginText } from '../statement/session-command.ts';
import { frontend, status } from '../wire/codes.ts';
import { cstringAt, errorResponse, parse, query, readyForQuery, syncMessage } from '../wire/messages.ts';
import { withErrorFields } from '../wire/messages.ts';
import type { ErrorText } from '../wire/messages.ts';
import { newBlock, noteStatement, runsAsIs } from './block.ts';
import type { Block } from './block.ts';
import { endBlock, refusalText, rollBack, sendPrepare } from './commit-flow.ts';
import type { BlockEnd } from './commit-flow.ts';
import { rebuildGroup, singleQueryItem } from './group.ts';
import type { Item } from './group.ts';
import { newReply } from './reply.ts';
import type { Reply } from './reply.ts';
import { rewritten } from './rewrite.ts';
import type { ClientMessage, SessionMachine, Task } from './session.ts';

type Part<T> = Generator<void, T, void>;

/** What runs: the messages as they go to the server, and the classes of what they execute. */
export interface Unit {
  /** Rebuilt for each attempt, because a repeat must undo what the server kept of the attempt before. */
  readonly items: (repeat: boolean) => { readonly items: readonly Item[]; readonly prefix: number };
  readonly classes: readonly StatementClass[];
  /** The text of each executed statement: commands that event triggers do not see are announced with it. */
  readonly texts: readonly string[];
  /** Ends in Sync or is a simple Query: its ReadyForQuery ends the unit. */
  readonly complete: boolean;
}

export function sendReady(session: SessionMachine): void {
  session.toClient(readyForQuery(session.clientStatus));
}

function inExplicitBlock(session: SessionMachine): boolean {
  return session.block?.explicit === true;
}

// ---- simple Query

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
  if (classes.every((each) => runsAsIs(each) || each.kind === 'write')) {
    return inExplicitBlock(session) ? runPassing(session, unit) : runAutocommit(session, unit, 0);
  }
  if (single && classes[0]!.kind === 'announced' && session.block === undefined) return runAutocommit(session, unit, 0);
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
function* runStatement(session: SessionMachine, statement: StatementText, alone: boolean): Part<Reply | boolean> {
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
      if (session.block === undefined && alone) return yield* relayStatement(session, rewritten(session, kind) ?? statement.text, 0);
      break;
    default:
      break;
  }
  if (session.block === undefined) {
    session.block = newBlock(false, session.ports.clock());
    session.sendOwn('BEGIN READ WRITE');
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
  if (reply !== false && session.block === undefined) session.block = newBlock(true, session.ports.clock(), kind.modes);
  return reply;
}

function* runCommit(session: SessionMachine, chain: boolean): Part<Reply | boolean> {
  const { block } = session;
  if (block !== undefined && session.doomed !== undefined) return yield* commitDoomed(session, session.doomed);
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

function clientTwoPhase(gid: string): ErrorText {
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

/** The statement is refused by the gateway: the client sees an error, and an open transaction has failed as after any error. */
export function* refuse(session: SessionMachine, error: ErrorText): Part<false> {
  if (session.block !== undefined && session.serverStatus === status.inBlock) {
    const failing = session.sendOwn('ROLLBACK TO SAVEPOINT mtm_refused');
    while (!failing.done) yield;
  }
  session.error(error);
  return false;
}

// ---- whole units

/** Relays a unit as it is: reads and session commands, and whatever runs in the client's own transaction. */
export function* runPassing(session: SessionMachine, unit: Unit): Task {
  const onlyRollback = unit.classes.length > 0 && unit.classes.every((each) => each.kind === 'rollback');
  const writes = inExplicitBlock(session) && !unit.classes.every(runsAsIs);
  const obstacle = onlyRollback ? undefined : session.ports.obstacle(writes);
  if (obstacle !== undefined) return yield* refuseUnit(session, unit, obstacle);
  const { block } = session;
  if (block !== undefined) for (const each of unit.classes) noteStatement(block, each);
  const { items, prefix } = unit.items(false);
  const reply = session.openGroup ?? session.expect(newReply('client', false, prefix));
  for (const item of items) session.toServer(item.bytes);
  if (!unit.complete) {
    session.openGroup = reply;
    return;
  }
  session.openGroup = undefined;
  while (!reply.done || session.cancelling) yield;
  if (block !== undefined) noteReply(block, reply);
  if (reply.error === undefined) for (const each of unit.classes) rewritten(session, each);
  if (session.mustFailBlock) yield* failBlock(session);
  const writesAfterAll = reply.sqlstate === '25006' && block === undefined && !session.readOnlyDefault;
  if (writesAfterAll && !reply.seen) {
    yield* runAutocommit(session, unit, reply.relayed);
    return;
  }
  for (const error of reply.held) session.toClient(session.translated(error));
  blockMayHaveEnded(session);
  sendReady(session);
}

function noteReply(block: Block, reply: Reply): void {
  if (reply.written > 0) block.wrote = true;
}

function blockMayHaveEnded(session: SessionMachine): void {
  if (session.serverStatus === status.idle) {
    session.block = undefined;
    session.doomedIsOver();
  } else if (session.block === undefined && session.serverStatus === status.inBlock) {
    session.block = newBlock(true, session.ports.clock());
  }
}

export function* refuseUnit(session: SessionMachine, unit: Unit, error: ErrorText): Task {
  const open = session.openGroup;
  if (open !== undefined) {
    session.toServer(syncMessage);
    while (!open.done) yield;
  }
  yield* refuse(session, error);
  if (unit.complete) sendReady(session);
  else session.skipToSync = true;
}

/** A unit in a block of the gateway's own; repeated when it loses a conflict of which its client has seen nothing. */
export function* runAutocommit(session: SessionMachine, unit: Unit, relayedBefore: number): Task {
  const startTime = session.ports.clock();
  for (let attempt = 1; ; attempt++) {
    const obstacle = session.ports.obstacle(true);
    if (obstacle !== undefined) return yield* refuseUnit(session, unit, obstacle);
    const again = yield* attemptUnit(session, unit, startTime, attempt, relayedBefore);
    if (!again) return;
    session.retryIsDue = false;
    session.ports.waitBeforeRetry(attempt);
    while (!session.retryIsDue) yield;
  }
}

/** True when the unit must be repeated. */
function* attemptUnit(
  session: SessionMachine,
  unit: Unit,
  startTime: number,
  attempt: number,
  relayedBefore: number,
): Part<boolean> {
  const block = newBlock(false, startTime);
  session.block = block;
  session.sendOwn('BEGIN READ WRITE');
  for (const each of unit.classes) noteStatement(block, each);
  announce(session, unit);
  const { items, prefix } = unit.items(relayedBefore > 0 || attempt > 1);
  const reply = session.expect(newReply('client', unit.complete, prefix, relayedBefore));
  for (const item of items) session.toServer(item.bytes);
  if (!unit.complete) {
    session.openGroup = reply;
    return false;
  }
  const copies = unit.classes.some((each) => each.kind === 'write' && each.copyIn);
  const certain = unit.classes.some((each) => each.kind === 'write');
  const flight = certain && !block.uncertain && !copies ? sendPrepare(session, block) : undefined;
  while (!reply.done || session.cancelling) yield;
  noteReply(block, reply);
  const end: BlockEnd = yield* endAttempt(session, block, reply, flight);
  session.block = undefined;
  const mayRepeat = !reply.seen && attempt <= session.limits.conflictRetries;
  if (end.kind === 'error' && end.retryable && mayRepeat) {
    session.doomedIsOver();
    return true;
  }
  if (end.kind !== 'committed') {
    if (reply.error !== undefined) reply.held.pop(); // the error itself, which may be told in other words
    else reply.held = reply.held.filter((bytes) => !isCompletion(bytes));
    session.release(reply);
    session.toClient(end.kind === 'error' ? end.error : rolledBack);
  } else {
    session.release(reply);
  }
  session.doomedIsOver();
  sendReady(session);
  return false;
}

const rolledBack = errorResponse({
  severity: 'ERROR',
  sqlstate: '40000',
  message: '[multimaster] the transaction was rolled back by the server',
});

/** A success that did not come true must not be told before its error. */
function isCompletion(bytes: Uint8Array): boolean {
  return bytes[0] === 0x43;
}

function* endAttempt(
  session: SessionMachine,
  block: Block,
  reply: Reply,
  flight: ReturnType<typeof sendPrepare> | undefined,
): Part<BlockEnd> {
  if (reply.error === undefined) return yield* endBlock(session, block, flight);
  const interrupted = session.doomed !== undefined;
  const error = session.translated(reply.error);
  if (flight !== undefined) {
    while (!flight.prepare.done) yield;
    assert(flight.prepare.tag !== 'PREPARE TRANSACTION', 'a failed block cannot be prepared');
    session.ports.prepareEnded(flight.gid, 'failed');
  }
  if (session.serverStatus !== status.idle) yield* rollBack(session);
  const retryable = interrupted || reply.sqlstate === '40001' || reply.sqlstate === '40P01';
  return { kind: 'error', error, retryable };
}

/** Between two units of an interrupted transaction: the server rolls back, and the client's next statement finds it failed. */
export function* failBlock(session: SessionMachine): Task {
  session.blockFailed = true;
  session.sendOwn('ROLLBACK');
  session.sendOwn('BEGIN READ WRITE');
  const failing = session.sendOwn('ROLLBACK TO SAVEPOINT mtm_conflict');
  while (!failing.done) yield;
}

// ---- extended groups

export function planGroup(session: SessionMachine, messages: readonly ClientMessage[], complete: boolean): Task {
  return groupTask(session, messages, complete);
}

export function* groupTask(session: SessionMachine, messages: readonly ClientMessage[], complete: boolean): Task {
  const isCall = messages[0]?.type === frontend.functionCall;
  const build = isCall ? singleQueryItem(messages[0]!) : rebuildGroup(session, messages);
  const { classes } = build;
  const unit: Unit = { items: build.items, classes, texts: build.texts, complete };
  const { block, openGroup } = session;
  const failed = block !== undefined && session.serverStatus === status.failed;
  const special = classes.find((each) => each.kind === 'refused' || isTwoPhase(each));
  if (special !== undefined && !failed) {
    const error = special.kind === 'refused' ? { severity: 'ERROR' as const, ...special } : clientTwoPhase(gidOf(special));
    return yield* refuseUnit(session, unit, error);
  }
  if (block !== undefined && !block.explicit) return yield* continueBlock(session, block, unit);
  const endsDoomed = session.doomed !== undefined && build.commitAt !== undefined;
  if ((failed && !endsDoomed) || classes.every(runsAsIs)) return yield* runPassing(session, unit);
  const commitAt = build.commitAt;
  if (block === undefined && commitAt === undefined) {
    if (classes[0]!.kind === 'begin') return yield* runPassing(session, unit);
    if (classes.length === 1 && classes[0]!.kind === 'local') return yield* runLocalGroup(session, unit);
    if (classes.length === 1 && isSetting(classes[0]!)) return yield* runPassing(session, unit);
    if (openGroup !== undefined) yield* closeOpenGroup(session, openGroup);
    return yield* runAutocommit(session, unit, 0);
  }
  if (block !== undefined && !failed) announce(session, unit);
  if (commitAt === undefined) return yield* runPassing(session, unit);
  yield* runGroupWithCommit(session, messages, commitAt, complete);
}

function isTwoPhase(each: StatementClass): boolean {
  return each.kind === 'prepare-transaction' || each.kind === 'finish-prepared';
}

function gidOf(each: StatementClass): string {
  return each.kind === 'prepare-transaction' || each.kind === 'finish-prepared' ? each.gid : '';
}

function isSetting(each: StatementClass): boolean {
  return each.kind === 'set-guarded' || each.kind === 'show-guarded' || each.kind === 'set-transaction';
}

function announce(session: SessionMachine, unit: Unit): void {
  for (const [index, each] of unit.classes.entries()) {
    if (each.kind === 'announced') session.sendOwn(session.ports.announceSql(unit.texts[index]!, each.tag));
  }
}

/** The flushed part of a group ran read-only; what follows writes, so the server gets a Sync that the client did not send. */
function* closeOpenGroup(session: SessionMachine, open: Reply): Part<void> {
  session.toServer(syncMessage);
  while (!open.done) yield;
}

/** More of a group in a block of our own that was begun by a flushed part. */
function* continueBlock(session: SessionMachine, block: Block, unit: Unit): Task {
  const reply = session.openGroup!;
  for (const each of unit.classes) noteStatement(block, each);
  for (const item of unit.items(false).items) session.toServer(item.bytes);
  if (!unit.complete) return;
  session.openGroup = undefined;
  while (!reply.done || session.cancelling) yield;
  noteReply(block, reply);
  const end = yield* endAttempt(session, block, reply, undefined);
  session.block = undefined;
  // An error of the statement itself has been relayed already, unless it came after the Sync.
  const told = reply.error !== undefined && reply.held.length === 0;
  if (end.kind === 'error' && !told) session.toClient(end.error);
  session.doomedIsOver();
  sendReady(session);
}

function* runLocalGroup(session: SessionMachine, unit: Unit): Task {
  const obstacle = session.ports.obstacle(false);
  if (obstacle !== undefined) return yield* refuseUnit(session, unit, obstacle);
  session.sensorSuspended = true;
  session.sendOwn('SET SESSION default_transaction_read_only = off');
  const { items, prefix } = unit.items(false);
  const reply = session.expect(newReply('client', false, prefix));
  for (const item of items) session.toServer(item.bytes);
  if (!unit.complete) session.toServer(syncMessage);
  const restored = session.sendOwn('SET SESSION default_transaction_read_only = on');
  while (!restored.done) yield;
  session.sensorSuspended = false;
  for (const error of reply.held) session.toClient(error);
  if (unit.complete) sendReady(session);
  else if (reply.error !== undefined) session.skipToSync = true;
}

/** A group in which the client commits: what stands before COMMIT runs first, then the commit, then the rest as a new group. */
function* runGroupWithCommit(
  session: SessionMachine,
  messages: readonly ClientMessage[],
  commitAt: number,
  complete: boolean,
): Task {
  const before = rebuildGroup(session, [...messages.slice(0, commitAt), { type: frontend.sync, bytes: syncMessage }]);
  if (session.block === undefined && before.classes[0]?.kind !== 'begin') {
    session.block = newBlock(false, session.ports.clock());
    session.sendOwn('BEGIN READ WRITE');
  }
  const { items, prefix } = before.items(false);
  const reply = session.openGroup ?? session.expect(newReply('client', false, prefix));
  session.openGroup = undefined;
  for (const item of items) session.toServer(item.bytes);
  while (!reply.done || session.cancelling) yield;
  session.block ??= newBlock(true, session.ports.clock());
  const { block } = session;
  for (const each of before.classes) noteStatement(block, each);
  noteReply(block, reply);
  let ok = reply.error === undefined;
  for (const error of reply.held) session.toClient(session.translated(error));
  if (ok) {
    const obstacle = session.ports.obstacle(true);
    const chain = chainOf(session, messages, commitAt);
    ok = (obstacle === undefined ? yield* runCommit(session, chain) : yield* refuse(session, obstacle)) !== false;
  } else if (!block.explicit) {
    yield* rollBack(session);
    session.block = undefined;
  }
  if (!ok) {
    blockMayHaveEnded(session);
    if (complete) sendReady(session);
    else session.skipToSync = true;
    return;
  }
  const rest = messages.slice(commitAt + 1);
  if (rest.length > 0) yield* groupTask(session, rest, complete);
}

function chainOf(session: SessionMachine, messages: readonly ClientMessage[], commitAt: number): boolean {
  const { bytes } = messages[commitAt]!;
  const kind = session.registry.portalClass(cstringAt(bytes, 5, bytes.length));
  return kind.kind === 'commit' && kind.chain;
}
