/**
 * The end of a block: header and PREPARE at home, then the wait for the outcome of all members (architecture §3).
 * Rule: between PREPARE and the outcome nothing is told to the client; afterwards exactly one thing is.
 */
import type { Gid, Refusal } from '../identity.ts';
import type { Answer } from '../commit/event.ts';
import { errorResponse } from '../wire/messages.ts';
import type { ErrorText } from '../wire/messages.ts';
import type { Block } from './block.ts';
import type { Reply } from './reply.ts';
import type { SessionMachine } from './session.ts';

type Part<T> = Generator<void, T, void>;

export type BlockEnd =
  | { readonly kind: 'committed' }
  /** The transaction had failed before: PostgreSQL answers COMMIT with ROLLBACK. */
  | { readonly kind: 'rolled-back' }
  | { readonly kind: 'error'; readonly error: Uint8Array; readonly retryable: boolean };

export interface Flight {
  readonly gid: Gid;
  readonly header: Reply;
  readonly prepare: Reply;
}

/** Header and PREPARE in one packet behind whatever runs: in a failed block the first fails and the second rolls back. */
export function sendPrepare(session: SessionMachine, block: Block): Flight {
  const gid = session.ports.newTransaction(block.startTime);
  const header = session.sendOwn(session.ports.headerSql(gid, false, block.announced));
  const prepare = session.sendOwn(`PREPARE TRANSACTION '${gid}'`);
  block.gid = gid;
  return { gid, header, prepare };
}

export function* rollBack(session: SessionMachine): Part<void> {
  while (session.cancelling) yield;
  const reply = session.sendOwn('ROLLBACK');
  while (!reply.done) yield;
}

/** Between two units of an interrupted transaction: the server rolls back, and the client's next statement finds it failed. */
export function* failBlock(session: SessionMachine): Part<void> {
  session.blockFailed = true;
  session.sendOwn('ROLLBACK');
  session.sendOwn('BEGIN READ WRITE');
  const failing = session.sendOwn('ROLLBACK TO SAVEPOINT mtm_conflict');
  while (!failing.done) yield;
}

/** Commits the block on all nodes. `flight`: header and PREPARE are on their way already. */
export function* endBlock(session: SessionMachine, block: Block, flight: Flight | undefined): Part<BlockEnd> {
  while (session.cancelling) yield;
  if (flight === undefined) {
    if (session.doomed !== undefined) {
      const error = errorResponse(refusalText(session.doomed));
      yield* rollBack(session);
      return { kind: 'error', error, retryable: true };
    }
    if (block.temporary) session.mayHaveTemporary = true;
    if (!block.wrote || block.uncertain || session.mayHaveTemporary) return yield* askThenEnd(session, block);
    flight = sendPrepare(session, block);
  }
  block.preparing = true;
  while (!flight.prepare.done) yield;
  return yield* afterPrepare(session, flight.gid, flight.header, flight.prepare);
}

/** The tags leave open whether there is anything to replicate: the header function sees it. */
function* askThenEnd(session: SessionMachine, block: Block): Part<BlockEnd> {
  const gid = session.ports.newTransaction(block.startTime);
  const header = session.sendOwn(session.ports.headerSql(gid, block.uncertain, block.announced));
  while (!header.done || session.cancelling) yield;
  if (header.error !== undefined || header.value === 'mixed') {
    session.ports.prepareEnded(gid, 'failed');
    const retryable = session.doomed !== undefined;
    const error = header.error === undefined ? errorResponse(mixed) : session.translated(header.error);
    yield* rollBack(session);
    return { kind: 'error', error, retryable };
  }
  if (header.value !== 'write') {
    session.ports.prepareEnded(gid, 'failed');
    const commit = session.sendOwn('COMMIT');
    while (!commit.done || session.cancelling) yield;
    if (commit.error !== undefined)
      return { kind: 'error', error: session.translated(commit.error), retryable: false };
    return commit.tag === 'COMMIT' ? { kind: 'committed' } : { kind: 'rolled-back' };
  }
  block.preparing = true;
  const prepare = session.sendOwn(`PREPARE TRANSACTION '${gid}'`);
  block.gid = gid;
  while (!prepare.done) yield;
  return yield* afterPrepare(session, gid, header, prepare);
}

const mixed: ErrorText = {
  severity: 'ERROR',
  sqlstate: '0A000',
  message:
    '[multimaster] a transaction that has written to temporary and to replicated tables cannot be committed',
  hint: 'Write to temporary tables in a transaction of their own.',
};

function* afterPrepare(session: SessionMachine, gid: Gid, header: Reply, prepare: Reply): Part<BlockEnd> {
  if (prepare.tag !== 'PREPARE TRANSACTION') {
    session.ports.prepareEnded(gid, 'failed');
    const retryable = session.doomed !== undefined;
    const error = prepare.error ?? header.error;
    if (header.value === 'temporary' || header.value === 'mixed') {
      // The session has temporary tables after all: from now on it is asked before PREPARE, and this unit may run again.
      session.mayHaveTemporary = true;
      return { kind: 'error', error: errorResponse(mixed), retryable: true };
    }
    if (error === undefined) return { kind: 'rolled-back' };
    return {
      kind: 'error',
      error: session.translated(error),
      retryable: retryable || isConflict(prepare.sqlstate),
    };
  }
  session.ports.prepareEnded(gid, header.value === 'empty' ? 'empty' : 'prepared');
  while (session.answer?.gid !== gid) yield;
  const { answer } = session.answer;
  session.answer = undefined;
  return blockEnd(gid, answer);
}

function isConflict(sqlstate: string): boolean {
  return sqlstate === '40001' || sqlstate === '40P01';
}

function blockEnd(gid: Gid, answer: Answer): BlockEnd {
  switch (answer.kind) {
    case 'committed':
      return { kind: 'committed' };
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

export function refusalText(refusal: Refusal): ErrorText {
  return {
    severity: 'ERROR',
    sqlstate: refusal.sqlstate,
    message: refusal.message,
    detail: refusal.detail,
    hint: refusal.hint,
    schema: refusal.schema,
    table: refusal.table,
    column: refusal.column,
    constraint: refusal.constraint,
  };
}

export function unknownText(gid: Gid, reason: string): ErrorText {
  return {
    severity: 'ERROR',
    sqlstate: '08007',
    message: '[multimaster] the outcome of the transaction is unknown',
    detail: `Transaction ${gid}: ${reason.replace('[multimaster] ', '')}.`,
    hint: 'It is committed on all nodes or on none; look whether its effects are there once the cluster is whole again.',
  };
}
