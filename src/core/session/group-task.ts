/**
 * An extended group: the messages up to Sync, which are one implicit transaction outside of a block. A group
 * that comes as a whole runs as one unit. Otherwise – Flush, COPY, COMMIT or BEGIN in the middle, a simple
 * Query instead of the Sync, or more than may wait – it runs in pieces; the task then lasts until the Sync
 * and waits for its client in between.
 */
import { frontend, status } from '../wire/codes.ts';
import { syncMessage } from '../wire/messages.ts';
import { runCluster } from './clustering.ts';
import { needsBlock, placeOf, runPieces } from './group-pieces.ts';
import { readPiece } from './group-reader.ts';
import type { Piece, Place } from './group-reader.ts';
import { endTransaction, newRun, nextSegment, prefixOf, syncOpen } from './group-run.ts';
import type { Run } from './group-run.ts';
import type { Segment } from './intake.ts';
import { isUntold } from './interruption.ts';
import { runLocalUnit } from './local-command.ts';
import { planSimple } from './query-plan.ts';
import { unknown } from './registry.ts';
import type { SessionMachine, Task } from './session.ts';
import { account, announce, runAutocommit, runPassing, runPreparing, sendReady } from './unit.ts';
import type { Sending, Unit } from './unit.ts';

type Part<T> = Generator<void, T, void>;

export function* groupTask(session: SessionMachine, first: Segment): Task {
  session.registry.beginJournal();
  const run = newRun();
  let segment = first;
  let piece: Piece | undefined = read(session, run, first);
  if (isWhole(segment, piece)) return yield* runWhole(session, segment, piece);
  for (;;) {
    const progress = yield* runPieces(session, run, segment, piece);
    if (progress === 'ended' && segment.end === 'sync') {
      yield* endTransaction(session, run, segment.last?.bytes ?? syncMessage);
      return sendReady(session);
    }
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
  return segment.end === 'sync' && piece.control === undefined && !piece.copies && !piece.settles;
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

/** A FunctionCall: may do anything a function may do. */
export function functionCallTask(session: SessionMachine, bytes: Uint8Array): Task {
  const unit: Unit = {
    build: () => ({ messages: [bytes], prefix: 0 }),
    isSimple: true,
    classes: [unknown],
    texts: [''],
  };
  return session.block === undefined ? runAutocommit(session, unit) : runPassing(session, unit);
}

/** A group as one unit that can be repeated; what it prepares is noted from the journal's beginning. */
export function wholeUnit(session: SessionMachine, segment: Segment, read?: Piece): Unit {
  if (read === undefined) session.registry.beginJournal();
  const first = read ?? readPiece(session, new Map(), segment.messages, 0, repeated);
  const end = segment.last?.bytes ?? syncMessage;
  const build = (repeat: boolean): Sending => {
    const journal = repeat ? session.registry.restore() : undefined;
    const piece = repeat ? readPiece(session, new Map(), segment.messages, 0, repeated) : first;
    const prefix = prefixOf(session, piece, journal);
    return { messages: [...prefix, ...piece.messages, end], prefix: prefix.length };
  };
  return { build, isSimple: false, classes: first.classes, texts: first.texts };
}

function* runWhole(session: SessionMachine, segment: Segment, first: Piece): Task {
  const { classes, texts } = first;
  const unit = wholeUnit(session, segment, first);
  if (session.block === undefined && needsBlock(classes)) {
    const [only] = classes;
    if (classes.length === 1 && only?.kind === 'local') return yield* runLocalUnit(session, unit);
    if (classes.length === 1 && only?.kind === 'write' && only.clusters !== undefined)
      return yield* runCluster(session, only.clusters, unit);
    return yield* runAutocommit(session, unit);
  }
  if (classes.length === 0 && isUntold(session) && !first.messages.some(isBind)) {
    return yield* runPreparing(session, unit);
  }
  const failed = session.serverStatus === status.failed;
  account(session, classes, texts);
  if (session.block !== undefined && !failed) announce(session, classes, texts);
  return yield* runPassing(session, unit);
}

function isBind(message: Uint8Array): boolean {
  return message[0] === frontend.bind;
}

/** A repeat runs in a block of its own, where a whole group has no control. */
const repeated: Place = { fresh: true, failed: true, end: 'sync', unsure: false };
