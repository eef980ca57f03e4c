/** How a stream ends behind a frame that must arrive. */
import type { Socket } from 'node:net';

/** A receiver writes to its disk before it reads on. */
const lingerMs = 30_000;

/**
 * Ends `socket` behind what was written to it, and waits until the other side has closed it, at most 30 s and
 * not beyond `stopped`. What comes meanwhile is dropped: a socket that is closed over unread bytes resets the
 * connection, and the last frames are lost with it (RFC 1122, 4.2.2.13).
 */
export function endBehindLastFrame(socket: Socket, stopped: AbortSignal): void {
  if (stopped.aborted) return socket.destroySoon();
  const destroy = (): void => void socket.destroy();
  const timer = setTimeout(destroy, lingerMs);
  stopped.addEventListener('abort', destroy);
  socket.once('close', () => {
    clearTimeout(timer);
    stopped.removeEventListener('abort', destroy);
  });
  socket.end();
  socket.resume();
}
