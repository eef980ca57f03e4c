/**
 * All links of one gateway: to every peer one that it dials, from every peer one that it accepted.
 * Rule: what A says to B goes over the link that A dialled, answers included. A message that arrives was sent
 * on the newest link of the newest process of that peer that has been seen: links of older ones are closed
 * first.
 * It must never wait for a peer, nor tell a handler anything after `stop`.
 */
import type { NodeId } from '../../core/identity.ts';
import { protocolVersions } from '../../core/peer/frame.ts';
import type { PeerMessage } from '../../core/peer/message.ts';
import { assert } from '../../lib/assert.ts';
import type { Accepted, Identity } from './handshake.ts';
import { maxClusterNameBytes } from './handshake-message.ts';
import type { IncomingLink } from './incoming-link.ts';
import { LifeLine, LifeLines } from './life-line.ts';
import { isMisconfiguration, linkReason, type LinkReason, type Rejection } from './link-reason.ts';
import { defaultLinkSettings, type LinkLog, type LinkSettings } from './link-settings.ts';
import { OutgoingLink, type PeerAddress } from './outgoing-link.ts';
import { PeerListener } from './peer-listener.ts';
import { dialStream, ownStream, type PeerStream } from './peer-stream.ts';

export interface PeerLinksHandler {
  onMessage(from: NodeId, message: PeerMessage): void;
  /** Messages can be sent to `to`; everything said before may be lost. */
  onLinkUp(to: NodeId): void;
  /** The link went down, or (also before it was ever up) the reason why it is not up has changed. */
  onLinkDown(to: NodeId, reason: LinkReason): void;
  /**
   * `from` has proved which process it is; called at each handshake, in either direction, never with a lower
   * one.
   */
  onPeerIncarnation(from: NodeId, incarnation: number): void;
  /** The process that was introduced last has certainly ended, and serves nobody any more. */
  onPeerStopped(from: NodeId): void;
  /** The queue is short again after `send` had returned false. */
  onDrained(to: NodeId): void;
  /** A peer asks for its history on a connection of its own; it is closed where nobody serves streams. */
  onStream?(from: NodeId, stream: PeerStream): void;
}

export interface PeerLinksOptions {
  /** At most 63 bytes of UTF-8. */
  readonly clusterName: string;
  readonly secret: string;
  readonly nodeId: NodeId;
  readonly incarnation: number;
  readonly listen: { readonly host: string; readonly port: number };
  /** The other nodes. */
  readonly peers: readonly PeerAddress[];
  readonly log: LinkLog;
  readonly handler: PeerLinksHandler;
  /** Uniform in [0, 1): the jitter of the back-off. */
  readonly random: () => number;
  /** Monotonic, ms. */
  readonly now: () => number;
  readonly settings?: Partial<LinkSettings>;
}

export interface LinkStatus {
  readonly node: NodeId;
  /** The outgoing link is up. */
  readonly connected: boolean;
  /** The peer's own link to this node is up. */
  readonly incoming: boolean;
  /** The end of the peer's process would be noticed at once. */
  readonly watched: boolean;
  /** Time since the last message of the peer, ms; undefined when there was none. */
  readonly lastHeardMs: number | undefined;
  /** Why the outgoing link is not up. */
  readonly reason: LinkReason | undefined;
  /** Why somebody who called himself this peer was turned away, until the peer is let in. */
  readonly incomingReason: LinkReason | undefined;
}

/** What is known of one peer. */
interface Peer {
  readonly outgoing: OutgoingLink;
  readonly lifeLine: LifeLine;
  incoming: IncomingLink | undefined;
  /** The highest seen; 0 when none was. */
  incarnation: number;
  heardAt: number | undefined;
  incomingReason: LinkReason | undefined;
}

/** The same refusal is logged this often at most, however often somebody calls. */
const sameRefusalMs = 10_000;

export class PeerLinks {
  readonly #options: PeerLinksOptions;
  readonly #identity: Identity;
  readonly #listener: PeerListener;
  readonly #peers = new Map<NodeId, Peer>();
  readonly #lifeLines = new LifeLines();
  /** By kind and claimed node: when it was logged last. Both are bounded. */
  readonly #refusals = new Map<string, number>();
  #stopped = false;

  constructor(options: PeerLinksOptions) {
    const { clusterName, secret, nodeId, incarnation, peers } = options;
    assert(Buffer.byteLength(clusterName) <= maxClusterNameBytes, 'the cluster name is longer than 63 bytes');
    assert(secret !== '', 'the cluster secret is empty');
    assert(
      peers.every(({ id }) => id !== nodeId),
      'a node is not its own peer',
    );
    assert(new Set(peers.map(({ id }) => id)).size === peers.length, 'two peers have the same id');
    this.#options = options;
    this.#identity = { clusterName, secret, nodeId, incarnation, versions: protocolVersions };
    const given = { ...defaultLinkSettings, ...options.settings };
    const settings = { ...given, maxStrangers: Math.max(given.maxStrangers, peers.length * 2) };
    this.#listener = new PeerListener(this.#identity, settings, {
      admit: ({ from, incarnation: claimed }) => this.#admit(from, claimed),
      onAccepted: (link, accepted) => this.#accepted(link, accepted),
      onMessage: (from, message) => this.#message(from, message),
      onStream: (_link, accepted, socket) => {
        const peer = this.#peers.get(accepted.peer);
        assert(peer !== undefined, 'only configured peers are let in');
        this.#introduce(accepted.peer, peer, accepted.incarnation);
        if (accepted.purpose === 'life-line' && !this.#stopped) {
          return this.#lifeLines.keep(accepted.peer, socket);
        }
        const serve = this.#stopped ? undefined : options.handler.onStream?.bind(options.handler);
        if (serve === undefined) socket.destroy();
        else serve(accepted.peer, ownStream(socket, accepted));
      },
      onPeerStopped: ({ peer }) => {
        if (peer !== undefined) this.#peerStopped(peer.node, peer.incarnation);
      },
      onEnded: (link, reason, claimed) => this.#ended(link, reason, claimed),
      onAcceptFailed: (error) =>
        options.log.warn({ err: error }, 'a connection on the peer port could not be accepted'),
    });
    for (const peer of peers) {
      const lifeLine = this.#lifeLine(peer, settings);
      const outgoing = this.#outgoing(peer, settings, lifeLine);
      const unknown = { incoming: undefined, incarnation: 0, heardAt: undefined, incomingReason: undefined };
      this.#peers.set(peer.id, { outgoing, lifeLine, ...unknown });
    }
  }

  /** The port that is listened on (of use when the one asked for was 0). */
  get port(): number {
    return this.#listener.port;
  }

  /**
   * Listens, then dials everybody; returns without waiting for them. Throws address-in-use, config-invalid.
   */
  async start(): Promise<void> {
    const { host, port } = this.#options.listen;
    await this.#listener.listen(host, port);
    for (const { outgoing } of this.#peers.values()) outgoing.start();
  }

  /** Sends what is queued, closes everything. The handler hears nothing any more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    const closing: Promise<void>[] = [];
    for (const peer of this.#peers.values()) {
      peer.lifeLine.stop();
      closing.push(peer.outgoing.stop());
      peer.incoming?.close(linkReason('stopped', 'this gateway is stopping'));
    }
    this.#lifeLines.close();
    await Promise.all([...closing, this.#listener.close()]);
  }

  /**
   * Queues a message; all messages of one turn of the event loop leave in one write. False: send no more to
   * this peer until `onDrained` (the message is queued) or, if its link is down, `onLinkUp` (the message is
   * dropped).
   */
  send(to: NodeId, message: PeerMessage): boolean {
    const peer = this.#peers.get(to);
    assert(peer !== undefined, `node ${to} is not a configured peer`);
    return peer.outgoing.send(message);
  }

  /** One entry per configured peer, in the order of the configuration. */
  linkStatus(): LinkStatus[] {
    const now = this.#options.now();
    return [...this.#peers].map(([node, peer]) => ({
      node,
      connected: peer.outgoing.up,
      incoming: peer.incoming !== undefined,
      watched: peer.lifeLine.watching,
      lastHeardMs: peer.heardAt === undefined ? undefined : now - peer.heardAt,
      reason: peer.outgoing.reason,
      incomingReason: peer.incomingReason,
    }));
  }

  /**
   * The first thing between this node and a peer that no retry cures (another secret, another cluster, an id
   * taken twice, …), as one sentence for the error at start; undefined when there is none.
   */
  misconfiguration(): LinkReason | undefined {
    for (const { outgoing, incomingReason } of this.#peers.values()) {
      for (const reason of [outgoing.reason, incomingReason]) {
        // A former gateway of the peer was refused here: that is its own affair.
        if (reason === incomingReason && reason?.kind === 'stale-incarnation') continue;
        if (reason !== undefined && isMisconfiguration(reason)) return reason;
      }
    }
    return undefined;
  }

  /**
   * A connection to the peer's port for a stream of bytes. Rejects with why the peer cannot be reached or
   * does not let this node in.
   */
  async openStream(to: NodeId): Promise<PeerStream> {
    const peer = this.#peers.get(to);
    const address = this.#options.peers.find(({ id }) => id === to);
    assert(peer !== undefined && address !== undefined, 'streams are opened to configured peers');
    const settings = { ...defaultLinkSettings, ...this.#options.settings };
    const stream = await dialStream(this.#identity, address, settings.handshakeTimeoutMs);
    const stale = this.#stopped || this.#meet(to, stream.incarnation) !== undefined;
    if (!stale) return stream;
    stream.socket.destroy();
    throw new Error(`a former gateway of node ${to} answered, or this one is stopping`);
  }

  #lifeLine(peer: PeerAddress, settings: LinkSettings): LifeLine {
    return new LifeLine({
      identity: this.#identity,
      peer,
      timeoutMs: settings.handshakeTimeoutMs,
      wanted: () => this.#peers.get(peer.id)?.outgoing.up === true,
      onPeerStopped: (incarnation) => this.#peerStopped(peer.id, incarnation),
    });
  }

  #outgoing(address: PeerAddress, settings: LinkSettings, lifeLine: LifeLine): OutgoingLink {
    const { handler, random, now, log } = this.#options;
    return new OutgoingLink({
      identity: this.#identity,
      peer: address,
      settings,
      random,
      now,
      log,
      admit: (incarnation) => this.#meet(address.id, incarnation),
      onUp: (incarnation) => {
        if (this.#stopped) return;
        lifeLine.watch(incarnation);
        handler.onLinkUp(address.id);
      },
      onDown: (reason) => {
        if (!this.#stopped) handler.onLinkDown(address.id, reason);
      },
      onDrained: () => {
        if (!this.#stopped) handler.onDrained(address.id);
      },
      onPeerStopped: (incarnation) => this.#peerStopped(address.id, incarnation),
    });
  }

  /** Links and life line may tell; a newer process of the peer goes on. */
  #peerStopped(node: NodeId, incarnation: number): void {
    if (this.#stopped || this.#peers.get(node)?.incarnation !== incarnation) return;
    this.#options.handler.onPeerStopped(node);
  }

  #admit(from: NodeId, incarnation: number): Rejection | undefined {
    const peer = this.#peers.get(from);
    if (peer === undefined) return 'unknown-node';
    return incarnation < peer.incarnation ? 'stale-incarnation' : undefined;
  }

  /** The dialled peer is `incarnation`: refused when a newer process of it has been seen. */
  #meet(node: NodeId, incarnation: number): LinkReason | undefined {
    const peer = this.#peers.get(node);
    assert(peer !== undefined, 'only configured peers are dialled');
    if (incarnation < peer.incarnation) {
      const seen = peer.incarnation;
      const text = `incarnation ${incarnation} answers at node ${node}'s address, but ${seen} has been seen`;
      return linkReason('former-process', text);
    }
    this.#introduce(node, peer, incarnation);
    return undefined;
  }

  #accepted(link: IncomingLink, { peer: node, incarnation }: Accepted): void {
    const peer = this.#peers.get(node);
    assert(peer !== undefined && incarnation >= peer.incarnation, 'the peer was admitted');
    const older = peer.incoming;
    peer.incoming = link;
    peer.incomingReason = undefined;
    older?.close(linkReason('replaced', 'a newer link took its place'));
    this.#options.log.info({ peer: node, incarnation, address: link.address }, 'link from peer is up');
    this.#introduce(node, peer, incarnation);
    peer.outgoing.dialNow();
  }

  /** A newer process ends the links of the older one before anybody hears of it. */
  #introduce(node: NodeId, peer: Peer, incarnation: number): void {
    if (incarnation > peer.incarnation) {
      peer.incarnation = incarnation;
      peer.outgoing.dropOlderThan(incarnation);
      const incoming = peer.incoming?.peer;
      if (incoming !== undefined && incoming.incarnation < incarnation) {
        peer.incoming?.close(linkReason('replaced', 'the peer was restarted'));
      }
    }
    if (!this.#stopped) this.#options.handler.onPeerIncarnation(node, incarnation);
  }

  #message(from: NodeId, message: PeerMessage): void {
    const peer = this.#peers.get(from);
    assert(peer !== undefined, 'only configured peers are let in');
    peer.heardAt = this.#options.now();
    if (!this.#stopped) this.#options.handler.onMessage(from, message);
  }

  #ended(link: IncomingLink, reason: LinkReason, claimed: NodeId | undefined): void {
    const peer = claimed === undefined ? undefined : this.#peers.get(claimed);
    if (link.peer === undefined) {
      if (peer !== undefined) peer.incomingReason = reason;
      if (reason.kind !== 'stopped') this.#logRefusal(link, reason, claimed);
      return;
    }
    if (peer === undefined || peer.incoming !== link) return;
    peer.incoming = undefined;
    const fields = { peer: claimed, reason: reason.kind, text: reason.text };
    if (reason.kind === 'protocol-error') this.#options.log.warn(fields, 'link from peer is down');
    else this.#options.log.info(fields, 'link from peer is down');
  }

  #logRefusal(link: IncomingLink, reason: LinkReason, claimed: NodeId | undefined): void {
    const key = `${reason.kind} ${claimed ?? ''}`;
    const now = this.#options.now();
    if (now - (this.#refusals.get(key) ?? -Infinity) < sameRefusalMs) return;
    this.#refusals.set(key, now);
    const fields = { claimed, address: link.address, reason: reason.kind, text: reason.text };
    this.#options.log.warn(fields, 'connection on the peer port refused');
  }
}
