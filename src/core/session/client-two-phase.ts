/**
 * The client's own two-phase commit: PREPARE TRANSACTION, COMMIT PREPARED and ROLLBACK PREPARED.
 *
 * PREPARE TRANSACTION 'x': header and the client's own statement at home → the slot has shown all of it → a
 * supervised transaction brings it as rows to all members, which prepare 'x' before they vote → it commits →
 * the client is told. When that transaction comes to nothing, 'x' is rolled back before the client hears of
 * it. The other two are a supervised transaction that writes the decision.
 * Rule: from the first PREPARE on nothing interrupts this, and whatever happens one of two things is true in
 * the end: 'x' is prepared on all nodes, or on none.
 */
import { undecodable } from '../commit/refusal.ts';
import type { StatementClass } from '../statement/statement-class.ts';
import { status } from '../wire/codes.ts';
import { errorResponse } from '../wire/messages.ts';
import type { ErrorText } from '../wire/messages.ts';
import { admission, cancelled, pause } from './admission.ts';
import { newBlock } from './block.ts';
import type { Block } from './block.ts';
import { afterPrepare, endAttempt, failed, generationEnded } from './commit-flow.ts';
import { rolledBack, sendPrepare } from './commit-flow.ts';
import { rollBack, settled } from './server-reply.ts';
import type { BlockEnd } from './commit-flow.ts';
import { refusalText, translated } from './interruption.ts';
import { ownReply } from './reply.ts';
import type { Reply } from './reply.ts';
import type { SessionMachine } from './session.ts';
import { commitFails, noTransaction, relayStatement } from './transaction-control.ts';
import { blockMayHaveEnded, refuse } from './unit.ts';

type Part<T> = Generator<void, T, void>;
type FinishPrepared = Extract<StatementClass, { kind: 'finish-prepared' }>;

/** What the session prepares for its client just now. */
export interface PreparedBranch {
  readonly id: string;
  /**
   * `captured`: the slot has shown it; `too-big`: more than is kept; `undecodable`: it never will. `gone`:
   * nothing of it is left here.
   */
  state: 'preparing' | 'captured' | 'too-big' | 'undecodable' | 'gone';
}

const beginWrite = 'BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE';

const tooBig: ErrorText = {
  severity: 'ERROR',
  sqlstate: '54000',
  message: '[multimaster] the transaction is too big for PREPARE TRANSACTION',
  detail: 'Every node keeps the changes of a prepared transaction until it is finished: 32 MB at most.',
  hint: 'COMMIT it, which is atomic on all nodes, or divide it.',
};

/** `message`: the statement as a Query. False after an error, which is told. */
export function* runPrepareTransaction(session: SessionMachine, message: Uint8Array): Part<boolean> {
  const { block, interruption } = session;
  if (block === undefined) {
    // There is nothing to prepare, and the server would perhaps prepare that.
    session.toClient(noTransaction);
    session.complete('ROLLBACK');
    return true;
  }
  if (interruption !== undefined) return yield* commitFails(session, refusalText(interruption.refusal));
  if (session.serverStatus === status.failed) {
    const reply = yield* relayStatement(session, message, 0, true);
    yield* blockMayHaveEnded(session, reply === false ? undefined : reply);
    return reply !== false;
  }
  const obstacle = yield* admission(session, true);
  if (obstacle !== undefined) return yield* commitFails(session, obstacle);
  if (!block.explicit) session.toClient(noTransaction);
  const end = yield* prepareEverywhere(session, block, message);
  session.branch = undefined;
  session.blockEnded(end.kind === 'committed');
  if (end.kind === 'error') session.toClient(end.error);
  else session.complete('PREPARE TRANSACTION');
  return end.kind !== 'error';
}

function* prepareEverywhere(session: SessionMachine, block: Block, message: Uint8Array): Part<BlockEnd> {
  while (session.cancelling) yield;
  if (session.interruption !== undefined) {
    const error = errorResponse(refusalText(session.interruption.refusal));
    yield* rollBack(session);
    return { kind: 'error', error, retryable: false };
  }
  const begun = session.ports.newBranch(block.announced);
  if (begun === undefined) return yield* generationEnded(session);
  const branch: PreparedBranch = { id: begun.id, state: 'preparing' };
  session.branch = branch;
  block.preparing = true;
  const header = session.sendOwn(begun.headerSql);
  const prepare = sendAsOwn(session, message);
  yield* settled(session, header);
  yield* settled(session, prepare);
  if (prepare.tag !== 'PREPARE TRANSACTION') {
    if (session.serverStatus !== status.idle) yield* rollBack(session);
    yield* endBranch(session, branch);
    const error = translated(session, header.error ?? prepare.error ?? rolledBack);
    return { kind: 'error', error, retryable: false };
  }
  while (branch.state === 'preparing') yield;
  const end =
    branch.state === 'captured'
      ? yield* commitRows(session, block, branch)
      : unfit(branch.state === 'too-big');
  // What was prepared is rolled back with its rows, when those are.
  if (end.kind === 'error' && !block.prepared) yield* endBranch(session, branch);
  return end;
}

function unfit(isTooBig: boolean): BlockEnd {
  return {
    kind: 'error',
    error: errorResponse(isTooBig ? tooBig : refusalText(undecodable)),
    retryable: false,
  };
}

/** The client's statement, whose reply the gateway takes. */
function sendAsOwn(session: SessionMachine, bytes: Uint8Array): Reply {
  session.registry.simpleQuerySent(false);
  session.toServer(bytes);
  return session.expect(ownReply(true));
}

/** The supervised transaction that brings the rows: when it commits, 'x' is prepared on all members. */
function* commitRows(session: SessionMachine, block: Block, branch: PreparedBranch): Part<BlockEnd> {
  const gid = session.ports.newTransaction(block.startTime);
  if (gid === undefined) return yield* generationEnded(session);
  block.gid = gid;
  session.sendOwn(beginWrite);
  const rows = sendAsOwn(session, session.ports.branchRows(branch.id, gid));
  const header = session.ports.headerSql(gid, false, false);
  const prepare = session.sendOwn(`${header}; PREPARE TRANSACTION '${gid}'`, true);
  yield* settled(session, rows);
  yield* settled(session, prepare);
  if (rows.error === undefined) return yield* afterPrepare(session, block, gid, prepare.value, prepare);
  failed(session, block, gid);
  if (session.serverStatus !== status.idle) yield* rollBack(session);
  const { withdrawn } = block;
  const error = withdrawn === undefined ? rows.error : errorResponse(refusalText(withdrawn));
  return { kind: 'error', error, retryable: false };
}

/** Nothing of it is left on this node afterwards. */
function* endBranch(session: SessionMachine, branch: PreparedBranch): Part<void> {
  session.ports.endBranch(branch.id);
  while (branch.state !== 'gone') yield;
}

/** `alone`: nothing ran before it in its string or group. False after an error, which is told. */
export function* runFinishPrepared(
  session: SessionMachine,
  kind: FinishPrepared,
  alone: boolean,
): Part<boolean> {
  const tag = kind.commit ? 'COMMIT PREPARED' : 'ROLLBACK PREPARED';
  if (session.block !== undefined || !alone) {
    const message = `${tag} cannot run inside a transaction block`;
    return yield* refuse(session, { severity: 'ERROR', sqlstate: '25001', message });
  }
  const startTime = session.ports.clock();
  session.clientCancelled = false;
  for (let attempt = 1; ; attempt++) {
    const obstacle = yield* admission(session, true);
    if (obstacle !== undefined) return yield* refuse(session, obstacle);
    const end = yield* decide(session, kind, startTime);
    session.blockEnded(end.kind === 'committed');
    if (end.kind === 'committed') {
      session.complete(tag);
      return true;
    }
    if (!end.retryable || attempt > session.limits.conflictRetries) {
      session.toClient(end.error);
      return false;
    }
    yield* pause(session, attempt);
    if (session.clientCancelled) return yield* refuse(session, cancelled);
  }
}

function* decide(session: SessionMachine, kind: FinishPrepared, startTime: number): Part<BlockEnd> {
  const block = newBlock(false, startTime, undefined, undefined);
  session.block = block;
  session.sendOwn(beginWrite);
  const decision = session.sendOwn(session.ports.decisionSql(kind.gid, kind.commit), true);
  const flight = sendPrepare(session, block);
  yield* settled(session, decision);
  return yield* endAttempt(session, block, decision, flight);
}
