/**
 * How one unit of a client runs as a whole: relayed as it is, or in a block of the gateway's own that is repeated when it loses
 * a conflict of which its client has seen nothing.
 * Every function here is a task or a part of one: a generator that yields while it waits for the server, an outcome or a timer.
 */
import { assert } from '../../lib/assert.ts';
import type { StatementClass } from '../statement/statement-class.ts';
import { status } from '../wire/codes.ts';
import { errorResponse, readyForQuery, syncMessage } from '../wire/messages.ts';
import type { ErrorText } from '../wire/messages.ts';
import { newBlock, noteStatement, openingSql, runsAsIs } from './block.ts';
import type { Block } from './block.ts';
import { endBlock, failBlock, rollBack, sendPrepare } from './commit-flow.ts';
import type { BlockEnd, Flight } from './commit-flow.ts';
import type { Item } from './group.ts';
import { newReply } from './reply.ts';
import type { Reply } from './reply.ts';
import { rewritten } from './rewrite.ts';
import type { SessionMachine, Task } from './session.ts';

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

export function inExplicitBlock(session: SessionMachine): boolean {
  return session.block?.explicit === true;
}

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
  reply.free = onlyRollback;
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

export function noteReply(block: Block, reply: Reply): void {
  if (reply.written > 0) block.wrote = true;
  // What was defined may be in the way of decoding: the header function looks.
  if (/^(?:CREATE|ALTER|DROP) /.test(reply.tag)) block.uncertain = true;
}

export function blockMayHaveEnded(session: SessionMachine): void {
  if (session.serverStatus === status.idle) {
    session.block = undefined;
    session.doomedIsOver();
  } else if (session.block === undefined && session.serverStatus === status.inBlock) {
    session.block = newBlock(true, session.ports.clock());
  }
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
  session.sendOwn(openingSql(session.readOnlyDefault));
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
  const flight = certain && !block.uncertain && !session.mayHaveTemporary && !copies ? sendPrepare(session, block) : undefined;
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
    if (reply.error !== undefined)
      reply.held.pop(); // the error itself, which may be told in other words
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
export function isCompletion(bytes: Uint8Array): boolean {
  return bytes[0] === 0x43;
}

export function* endAttempt(
  session: SessionMachine,
  block: Block,
  reply: Reply,
  flight: Flight | undefined,
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

export function announce(session: SessionMachine, unit: Unit): void {
  for (const [index, each] of unit.classes.entries()) {
    if (each.kind === 'announced') session.sendOwn(session.ports.announceSql(unit.texts[index]!, each.tag));
  }
}
