/**
 * A connection on the peer port that carries bytes instead of messages, mutually authenticated by the same
 * handshake. Rule: its owner reads, writes and closes it; nobody here touches it after it was handed over.
 */
import type { Socket } from 'node:net';
import type { NodeId } from '../../core/identity.ts';
import { protocolVersions } from '../../core/peer/frame.ts';
import { DialerHandshake, type Accepted, type Identity, type Target } from './handshake.ts';
import { anyNode, type ConnectionPurpose } from './handshake-message.ts';
import { handshakeError } from './link-reason.ts';
import { dialPeer, type PeerTlsMode } from './peer-encryption.ts';

export interface PeerStream {
  /** Paused; has no listeners but one that keeps an early error from ending the process. */
  readonly socket: Socket;
  /** What came behind the handshake already. */
  readonly rest: Buffer;
  /** The process at the other end. */
  readonly incarnation: number;
}

/** Of the whole server of a member, for a command that is going to make a node of it. */
export interface CopyStream extends PeerStream {
  /** The member that gives the copy. */
  readonly node: NodeId;
  readonly since: number;
}

/** Whose copy a command wants: nobody's in particular when it does not say. */
export interface CopySource {
  readonly host: string;
  readonly port: number;
  readonly id?: NodeId;
  readonly since?: number;
}

/** The node that the copy is for; it has been added to the cluster before. */
export interface CopyCaller {
  readonly clusterName: string;
  readonly secret: string;
  readonly nodeId: NodeId;
  /** The generation that added it; left out (or 0) when it is not known before there is a copy. */
  readonly since?: number;
  /** As the member's `peer_tls`. */
  readonly tls: PeerTlsMode;
}

/** The socket of a handshake that is over. */
export function ownStream(socket: Socket, { rest, incarnation }: Accepted): PeerStream {
  socket.on('error', () => undefined); // 'close' follows, and that the owner listens for
  return { socket, rest, incarnation };
}

/** Rejects with the reason in one sentence. */
export async function dialStream(
  identity: Identity,
  peer: StreamTarget,
  timeoutMs: number,
  purpose: 'stream' | 'life-line' = 'stream',
): Promise<PeerStream> {
  const { stream } = await dialSocket(identity, peer, timeoutMs, purpose);
  return stream;
}

/**
 * Asks a member for a copy of its server, which tells nothing about a process of the node that it is for.
 * Rejects with the reason in one sentence.
 */
export async function dialCopy(
  caller: CopyCaller,
  source: CopySource,
  timeoutMs: number,
): Promise<CopyStream> {
  const { since = 0 } = caller;
  const identity = { ...caller, since, incarnation: 0, versions: protocolVersions };
  const { host, port } = source;
  const target = { host, port, id: source.id ?? anyNode, since: source.since };
  const { stream, accepted } = await dialSocket(identity, target, timeoutMs, 'copy');
  return { ...stream, node: accepted.peer, since: accepted.since };
}

interface StreamTarget extends Target {
  readonly host: string;
  readonly port: number;
}

function dialSocket(
  identity: Identity,
  peer: StreamTarget,
  timeoutMs: number,
  purpose: ConnectionPurpose,
): Promise<{ stream: PeerStream; accepted: Accepted }> {
  return new Promise((resolve, reject) => {
    const { host, port } = peer;
    const socket = dialPeer(identity, host, port);
    const fail = (reason: string): void => {
      clearTimeout(deadline);
      reject(new Error(reason)); // first: a socket may say at once that it is closed
      socket.destroy();
    };
    const where = `${host}:${port}`;
    const deadline = setTimeout(() => fail(`${where} does not answer within ${timeoutMs} ms`), timeoutMs);
    const handshake = new DialerHandshake(identity, peer, purpose);
    socket.write(handshake.hello);
    socket.on('error', (error) =>
      fail(handshakeError(error, identity.nodeId, peer.id, where)?.text ?? `${where}: ${error.message}`),
    );
    socket.on('close', () => fail(`${where} closed the connection`));
    socket.on('data', (chunk: Buffer) => {
      const { send, result } = handshake.push(chunk);
      if (send !== undefined) socket.write(send);
      if (result === undefined) return;
      if (result.kind === 'failed') return fail(result.reason.text);
      clearTimeout(deadline);
      socket.removeAllListeners();
      socket.pause();
      resolve({ stream: ownStream(socket, result), accepted: result });
    });
  });
}
