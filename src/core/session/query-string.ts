/**
 * A string in which transaction control or other special commands stand: it runs statement by statement.
 * Rule: what stands outside of BEGIN … COMMIT is one implicit transaction; after an error nothing more of
 * the string runs.
 */
import type { StatementClass } from '../statement/statement-class.ts';
import { query } from '../wire/messages.ts';
import { admission } from './admission.ts';
import { needsMembers, noteStatement } from './block.ts';
import { runFinishPrepared, runPrepareTransaction } from './client-two-phase.ts';
import { endAttempt } from './commit-flow.ts';
import { noteSettings } from './noted-settings.ts';
import { listenLater } from './listening.ts';
import { release } from './relay.ts';
import { newReply } from './reply.ts';
import type { Reply } from './reply.ts';
import { rewritten, tagShown } from './rewrite.ts';
import type { SessionMachine, Task } from './session.ts';
import { changedMeanwhile, readAsBefore } from './text-reading.ts';
import {
  blocksOnly,
  relayStatement,
  runBegin,
  runCommit,
  runRollback,
  savepointCommand,
} from './transaction-control.ts';
import { account, announce, openOwnBlock, refuse, sendReady, tellEnd } from './unit.ts';
import { status } from '../wire/codes.ts';

type Part<T> = Generator<void, T, void>;

export interface StringStatement {
  readonly class: StatementClass;
  /** As a Query of its own. */
  readonly message: Uint8Array;
  readonly text: string;
  /** Characters of the string before this statement. */
  readonly offset: number;
}

export function* runString(session: SessionMachine, statements: readonly StringStatement[]): Task {
  let tail: Reply | undefined;
  session.client.gathers = statements.length > 1;
  // The whole string was read with these.
  const read: Settings = { standard: session.standardStrings, encoding: session.clientEncoding };
  for (const statement of statements) {
    if (tail !== undefined) release(session, tail);
    const result = yield* runStatement(session, statement, read, statements.length === 1);
    tail = typeof result === 'boolean' ? undefined : result;
    if (result !== false) continue;
    tail = failedReply;
    break;
  }
  const { block } = session;
  if (block !== undefined && !block.explicit) {
    // What stood before a BEGIN, or after the last COMMIT, was one implicit transaction.
    const reply = tail ?? newReply('client', true);
    const end = yield* endAttempt(session, block, reply, undefined);
    session.blockEnded(end.kind === 'committed');
    if (reply !== failedReply) tellEnd(session, reply, end);
  } else if (tail !== undefined && tail !== failedReply) {
    release(session, tail);
  }
  session.holding = undefined;
  session.client.gathers = false;
  sendReady(session);
}

/** Stands for a statement whose error was told. */
const failedReply: Reply = { ...newReply('client', true), error: new Uint8Array(0), errorTold: true };

interface Settings {
  readonly standard: boolean;
  readonly encoding: string;
}

/** Its reply, with results that may still be held; true when there is none; false after an error. */
function* runStatement(
  session: SessionMachine,
  statement: StringStatement,
  { standard, encoding }: Settings,
  alone: boolean,
): Part<Reply | boolean> {
  const { class: kind, text } = statement;
  const ends = kind.kind === 'commit' || kind.kind === 'rollback';
  const obstacle = ends ? undefined : yield* admission(session, needsMembers(kind));
  if (obstacle !== undefined) return yield* refuse(session, obstacle);
  const failed = session.block !== undefined && session.serverStatus === status.failed;
  const message = readAsBefore(session, statement.message, standard, encoding);
  if (message === undefined) return yield* refuse(session, { severity: 'ERROR', ...changedMeanwhile });
  switch (kind.kind) {
    case 'empty':
      return true;
    case 'begin':
      if (!failed) return yield* runBegin(session, kind, message);
      break;
    case 'commit':
      return yield* runCommit(session, kind.chain);
    case 'rollback':
      return yield* runRollback(session, kind.chain, message);
    case 'refused':
      if (!failed) return yield* refuse(session, { severity: 'ERROR', ...kind });
      break;
    case 'prepare-transaction':
      return yield* runPrepareTransaction(session, message);
    case 'finish-prepared':
      if (!failed) return yield* runFinishPrepared(session, kind, alone);
      break;
    case 'savepoint':
      if (session.block?.explicit !== true) return yield* refuse(session, blocksOnly(savepointCommand(text)));
      break;
    default:
      break;
  }
  const block = session.block ?? openOwnBlock(session, session.ports.clock());
  account(session, [kind], [text]);
  noteStatement(block, kind);
  if (!failed) announce(session, [kind], [text]);
  const later = kind.kind === 'listen' ? listenLater(kind.entry) : undefined;
  const other = later ?? rewritten(session.wish, kind, true);
  const bytes = other === undefined || failed ? message : query(other);
  const offset = other === undefined ? statement.offset : 0;
  const reply = yield* relayStatement(session, bytes, offset, false, failed ? undefined : tagShown(kind));
  if (reply !== false) noteSettings(session, [kind], [text]);
  return reply;
}
