/**
 * The pieces of an extended group that does not run as a whole: they are sent one after the other, with the
 * gateway's own work in between.
 * Rule: pieces behave as if they had come at once. After an error everything up to the Sync is ignored.
 */
import { assert } from '../../lib/assert.ts';
import type { StatementClass, TransactionModes } from '../statement/statement-class.ts';
import { status } from '../wire/codes.ts';
import { closePortal, flushMessage, query, syncMessage } from '../wire/messages.ts';
import type { ErrorText } from '../wire/messages.ts';
import { admission } from './admission.ts';
import { isSetting, mustAccount, needsMembers, noteStatements, runsAsIs } from './block.ts';
import { runFinishPrepared, runPrepareTransaction } from './client-two-phase.ts';
import { carryOutEverywhere } from './everywhere.ts';
import { readPiece } from './group-reader.ts';
import type { Piece, Place } from './group-reader.ts';
import { noteRun, sendMessages, syncOpen, tellPending } from './group-run.ts';
import type { Run } from './group-run.ts';
import type { Segment } from './intake.ts';
import { ownReply } from './reply.ts';
import type { SessionMachine } from './session.ts';
import {
  blocksOnly,
  runBegin,
  runCommit,
  runListen,
  runRollback,
  savepointCommand,
} from './transaction-control.ts';
import { account, announce, openExplicitBlock, openOwnBlock, refuse } from './unit.ts';

type Part<T> = Generator<void, T, void>;

/** Whether executing these outside of a transaction takes a block of the gateway's own. */
export function needsBlock(classes: readonly StatementClass[]): boolean {
  const [only] = classes;
  if (only === undefined || only.kind === 'begin') return false;
  if (classes.length === 1 && (isSetting(only) || only.kind === 'commit')) return false;
  return !classes.every((each) => runsAsIs(each) || each.kind === 'commit');
}

export function placeOf(session: SessionMachine, run: Run, segment: Segment): Place {
  const failed = session.block !== undefined && session.serverStatus === status.failed;
  return { fresh: run.reply === undefined, failed, end: segment.end, unsure: run.unsure };
}

type Progress = 'ended' | 'put-back';

/** Runs a segment but for its end. `put-back`: the rest was given back, because a COPY reads it. */
export function* runPieces(
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
    if (piece.settles && !run.failed) yield* syncOpen(session, run);
    piece = undefined;
  }
  if (segment.end === 'flush' && run.reply !== undefined) session.toServer(segment.last!.bytes);
  return 'ended';
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
  const speaks = classes.some((each) => each.kind === 'announced') || mustAccount(session.block, classes);
  if (begins || speaks) yield* syncOpen(session, run);
  if (run.failed) return;
  const needed = session.block !== undefined && classes.some(needsMembers);
  const obstacle = onlyRollback(classes) ? undefined : yield* admission(session, needed);
  if (obstacle !== undefined) return yield* refuseInGroup(session, run, obstacle);
  if (begins) openExplicitBlock(session, modesOf(classes[0]!));
  const { block } = session;
  if (block !== undefined) {
    account(session, classes, texts);
    noteStatements(block, classes);
    if (session.serverStatus !== status.failed) announce(session, classes, texts);
  }
  sendMessages(session, run, piece, waits);
  noteRun(run, classes, texts);
}

function modesOf(begin: StatementClass): TransactionModes | undefined {
  return begin.kind === 'begin' ? begin.modes : undefined;
}

function onlyRollback(classes: readonly StatementClass[]): boolean {
  return classes.length > 0 && classes.every((each) => each.kind === 'rollback');
}

function boundClasses(session: SessionMachine, run: Run): StatementClass[] {
  const kinds = [...run.bound.keys()].map((name) => session.registry.portalClass(name));
  return kinds.filter(needsMembers);
}

/**
 * A block of the gateway's own from here on. What the group did before was read-only and ends with a Sync.
 */
function* openBlock(session: SessionMachine, run: Run): Part<void> {
  yield* syncOpen(session, run);
  if (run.failed) return;
  const obstacle = yield* admission(session, true);
  if (obstacle !== undefined) return yield* refuseInGroup(session, run, obstacle);
  openOwnBlock(session, session.ports.clock());
}

function* refuseInGroup(session: SessionMachine, run: Run, error: ErrorText): Part<void> {
  yield* syncOpen(session, run);
  if (run.failed) return;
  run.failed = true;
  yield* refuse(session, error);
}

function* copyIn(session: SessionMachine, run: Run, rest: Segment['messages']): Part<void> {
  const reply = run.reply!;
  // The group may have had one before.
  const { copies } = reply;
  session.toServer(flushMessage);
  while (reply.copies === copies && !reply.errorTold && !reply.done) yield;
  session.client.giveBack(rest);
  if (reply.errorTold) run.failed = true;
  else while (session.client.copying) yield;
  if (reply.errorTold) run.failed = true;
}

function* runControl(session: SessionMachine, run: Run, control: NonNullable<Piece['control']>): Part<void> {
  yield* syncOpen(session, run);
  if (run.failed) return;
  const { class: kind, text, portal } = control;
  // Its portal was bound and never ran, for which the end of the transaction would bring a warning.
  if (portal !== '' && kind.kind !== 'begin') closeQuietly(session, portal);
  session.registry.simpleQuerySent(false);
  const ends = kind.kind === 'commit' || kind.kind === 'rollback' || kind.kind === 'prepare-transaction';
  const obstacle = ends ? undefined : yield* admission(session, false);
  let ok: boolean;
  if (kind.kind === 'commit') ok = yield* runCommit(session, kind.chain);
  else if (obstacle !== undefined) ok = yield* refuse(session, obstacle);
  else if (kind.kind === 'begin') ok = yield* runBegin(session, kind, query(text));
  else if (kind.kind === 'rollback') ok = yield* runRollback(session, kind.chain, query(text));
  else if (kind.kind === 'savepoint') ok = yield* refuse(session, blocksOnly(savepointCommand(text)));
  else if (kind.kind === 'listen') ok = yield* runListen(session, kind);
  else if (kind.kind === 'everywhere') ok = yield* carryOutEverywhere(session, kind, text);
  else if (kind.kind === 'refused') ok = yield* refuse(session, { severity: 'ERROR', ...kind });
  else if (kind.kind === 'prepare-transaction') ok = yield* runPrepareTransaction(session, query(text));
  else if (kind.kind === 'finish-prepared')
    ok = yield* runFinishPrepared(session, kind, run.classes.length === 0);
  else assert(false, `a ${kind.kind} needs no control`);
  if (!ok) run.failed = true;
}

function closeQuietly(session: SessionMachine, portal: string): void {
  session.toServer(closePortal(portal));
  session.toServer(syncMessage);
  session.expect(ownReply());
}
