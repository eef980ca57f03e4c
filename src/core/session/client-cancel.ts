/**
 * The client's own cancel request.
 * Rules: it ends what runs now, or nothing. The server is asked only while it works on something of the
 * client's or on the end of its transaction: never in the middle of what the gateway does beside it. Until
 * the server has dealt with the request nothing else of the session begins, so that it cannot hit the next
 * statement. What is prepared is refused by the node, unless it is decided: then the request came too late.
 */
import type { SessionMachine } from './session.ts';

/** True when the server is being asked: `cancelDelivered()` follows. */
export function clientCancel(session: SessionMachine): boolean {
  if (!session.groupIsOpen) return false;
  session.clientCancelled = true;
  if (session.cancelling) return true;
  if (session.awaitsServer) {
    session.cancelDue = true;
    session.cancelIfDue();
    return session.cancelling;
  }
  const gid = session.preparing ? session.block?.gid : undefined;
  if (gid !== undefined) session.ports.giveUp(gid);
  session.resume();
  return false;
}
