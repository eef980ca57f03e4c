/**
 * May a statement run on this node now? While the members agree on a new generation the answer is "not yet":
 * then the statement waits a moment instead of failing, so that applications hardly notice a failover.
 * Rule: it waits before anything of it was sent; who cancels, or is in the way of an older transaction, does
 * not wait.
 */
import type { ErrorText } from '../wire/messages.ts';
import { refusalText } from './interruption.ts';
import type { SessionMachine } from './session.ts';

export const cancelled: ErrorText = {
  severity: 'ERROR',
  sqlstate: '57014',
  message: 'canceling statement due to user request',
};

/** Why it may not; undefined: it may. `write`: it needs the votes of the members. */
export function* admission(
  session: SessionMachine,
  write: boolean,
): Generator<void, ErrorText | undefined, void> {
  // Whoever is in the middle of something goes on: it may hold locks.
  const begins = session.block === undefined && !session.awaitsServer;
  if (begins && session.ports.paused() && !(yield* untilResumed(session))) return cancelled;
  for (let attempt = 1; ; attempt++) {
    const obstacle = session.ports.obstacle(write);
    if (obstacle?.passing !== true) return obstacle?.text;
    const { interruption } = session;
    if (interruption !== undefined) {
      interruption.told = true;
      return refusalText(interruption.refusal);
    }
    if (attempt === 1) session.clientCancelled = false;
    yield* pause(session, attempt);
    if (session.clientCancelled) return cancelled;
  }
}

/** PAUSE of the admin console: until RESUME. False: the client has cancelled. */
function* untilResumed(session: SessionMachine): Generator<void, boolean, void> {
  const { ports, statistics } = session;
  const since = ports.clock();
  session.clientCancelled = false;
  statistics.waits++;
  statistics.waitsForResume = true;
  while (ports.paused() && !session.clientCancelled) yield;
  statistics.waitsForResume = false;
  statistics.waitedMs += Math.max(0, ports.clock() - since);
  return !session.clientCancelled;
}

/** Until the time for the next attempt has come, or the client gives up. */
export function* pause(session: SessionMachine, attempt: number): Generator<void, void, void> {
  session.retryIsDue = false;
  session.ports.waitBeforeRetry(attempt);
  while (!session.retryIsDue && !session.clientCancelled) yield;
}
