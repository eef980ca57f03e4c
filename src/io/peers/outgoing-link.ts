/**
 * The link to one peer, over which everything goes that this node says to it.
 *
 *   waiting    a timer runs (back-off with jitter). Ends: the timer, or `dialNow` because the peer has just
 *              shown that it is there.
 *   dialling   connecting and shaking hands, under one deadline. Ends: up, or waiting with the reason.
 *   up         messages are queued and leave in one write per turn of the event loop. Ends: the connection
 *              breaks, nobody acknowledges, the queue overflows, the peer is replaced → waiting.
 *   stopped    for good: this gateway stops, or the peer was removed (`abandon`).
 *
 * Rule: a message given while the link is not up, or still queued when it goes down, is dropped; whoever
 * needs an answer asks again after the next `up`. Nothing is ever queued without a limit.
 */
import type { Socket } from 'node:net';
import type { NodeId } from '../../core/identity.ts';
import type { PeerMessage } from '../../core/peer/message.ts';
import { MessageWriter } from '../../core/peer/message-writer.ts';
import { assert } from '../../lib/assert.ts';
import { writeDirectly } from '../wire/direct-writing.ts';
import { DialerHandshake, type Accepted, type Identity } from './handshake.ts';
import { dialError, isMisconfiguration, linkReason, type LinkReason } from './link-reason.ts';
import { acknowledgement, type LinkLog, type LinkSettings } from './link-settings.ts';
import { dialPeer } from './peer-encryption.ts';

export interface PeerAddress {
  readonly id: NodeId;
  /** The generation that added the node at run time; 0 for a node of the configuration files. */
  readonly since: number;
  readonly host: string;
  readonly port: number;
}

export interface OutgoingLinkOptions {
  readonly identity: Identity;
  readonly peer: PeerAddress;
  readonly settings: LinkSettings;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** Monotonic, ms. */
  readonly now: () => number;
  readonly log: LinkLog;
  /** The peer has proved that it is `incarnation`; a reason when it must not be talked to. */
  readonly admit: (incarnation: number) => LinkReason | undefined;
  readonly onUp: (incarnation: number) => void;
  /** Also when the reason why the link is not up has changed. */
  readonly onDown: (reason: LinkReason) => void;
  readonly onDrained: () => void;
  /** The system at the other end has closed the link in good order: the process there has ended. */
  readonly onPeerStopped: (incarnation: number) => void;
}

type State =
  | { readonly kind: 'waiting'; readonly timer: NodeJS.Timeout }
  | {
      readonly kind: 'dialling';
      readonly socket: Socket;
      readonly handshake: DialerHandshake;
      readonly deadline: NodeJS.Timeout;
    }
  | {
      readonly kind: 'up';
      readonly socket: Socket;
      readonly incarnation: number;
      readonly checks: NodeJS.Timeout;
      readonly since: number;
    }
  | { readonly kind: 'stopped' };

/** A link that lived this long was good: the next back-off begins with its first step. */
const stableAfterMs = 1000;
/** How often within acknowledgeTimeoutMs a link is looked at. */
const checksPerTimeout = 4;
/** What is still queued when the link is stopped gets this long to leave. */
const lingerMs = 500;

export class OutgoingLink {
  readonly #options: OutgoingLinkOptions;
  #peer: PeerAddress;
  #state: State = { kind: 'stopped' };
  #reason: LinkReason = linkReason('not-tried', 'not connected yet');
  #attempts = 0;
  #writer = new MessageWriter();
  #flushScheduled = false;
  /** `send` has said stop, and nobody has said go on. */
  #above = false;
  #overflowed = false;
  /** At the beginning of this turn of the event loop, as far as it has sent anything. */
  #queuedBefore = 0;
  /** Checks in a row that found bytes sent and nothing acknowledged since. */
  #unacknowledgedChecks = 0;
  #awaitsAcknowledgement = false;
  /** Over all connections of this link. */
  sentBytes = 0;

  constructor(options: OutgoingLinkOptions) {
    this.#options = options;
    this.#peer = options.peer;
  }

  get up(): boolean {
    return this.#state.kind === 'up';
  }

  /** Why the link is not up; undefined when it is. */
  get reason(): LinkReason | undefined {
    return this.#state.kind === 'up' ? undefined : this.#reason;
  }

  start(): void {
    assert(this.#state.kind === 'stopped', 'a link is started once');
    this.#dial();
  }

  /** The peer is known to be there: do not wait any longer. */
  dialNow(): void {
    if (this.#state.kind !== 'waiting') return;
    clearTimeout(this.#state.timer);
    this.#dial();
  }

  /** The peer is to be found there from now on. */
  moveTo(peer: PeerAddress): void {
    this.#peer = peer;
    if (this.#state.kind === 'up' || this.#state.kind === 'dialling') {
      this.#fail(linkReason('replaced', `node ${peer.id} has another address now`));
    }
    this.#attempts = 0;
    this.dialNow();
  }

  /** The peer is none any more: closes, and tells nobody anything from now on. */
  abandon(): void {
    const state = this.#state;
    this.#leave(state);
    this.#state = { kind: 'stopped' };
    this.#reason = linkReason('removed', `node ${this.#peer.id} was removed from the cluster`);
    if (state.kind === 'up' || state.kind === 'dialling') giveUp(state);
  }

  /** Ends a link to a former process of the peer. */
  dropOlderThan(incarnation: number): void {
    if (this.#state.kind !== 'up' || this.#state.incarnation >= incarnation) return;
    this.#fail(linkReason('replaced', `node ${this.#peer.id} was restarted`));
  }

  /**
   * Queues a message. False: send no more for now, until `onDrained` (the message is queued) or, when the
   * link is down, until `onUp` (the message is dropped).
   */
  send(message: PeerMessage): boolean {
    if (this.#state.kind !== 'up' || this.#overflowed) return false;
    if (!this.#flushScheduled) this.#queuedBefore = this.#queuedBytes(this.#state.socket);
    this.#writer.write(message);
    const queued = this.#queuedBytes(this.#state.socket);
    // One row can be a gigabyte, and all of it comes in one turn: only who still goes on in the next one does
    // not listen. The link fails in the flush, so that no handler is called from within a send.
    this.#overflowed =
      this.#queuedBefore > this.#options.settings.maxQueueBytes && message.kind === 'transaction-data';
    if (!this.#flushScheduled) {
      this.#flushScheduled = true;
      setImmediate(() => this.#flush());
    }
    if (queued > this.#options.settings.highWaterBytes) this.#above = true;
    return !this.#above;
  }

  /** Sends what is queued, closes, and never dials again. */
  async stop(): Promise<void> {
    const state = this.#state;
    if (state.kind === 'up') this.#flush();
    this.#leave(state);
    this.#state = { kind: 'stopped' };
    this.#reason = linkReason('stopped', 'this gateway is stopping');
    if (state.kind !== 'up' && state.kind !== 'dialling') return;
    const { socket } = state;
    if (state.kind === 'dialling') socket.destroy();
    if (socket.closed) return;
    await new Promise<void>((resolve) => {
      const linger = setTimeout(() => socket.destroy(), lingerMs);
      socket.once('close', () => {
        clearTimeout(linger);
        resolve();
      });
      socket.destroySoon();
    });
  }

  #dial(): void {
    const { settings, identity } = this.#options;
    const peer = this.#peer;
    this.#attempts += 1;
    const socket = dialPeer(identity, peer.host, peer.port);
    const deadline = setTimeout(() => {
      const text = `${this.#where()} does not answer within ${settings.handshakeTimeoutMs} ms`;
      this.#fail(linkReason('timeout', text));
    }, settings.handshakeTimeoutMs);
    const handshake = new DialerHandshake(identity, peer);
    this.#state = { kind: 'dialling', socket, handshake, deadline };
    socket.write(handshake.hello);
    socket.on('data', (chunk: Buffer) => this.#received(socket, handshake, chunk));
    // The state knows the socket that counts; what a former one still says concerns nobody.
    socket.on('error', (error) => {
      if (this.#isCurrent(socket)) this.#fail(dialError(error, identity.nodeId, peer, this.#where()));
    });
    // A living gateway resets what it gives up (see #fail), so this comes from its system, after its end.
    socket.on('end', () => {
      if (this.#isCurrent(socket) && this.#state.kind === 'up')
        this.#options.onPeerStopped(this.#state.incarnation);
    });
    socket.on('close', () => {
      if (this.#isCurrent(socket))
        this.#fail(linkReason('closed-by-peer', `${this.#where()} closed the link`));
    });
  }

  #received(socket: Socket, handshake: DialerHandshake, chunk: Buffer): void {
    if (!this.#isCurrent(socket)) return;
    if (this.#state.kind === 'up') return this.#acknowledged(chunk);
    const { send, result } = handshake.push(chunk);
    if (send !== undefined) socket.write(send);
    if (result === undefined) return;
    if (result.kind === 'failed') this.#fail(result.reason);
    else this.#accepted(socket, result);
  }

  #accepted(socket: Socket, { incarnation, rest }: Accepted): void {
    const refused = this.#options.admit(incarnation);
    if (refused !== undefined) return this.#fail(refused);
    // `admit` may have stopped this link or dropped it.
    if (!this.#isCurrent(socket)) return;
    const { settings, log } = this.#options;
    this.#leave(this.#state);
    const checks = setInterval(() => this.#check(), settings.acknowledgeTimeoutMs / checksPerTimeout);
    this.#writer = new MessageWriter();
    this.#above = false;
    this.#overflowed = false;
    this.#awaitsAcknowledgement = false;
    this.#unacknowledgedChecks = 0;
    this.#state = { kind: 'up', socket, incarnation, checks, since: this.#options.now() };
    log.info({ peer: this.#peer.id, incarnation }, 'link to peer is up');
    this.#options.onUp(incarnation);
    if (rest.length > 0 && this.#isCurrent(socket)) this.#acknowledged(rest);
  }

  #acknowledged(bytes: Buffer): void {
    this.#awaitsAcknowledgement = false;
    this.#unacknowledgedChecks = 0;
    if (bytes.every((byte) => byte === acknowledgement)) return;
    this.#fail(linkReason('protocol-error', `${this.#where()} sends what no gateway sends`));
  }

  /** Counts looks, not time: after a stall of this process the acknowledgements get their turn first. */
  #check(): void {
    if (!this.#awaitsAcknowledgement) return;
    this.#unacknowledgedChecks += 1;
    if (this.#unacknowledgedChecks <= checksPerTimeout) return;
    const { acknowledgeTimeoutMs } = this.#options.settings;
    const text = `${this.#where()} has acknowledged nothing for ${acknowledgeTimeoutMs} ms`;
    this.#fail(linkReason('no-acknowledgement', text));
  }

  #flush(): void {
    this.#flushScheduled = false;
    if (this.#state.kind !== 'up') return;
    if (this.#overflowed) {
      const text = `node ${this.#peer.id} takes messages more slowly than they come`;
      return this.#fail(linkReason('overflow', text));
    }
    const { socket } = this.#state;
    const segments = this.#writer.take();
    if (segments.length === 0) return;
    this.#awaitsAcknowledgement = true;
    for (const segment of segments) this.sentBytes += segment.length;
    const [only] = segments;
    if (segments.length === 1 && only !== undefined) {
      writeDirectly(socket, only, () => this.#written(socket));
      return;
    }
    socket.cork();
    for (const [index, segment] of segments.entries()) {
      if (index < segments.length - 1) socket.write(segment);
      else socket.write(segment, () => this.#written(socket));
    }
    socket.uncork();
  }

  #written(socket: Socket): void {
    if (!this.#above || !this.#isCurrent(socket)) return;
    if (this.#queuedBytes(socket) > this.#options.settings.highWaterBytes / 2) return;
    this.#above = false;
    this.#options.onDrained();
  }

  #queuedBytes(socket: Socket): number {
    return this.#writer.pendingBytes + socket.writableLength;
  }

  #isCurrent(socket: Socket): boolean {
    const state = this.#state;
    return (state.kind === 'dialling' || state.kind === 'up') && state.socket === socket;
  }

  /** Ends the attempt or the link, tells why if that is news, and waits for the next attempt. */
  #fail(reason: LinkReason): void {
    const before = this.#state;
    assert(before.kind === 'dialling' || before.kind === 'up', 'only an attempt or a link fails');
    this.#leave(before);
    if (before.kind === 'up' && this.#options.now() - before.since >= stableAfterMs) this.#attempts = 0;
    this.#writer = new MessageWriter();
    const timer = setTimeout(() => this.#dial(), this.#backOff());
    this.#state = { kind: 'waiting', timer };
    giveUp(before); // it may say at once that it is closed
    const news = before.kind === 'up' || reason.text !== this.#reason.text;
    this.#reason = reason;
    if (!news) return;
    const fields = { peer: this.#peer.id, reason: reason.kind, text: reason.text };
    if (isMisconfiguration(reason)) this.#options.log.warn(fields, 'peer refused');
    else this.#options.log.info(fields, 'link to peer is down');
    this.#options.onDown(reason);
  }

  #leave(state: State): void {
    if (state.kind === 'waiting') clearTimeout(state.timer);
    if (state.kind === 'dialling') clearTimeout(state.deadline);
    if (state.kind === 'up') clearInterval(state.checks);
  }

  #backOff(): number {
    const { first, longest } = this.#options.settings.backOffMs;
    const exponent = Math.min(Math.max(this.#attempts - 1, 0), 20);
    return Math.min(longest, first * 2 ** exponent) * (0.5 + this.#options.random() / 2);
  }

  #where(): string {
    const { host, port } = this.#peer;
    return `${host}:${port}`;
  }
}

/**
 * Reset, not closed: a link that ends in good order tells the peer that this process has ended, and it may
 * have accepted the link before this side knows.
 */
function giveUp(state: Extract<State, { kind: 'up' | 'dialling' }>): void {
  if (state.kind === 'up' || state.handshake.proofSent) state.socket.resetAndDestroy();
  else state.socket.destroy();
}
