/**
 * One connection on the peer port: first a stranger that has to prove itself before a deadline, then the link
 * over which everything comes that one peer says.
 * Rule: until the proof nothing is parsed but the handshake's fixed bytes; after `close` nothing more is
 * handed on, so messages of an old link never come after those of the one that replaced it.
 */
import type { Socket } from 'node:net';
import type { NodeId } from '../../core/identity.ts';
import type { PeerMessage } from '../../core/peer/message.ts';
import { MessageReader } from '../../core/peer/message-reader.ts';
import { assert } from '../../lib/assert.ts';
import { readDirectly } from '../wire/direct-reading.ts';
import { writeDirectly } from '../wire/direct-writing.ts';
import { ListenerHandshake, type Accepted, type Admission, type Failed, type Identity } from './handshake.ts';
import { linkReason, type LinkReason } from './link-reason.ts';
import { acknowledgeDelayMs, acknowledgement, type LinkSettings } from './link-settings.ts';

export interface IncomingLinkEvents {
  readonly admit: Admission;
  /** The peer has proved itself. */
  readonly onAccepted: (link: IncomingLink, accepted: Accepted) => void;
  readonly onMessage: (from: NodeId, message: PeerMessage) => void;
  /**
   * It has proved itself for something else: the socket, paused, is the owner's, and this object is through.
   */
  readonly onStream: (link: IncomingLink, accepted: Accepted, socket: Socket) => void;
  /** The system at the other end has closed the link in good order: the process there has ended. */
  readonly onPeerStopped: (link: IncomingLink) => void;
  /** At most once, at the end; `claimed` as in the handshake's result. */
  readonly onEnded: (link: IncomingLink, reason: LinkReason, claimed: NodeId | undefined) => void;
}

/** A rejected caller gets the verdict and this long to read it. */
const rejectedLingerMs = 200;
const acknowledgementBytes = Buffer.of(acknowledgement);

export class IncomingLink {
  /** For the log. */
  readonly address: string;
  #socket: Socket;
  readonly #events: IncomingLinkEvents;
  readonly #handshake: ListenerHandshake;
  readonly #deadline: NodeJS.Timeout;
  readonly #reader = new MessageReader();
  #peer: { readonly node: NodeId; readonly incarnation: number } | undefined;
  #acknowledgeTimer: NodeJS.Timeout | undefined;
  #ended = false;
  receivedBytes = 0;

  constructor(socket: Socket, identity: Identity, settings: LinkSettings, events: IncomingLinkEvents) {
    this.#socket = socket;
    this.#events = events;
    this.address = `${socket.remoteAddress ?? 'unknown'}:${socket.remotePort ?? 0}`;
    this.#handshake = new ListenerHandshake(identity, events.admit);
    this.#deadline = setTimeout(() => {
      this.close(linkReason('timeout', `no proof within ${settings.handshakeTimeoutMs} ms`));
    }, settings.handshakeTimeoutMs);
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 10_000);
    socket.on('data', (chunk: Buffer) => this.#received(chunk));
    this.#listen(socket);
  }

  #listen(socket: Socket): void {
    socket.on('error', (error) => this.close(linkReason('network', error.message)));
    socket.on('end', this.#stopped);
    socket.on('close', () => this.close(linkReason('closed-by-peer', 'the peer closed the link')));
  }

  readonly #stopped = (): void => {
    if (!this.#ended && this.#peer !== undefined) this.#events.onPeerStopped(this);
  };

  /** From now on bytes come by the hundred thousand: none of them is worth memory of its own. */
  #readDirectly(): void {
    const former = this.#socket;
    former.off('end', this.#stopped);
    this.#socket = readDirectly(former, (chunk) => this.#read(chunk), true);
    // What it could not write of the handshake it tells only now.
    if (this.#socket !== former)
      former.on('error', (error) => this.close(linkReason('network', error.message)));
    this.#listen(this.#socket);
    this.#socket.resume();
  }

  /** Who it is; undefined as long as it is a stranger. */
  get peer(): { readonly node: NodeId; readonly incarnation: number } | undefined {
    return this.#peer;
  }

  close(reason: LinkReason, claimed: NodeId | undefined = this.#peer?.node): void {
    if (this.#ended) return;
    this.#end();
    // Reset, not closed: a link that ends in good order tells the peer that this process has ended.
    if (this.#peer !== undefined && reason.kind !== 'stopped') this.#socket.resetAndDestroy();
    else this.#socket.destroy();
    this.#events.onEnded(this, reason, claimed);
  }

  #end(): void {
    this.#ended = true;
    clearTimeout(this.#deadline);
    clearTimeout(this.#acknowledgeTimer);
  }

  #received(chunk: Buffer): void {
    if (this.#ended) return;
    const { send, result } = this.#handshake.push(chunk);
    if (result?.kind === 'failed') return this.#reject(result, send);
    if (send !== undefined) this.#socket.write(send);
    if (result === undefined) return;
    if (result.purpose !== 'link') return this.#handOver(result);
    clearTimeout(this.#deadline);
    this.#peer = { node: result.peer, incarnation: result.incarnation };
    this.#events.onAccepted(this, result);
    if (result.rest.length > 0 && !this.#ended) this.#read(result.rest);
    if (!this.#ended) this.#readDirectly();
  }

  #handOver(accepted: Accepted): void {
    this.#end();
    this.#socket.removeAllListeners();
    this.#socket.pause();
    this.#events.onStream(this, accepted, this.#socket);
  }

  #reject({ reason, claimed }: Failed, send: Buffer | undefined): void {
    if (send === undefined) return this.close(reason, claimed);
    this.#end();
    this.#socket.end(send);
    const linger = setTimeout(() => this.#socket.destroy(), rejectedLingerMs);
    this.#socket.once('close', () => clearTimeout(linger));
    this.#events.onEnded(this, reason, claimed);
  }

  /** The chunk is valid during the call only. */
  #read(chunk: Uint8Array): void {
    if (this.#ended) return;
    const from = this.#peer?.node;
    assert(from !== undefined, 'a stranger sends no messages');
    this.#acknowledgeTimer ??= setTimeout(() => {
      this.#acknowledgeTimer = undefined;
      writeDirectly(this.#socket, acknowledgementBytes);
    }, acknowledgeDelayMs);
    this.receivedBytes += chunk.length;
    this.#reader.push(chunk);
    while (!this.#ended) {
      const message = this.#reader.next();
      if (message === undefined) return;
      if (message.kind === 'codec-error') return this.close(linkReason('protocol-error', message.text));
      this.#events.onMessage(from, message);
    }
  }
}
