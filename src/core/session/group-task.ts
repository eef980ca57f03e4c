/**
 * An extended group: the messages up to Sync (or Flush), which are one implicit transaction outside of a block.
 * Rule: what was flushed and what follows it behave as if they had come at once; when the rest needs a block that the flushed part
 * did not have, the server gets a Sync that the client did not send.
 */
import type { StatementClass } from '../statement/statement-class.ts';
import { frontend, status } from '../wire/codes.ts';
import { cstringAt, syncMessage } from '../wire/messages.ts';
import { newBlock, noteStatement, openingSql, runsAsIs } from './block.ts';
import type { Block } from './block.ts';
import { rollBack } from './commit-flow.ts';
import { rebuildGroup, singleQueryItem } from './group.ts';
import { clientTwoPhase, runCommit } from './query-string.ts';
import { newReply } from './reply.ts';
import type { Reply } from './reply.ts';
import type { ClientMessage, SessionMachine, Task } from './session.ts';
import { announce, blockMayHaveEnded, endAttempt, noteReply, refuse } from './unit.ts';
import { refuseUnit, runAutocommit, runPassing, sendReady } from './unit.ts';
import type { Unit } from './unit.ts';

type Part<T> = Generator<void, T, void>;

export function* groupTask(
  session: SessionMachine,
  messages: readonly ClientMessage[],
  complete: boolean,
): Task {
  const isCall = messages[0]?.type === frontend.functionCall;
  const build = isCall ? singleQueryItem(messages[0]!) : rebuildGroup(session, messages);
  const { classes } = build;
  const unit: Unit = { items: build.items, classes, texts: build.texts, complete };
  const { block, openGroup } = session;
  const failed = block !== undefined && session.serverStatus === status.failed;
  const special = classes.find((each) => each.kind === 'refused' || isTwoPhase(each));
  if (special !== undefined && !failed) {
    const error =
      special.kind === 'refused'
        ? { severity: 'ERROR' as const, ...special }
        : clientTwoPhase(gidOf(special));
    return yield* refuseUnit(session, unit, error);
  }
  if (block !== undefined && !block.explicit) return yield* continueBlock(session, block, unit);
  const endsDoomed = session.doomed !== undefined && build.commitAt !== undefined;
  if ((failed && !endsDoomed) || classes.every(runsAsIs)) return yield* runPassing(session, unit);
  const commitAt = build.commitAt;
  if (block === undefined && commitAt === undefined) {
    if (classes[0]!.kind === 'begin') return yield* runPassing(session, unit);
    if (classes.length === 1 && classes[0]!.kind === 'local') return yield* runLocalGroup(session, unit);
    if (classes.length === 1 && isSetting(classes[0]!)) return yield* runPassing(session, unit);
    if (openGroup !== undefined) yield* closeOpenGroup(session, openGroup);
    return yield* runAutocommit(session, unit, 0);
  }
  if (block !== undefined && !failed) announce(session, unit);
  if (commitAt === undefined) return yield* runPassing(session, unit);
  yield* runGroupWithCommit(session, messages, commitAt, complete);
}

function isTwoPhase(each: StatementClass): boolean {
  return each.kind === 'prepare-transaction' || each.kind === 'finish-prepared';
}

function gidOf(each: StatementClass): string {
  return each.kind === 'prepare-transaction' || each.kind === 'finish-prepared' ? each.gid : '';
}

function isSetting(each: StatementClass): boolean {
  return each.kind === 'set-guarded' || each.kind === 'show-guarded' || each.kind === 'set-transaction';
}

/** The flushed part of a group ran read-only; what follows writes, so the server gets a Sync that the client did not send. */
function* closeOpenGroup(session: SessionMachine, open: Reply): Part<void> {
  session.toServer(syncMessage);
  while (!open.done) yield;
}

/** More of a group in a block of our own that was begun by a flushed part. */
function* continueBlock(session: SessionMachine, block: Block, unit: Unit): Task {
  const reply = session.openGroup!;
  for (const each of unit.classes) noteStatement(block, each);
  for (const item of unit.items(false).items) session.toServer(item.bytes);
  if (!unit.complete) return;
  session.openGroup = undefined;
  while (!reply.done || session.cancelling) yield;
  noteReply(block, reply);
  const end = yield* endAttempt(session, block, reply, undefined);
  session.block = undefined;
  // An error of the statement itself has been relayed already, unless it came after the Sync.
  const told = reply.error !== undefined && reply.held.length === 0;
  if (end.kind === 'error' && !told) session.toClient(end.error);
  session.doomedIsOver();
  sendReady(session);
}

function* runLocalGroup(session: SessionMachine, unit: Unit): Task {
  const obstacle = session.ports.obstacle(false);
  if (obstacle !== undefined) return yield* refuseUnit(session, unit, obstacle);
  session.sensorSuspended = true;
  session.sendOwn('SET SESSION default_transaction_read_only = off');
  const { items, prefix } = unit.items(false);
  const reply = session.expect(newReply('client', false, prefix));
  for (const item of items) session.toServer(item.bytes);
  if (!unit.complete) session.toServer(syncMessage);
  const restored = session.sendOwn('SET SESSION default_transaction_read_only = on');
  while (!restored.done) yield;
  session.sensorSuspended = false;
  for (const error of reply.held) session.toClient(error);
  if (unit.complete) sendReady(session);
  else if (reply.error !== undefined) session.skipToSync = true;
}

/** A group in which the client commits: what stands before COMMIT runs first, then the commit, then the rest as a new group. */
function* runGroupWithCommit(
  session: SessionMachine,
  messages: readonly ClientMessage[],
  commitAt: number,
  complete: boolean,
): Task {
  const before = rebuildGroup(session, [
    ...messages.slice(0, commitAt),
    { type: frontend.sync, bytes: syncMessage },
  ]);
  if (session.block === undefined && before.classes[0]?.kind !== 'begin') {
    session.block = newBlock(false, session.ports.clock());
    session.sendOwn(openingSql(session.readOnlyDefault));
  }
  const { items, prefix } = before.items(false);
  const reply = session.openGroup ?? session.expect(newReply('client', false, prefix));
  session.openGroup = undefined;
  for (const item of items) session.toServer(item.bytes);
  while (!reply.done || session.cancelling) yield;
  session.block ??= newBlock(true, session.ports.clock());
  const { block } = session;
  for (const each of before.classes) noteStatement(block, each);
  noteReply(block, reply);
  let ok = reply.error === undefined;
  for (const error of reply.held) session.toClient(session.translated(error));
  if (ok) {
    const obstacle = session.ports.obstacle(true);
    const chain = chainOf(session, messages, commitAt);
    ok =
      (obstacle === undefined ? yield* runCommit(session, chain) : yield* refuse(session, obstacle)) !==
      false;
  } else if (!block.explicit) {
    yield* rollBack(session);
    session.block = undefined;
  }
  if (!ok) {
    blockMayHaveEnded(session);
    if (complete) sendReady(session);
    else session.skipToSync = true;
    return;
  }
  const rest = messages.slice(commitAt + 1);
  if (rest.length > 0) yield* groupTask(session, rest, complete);
}

function chainOf(session: SessionMachine, messages: readonly ClientMessage[], commitAt: number): boolean {
  const { bytes } = messages[commitAt]!;
  const kind = session.registry.portalClass(cstringAt(bytes, 5, bytes.length));
  return kind.kind === 'commit' && kind.chain;
}
