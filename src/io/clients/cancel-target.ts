/**
 * Cancel requests for the server process of a session.
 * Rule: a request is a hint that may come too early or too late; who needs the end of the statement asks
 * again.
 */
import type { Socket } from 'node:net';
import { sendCancel, type ServerPlace } from '../postgres/server-connection.ts';

export interface CancelTarget extends ServerPlace {
  readonly pid: number;
  readonly key: Uint8Array;
}

/** After some four seconds of repeated requests the connection is given up. */
const longestWaitMs = 2000;

/** As sendCancel: resolves when the server has dealt with the request, or false. Never rejects. */
export function sendCancelTo(target: CancelTarget): Promise<boolean> {
  return sendCancel(target, target.pid, target.key);
}

/**
 * For a connection that was given up in the middle of a statement. A request that overtakes its statement is
 * lost: it is repeated until the server has closed the connection.
 */
export async function cancelUntilGone(server: Socket, target: CancelTarget): Promise<void> {
  server.resume(); // what it still says is dropped
  for (let waitMs = 10; waitMs < longestWaitMs && !server.closed; waitMs *= 2) {
    await sendCancelTo(target);
    await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
  server.destroy();
}
