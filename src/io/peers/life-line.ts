/**
 * The connection that tells when the process of a peer has ended. Nobody says a word on it after the
 * handshake, so nothing is ever unread when a process is killed, and its system closes the connection in good
 * order. (A link with unread bytes is reset instead, and so can any firewall do.)
 *
 *   no target   nothing is known of the peer. Ends: `watch`, called whenever the link to the peer is up.
 *   dialling    a connection is being opened. Ends: watching, or a pause.
 *   watching    until the connection ends. In good order: the process has ended; else a pause.
 *   paused      a timer runs. Ends: dialling while the link to the peer is up, else no target.
 *
 * Rule: the one end that counts is the good one, which a living gateway never makes (`LifeLines`).
 */
import type { Socket } from 'node:net';
import type { NodeId } from '../../core/identity.ts';
import { dialStream, type PeerStream } from './peer-stream.ts';
import type { Identity } from './handshake.ts';
import type { PeerAddress } from './outgoing-link.ts';

/** Between two attempts, ms. */
const pauseMs = 500;

export interface LifeLineOptions {
  readonly identity: Identity;
  readonly peer: PeerAddress;
  readonly timeoutMs: number;
  /** The peer can be reached now. */
  readonly wanted: () => boolean;
  readonly onPeerStopped: (incarnation: number) => void;
}

/** At the node that wants to know. */
export class LifeLine {
  readonly #options: LifeLineOptions;
  #peer: PeerAddress;
  /** The process to be watched; 0 for none. */
  #target = 0;
  #watched: PeerStream | undefined;
  #dialling = false;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(options: LifeLineOptions) {
    this.#options = options;
    this.#peer = options.peer;
  }

  get watching(): boolean {
    return this.#watched !== undefined;
  }

  /** From the next attempt on. What is watched is the process, wherever it can be reached. */
  moveTo(peer: PeerAddress): void {
    this.#peer = peer;
  }

  /** The peer was reached, and is this process. */
  watch(incarnation: number): void {
    this.#target = Math.max(this.#target, incarnation);
    if (this.#watched !== undefined && this.#watched.incarnation < this.#target) this.#drop();
    this.#dial();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#drop();
  }

  #drop(): void {
    this.#watched?.socket.destroy();
    this.#watched = undefined;
  }

  #dial(): void {
    if (this.#stopped || this.#dialling || this.#watched !== undefined) return;
    clearTimeout(this.#timer);
    this.#dialling = true;
    const { identity, timeoutMs } = this.#options;
    void dialStream(identity, this.#peer, timeoutMs, 'life-line').then(
      (stream) => {
        this.#dialling = false;
        this.#opened(stream);
      },
      () => {
        // Why the peer cannot be reached is told by the link to it.
        this.#dialling = false;
        this.#pause();
      },
    );
  }

  #opened(stream: PeerStream): void {
    const { socket, incarnation } = stream;
    if (this.#stopped || incarnation < this.#target) {
      socket.destroy();
      return this.#pause();
    }
    this.#watched = stream;
    socket.on('end', () => {
      if (this.#watched === stream) this.#options.onPeerStopped(incarnation);
    });
    socket.on('close', () => {
      if (this.#watched !== stream) return;
      this.#watched = undefined;
      this.#pause();
    });
    socket.resume();
  }

  #pause(): void {
    if (this.#stopped) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (this.#options.wanted()) this.#dial();
    }, pauseMs);
  }
}

/** At the node that is watched: what the peers have opened. */
export class LifeLines {
  readonly #sockets = new Map<NodeId, Socket>();

  /** Takes the place of what the peer had opened before, which it has given up. */
  keep(peer: NodeId, socket: Socket): void {
    this.#sockets.get(peer)?.resetAndDestroy();
    this.#sockets.set(peer, socket);
    socket.setKeepAlive(true, 10_000);
    socket.on('error', () => undefined); // 'close' follows
    socket.on('close', () => {
      if (this.#sockets.get(peer) === socket) this.#sockets.delete(peer);
    });
    socket.resume();
  }

  /** The peer is none any more. Reset: this process goes on, and its peers never see a good end. */
  forget(peer: NodeId): void {
    this.#sockets.get(peer)?.resetAndDestroy();
    this.#sockets.delete(peer);
  }

  /** This gateway serves nobody any more. */
  close(): void {
    for (const socket of this.#sockets.values()) socket.destroy();
    this.#sockets.clear();
  }
}
