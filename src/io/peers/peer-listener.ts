/**
 * The peer port: accepts connections and keeps the number of those that have proved nothing small.
 * Rule: one stranger too many costs another stranger its place (strangers.ts), never a peer.
 */
import type { Server, Socket } from 'node:net';
import { Strangers } from '../wire/strangers.ts';
import type { Identity } from './handshake.ts';
import { IncomingLink, type IncomingLinkEvents } from './incoming-link.ts';
import { linkReason, type LinkReason } from './link-reason.ts';
import type { LinkSettings } from './link-settings.ts';
import { newPeerServer } from './peer-encryption.ts';
import { listenForPeers, portOf } from './peer-server.ts';

export interface PeerListenerEvents extends IncomingLinkEvents {
  /** Before it could say who it is. */
  readonly onRefused: (address: string, reason: LinkReason) => void;
  /** The process is short of something (descriptors); the port stays open. */
  readonly onAcceptFailed: (error: Error) => void;
}

/** Where a listener gets connections from when the port is not its own (peer-port.ts). */
export interface SharedPort {
  /** Connections to the cluster of this name are `connected`'s, paused, until the result is called. */
  serve(clusterName: string, connected: (socket: Socket) => void): () => void;
}

export class PeerListener {
  readonly #identity: Identity;
  readonly #settings: LinkSettings;
  #maxStrangers: number;
  readonly #events: PeerListenerEvents;
  readonly #server: Server;
  readonly #strangers = new Strangers<IncomingLink>();
  readonly #shared: SharedPort | undefined;
  #leaveShared: (() => void) | undefined;
  #closed = false;

  /** With `shared` no port is opened. */
  constructor(
    identity: Identity,
    settings: LinkSettings,
    events: PeerListenerEvents,
    shared: SharedPort | undefined,
  ) {
    this.#identity = identity;
    this.#shared = shared;
    this.#settings = settings;
    this.#maxStrangers = settings.maxStrangers;
    this.#events = {
      ...events,
      onAccepted: (link, accepted) => {
        this.#strangers.delete(link);
        events.onAccepted(link, accepted);
      },
      onStream: (link, accepted, socket) => {
        this.#strangers.delete(link);
        events.onStream(link, accepted, socket);
      },
      onEnded: (link, reason, claimed) => {
        this.#strangers.delete(link);
        events.onEnded(link, reason, claimed);
      },
    };
    const { handshakeTimeoutMs } = settings;
    this.#server = newPeerServer(
      identity,
      { handshakeTimeoutMs, maxStrangers: () => this.#maxStrangers },
      { connected: (socket) => this.#connected(socket), refused: events.onRefused },
    );
  }

  /** The port that is listened on; 0 when none is. */
  get port(): number {
    return portOf(this.#server);
  }

  /** So many peers are expected: all of them may call at the same time. */
  expectPeers(peers: number): void {
    this.#maxStrangers = Math.max(this.#settings.maxStrangers, 2 * peers);
  }

  /** Throws address-in-use, or config-invalid when the address cannot be listened on at all. */
  async listen(host: string, port: number): Promise<void> {
    if (this.#shared !== undefined) {
      this.#leaveShared = this.#shared.serve(this.#identity.clusterName, (socket) => this.#connected(socket));
      return;
    }
    await listenForPeers(this.#server, { host, port }, this.#events.onAcceptFailed);
  }

  /** Closes the port and all strangers; the accepted links are their owner's. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#leaveShared?.();
    for (const link of [...this.#strangers]) link.close(linkReason('stopped', 'this gateway is stopping'));
    if (!this.#server.listening) return;
    await new Promise<void>((resolve, reject) => {
      this.#server.close((error) => (error === undefined ? resolve() : reject(error)));
    });
  }

  #connected(socket: Socket): void {
    // Accepted by the system before the port was closed.
    if (this.#closed) {
      socket.destroy();
      return;
    }
    if (this.#strangers.size >= this.#maxStrangers) {
      const tooMany = linkReason('overflow', 'too many connections that prove nothing');
      this.#strangers.oldestOfCrowd?.close(tooMany);
    }
    const link = new IncomingLink(socket, this.#identity, this.#settings, this.#events);
    this.#strangers.add(link, socket.remoteAddress);
  }
}
