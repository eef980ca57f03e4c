/**
 * One peer port for several clusters: the gateway of several databases takes part in one for each. A hello
 * names its cluster; until it is there nothing is answered, then the connection is that cluster's, as if
 * nobody had read of it.
 * Rule: a stranger costs what a hello has, and its place when too many come.
 */
import type { Server, Socket } from 'node:net';
import { Strangers } from '../wire/strangers.ts';
import { decodeHello, hasMagic, helloBytes } from './handshake-message.ts';
import { defaultLinkSettings } from './link-settings.ts';
import type { LinkReason } from './link-reason.ts';
import { newPeerServer, type PeerSecurity } from './peer-encryption.ts';
import type { SharedPort } from './peer-listener.ts';
import { listenForPeers, portOf } from './peer-server.ts';

const { handshakeTimeoutMs, maxStrangers } = defaultLinkSettings;

export interface PeerPortEvents {
  /** Before it could say who it is. */
  readonly onRefused: (address: string, reason: LinkReason) => void;
  /** The process is short of something (descriptors); the port stays open. */
  readonly onAcceptFailed: (error: Error) => void;
}

export class PeerPort implements SharedPort {
  readonly #names: readonly string[];
  readonly #server: Server;
  readonly #events: PeerPortEvents;
  readonly #clusters = new Map<string, (socket: Socket) => void>();
  readonly #strangers = new Strangers<Socket>();

  /** `names`: of all clusters that will ever be served. */
  constructor(names: readonly string[], security: PeerSecurity, events: PeerPortEvents) {
    this.#names = names;
    this.#server = newPeerServer(
      security,
      { handshakeTimeoutMs, maxStrangers: () => maxStrangers },
      { connected: (socket) => this.#connected(socket), refused: events.onRefused },
    );
    this.#events = events;
  }

  /** The port that is listened on; 0 when none is. */
  get port(): number {
    return portOf(this.#server);
  }

  /** Rejects with address-in-use, or config-invalid when the address cannot be listened on at all. */
  async listen(host: string, port: number): Promise<void> {
    await listenForPeers(this.#server, { host, port }, this.#events.onAcceptFailed);
  }

  serve(clusterName: string, connected: (socket: Socket) => void): () => void {
    this.#clusters.set(clusterName, connected);
    return () => {
      if (this.#clusters.get(clusterName) === connected) this.#clusters.delete(clusterName);
    };
  }

  /** Closes the port and all strangers; connections that were given away are their owners'. */
  close(): void {
    this.#server.close();
    for (const socket of this.#strangers) socket.destroy();
  }

  #connected(socket: Socket): void {
    if (this.#strangers.size >= maxStrangers) this.#strangers.oldestOfCrowd?.destroy();
    this.#strangers.add(socket, socket.remoteAddress);
    let received = Buffer.alloc(0);
    const deadline = setTimeout(() => socket.destroy(), handshakeTimeoutMs);
    const broken = (): void => void socket.destroy();
    const ended = (): void => {
      clearTimeout(deadline);
      this.#strangers.delete(socket);
    };
    const read = (chunk: Buffer): void => {
      received = Buffer.concat([received, chunk]);
      if (!hasMagic(received)) return broken();
      if (received.length < helloBytes) return;
      const connected = this.#clusterOf(received);
      if (connected === undefined) return broken();
      ended();
      socket.off('error', broken).off('close', ended).off('data', read).pause();
      socket.unshift(received);
      connected(socket);
      socket.resume();
    };
    socket.on('error', broken).on('close', ended).on('data', read);
  }

  /** Undefined while that cluster's links are not there. Another name is for the first one to refuse. */
  #clusterOf(received: Buffer): ((socket: Socket) => void) | undefined {
    const name = decodeHello(received.subarray(0, helloBytes))?.clusterName ?? '';
    return this.#clusters.get(this.#names.includes(name) ? name : (this.#names[0] ?? ''));
  }
}
