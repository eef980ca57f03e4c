/**
 * The end of a transaction that PREPARE would refuse (it touched temporary and replicated tables, has a cursor
 * WITH HOLD, exported its snapshot): it stays open while the other members prepare its changes and decide, and
 * commits last.
 * Rule: before the header everything that can fail has failed, and is the client's error; from the header on
 * only the node ends the transaction (`finishOpen`).
 */
import { assert } from '../../lib/assert.ts';
import type { Gid } from '../identity.ts';
import { errorResponse } from '../wire/messages.ts';
import type { ErrorText } from '../wire/messages.ts';
import type { Block } from './block.ts';
import { rollBack, settled } from './server-reply.ts';
import type { Reply } from './reply.ts';
import type { SessionMachine } from './session.ts';

type Part<T> = Generator<void, T, void>;

export type OpenEnd =
  /** It ended as it was ordered, and the answer has come; `lost`: it was given up before. */
  | { readonly kind: 'answered'; readonly lost: boolean }
  | { readonly kind: 'refused'; readonly error: Uint8Array }
  /** The server refused: its words, or nothing but the end of the transaction. */
  | { readonly kind: 'failed'; readonly reply: Reply };

/** After `mixed`. The gid is used up when it fails. */
export function* commitLast(session: SessionMachine, block: Block, gid: Gid): Part<OpenEnd> {
  const { ports } = session;
  if (!ports.mayCommitLast()) return { kind: 'refused', error: errorResponse(tooFew) };
  // Deferred triggers run now: their errors are the client's, and its COMMIT has nothing left to do.
  const constraints = session.sendOwn('SET CONSTRAINTS ALL IMMEDIATE');
  yield* settled(session, constraints);
  if (constraints.tag !== 'SET CONSTRAINTS') return { kind: 'failed', reply: constraints };
  if (session.interruption !== undefined) return { kind: 'failed', reply: constraints };
  block.preparing = true;
  block.gid = gid;
  const header = session.sendOwn(ports.openHeaderSql(gid, block.announced));
  yield* settled(session, header);
  if (header.error !== undefined || header.value === undefined) return { kind: 'failed', reply: header };
  ports.heldOpen(gid, header.value);
  return yield* untilAnswered(session, block, gid);
}

function* untilAnswered(session: SessionMachine, block: Block, gid: Gid): Part<OpenEnd> {
  for (;;) {
    const order = session.openOrder;
    if (order?.gid === gid) {
      session.openOrder = undefined;
      const text = order.finish === 'commit' ? 'COMMIT' : 'ROLLBACK';
      if (text === 'ROLLBACK') yield* rollBack(session);
      else {
        const reply = session.sendOwn(text);
        yield* settled(session, reply);
        if (reply.tag !== text) {
          // It is decided: the node looks what became of it, and falls behind if it is lost.
          session.fatal('57P01', '[multimaster] the commit failed on this node, and the node catches up');
          return { kind: 'answered', lost: true };
        }
      }
      if (session.ended) return { kind: 'answered', lost: true };
      block.prepared = true;
      session.ports.openEnded(gid, order.finish);
    }
    if (session.answer?.gid === gid) break;
    yield;
  }
  if (block.prepared) return { kind: 'answered', lost: false };
  // Nobody can say how it ends, and the client does not wait for it: with the session the transaction goes.
  assert(session.answer?.answer.kind === 'unknown', `gid ${gid} is answered when it has ended here`);
  return { kind: 'answered', lost: true };
}

const tooFew: ErrorText = {
  severity: 'ERROR',
  sqlstate: '0A000',
  message:
    '[multimaster] a transaction that has written to temporary and to replicated tables cannot be committed now',
  detail: 'Without this node the others are too few to decide about it.',
  hint:
    'It needs at least three nodes, all but a minority of them online; otherwise write to temporary tables ' +
    'in a transaction of their own.',
};
