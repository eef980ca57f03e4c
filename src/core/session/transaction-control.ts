/**
 * BEGIN, COMMIT and ROLLBACK of the client, in either protocol.
 * Rule: COMMIT never reaches the server of a transaction that may have written; the client is told of its
 * end once, and after an error at COMMIT no transaction is left.
 */
import { beginText } from '../statement/session-command.ts';
import { unreadableListen } from '../statement/refusal.ts';
import type { StatementClass } from '../statement/statement-class.ts';
import { status } from '../wire/codes.ts';
import { errorFields, errorResponse, query, withErrorFields } from '../wire/messages.ts';
import type { ErrorText } from '../wire/messages.ts';
import { admission } from './admission.ts';
import { newBlock, noteReply, noteStatement } from './block.ts';
import { endBlock } from './commit-flow.ts';
import { rollBack, settled } from './server-reply.ts';
import { refusalText, translated } from './interruption.ts';
import { listenLater } from './listening.ts';
import { release } from './relay.ts';
import { newReply } from './reply.ts';
import type { Reply } from './reply.ts';
import { tagShown } from './rewrite.ts';
import type { SessionMachine } from './session.ts';
import { blockMayHaveEnded, failStatement, openExplicitBlock, openOwnBlock, refuse } from './unit.ts';

type Part<T> = Generator<void, T, void>;

export const noTransaction = errorResponse({
  severity: 'WARNING',
  sqlstate: '25P01',
  message: 'there is no transaction in progress',
});

/**
 * Sends one Query and relays its replies but for ReadyForQuery; false after an error. In a block of ours the
 * results are still held. `offset`: characters before it in the string that it comes from, because error
 * positions count from there. `tag`: told instead of the server's.
 */
export function* relayStatement(
  session: SessionMachine,
  message: Uint8Array,
  offset: number,
  free = false,
  tag?: string,
): Part<Reply | false> {
  session.toServer(message);
  const reply = session.expect(newReply('client', session.block?.explicit === false));
  reply.tags.push(tag);
  reply.free = free;
  reply.endsLate = true;
  session.holding = reply.hold ? reply : undefined;
  yield* settled(session, reply);
  if (session.block !== undefined) noteReply(session.block, reply);
  if (reply.error === undefined) return reply;
  release(session, reply);
  session.toClient(moved(translated(session, reply.error), offset));
  if (reply.dropped) yield* failStatement(session);
  return false;
}

function moved(error: Uint8Array, offset: number): Uint8Array {
  if (offset === 0) return error;
  const position = errorFields(error, 0, error.length).get('P');
  if (position === undefined) return error;
  return withErrorFields(error, 0, error.length, new Map([['P', String(Number(position) + offset)]]));
}

/** False after an error, which is told. */
export function* runBegin(
  session: SessionMachine,
  kind: Extract<StatementClass, { kind: 'begin' }>,
  message: Uint8Array,
): Part<boolean> {
  const { block } = session;
  if (block === undefined) {
    const begin = query(beginText(kind.tag, kind.modes, session.wish.value));
    if ((yield* relayStatement(session, begin, 0, true)) === false) return false;
    openExplicitBlock(session, kind.modes);
    return true;
  }
  // In a transaction already: the server's own warning is the right answer.
  if (block.explicit) return (yield* relayStatement(session, message, 0, true)) !== false;
  // BEGIN makes the implicit transaction of the string or group an explicit one.
  const { modes } = kind;
  if (modes.isolation ?? modes.readOnly ?? modes.deferrable) {
    const set = session.sendOwn(beginText('BEGIN', modes, false).replace('BEGIN', 'SET TRANSACTION'));
    yield* settled(session, set);
    if (set.error !== undefined) {
      session.toClient(translated(session, set.error));
      return false;
    }
  }
  block.explicit = true;
  session.complete(kind.tag);
  return true;
}

/** False after an error, which is told. */
export function* runCommit(session: SessionMachine, chain: boolean): Part<boolean> {
  const { block, interruption } = session;
  if (block !== undefined && interruption !== undefined) {
    return yield* commitFails(session, refusalText(interruption.refusal));
  }
  if (block === undefined || session.serverStatus === status.failed) {
    // No transaction (a warning) or a failed one (ROLLBACK): the server's own answer is the right one.
    const commit = query(chain ? 'COMMIT AND CHAIN' : 'COMMIT');
    const reply = yield* relayStatement(session, commit, 0, true);
    yield* blockMayHaveEnded(session, reply === false ? undefined : reply);
    return reply !== false;
  }
  const obstacle = yield* admission(session, block.wrote || block.uncertain);
  if (obstacle !== undefined) return yield* commitFails(session, obstacle);
  if (!block.explicit) {
    if (chain) return yield* refuse(session, blocksOnly('COMMIT AND CHAIN'));
    session.toClient(noTransaction);
  }
  const modes = chain ? yield* currentModes(session) : '';
  const end = yield* endBlock(session, block, undefined);
  session.blockEnded(end.kind === 'committed');
  if (end.kind === 'error') {
    if (end.retryable) session.seniority.lost(block, session.ports.clock());
    session.toClient(end.error);
    return false;
  }
  if (chain) {
    yield* settled(session, session.sendOwn(`BEGIN ${modes}`));
    const readOnly = modes.includes('READ ONLY');
    session.block = newBlock(true, session.ports.clock(), block.modes, readOnly);
    session.block.chained = modes;
  }
  session.complete('COMMIT');
  return true;
}

/** The characteristics of the open transaction, which the next one of a chain takes over. */
function* currentModes(session: SessionMachine): Part<string> {
  const asked = session.sendOwn(
    `SELECT 'ISOLATION LEVEL ' || current_setting('transaction_isolation')
      || CASE current_setting('transaction_read_only') WHEN 'on' THEN ' READ ONLY' ELSE ' READ WRITE' END
      || CASE current_setting('transaction_deferrable') WHEN 'on' THEN ' DEFERRABLE' ELSE '' END`,
  );
  yield* settled(session, asked);
  return asked.value ?? 'READ WRITE';
}

/** An error, never a silent ROLLBACK. */
export function* commitFails(session: SessionMachine, error: ErrorText): Part<false> {
  if (session.serverStatus !== status.idle) yield* rollBack(session);
  session.blockEnded(false);
  session.error(error);
  return false;
}

/** False after an error, which is told. */
export function* runRollback(session: SessionMachine, chain: boolean, message: Uint8Array): Part<boolean> {
  if (session.block?.explicit === false) {
    if (chain) return yield* refuse(session, blocksOnly('ROLLBACK AND CHAIN'));
    session.toClient(noTransaction);
    yield* rollBack(session);
    session.blockEnded(false);
    session.complete('ROLLBACK');
    return true;
  }
  const reply = yield* relayStatement(session, message, 0, true);
  yield* blockMayHaveEnded(session, reply === false ? undefined : reply);
  return reply !== false;
}

/** LISTEN or UNLISTEN behind something else in a group, or in a transaction. False after an error. */
export function* runListen(
  session: SessionMachine,
  kind: Extract<StatementClass, { kind: 'listen' }>,
): Part<boolean> {
  const later = listenLater(kind.entry);
  if (later === undefined) return yield* refuse(session, { severity: 'ERROR', ...unreadableListen });
  const block = session.block ?? openOwnBlock(session, session.ports.clock());
  noteStatement(block, kind);
  const reply = session.sendOwn(later);
  yield* settled(session, reply);
  if (reply.error !== undefined) session.toClient(translated(session, reply.error));
  else session.complete(tagShown(kind) ?? '');
  return reply.error === undefined;
}

/** PostgreSQL's error for what makes no sense in the implicit transaction of a string. */
export function blocksOnly(command: string): ErrorText {
  return {
    severity: 'ERROR',
    sqlstate: '25P01',
    message: `${command} can only be used in transaction blocks`,
  };
}

/** The name of a savepoint command in PostgreSQL's errors. */
export function savepointCommand(text: string): string {
  const word = /\b(savepoint|release|rollback)\b/i.exec(text)?.[1]?.toLowerCase();
  if (word === 'release') return 'RELEASE SAVEPOINT';
  return word === 'rollback' ? 'ROLLBACK TO SAVEPOINT' : 'SAVEPOINT';
}
