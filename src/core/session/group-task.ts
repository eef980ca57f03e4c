/**
 * An extended group: the messages up to Sync, which are one implicit transaction outside of a block. A group
 * that comes as a whole runs as one unit. Otherwise – Flush, COPY, COMMIT or BEGIN in the middle, a simple
 * Query instead of the Sync, or more than may wait – it runs in pieces; the task then lasts until the Sync
 * and waits for its client in between. Rule: pieces behave as if they had come at once. When the gateway
 * needs a ReadyForQuery in the middle it sends a Sync that the client did not send; portals that were bound
 * and not yet executed are bound again. After an error everything up to the Sync is ignored.
 */
import type { StatementClass, TransactionModes } from '../statement/statement-class.ts';
import { frontend, status } from '../wire/codes.ts';
import {
  closePortal,
  closeStatement,
  errorResponse,
  flushMessage,
  query,
  syncMessage,
} from '../wire/messages.ts';
import type { ErrorText } from '../wire/messages.ts';
import { isSetting, needsMembers, noteReply, noteStatement, runsAsIs } from './block.ts';
import { endAttempt, rollBack, settled } from './commit-flow.ts';
import { readPiece } from './group-reader.ts';
import type { BoundPortals, Piece, Place } from './group-reader.ts';
import type { Segment } from './intake.ts';
import { failBlock, isUntold, mustFailBlock, refusalText } from './interruption.ts';
import { planSimple } from './query-plan.ts';
import type { Journal } from './registry.ts';
import { release, tellError } from './relay.ts';
import { newReply } from './reply.ts';
import type { Reply } from './reply.ts';
import { runLocalUnit } from './local-command.ts';
import type { SessionMachine, Task } from './session.ts';
import {
  blocksOnly,
  clientTwoPhase,
  runBegin,
  runCommit,
  runRollback,
  savepointCommand,
} from './transaction-control.ts';
import {
  announce,
  blockMayHaveEnded,
  failStatement,
  openExplicitBlock,
  openOwnBlock,
  refuse,
} from './unit.ts';
import { runAutocommit, runPassing, runPreparing, sendReady, tellEnd } from './unit.ts';
import type { Sending, Unit } from './unit.ts';

type Part<T> = Generator<void, T, void>;

/** What a group that runs in pieces has done so far. */
interface Run {
  /** Set while the server has messages of the group without a Sync. */
  reply: Reply | undefined;
  /** An error was told: the rest up to the Sync is ignored. */
  failed: boolean;
  /** An error of which the client hears with its next message. */
  pending: Uint8Array | undefined;
  readonly bound: BoundPortals;
  /** As far as the server has got the Bind. */
  sentBound: BoundPortals;
  /** Those of them that the server has lost. */
  lost: BoundPortals;
  /** What has run, for the settings that it changed. */
  readonly classes: StatementClass[];
  readonly texts: string[];
}

export function* groupTask(session: SessionMachine, first: Segment): Task {
  session.registry.beginJournal();
  const run: Run = {
    reply: undefined,
    failed: false,
    pending: undefined,
    bound: new Map(),
    sentBound: new Map(),
    lost: new Map(),
    classes: [],
    texts: [],
  };
  let segment = first;
  let piece: Piece | undefined = read(session, run, first);
  if (isWhole(segment, piece)) return yield* runWhole(session, segment, piece);
  for (;;) {
    const progress = yield* runPieces(session, run, segment, piece);
    if (progress === 'ended' && segment.end === 'sync') return yield* endGroup(session, run, segment);
    if (progress === 'ended' && segment.end === 'query' && !run.failed) {
      if (yield* endWithQuery(session, run, segment)) return;
    }
    segment = yield* nextSegment(session, run);
    piece = undefined;
    if (segment.end !== 'sync' || !isUnused(session, run)) continue;
    piece = yield* readAsWhole(session, run, segment);
    if (piece !== undefined && run.reply === undefined) return yield* runWhole(session, segment, piece);
  }
}

function read(session: SessionMachine, run: Run, segment: Segment): Piece {
  return readPiece(session, run.bound, segment.messages, 0, placeOf(session, run, segment));
}

function isWhole(segment: Segment, piece: Piece): boolean {
  return segment.end === 'sync' && piece.control === undefined && !piece.copies;
}

/**
 * So far the group has only prepared and described: what executes may still run as a whole, which can be
 * repeated.
 */
function isUnused(session: SessionMachine, run: Run): boolean {
  if (session.block !== undefined || run.failed || run.pending !== undefined) return false;
  return (
    run.reply !== undefined &&
    run.reply.error === undefined &&
    run.classes.length === 0 &&
    run.bound.size === 0
  );
}

/**
 * The last segment of a group that has executed nothing; the group is ended on the server when this one needs
 * a block.
 */
function* readAsWhole(session: SessionMachine, run: Run, segment: Segment): Part<Piece | undefined> {
  const { registry } = session;
  registry.beginJournal();
  const piece = read(session, run, segment);
  if (!isWhole(segment, piece) || !needsBlock(piece.classes)) return piece;
  registry.restore();
  run.bound.clear();
  yield* syncOpen(session, run);
  if (run.failed) return undefined;
  registry.beginJournal();
  return read(session, run, segment);
}

function placeOf(session: SessionMachine, run: Run, segment: Segment): Place {
  const failed = session.block !== undefined && session.serverStatus === status.failed;
  return { fresh: run.reply === undefined, failed, end: segment.end };
}

// ---- as a whole

/** A FunctionCall: may do anything a function may do. */
const functionCall: StatementClass = { kind: 'write', certain: false, temporary: false, copyIn: false };

export function functionCallTask(session: SessionMachine, bytes: Uint8Array): Task {
  const unit: Unit = {
    build: () => ({ messages: [bytes], prefix: 0 }),
    isSimple: true,
    classes: [functionCall],
    texts: [''],
  };
  return session.block === undefined ? runAutocommit(session, unit) : runPassing(session, unit);
}

function* runWhole(session: SessionMachine, segment: Segment, first: Piece): Task {
  const { classes, texts } = first;
  const end = segment.last?.bytes ?? syncMessage;
  const build = (repeat: boolean): Sending => {
    const journal = repeat ? session.registry.restore() : undefined;
    const piece = repeat ? readPiece(session, new Map(), segment.messages, 0, repeated) : first;
    const prefix = prefixOf(session, piece, journal);
    return { messages: [...prefix, ...piece.messages, end], prefix: prefix.length };
  };
  const unit: Unit = { build, isSimple: false, classes, texts };
  if (session.block === undefined && needsBlock(classes)) {
    if (classes.length === 1 && classes[0]!.kind === 'local') return yield* runLocalUnit(session, unit);
    return yield* runAutocommit(session, unit);
  }
  if (classes.length === 0 && isUntold(session) && !first.messages.some(isBind)) {
    return yield* runPreparing(session, unit);
  }
  const failed = session.serverStatus === status.failed;
  if (session.block !== undefined && !failed) announce(session, classes, texts);
  return yield* runPassing(session, unit);
}

function isBind(message: Uint8Array): boolean {
  return message[0] === frontend.bind;
}

/** A repeat runs in a block of its own, where a whole group has no control. */
const repeated: Place = { fresh: true, failed: true, end: 'sync' };

/** Whether executing these outside of a transaction takes a block of the gateway's own. */
function needsBlock(classes: readonly StatementClass[]): boolean {
  const [only] = classes;
  if (only === undefined || only.kind === 'begin') return false;
  if (classes.length === 1 && (isSetting(only) || only.kind === 'commit')) return false;
  return !classes.every((each) => runsAsIs(each) || each.kind === 'commit');
}

/**
 * A repeat closes the statements that the attempt before has prepared and prepares again what it has closed;
 * the unnamed statement that a simple Query of ours has dropped is prepared again. Their replies are the
 * first, which the client does not get.
 */
function prefixOf(session: SessionMachine, piece: Piece, journal: Journal | undefined): Uint8Array[] {
  const prefix: Uint8Array[] = [];
  for (const [name, before] of journal ?? []) {
    if (name === '') continue;
    prefix.push(closeStatement(name));
    if (before !== undefined) prefix.push(before.message);
  }
  const dropped =
    piece.unnamedDropped || session.registry.unnamedDropped || session.block?.explicit === false;
  if (piece.unnamed !== undefined && (dropped || journal !== undefined)) prefix.push(piece.unnamed.message);
  if (piece.unnamed !== undefined) session.registry.unnamedDropped = false;
  return prefix;
}

// ---- in pieces

type Progress = 'ended' | 'put-back';

/** Runs a segment but for its end. `put-back`: the rest was given back, because a COPY reads it. */
function* runPieces(
  session: SessionMachine,
  run: Run,
  segment: Segment,
  read: Piece | undefined,
): Part<Progress> {
  const { messages } = segment;
  if (run.reply?.error !== undefined) run.failed = true;
  let piece = read;
  for (let at = 0; at < messages.length;) {
    tellPending(session, run);
    if (run.failed) return 'ended';
    piece ??= readPiece(session, run.bound, messages, at, placeOf(session, run, segment));
    at = piece.next;
    const isLast = at === messages.length && piece.control === undefined;
    if (piece.messages.length > 0) yield* sendPiece(session, run, piece, segment, isLast);
    if (piece.copies && !run.failed) {
      const rest = [...messages.slice(at), ...(segment.last === undefined ? [] : [segment.last])];
      yield* copyIn(session, run, rest);
      return 'put-back';
    }
    if (piece.control !== undefined && !run.failed) yield* runControl(session, run, piece.control);
    piece = undefined;
  }
  if (segment.end === 'flush' && run.reply !== undefined) session.toServer(segment.last!.bytes);
  return 'ended';
}

function tellPending(session: SessionMachine, run: Run): void {
  if (run.pending === undefined) return;
  session.toClient(run.pending);
  run.pending = undefined;
  run.failed = true;
}

function* sendPiece(
  session: SessionMachine,
  run: Run,
  piece: Piece,
  segment: Segment,
  isLast: boolean,
): Part<void> {
  const { classes, texts } = piece;
  const waits = isLast && segment.end === 'flush';
  // Who waits for replies is about to execute what he has bound: the block that this takes is opened now.
  const coming = segment.end === 'sync' ? [] : boundClasses(session, run);
  const begins = session.block === undefined && classes[0]?.kind === 'begin';
  if (session.block === undefined && !begins && needsBlock([...classes, ...coming])) {
    yield* openBlock(session, run);
  }
  if (begins || classes.some((each) => each.kind === 'announced')) yield* syncOpen(session, run);
  if (run.failed) return;
  const obstacle = session.ports.obstacle(session.block !== undefined && classes.some(needsMembers));
  if (obstacle !== undefined && !onlyRollback(classes)) return yield* refuseInGroup(session, run, obstacle);
  if (begins) openExplicitBlock(session, modesOf(classes[0]!));
  const { block } = session;
  if (block !== undefined) {
    for (const each of classes) noteStatement(block, each);
    if (session.serverStatus !== status.failed) announce(session, classes, texts);
  }
  sendMessages(session, run, piece, waits);
  run.classes.push(...classes);
  run.texts.push(...texts);
}

function modesOf(begin: StatementClass): TransactionModes | undefined {
  return begin.kind === 'begin' ? begin.modes : undefined;
}

function onlyRollback(classes: readonly StatementClass[]): boolean {
  return classes.length > 0 && classes.every((each) => each.kind === 'rollback');
}

function boundClasses(session: SessionMachine, run: Run): StatementClass[] {
  const kinds = [...run.bound.keys()].map((name) => session.registry.portalClass(name));
  return kinds.filter((kind) => kind.kind === 'write' || kind.kind === 'announced');
}

function sendMessages(session: SessionMachine, run: Run, piece: Piece, waits: boolean): void {
  let { reply } = run;
  if (reply === undefined) {
    const prefix = run.lost.size > 0 ? rebindAll(session, run, piece) : prefixOf(session, piece, undefined);
    reply = session.expect(newReply('client', true, prefix.length));
    for (const bytes of prefix) session.toServer(bytes);
    run.reply = reply;
  }
  // What runs in a block of ours is told after its end, unless the client waits for it.
  reply.open = true;
  if (session.block?.explicit !== false || waits) reply.hold = false;
  if (!reply.hold) release(session, reply);
  session.holding = reply.hold ? reply : undefined;
  for (const bytes of piece.messages) session.toServer(bytes);
  run.sentBound = new Map(run.bound);
}

function rebindAll(session: SessionMachine, run: Run, piece: Piece): Uint8Array[] {
  const prefix = prefixOf(session, piece, undefined);
  const unnamed = session.registry.statement('');
  if (prefix.length === 0 && session.registry.unnamedDropped && unnamed !== undefined) {
    prefix.push(unnamed.message);
    session.registry.unnamedDropped = false;
  }
  prefix.push(...run.lost.values());
  run.lost = new Map();
  return prefix;
}

/**
 * A block of the gateway's own from here on. What the group did before was read-only and ends with a Sync.
 */
function* openBlock(session: SessionMachine, run: Run): Part<void> {
  yield* syncOpen(session, run);
  if (run.failed) return;
  const obstacle = session.ports.obstacle(true);
  if (obstacle !== undefined) return yield* refuseInGroup(session, run, obstacle);
  openOwnBlock(session, session.ports.clock());
}

function* refuseInGroup(session: SessionMachine, run: Run, error: ErrorText): Part<void> {
  yield* syncOpen(session, run);
  if (run.failed) return;
  run.failed = true;
  yield* refuse(session, error);
}

/** The server gets a Sync that the client did not send, so that the gateway can speak itself. */
function* syncOpen(session: SessionMachine, run: Run): Part<void> {
  const { reply } = run;
  if (reply === undefined) return;
  // In a block only what has no name is lost, by the gateway's own simple Query.
  run.lost = new Map([...run.sentBound].filter(([name]) => session.block === undefined || name === ''));
  session.toServer(syncMessage);
  yield* finished(session, run, reply);
}

/** The server has answered everything up to its ReadyForQuery. */
function* finished(session: SessionMachine, run: Run, reply: Reply): Part<void> {
  yield* settled(session, reply);
  run.reply = undefined;
  session.holding = undefined;
  const { block } = session;
  if (block !== undefined) noteReply(block, reply);
  release(session, reply);
  if (reply.error !== undefined) {
    run.failed = true;
    tellError(session, reply, reply.error);
  }
  if (reply.dropped) yield* failStatement(session);
  const last = run.classes.at(-1)?.kind;
  const rolledBack = last === 'rollback' || last === 'commit';
  if (block?.explicit !== false) yield* blockMayHaveEnded(session, rolledBack ? reply : undefined);
}

// ---- COPY

function* copyIn(session: SessionMachine, run: Run, rest: Segment['messages']): Part<void> {
  const reply = run.reply!;
  session.toServer(flushMessage);
  while (reply.copies === 0 && !reply.errorTold && !reply.done) yield;
  session.giveBack(rest);
  if (reply.errorTold) run.failed = true;
  else while (session.copying) yield;
  if (reply.errorTold) run.failed = true;
}

// ---- transaction control

function* runControl(session: SessionMachine, run: Run, control: NonNullable<Piece['control']>): Part<void> {
  yield* syncOpen(session, run);
  if (run.failed) return;
  const { class: kind, text, portal } = control;
  // Its portal was bound and never ran, for which the end of the transaction would bring a warning.
  if (portal !== '' && kind.kind !== 'begin') closeQuietly(session, portal);
  session.registry.simpleQuerySent(false);
  const ends = kind.kind === 'commit' || kind.kind === 'rollback';
  const obstacle = ends ? undefined : session.ports.obstacle(false);
  let ok: boolean;
  if (kind.kind === 'commit') ok = yield* runCommit(session, kind.chain);
  else if (obstacle !== undefined) ok = yield* refuse(session, obstacle);
  else if (kind.kind === 'begin') ok = yield* runBegin(session, kind, query(text));
  else if (kind.kind === 'rollback') ok = yield* runRollback(session, kind.chain, query(text));
  else if (kind.kind === 'savepoint') ok = yield* refuse(session, blocksOnly(savepointCommand(text)));
  else if (kind.kind === 'refused') ok = yield* refuse(session, { severity: 'ERROR', ...kind });
  else ok = yield* refuse(session, clientTwoPhase(gidOf(kind)));
  if (!ok) run.failed = true;
}

function closeQuietly(session: SessionMachine, portal: string): void {
  session.toServer(closePortal(portal));
  session.toServer(syncMessage);
  session.expect(newReply('own', false));
}

function gidOf(each: StatementClass): string {
  return each.kind === 'prepare-transaction' || each.kind === 'finish-prepared' ? each.gid : '';
}

// ---- the end

/** The client's Sync. */
function* endGroup(session: SessionMachine, run: Run, segment: Segment): Task {
  yield* endTransaction(session, run, segment.last?.bytes ?? syncMessage);
  sendReady(session);
}

/** Ends what the group has begun; false when its end is an error, which is told. */
function* endTransaction(session: SessionMachine, run: Run, sync: Uint8Array): Part<boolean> {
  const { reply } = run;
  tellPending(session, run);
  const { block } = session;
  if (block?.explicit !== false) {
    if (reply !== undefined) {
      session.toServer(sync);
      yield* finished(session, run, reply);
    }
    if (!run.failed) session.noteSettings(run.classes, run.texts);
    return !run.failed;
  }
  if (reply === undefined && run.failed) {
    // Refused by the gateway: the server has seen nothing wrong.
    if (session.serverStatus !== status.idle) yield* rollBack(session);
    session.blockEnded(false);
    return false;
  }
  if (reply !== undefined) {
    session.toServer(sync);
    yield* settled(session, reply);
  }
  const told = reply ?? newReply('client', true);
  const end = yield* endAttempt(session, block, told, undefined);
  run.reply = undefined;
  run.failed = run.failed || told.error !== undefined;
  session.holding = undefined;
  session.blockEnded(end.kind === 'committed');
  tellEnd(session, told, end);
  if (end.kind === 'committed') session.noteSettings(run.classes, run.texts);
  return end.kind === 'committed';
}

/**
 * A simple Query (or a FunctionCall) where a Sync should be: it ends the group. In PostgreSQL both are one
 * transaction; here the group is committed before. False when the group has failed: then the query is
 * ignored, as everything up to the Sync.
 */
function* endWithQuery(session: SessionMachine, run: Run, segment: Segment): Part<boolean> {
  const message = segment.last!;
  if (!(yield* endTransaction(session, run, syncMessage))) {
    if (!run.failed) sendReady(session);
    return !run.failed;
  }
  const isQuery = message.type === frontend.query;
  yield* isQuery ? planSimple(session, message) : functionCallTask(session, message.bytes);
  return true;
}

// ---- waiting for the client

function* nextSegment(session: SessionMachine, run: Run): Part<Segment> {
  for (;;) {
    if (session.interruption !== undefined && !session.cancelling) {
      session.groupWorks();
      yield* giveUp(session, run);
    }
    const segment = session.takeSegment();
    if (segment !== undefined) return segment;
    yield;
  }
}

/**
 * The transaction is interrupted while the client keeps its group open: its locks go now, the client hears of
 * it later.
 */
function* giveUp(session: SessionMachine, run: Run): Part<void> {
  const { interruption } = session;
  if (interruption === undefined || interruption.rolledBack) return;
  if (run.reply !== undefined) {
    run.reply.open = true;
    yield* syncOpen(session, run);
  }
  if (mustFailBlock(session)) return yield* failBlock(session);
  if (session.block === undefined) return;
  if (session.serverStatus !== status.idle) yield* rollBack(session);
  if (!interruption.told && !run.failed) run.pending = errorResponse(refusalText(interruption.refusal));
  session.blockEnded(false);
  run.failed = run.failed || run.pending === undefined;
}
