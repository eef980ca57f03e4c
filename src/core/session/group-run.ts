/**
 * A group that runs in pieces, between the pieces: what the server has of it, what waits for the client, and
 * its end.
 * Rule: when the gateway needs a ReadyForQuery in the middle it sends a Sync that the client did not send;
 * portals that were bound and not yet executed are bound again.
 */
import type { StatementClass } from '../statement/statement-class.ts';
import { status } from '../wire/codes.ts';
import { closeStatement, errorResponse, syncMessage } from '../wire/messages.ts';
import { noteReply } from './block.ts';
import { endAttempt } from './commit-flow.ts';
import { rollBack, settled } from './server-reply.ts';
import { mayChangeReading } from './group-reader.ts';
import type { BoundPortals, Piece } from './group-reader.ts';
import type { Segment } from './intake.ts';
import { failBlock, mustFailBlock, refusalText } from './interruption.ts';
import { noteSettings } from './noted-settings.ts';
import { unknown, type Journal } from './registry.ts';
import { release, tellError } from './relay.ts';
import { newReply } from './reply.ts';
import type { Reply } from './reply.ts';
import { tagShown } from './rewrite.ts';
import type { SessionMachine } from './session.ts';
import { parseAgain } from './text-reading.ts';
import { blockMayHaveEnded, failStatement, tellEnd } from './unit.ts';

type Part<T> = Generator<void, T, void>;

/** What a group that runs in pieces has done so far. */
export interface Run {
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
  /** What has run, for the settings that it changed: the texts of session commands, as far as they count. */
  readonly classes: StatementClass[];
  readonly texts: string[];
  /** It may have changed how the server reads a text, without its word yet. */
  unsure: boolean;
}

/** Of a session command nobody reads more. */
const textLimit = 1000;

export function newRun(): Run {
  return {
    reply: undefined,
    failed: false,
    pending: undefined,
    bound: new Map(),
    sentBound: new Map(),
    lost: new Map(),
    classes: [],
    texts: [],
    unsure: false,
  };
}

/** A group may go on for ever, and what it has run may be large: little of it is kept. */
export function noteRun(run: Run, classes: readonly StatementClass[], texts: readonly string[]): void {
  for (const [index, each] of classes.entries()) {
    // The class may have the text of what runs instead.
    run.classes.push(each.kind === 'write' ? unknown : each);
    const text = each.kind === 'session' ? (texts[index] ?? '') : '';
    // A slice would keep all of it.
    run.texts.push(text.length <= textLimit ? text : [...text.slice(0, textLimit)].join(''));
    run.unsure ||= mayChangeReading(each);
  }
}

/**
 * A repeat closes the statements that the attempt before has prepared and prepares again what it has closed;
 * the unnamed statement that a simple Query of ours has dropped is prepared again. Their replies are the
 * first, which the client does not get.
 */
export function prefixOf(session: SessionMachine, piece: Piece, journal: Journal | undefined): Uint8Array[] {
  const prefix: Uint8Array[] = [];
  for (const [name, before] of journal ?? []) {
    if (name === '') continue;
    prefix.push(closeStatement(name));
    if (before !== undefined) prefix.push(parseAgain(session, before));
  }
  const dropped =
    piece.unnamedDropped || session.registry.unnamedDropped || session.block?.explicit === false;
  if (piece.unnamed !== undefined && (dropped || journal !== undefined))
    prefix.push(parseAgain(session, piece.unnamed));
  if (piece.unnamed !== undefined) session.registry.unnamedDropped = false;
  return prefix;
}

export function sendMessages(session: SessionMachine, run: Run, piece: Piece, waits: boolean): void {
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
  for (const each of piece.classes) reply.tags.push(tagShown(each));
  for (const bytes of piece.messages) session.toServer(bytes);
  run.sentBound = new Map(run.bound);
}

/** What the server has lost, in the order in which it was bound; then what the piece itself needs. */
function rebindAll(session: SessionMachine, run: Run, piece: Piece): Uint8Array[] {
  const { registry } = session;
  const dropped = piece.unnamedDropped || registry.unnamedDropped;
  const prefix: Uint8Array[] = [];
  for (const { bind, unnamed } of run.lost.values()) {
    if (dropped && unnamed !== undefined) {
      prefix.push(parseAgain(session, unnamed));
      // It need not be the one that stands there for the client.
      registry.unnamedDropped = true;
    }
    prefix.push(bind);
  }
  run.lost = new Map();
  prefix.push(...prefixOf(session, piece, undefined));
  return prefix;
}

/** The server gets a Sync that the client did not send, so that the gateway can speak itself. */
export function* syncOpen(session: SessionMachine, run: Run): Part<void> {
  const { reply } = run;
  if (reply === undefined) return;
  // In a block only what has no name is lost, by the gateway's own simple Query.
  run.lost = new Map([...run.sentBound].filter(([name]) => session.block === undefined || name === ''));
  reply.synced = true;
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

export function tellPending(session: SessionMachine, run: Run): void {
  if (run.pending === undefined) return;
  session.toClient(run.pending);
  run.pending = undefined;
  run.failed = true;
}

export function* nextSegment(session: SessionMachine, run: Run): Part<Segment> {
  for (;;) {
    if (session.interruption !== undefined && !session.cancelling) {
      session.client.groupWorks();
      yield* giveUp(session, run);
    }
    const segment = session.client.takeSegment();
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

/** Ends what the group has begun; false when its end is an error, which is told. */
export function* endTransaction(session: SessionMachine, run: Run, sync: Uint8Array): Part<boolean> {
  const { reply } = run;
  tellPending(session, run);
  if (reply !== undefined) reply.synced = true;
  const { block } = session;
  if (block?.explicit !== false) {
    if (reply !== undefined) {
      session.toServer(sync);
      yield* finished(session, run, reply);
    }
    if (!run.failed) noteSettings(session, run.classes, run.texts);
    if (!run.failed && block === undefined) session.ports.tally.ranOutside(run.classes);
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
  if (end.kind === 'committed') noteSettings(session, run.classes, run.texts);
  return end.kind === 'committed';
}
