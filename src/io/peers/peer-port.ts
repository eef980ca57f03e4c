/**
 * One peer port for several clusters: the gateway of several databases takes part in one for each. A hello
 * names its cluster; until it is there nothing is answered, then the connection is that cluster's, as if
 * nobody had read of it.
 * Rule: a stranger costs what a hello has, and its place when too many come.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { decodeHello, hasMagic, helloBytes } from './handshake-message.ts';
import { defaultLinkSettings } from './link-settings.ts';
import type { SharedPort } from './peer-listener.ts';
import { listenForPeers, portOf } from './peer-server.ts';

const { handshakeTimeoutMs, maxStrangers } = defaultLinkSettings;

export class PeerPort implements SharedPort {
  readonly #names: readonly string[];
  readonly #server: Server;
  readonly #onAcceptFailed: (error: Error) => void;
  readonly #clusters = new Map<string, (socket: Socket) => void>();
  /** In the order in which they came. */
  readonly #strangers = new Set<Socket>();

  /**
   * `names`: of all clusters that will ever be served. `onAcceptFailed`: the process is short of something
   * (descriptors); the port stays open.
   */
  constructor(names: readonly string[], onAcceptFailed: (error: Error) => void) {
    this.#names = names;
    this.#server = createServer((socket) => this.#connected(socket));
    this.#onAcceptFailed = onAcceptFailed;
  }

  /** The port that is listened on; 0 when none is. */
  get port(): number {
    return portOf(this.#server);
  }

  /** Rejects with address-in-use, or config-invalid when the address cannot be listened on at all. */
  async listen(host: string, port: number): Promise<void> {
    await listenForPeers(this.#server, { host, port }, this.#onAcceptFailed);
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
    if (this.#strangers.size >= maxStrangers) {
      const [oldest] = this.#strangers;
      oldest?.destroy();
    }
    this.#strangers.add(socket);
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
