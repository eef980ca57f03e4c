/**
 * A connection on the peer port that carries bytes instead of messages, mutually authenticated by the same
 * handshake. Rule: its owner reads, writes and closes it; nobody here touches it after it was handed over.
 */
import { connect, type Socket } from 'node:net';
import { DialerHandshake, type Accepted, type Identity } from './handshake.ts';
import type { PeerAddress } from './outgoing-link.ts';

export interface PeerStream {
  /** Paused; has no listeners but one that keeps an early error from ending the process. */
  readonly socket: Socket;
  /** What came behind the handshake already. */
  readonly rest: Buffer;
  /** The process at the other end. */
  readonly incarnation: number;
}

/** The socket of a handshake that is over. */
export function ownStream(socket: Socket, { rest, incarnation }: Accepted): PeerStream {
  socket.on('error', () => undefined); // 'close' follows, and that the owner listens for
  return { socket, rest, incarnation };
}

/** Rejects with the reason in one sentence. */
export function dialStream(
  identity: Identity,
  peer: PeerAddress,
  timeoutMs: number,
  purpose: 'stream' | 'life-line' = 'stream',
): Promise<PeerStream> {
  return new Promise((resolve, reject) => {
    const { host, port } = peer;
    const socket = connect({ host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: 10_000 });
    const fail = (reason: string): void => {
      clearTimeout(deadline);
      socket.destroy();
      reject(new Error(reason));
    };
    const where = `${host}:${port}`;
    const deadline = setTimeout(() => fail(`${where} does not answer within ${timeoutMs} ms`), timeoutMs);
    const handshake = new DialerHandshake(identity, peer.id, purpose);
    socket.once('connect', () => socket.write(handshake.hello));
    socket.on('error', (error) => fail(`${where}: ${error.message}`));
    socket.on('close', () => fail(`${where} closed the connection`));
    socket.on('data', (chunk: Buffer) => {
      const { send, result } = handshake.push(chunk);
      if (send !== undefined) socket.write(send);
      if (result === undefined) return;
      if (result.kind === 'failed') return fail(result.reason.text);
      clearTimeout(deadline);
      socket.removeAllListeners();
      socket.pause();
      resolve(ownStream(socket, result));
    });
  });
}
