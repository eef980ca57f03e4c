/**
 * CLUSTER outside of a transaction. In what order a node keeps its rows is its own business; by which index a
 * table was clustered last is part of its definition, the same on all nodes.
 *
 * A table: in a transaction as any other, whose header tells the mark. What cannot be part of one (a
 * partitioned table) or may not be prepared (a catalog) runs in the client's session alone. The marks of the
 * partitions are set on all nodes by a transaction before it, and told once more behind it, as they are then.
 * Rule: what is wrong with the command the server says; the transaction before does nothing in that case.
 */
import { quoteLiteral, quoteName } from '../apply/quoting.ts';
import type { ClusterTarget } from '../statement/statement-class.ts';
import { status } from '../wire/codes.ts';
import { errorResponse } from '../wire/messages.ts';
import { admission, cancelled, pause } from './admission.ts';
import { endAttempt, sendPrepare } from './commit-flow.ts';
import type { BlockEnd } from './commit-flow.ts';
import { runLocalUnit } from './local-command.ts';
import { settled } from './server-reply.ts';
import type { SessionMachine, Task } from './session.ts';
import { openOwnBlock, runAutocommit, sendReady } from './unit.ts';
import type { Unit } from './unit.ts';

type Part<T> = Generator<void, T, void>;

/** A simple Query that is nothing else, outside of a transaction. */
export function* runCluster(session: SessionMachine, target: ClusterTarget, unit: Unit): Task {
  // The server says that it is no command for a read-only transaction.
  const way = session.wish.value ? 'together' : yield* wayOf(session, target);
  switch (way) {
    case 'alone':
      return yield* runLocalUnit(session, unit);
    case 'marked':
      if (!(yield* mark(session, target, true))) return sendReady(session);
      return yield* runLocalUnit(session, unit, () => mark(session, target, false));
    default:
      return yield* runAutocommit(session, unit);
  }
}

function* wayOf(session: SessionMachine, target: ClusterTarget): Part<string | undefined> {
  if (session.serverStatus !== status.idle) return undefined;
  const asked = session.sendOwn(`SELECT mtm.cluster_way(${namesOf(target)})`);
  yield* settled(session, asked);
  return asked.value;
}

function namesOf({ relation, index }: ClusterTarget): string {
  return `${quoteLiteral(relation.map(quoteName).join('.'))}, ${quoteLiteral(index)}`;
}

/** `first`: the marks are set; else they are told as they are. False after an error, which is told. */
function* mark(session: SessionMachine, target: ClusterTarget, first: boolean): Part<boolean> {
  const startTime = session.ports.clock();
  session.clientCancelled = false;
  for (let attempt = 1; ; attempt++) {
    const obstacle = yield* admission(session, true);
    if (obstacle !== undefined) return says(session, errorResponse({ ...obstacle }));
    const end = yield* attemptMark(session, target, first, startTime);
    session.blockEnded(end.kind === 'committed');
    if (end.kind === 'committed') return true;
    if (!end.retryable || attempt > session.limits.conflictRetries) return says(session, end.error);
    yield* pause(session, attempt);
    if (session.clientCancelled) return says(session, errorResponse(cancelled));
  }
}

function says(session: SessionMachine, error: Uint8Array): false {
  session.toClient(error);
  return false;
}

function* attemptMark(
  session: SessionMachine,
  target: ClusterTarget,
  first: boolean,
  startTime: number,
): Part<BlockEnd> {
  const block = openOwnBlock(session, startTime);
  const marked = session.sendOwn(`SELECT mtm.mark_partitions(${namesOf(target)}, ${first})`);
  const flight = sendPrepare(session, block);
  yield* settled(session, marked);
  return yield* endAttempt(session, block, marked, flight);
}
