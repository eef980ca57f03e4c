/**
 * How one unit of a client runs as a whole: relayed as it is, or in a block of the gateway's own that is
 * repeated when it loses a conflict of which its client has seen nothing. Every function here is a task or a
 * part of one: a generator that yields while it waits for the server, an outcome or a timer.
 */
import { beginText } from '../statement/session-command.ts';
import type { StatementClass, TransactionModes } from '../statement/statement-class.ts';
import { status } from '../wire/codes.ts';
import { readyForQuery } from '../wire/messages.ts';
import type { ErrorText } from '../wire/messages.ts';
import { mustAccount, needsMembers, newBlock, noteReply, noteStatements } from './block.ts';
import type { Block } from './block.ts';
import { endAttempt, sendPrepare } from './commit-flow.ts';
import { settled } from './server-reply.ts';
import type { BlockEnd } from './commit-flow.ts';
import { noteSettings } from './noted-settings.ts';
import { isPassing, release, staleError, tellError } from './relay.ts';
import { admission, cancelled, pause } from './admission.ts';
import { putFailedBlock } from './interruption.ts';
import { cutAtCompletion, newReply } from './reply.ts';
import { tagShown } from './rewrite.ts';
import type { Reply } from './reply.ts';
import type { SessionMachine, Task } from './session.ts';

type Part<T> = Generator<void, T, void>;

/** Messages as they go to the server; the first `prefix` of them are the gateway's own. */
export interface Sending {
  readonly messages: readonly Uint8Array[];
  readonly prefix: number;
}

/**
 * What runs: the messages as they go to the server, and the classes of what they execute. Ends in
 * ReadyForQuery.
 */
export interface Unit {
  /** Built anew for each attempt, because a repeat must undo what the server kept of the attempt before. */
  readonly build: (repeat: boolean) => Sending;
  readonly classes: readonly StatementClass[];
  /**
   * A simple Query: the last completion comes after the commit. In a group every completion comes before it.
   */
  readonly isSimple: boolean;
  /** The text of each executed statement: commands that event triggers do not see are announced with it. */
  readonly texts: readonly string[];
}

/** What the client has of a unit from attempts before. */
interface Told {
  readonly messages: number;
  readonly notices: number;
}

const nothingTold: Told = { messages: 0, notices: 0 };

export function sendReady(session: SessionMachine): void {
  session.reportWish();
  session.toClient(readyForQuery(session.clientStatus));
}

export function inExplicitBlock(session: SessionMachine): boolean {
  return session.block?.explicit === true;
}

/** Relays a unit as it is: reads and session commands, and whatever runs in the client's own transaction. */
export function* runPassing(session: SessionMachine, unit: Unit): Task {
  const { classes } = unit;
  const outside = session.block === undefined;
  const free = classes.length > 0 && classes.every((each) => each.kind === 'rollback');
  const needed = inExplicitBlock(session) && classes.some(needsMembers);
  const obstacle = free ? undefined : yield* admission(session, needed);
  if (obstacle !== undefined) return yield* refuseUnit(session, obstacle);
  const begin = outside ? classes.find((each) => each.kind === 'begin') : undefined;
  if (begin !== undefined) openExplicitBlock(session, begin.modes);
  const { block } = session;
  account(session, classes, unit.texts);
  if (block !== undefined) noteStatements(block, classes);
  // Several reads may have to be repeated as a whole when one of them turns out to write.
  const reply = send(session, unit, false, outside && classes.length > 1);
  reply.free = free;
  yield* settled(session, reply);
  if (block !== undefined) noteReply(block, reply);
  if (outside && begin === undefined) return yield* endOutside(session, reply, unit);
  yield* endPassing(session, reply, unit);
}

/**
 * The end of what ran outside of a transaction. It runs again in a block of the gateway's own when the client
 * has seen nothing of it and it wants to write, or its result was dropped while the nodes agree on a new
 * generation.
 */
export function* endOutside(session: SessionMachine, reply: Reply, unit: Unit): Task {
  dropIfStale(session, reply);
  const again = reply.dropped ? isPassing(session) : reply.sqlstate === '25006' && !session.wish.value;
  if (!again || reply.seen || !mayRunAgain(unit)) {
    if (reply.error === undefined) session.ports.tally.ranOutside(unit.classes);
    return yield* endPassing(session, reply, unit);
  }
  yield* runAutocommit(session, unit, { messages: reply.told, notices: reply.toldNotices });
}

/**
 * Parse and Describe in an interrupted transaction of which the client has not heard. They succeed, so that
 * the error belongs to what executes: a client may never prepare again what could not be prepared (pgbench
 * does not).
 */
export function* runPreparing(session: SessionMachine, unit: Unit): Task {
  session.sendOwn('ROLLBACK');
  const reply = send(session, unit, false, false);
  yield* settled(session, reply);
  release(session, reply);
  if (reply.error !== undefined) tellError(session, reply, reply.error);
  yield* putFailedBlock(session);
  sendReady(session);
}

/** The end of what was relayed: held results, the error, the state of the transaction, ReadyForQuery. */
export function* endPassing(session: SessionMachine, reply: Reply, unit: Unit): Task {
  dropIfStale(session, reply);
  release(session, reply);
  if (reply.error !== undefined) tellError(session, reply, reply.error);
  else noteSettings(session, unit.classes, unit.texts);
  if (reply.dropped) yield* failStatement(session);
  // COMMIT comes here only when it can but roll back.
  const rolledBack = unit.classes.some((each) => each.kind === 'rollback' || each.kind === 'commit');
  yield* blockMayHaveEnded(session, rolledBack ? reply : undefined);
  sendReady(session);
}

function send(session: SessionMachine, unit: Unit, repeat: boolean, hold: boolean): Reply {
  const { build, classes, isSimple } = unit;
  const sending = build(repeat);
  const reply = session.expect(newReply('client', hold, sending.prefix));
  reply.synced = !isSimple;
  for (const each of classes) reply.tags.push(tagShown(each)); // too many for one call, if it must be
  for (const bytes of sending.messages) session.toServer(bytes);
  return reply;
}

/**
 * What a server's session keeps when the transaction is rolled back: locks that a repeat would take twice.
 */
const sessionLock = /\bpg_(?:try_)?advisory_(?:lock|unlock)/i;

/**
 * False for a unit that cannot simply run again: PREPARE, DEALLOCATE and advisory locks of the session
 * outlive a rollback, and transaction control ends our block.
 */
function mayRunAgain(unit: Unit): boolean {
  return !unit.classes.some((each, index) => {
    const text = unit.texts[index] ?? '';
    if (each.kind === 'session') return /\b(?:prepare|deallocate)\b/i.test(text);
    return each.kind === 'commit' || each.kind === 'rollback' || sessionLock.test(text);
  });
}

/** Once: what was dropped holds no result any more. */
function dropIfStale(session: SessionMachine, reply: Reply): void {
  if (reply.holdsResult && !session.ports.hasLease()) dropStale(session, reply);
}

/** The results that are held have become stale: an error takes their place. */
function dropStale(session: SessionMachine, reply: Reply): void {
  reply.held = [];
  reply.holdsResult = false;
  reply.dropped = true;
  reply.error ??= staleError(session);
}

/** The client has begun a transaction. */
export function openExplicitBlock(session: SessionMachine, modes: TransactionModes | undefined): void {
  const startTime = session.seniority.begin(session.ports.clock());
  session.block = newBlock(true, startTime, modes, session.wish.value);
}

/**
 * After a unit that may have ended the transaction, or begun one. `rollback`: the reply to a ROLLBACK of the
 * whole transaction.
 */
export function* blockMayHaveEnded(session: SessionMachine, rollback?: Reply): Part<void> {
  if (session.serverStatus === status.idle) {
    session.blockEnded(false);
  } else if (session.block === undefined) {
    openExplicitBlock(session, undefined);
  } else if (rollback !== undefined && session.serverStatus === status.inBlock) {
    const { modes, fallback, chained } = session.block; // AND CHAIN
    const failed = rollback.statusBefore === status.failed;
    session.blockEnded(false);
    const startTime = session.seniority.begin(session.ports.clock());
    session.block = newBlock(true, startTime, modes, failed ? fallback : undefined);
    session.block.chained = chained;
    // A failed transaction has forgotten its access mode: the server falls back to the default, which is the
    // sensor.
    if (!failed || (fallback !== false && chained === undefined)) return;
    yield* settled(session, session.sendOwn(`SET TRANSACTION ${chained ?? 'READ WRITE'}`));
  }
}

/** Makes an open transaction fail, as after any error. */
export function* failStatement(session: SessionMachine): Part<void> {
  if (session.block === undefined || session.serverStatus !== status.inBlock) return;
  yield* settled(session, session.sendOwn('ROLLBACK TO SAVEPOINT mtm_refused'));
}

/**
 * The statement is refused by the gateway: the client sees an error, and an open transaction has failed as
 * after any error.
 */
export function* refuse(session: SessionMachine, error: ErrorText): Part<false> {
  yield* failStatement(session);
  session.error(error);
  return false;
}

export function* refuseUnit(session: SessionMachine, error: ErrorText): Task {
  yield* refuse(session, error);
  sendReady(session);
}

/**
 * A unit in a block of the gateway's own; repeated when it loses a conflict of which its client has seen
 * nothing.
 */
export function* runAutocommit(session: SessionMachine, unit: Unit, before: Told = nothingTold): Task {
  const startTime = session.ports.clock();
  let told = before;
  session.clientCancelled = false;
  for (let attempt = 1; ; attempt++) {
    const obstacle = yield* admission(session, true);
    if (obstacle !== undefined) return yield* refuseUnit(session, obstacle);
    const again = yield* attemptUnit(session, unit, startTime, attempt, told);
    if (again === undefined) return;
    told = again;
    yield* pause(session, attempt);
    if (session.clientCancelled) return yield* refuseUnit(session, cancelled);
  }
}

const noModes = { isolation: undefined, readOnly: undefined, deferrable: undefined };

/** Where the client wants its transactions read-only, the server says which statements that forbids. */
export function openOwnBlock(session: SessionMachine, startTime: number): Block {
  session.block = newBlock(false, startTime, undefined, session.wish.value);
  session.sendOwn(beginText('BEGIN', noModes, session.wish.value));
  return session.block;
}

/** What the client was told so far when the unit must be repeated. */
function* attemptUnit(
  session: SessionMachine,
  unit: Unit,
  startTime: number,
  attempt: number,
  told: Told,
): Part<Told | undefined> {
  const block = openOwnBlock(session, startTime);
  noteStatements(block, unit.classes);
  identify(session, unit.classes, unit.texts);
  announce(session, unit.classes, unit.texts);
  const reply = send(session, unit, told !== nothingTold || attempt > 1, true);
  reply.endsLate = unit.isSimple;
  reply.skip = told.messages;
  reply.skipNotices = told.notices;
  session.holding = reply;
  const flight = mayPrepareAtOnce(session, unit) ? sendPrepare(session, block) : undefined;
  reply.byCommit = flight !== undefined;
  yield* settled(session, reply);
  const end = yield* endAttempt(session, block, reply, flight);
  session.holding = undefined;
  const mayRepeat = attempt <= session.limits.conflictRetries && !session.clientCancelled;
  // Nobody has voted on a block that wrote nothing: what it read is as good as the lease.
  const stale = end.kind === 'committed' && !end.voted && !session.ports.hasLease();
  const unidentified = wantsIdentity(session, reply);
  session.identifies = unidentified;
  const lost = end.kind === 'error' ? end.retryable || unidentified : stale && isPassing(session);
  if (lost && mayRepeat && !reply.seen && mayRunAgain(unit)) {
    session.ports.tally.repeats++;
    session.blockEnded(false);
    return {
      messages: Math.max(told.messages, reply.told),
      notices: Math.max(told.notices, reply.toldNotices),
    };
  }
  session.blockEnded(end.kind === 'committed');
  tellEnd(session, reply, end);
  if (end.kind === 'committed') noteSettings(session, unit.classes, unit.texts);
  sendReady(session);
  return undefined;
}

/** Whether the statement certainly ends in PREPARE, so that this can follow it in the same packet. */
function mayPrepareAtOnce(session: SessionMachine, unit: Unit): boolean {
  if (session.mayHaveTemporary || session.block?.uncertain !== false) return false;
  let writes = false;
  for (const each of unit.classes) {
    if (each.kind === 'write' && each.copyIn) return false;
    if (each.kind === 'write' || each.kind === 'notify') writes = true;
  }
  return writes;
}

/** The results of a block of the gateway's own, now that its outcome is known. */
export function tellEnd(session: SessionMachine, reply: Reply, end: BlockEnd): void {
  if (end.kind === 'committed') {
    if (!end.voted && !session.ports.hasLease()) dropStale(session, reply);
    release(session, reply);
    if (reply.error !== undefined) tellError(session, reply, reply.error);
    return;
  }
  if (reply.error === undefined) cutAtCompletion(reply);
  release(session, reply);
  if (!reply.errorTold) session.toClient(end.error);
  reply.errorTold = true;
}

/** Commands that event triggers do not see are named in the transaction before they run. */
export function announce(
  session: SessionMachine,
  classes: readonly StatementClass[],
  texts: readonly string[],
): void {
  for (const [index, each] of classes.entries()) {
    if (each.kind === 'announced') session.sendOwn(session.ports.announceSql(texts[index] ?? '', each.tag));
  }
}

/** Certainly no row of a table is updated or deleted by its own words. */
const onlyAdds = new RegExp(
  '^\\s*(?:copy|create|alter|drop|truncate|comment|grant|revoke|refresh|' +
    'insert(?!.*(?:conflict|update|delete|merge)))\\b',
  'is',
);

/** Of a query nobody knows whether a function in it changes rows. */
const onlyAsks = /^\s*(?:select|table|values|explain|\()/i;

/** Before rows of a block are changed: tables whose rows the other nodes could not find get an identity. */
function identify(
  session: SessionMachine,
  classes: readonly StatementClass[],
  texts: readonly string[],
): void {
  if (!session.ports.identityNothing() || session.serverStatus === status.failed) return;
  const may = (text: string): boolean =>
    !onlyAdds.test(text) && (session.identifies || inExplicitBlock(session) || !onlyAsks.test(text));
  if (classes.some((each, index) => each.kind === 'write' && may(texts[index] ?? '')))
    session.sendOwn('SELECT mtm.full_identities()');
}

/** PostgreSQL has refused to change rows of a table without an identity, which the statement did not show. */
function wantsIdentity(session: SessionMachine, reply: Reply): boolean {
  return reply.sqlstate === '55000' && !session.identifies && session.ports.identityNothing();
}

/** Before statements of a block: what its announced commands have changed so far is noted in the server. */
export function account(
  session: SessionMachine,
  classes: readonly StatementClass[],
  texts: readonly string[],
): void {
  const { block } = session;
  if (block !== undefined) identify(session, classes, texts);
  if (block === undefined || !mustAccount(block, classes) || session.serverStatus === status.failed) return;
  block.accounted = true;
  session.sendOwn(session.ports.announceSql('', accountTag));
}

/** As mtm.announce_as knows it. */
const accountTag = 'ACCOUNT';
