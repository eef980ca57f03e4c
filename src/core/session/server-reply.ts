/**
 * Waiting for what the server answers to the gateway's own statements.
 */
import { status } from '../wire/codes.ts';
import type { Reply } from './reply.ts';
import type { SessionMachine } from './session.ts';

type Part<T> = Generator<void, T, void>;

/**
 * Until the reply is whole and no cancel request is on its way, which could hit the next statement instead.
 */
export function* settled(session: SessionMachine, reply: Reply): Part<void> {
  while (!reply.done || session.cancelling) yield;
}

/**
 * The server's transaction ends without a trace. A cancel request of the client may hit the ROLLBACK itself.
 */
export function* rollBack(session: SessionMachine): Part<void> {
  for (let attempt = 0; attempt < 3; attempt++) {
    while (session.cancelling) yield;
    const reply = session.sendOwn('ROLLBACK');
    yield* settled(session, reply);
    if (reply.status === status.idle) return;
  }
  session.fatal('XX000', '[multimaster] the transaction could not be rolled back');
}
