/**
 * The end of a block: header and PREPARE at home, then the wait for the outcome of all members (architecture
 * §3).
 * Rule: between PREPARE and the outcome nothing is told to the client; afterwards exactly one thing is.
 */
import { assert } from '../../lib/assert.ts';
import type { Gid, Refusal } from '../identity.ts';
import type { Answer } from '../commit/event.ts';
import { status } from '../wire/codes.ts';
import { errorFields, errorResponse } from '../wire/messages.ts';
import type { ErrorText } from '../wire/messages.ts';
import { cancelled, pause } from './admission.ts';
import { noteReply } from './block.ts';
import type { Block } from './block.ts';
import { refusalText, translated } from './interruption.ts';
import { listenNow } from './listening.ts';
import { commitLast } from './open-commit.ts';
import type { Reply } from './reply.ts';
import { rollBack, settled } from './server-reply.ts';
import type { SessionMachine } from './session.ts';

type Part<T> = Generator<void, T, void>;

export type BlockEnd =
  /**
   * `voted`: by the votes of all members. Otherwise there was nothing to replicate, and what was read needs a
   * lease.
   */
  | { readonly kind: 'committed'; readonly voted: boolean }
  | { readonly kind: 'error'; readonly error: Uint8Array; readonly retryable: boolean };

export interface Flight {
  readonly gid: Gid;
  /** Of header and PREPARE, which are one string. */
  readonly prepare: Reply;
}

/**
 * Header and PREPARE in one string behind whatever runs: one answer, which wakes this process once. In a
 * failed block the first fails and the second is not run: the block is still to be rolled back. Undefined
 * while nothing may be prepared.
 */
export function sendPrepare(session: SessionMachine, block: Block): Flight | undefined {
  const gid = session.ports.newTransaction(block.startTime);
  if (gid === undefined) return undefined;
  block.gid = gid;
  const header = session.ports.headerSql(gid, false, isAnnounced(block));
  const prepare = session.sendOwn(`${header}; PREPARE TRANSACTION '${gid}'`, true);
  return { gid, prepare };
}

export const rolledBack = errorResponse({
  severity: 'ERROR',
  sqlstate: '40000',
  message: '[multimaster] the transaction was rolled back by the server',
});

/** After the last statement of a block that succeeded or failed as `reply` says. */
export function* endAttempt(
  session: SessionMachine,
  block: Block,
  reply: Reply,
  flight: Flight | undefined,
): Part<BlockEnd> {
  noteReply(block, reply);
  if (reply.error === undefined) return yield* endBlock(session, block, flight);
  const interrupted = session.interruption !== undefined;
  const error = translated(session, reply.error);
  if (flight !== undefined) {
    yield* settled(session, flight.prepare);
    assert(flight.prepare.tag !== 'PREPARE TRANSACTION', 'a failed block cannot be prepared');
    failed(session, block, flight.gid);
  }
  if (session.serverStatus !== status.idle) yield* rollBack(session);
  return { kind: 'error', error, retryable: interrupted || isConflict(reply.sqlstate) };
}

/** Commits the block on all nodes. `flight`: header and PREPARE are on their way already. */
export function* endBlock(session: SessionMachine, block: Block, flight: Flight | undefined): Part<BlockEnd> {
  const end = yield* commitBlock(session, block, flight);
  if (end.kind === 'committed' && block.listens) yield* listenNow(session);
  return end;
}

function* commitBlock(session: SessionMachine, block: Block, flight: Flight | undefined): Part<BlockEnd> {
  while (session.cancelling) yield;
  if (flight === undefined) {
    yield* whileHeld(session);
    if (session.clientCancelled) return yield* givenUp(session);
    if (session.interruption !== undefined) return yield* interrupted(session, session.interruption.refusal);
    if (block.temporary) session.mayHaveTemporary = true;
    if (!block.wrote || block.uncertain || session.mayHaveTemporary) return yield* askThenEnd(session, block);
    flight = sendPrepare(session, block);
    if (flight === undefined) return yield* generationEnded(session);
  }
  block.preparing = true;
  yield* settled(session, flight.prepare);
  return yield* afterPrepare(session, block, flight.gid, flight.prepare.value, flight.prepare);
}

/** Commits are held back for a moment: it is short, and whoever cancels or is in the way does not wait. */
function* whileHeld(session: SessionMachine): Part<void> {
  session.clientCancelled = false;
  for (let attempt = 1; session.ports.held(); attempt++) {
    if (session.interruption !== undefined || session.clientCancelled) return;
    yield* pause(session, attempt);
  }
}

/** An election began after the transaction had been admitted: nothing of it is left, it may run again. */
export function* generationEnded(session: SessionMachine): Part<BlockEnd> {
  if (session.serverStatus !== status.idle) yield* rollBack(session);
  const message = '[multimaster] the generation ended before the transaction could be prepared';
  const error = errorResponse({
    severity: 'ERROR',
    sqlstate: '40001',
    message,
    hint: 'Repeat the transaction.',
  });
  return { kind: 'error', error, retryable: true };
}

/** The client does not want to wait any longer for the moment of its commit. */
function* givenUp(session: SessionMachine): Part<BlockEnd> {
  if (session.serverStatus !== status.idle) yield* rollBack(session);
  return { kind: 'error', error: errorResponse(cancelled), retryable: false };
}

function* interrupted(session: SessionMachine, refusal: Refusal): Part<BlockEnd> {
  const error = errorResponse(refusalText(refusal));
  if (session.serverStatus !== status.idle) yield* rollBack(session);
  return { kind: 'error', error, retryable: true };
}

/** Nothing ran since the last announced command that could have changed what nobody sees. */
function isAnnounced(block: Block): boolean {
  return block.announced && !block.accounted;
}

/** The gid was never prepared and never will be. */
export function failed(session: SessionMachine, block: Block, gid: Gid): void {
  block.gid = undefined;
  session.ports.prepareEnded(gid, 'failed');
}

/** The tags leave open whether there is anything to replicate: the header function sees it. */
function* askThenEnd(session: SessionMachine, block: Block): Part<BlockEnd> {
  const gid = session.ports.newTransaction(block.startTime);
  if (gid === undefined) return yield* generationEnded(session);
  const header = session.sendOwn(session.ports.headerSql(gid, block.uncertain, isAnnounced(block)), true);
  yield* settled(session, header);
  if (header.error !== undefined) {
    failed(session, block, gid);
    const retryable = session.interruption !== undefined || isConflict(header.sqlstate);
    const error = translated(session, header.error);
    yield* rollBack(session);
    return { kind: 'error', error, retryable };
  }
  if (session.interruption !== undefined) {
    failed(session, block, gid);
    return yield* interrupted(session, session.interruption.refusal);
  }
  switch (header.value) {
    case 'empty':
      if (yield* isForPrepareToSee(session, block)) break;
      failed(session, block, gid);
      return yield* commitHere(session);
    case 'temporary':
      failed(session, block, gid);
      return yield* commitHere(session);
    case 'write':
    case 'early':
      break;
    default:
      assert(header.value === 'mixed', `the header function answers ${header.value}`);
      return yield* endOpen(session, block, gid);
  }
  block.preparing = true;
  block.gid = gid;
  const prepare = session.sendOwn(`PREPARE TRANSACTION '${gid}'`, true);
  yield* settled(session, prepare);
  return yield* afterPrepare(session, block, gid, header.value, prepare);
}

/**
 * A NOTIFY inside a function leaves no trace that SQL could see: PREPARE refuses it. It refuses temporary
 * tables that were only read, too: a hidden NOTIFY beside them stays on its node.
 */
function* isForPrepareToSee(session: SessionMachine, block: Block): Part<boolean> {
  if (block.notifies === 'says') return true;
  if (block.notifies !== 'may' || !session.ports.hiddenNotify()) return false;
  if (session.seniority.unpreparable === block.startTime) return false; // PREPARE has said so
  const question = session.sendOwn('SELECT mtm.is_unpreparable()');
  yield* settled(session, question);
  return question.value !== 't';
}

/** There is nothing to replicate. */
function* commitHere(session: SessionMachine): Part<BlockEnd> {
  const commit = session.sendOwn('COMMIT', true);
  yield* settled(session, commit);
  if (commit.tag === 'COMMIT') {
    session.ports.tally.reads++;
    return { kind: 'committed', voted: false };
  }
  if (session.serverStatus !== status.idle) yield* rollBack(session);
  return { kind: 'error', error: translated(session, commit.error ?? rolledBack), retryable: false };
}

/** It cannot be prepared: it commits when all the others have prepared it. */
function* endOpen(session: SessionMachine, block: Block, gid: Gid): Part<BlockEnd> {
  const end = yield* commitLast(session, block, gid);
  if (end.kind === 'refused') return yield* notPrepared(session, block, gid, end.reply);
  const answer = session.answer?.answer ?? { kind: 'unknown', reason: 'the session was lost' };
  session.answer = undefined;
  const { failed: refused } = end;
  if (refused?.error !== undefined && answer.kind === 'aborted') {
    const retryable = isConflict(refused.sqlstate);
    return { kind: 'error', error: translated(session, refused.error), retryable };
  }
  // Nobody waits any longer for those who could tell: with the session the open transaction goes.
  if (answer.kind === 'unknown' && !block.prepared) session.abandon('57P01', answer.reason);
  while (session.ended) yield; // it has nothing to say any more
  return blockEnd(gid, answer, true);
}

/** PREPARE, or what stands for it, has failed: nothing of it is left anywhere. */
function* notPrepared(session: SessionMachine, block: Block, gid: Gid, reply: Reply): Part<BlockEnd> {
  failed(session, block, gid);
  const { withdrawn } = block;
  const { interruption } = session;
  const given = interruption !== undefined || withdrawn !== undefined;
  // A cancelled PREPARE may leave the block open.
  if (session.serverStatus !== status.idle) yield* rollBack(session);
  const refusal = withdrawn ?? (reply.error === undefined ? interruption?.refusal : undefined);
  const said = saysRoutine(reply, 'AtPrepare_Notify') ? notifyRefused : (reply.error ?? rolledBack);
  const error = refusal === undefined ? translated(session, said) : errorResponse(refusalText(refusal));
  return { kind: 'error', error, retryable: given || isConflict(reply.sqlstate) };
}

const mixed: ErrorText = {
  severity: 'ERROR',
  sqlstate: '0A000',
  message:
    '[multimaster] a transaction that has written to temporary and to replicated tables cannot be prepared',
  hint: 'Repeat the transaction: from now on this session is asked before.',
};

/** PREPARE has been answered. `kind`: what the header function said of the transaction. */
export function* afterPrepare(
  session: SessionMachine,
  block: Block,
  gid: Gid,
  kind: string | undefined,
  prepare: Reply,
): Part<BlockEnd> {
  if (prepare.tag !== 'PREPARE TRANSACTION') {
    const end = yield* notPrepared(session, block, gid, prepare);
    if (kind === 'empty' && end.kind === 'error' && saysRoutine(prepare, 'PrepareTransaction')) {
      // Row types of temporary tables leave no lock: only PREPARE knows. Nothing was written.
      session.seniority.unpreparable = block.startTime;
      return { ...end, retryable: true };
    }
    if (kind !== 'temporary' && kind !== 'mixed') return end;
    // The session has temporary tables after all: from now on it is asked before PREPARE, and this unit may
    // run again.
    session.mayHaveTemporary = true;
    return { kind: 'error', error: errorResponse(mixed), retryable: true };
  }
  block.prepared = true;
  session.delivery.awaited = true;
  session.ports.prepareEnded(gid, kind === 'empty' || kind === 'early' ? kind : 'prepared');
  for (;;) {
    if (session.delivery.due !== undefined) yield* session.delivery.run(session);
    else if (session.answer?.gid !== gid) yield;
    else break;
  }
  session.delivery.awaited = false;
  const { answer } = session.answer;
  session.answer = undefined;
  return blockEnd(gid, answer, kind !== 'empty');
}

const notifyRefused = errorResponse({
  severity: 'ERROR',
  sqlstate: '0A000',
  message: '[multimaster] the commands NOTIFY, LISTEN and UNLISTEN do not work inside a function or rule',
  hint: 'Call pg_notify() there, which notifies the listeners of all nodes; LISTEN at top level.',
});

/** PREPARE was refused there. The routine's name is the same in every language. */
function saysRoutine({ error, sqlstate }: Reply, routine: string): boolean {
  return (
    sqlstate === '0A000' && error !== undefined && errorFields(error, 0, error.length).get('R') === routine
  );
}

function isConflict(sqlstate: string): boolean {
  return sqlstate === '40001' || sqlstate === '40P01';
}

function blockEnd(gid: Gid, answer: Answer, voted: boolean): BlockEnd {
  switch (answer.kind) {
    case 'committed':
      return { kind: 'committed', voted };
    case 'aborted':
      return {
        kind: 'error',
        error: errorResponse(refusalText(answer.refusal)),
        retryable: answer.refusal.retryable,
      };
    case 'unknown':
      return { kind: 'error', error: errorResponse(unknownText(gid, answer.reason)), retryable: false };
  }
}

export function unknownText(gid: Gid, reason: string): ErrorText {
  return {
    severity: 'ERROR',
    sqlstate: '08007',
    message: '[multimaster] the outcome of the transaction is unknown',
    detail: `Transaction ${gid}: ${reason.replace('[multimaster] ', '')}.`,
    hint: `It is committed on all nodes or on none; SELECT mtm.transaction_outcome('${gid}') tells.`,
  };
}
