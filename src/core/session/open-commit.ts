/**
 * The end of a transaction that PREPARE would refuse (it touched temporary and replicated tables, has a
 * cursor WITH HOLD, exported its snapshot): it stays open while the other members prepare its changes; then
 * its COMMIT decides. Rule: from the header on only the node ends the transaction (`orderOpen`).
 */
import type { Finish } from '../commit/event.ts';
import type { Gid } from '../identity.ts';
import type { Block } from './block.ts';
import { rollBack, settled } from './server-reply.ts';
import type { Reply } from './reply.ts';
import type { SessionMachine } from './session.ts';

type Part<T> = Generator<void, T, void>;

export type OpenEnd =
  /** The answer has come; `failed`: what the server said to COMMIT, if that was no. */
  | { readonly kind: 'answered'; readonly failed: Reply | undefined }
  /** Before it was held open: nothing of it is left anywhere. */
  | { readonly kind: 'refused'; readonly reply: Reply };

/** In place of PREPARE. The gid is used up when it is refused. */
export function* commitLast(session: SessionMachine, block: Block, gid: Gid): Part<OpenEnd> {
  // Deferred triggers run now: what they say is the client's, and COMMIT has little left to do.
  const constraints = session.sendOwn('SET CONSTRAINTS ALL IMMEDIATE', true);
  yield* settled(session, constraints);
  if (constraints.tag !== 'SET CONSTRAINTS' || session.interruption !== undefined)
    return { kind: 'refused', reply: constraints };
  block.preparing = true;
  block.gid = gid;
  const header = session.sendOwn(session.ports.openHeaderSql(gid, block.announced));
  yield* settled(session, header);
  if (header.error !== undefined || header.value === undefined) return { kind: 'refused', reply: header };
  session.ports.heldOpen(gid, header.value);
  return { kind: 'answered', failed: yield* untilAnswered(session, block, gid) };
}

/** What the server said to COMMIT when it refused. Without an order the answer is that nobody knows. */
function* untilAnswered(session: SessionMachine, block: Block, gid: Gid): Part<Reply | undefined> {
  let failed: Reply | undefined;
  for (;;) {
    const { openOrder } = block;
    if (openOrder !== undefined) {
      block.openOrder = undefined;
      failed = yield* obey(session, block, gid, openOrder);
      if (session.ended) return failed;
    }
    if (session.answer?.gid === gid) return failed;
    yield;
  }
}

function* obey(session: SessionMachine, block: Block, gid: Gid, finish: Finish): Part<Reply | undefined> {
  if (finish === 'rollback') {
    yield* rollBack(session);
    if (session.ended) return undefined;
  } else {
    const commit = session.sendOwn('COMMIT');
    yield* settled(session, commit);
    if (commit.tag !== 'COMMIT') {
      block.prepared = true;
      session.ports.openEnded(gid, 'failed');
      return commit;
    }
  }
  // From now on the outcome does not need this connection.
  block.prepared = true;
  session.ports.openEnded(gid, finish);
  return undefined;
}

/** The transaction that the session holds open ends now. */
export function orderOpen(session: SessionMachine, gid: Gid, finish: Finish): void {
  if (session.block?.gid !== gid) return;
  session.block.openOrder = finish;
  session.resume();
}
