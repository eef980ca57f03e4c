/**
 * All links of one gateway: to every peer one that it dials, from every peer one that it accepted.
 * Rule: what A says to B goes over the link that A dialled, answers included. A message that arrives was sent
 * on the newest link of the newest process of that peer that has been seen: links of older ones are closed
 * first. Peers come and go while the gateway runs; (id, since) is one node for ever, ids are used again.
 * It must never wait for a peer, nor tell a handler anything after `stop`, nor anything about a removed peer.
 */
import type { Socket } from 'node:net';
import type { NodeId } from '../../core/identity.ts';
import { protocolVersions } from '../../core/peer/frame.ts';
import type { PeerMessage } from '../../core/peer/message.ts';
import { assert } from '../../lib/assert.ts';
import type { Accepted, Admission, Identity } from './handshake.ts';
import { maxClusterNameBytes } from './handshake-message.ts';
import type { IncomingLink } from './incoming-link.ts';
import { misconfigurationOf, tieStream, type Peer } from './known-peer.ts';
import { LifeLine, LifeLines } from './life-line.ts';
import { linkReason, type LinkReason, type Rejection } from './link-reason.ts';
import { defaultLinkSettings, type LinkLog, type LinkSettings } from './link-settings.ts';
import { OutgoingLink, type PeerAddress } from './outgoing-link.ts';
import { PeerListener, type PeerListenerEvents, type SharedPort } from './peer-listener.ts';
import type { PeerTlsMode } from './peer-encryption.ts';
import { dialStream, ownStream, type PeerStream } from './peer-stream.ts';
import { RefusalLog } from './refusal-log.ts';

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
  /**
   * A command wants a copy of this node's server, to make the node `from` of it. It is no process of that
   * node (incarnation 0). Closed where nobody gives copies.
   */
  onCopy?(from: NodeId, stream: PeerStream): void;
}

export interface PeerLinksOptions {
  /** At most 63 bytes of UTF-8. */
  readonly clusterName: string;
  readonly secret: string;
  /** Left out: `remote`. */
  readonly tls?: PeerTlsMode;
  readonly nodeId: NodeId;
  readonly incarnation: number;
  /** The generation that added this node at run time; 0 (left out) for one of the configuration files. */
  readonly since?: number;
  readonly listen: { readonly host: string; readonly port: number };
  /** Gives the connections to `listen` when the port is shared with links of other clusters. */
  readonly sharedPort?: SharedPort | undefined;
  /** The other nodes that are known at the start. */
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
  readonly address: PeerAddress;
  /** The outgoing link is up. */
  readonly connected: boolean;
  /** The peer's own link to this node is up. */
  readonly incoming: boolean;
  /** The end of the peer's process would be noticed at once. */
  readonly watched: boolean;
  /** Time since the last message of the peer, ms; undefined when there was none. */
  readonly lastHeardMs: number | undefined;
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** Why the outgoing link is not up. */
  readonly reason: LinkReason | undefined;
  /** Why somebody who called himself this peer was turned away, until the peer is let in. */
  readonly incomingReason: LinkReason | undefined;
}

export class PeerLinks {
  readonly #options: PeerLinksOptions;
  readonly #identity: Identity;
  readonly #settings: LinkSettings;
  readonly #listener: PeerListener;
  readonly #peers = new Map<NodeId, Peer>();
  readonly #lifeLines = new LifeLines();
  readonly refusals: RefusalLog;
  #state: 'new' | 'started' | 'stopped' = 'new';

  constructor(options: PeerLinksOptions) {
    const { clusterName, secret, tls = 'remote', nodeId, incarnation, since = 0, peers } = options;
    assert(Buffer.byteLength(clusterName) <= maxClusterNameBytes, 'the cluster name is longer than 63 bytes');
    assert(secret !== '', 'the cluster secret is empty');
    assert(new Set(peers.map(({ id }) => id)).size === peers.length, 'two peers have the same id');
    this.#options = options;
    this.refusals = new RefusalLog(options.log, options.now);
    const versions = protocolVersions;
    this.#identity = { clusterName, secret, tls, nodeId, incarnation, since, versions };
    this.#settings = { ...defaultLinkSettings, ...options.settings };
    const events: PeerListenerEvents = {
      admit: (hello) => this.#admit(hello),
      onAccepted: (link, accepted) => this.#accepted(link, accepted),
      onMessage: (from, message) => this.#message(from, message),
      onStream: (_link, accepted, socket) => this.#stream(accepted, socket),
      onPeerStopped: (link) => {
        const peer = link.peer === undefined ? undefined : this.#peers.get(link.peer.node);
        if (peer?.incoming === link) this.#peerStopped(peer, link.peer?.incarnation);
      },
      onEnded: (link, reason, claimed) => this.#ended(link, reason, claimed),
      onRefused: (address, reason) => this.refusals.tell(address, reason, undefined),
      onAcceptFailed: (error) =>
        options.log.warn({ err: error }, 'a connection on the peer port could not be accepted'),
    };
    this.#listener = new PeerListener(this.#identity, this.#settings, events, options.sharedPort);
    for (const peer of peers) this.addPeer(peer);
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
    if (this.#state === 'stopped') return this.#listener.close();
    this.#state = 'started';
    for (const { outgoing } of this.#peers.values()) outgoing.start();
  }

  /**
   * From now on this node is a peer; it is dialled at once, or at the start. One that has the same id and
   * `since` is the same one at another address; with another `since` it takes the place of the former one.
   */
  addPeer(address: PeerAddress): void {
    const { id, since, host, port } = address;
    assert(id !== this.#options.nodeId, 'a node is not its own peer');
    if (this.#state === 'stopped') return;
    const former = this.#peers.get(id);
    if (former?.address.since === since) {
      if (former.address.host === host && former.address.port === port) return;
      former.address = address;
      former.lifeLine.moveTo(address);
      former.outgoing.moveTo(address);
      return;
    }
    this.removePeer(id);
    const peer = this.#newPeer(address);
    this.#peers.set(id, peer);
    this.#listener.expectPeers(this.#peers.size);
    if (this.#state !== 'started') return;
    this.#options.log.info({ peer: id, since, host, port }, 'peer added');
    peer.outgoing.start();
  }

  /**
   * This node is none of the cluster any more: everything to and from it is closed and forgotten, and whoever
   * calls by its id is refused. Of an id that is unknown: nothing.
   */
  removePeer(id: NodeId): void {
    const peer = this.#peers.get(id);
    if (peer === undefined) return;
    this.#peers.delete(id);
    this.#listener.expectPeers(this.#peers.size);
    peer.lifeLine.stop();
    peer.outgoing.abandon();
    peer.incoming?.close(linkReason('removed', `node ${id} was removed from the cluster`));
    this.#lifeLines.forget(id);
    for (const socket of peer.streams) socket.destroy();
    this.#options.log.info({ peer: id, since: peer.address.since }, 'peer removed');
  }

  /** Sends what is queued, closes everything. The handler hears nothing any more. */
  async stop(): Promise<void> {
    this.#state = 'stopped';
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
   * dropped). To a node that is no peer (any more) nothing is sent, which stops nobody: true.
   */
  send(to: NodeId, message: PeerMessage): boolean {
    return this.#peers.get(to)?.outgoing.send(message) ?? true;
  }

  /** Something can be said to the node. */
  isUp(to: NodeId): boolean {
    return this.#peers.get(to)?.outgoing.up === true;
  }

  /** One entry per peer, in the order in which they were added. */
  linkStatus(): LinkStatus[] {
    const now = this.#options.now();
    return [...this.#peers].map(([node, peer]) => ({
      node,
      address: peer.address,
      connected: peer.outgoing.up,
      incoming: peer.incoming !== undefined,
      watched: peer.lifeLine.watching,
      sentBytes: peer.outgoing.sentBytes,
      receivedBytes: peer.receivedBefore + (peer.incoming?.receivedBytes ?? 0),
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
    return misconfigurationOf([...this.#peers.values()], this.#identity.since > 0);
  }

  /**
   * A connection to the peer's port for a stream of bytes. Rejects with why the peer cannot be reached or
   * does not let this node in, or that it is no peer (any more).
   */
  async openStream(to: NodeId): Promise<PeerStream> {
    const peer = this.#peers.get(to);
    if (peer === undefined) throw new Error(`node ${to} is not in the cluster`);
    const stream = await dialStream(this.#identity, peer.address, this.#settings.handshakeTimeoutMs);
    const refused = this.#isPeer(peer) ? this.#meet(peer, stream.incarnation) : undefined;
    if (refused === undefined && this.#isPeer(peer)) {
      tieStream(peer, stream.socket);
      return stream;
    }
    stream.socket.destroy();
    if (refused !== undefined) throw new Error(refused.text);
    const stopping = this.#state === 'stopped';
    throw new Error(stopping ? 'this gateway is stopping' : `node ${to} was removed from the cluster`);
  }

  #newPeer(address: PeerAddress): Peer {
    const { handler, random, now, log } = this.#options;
    const identity = this.#identity;
    const { id } = address;
    const settings = this.#settings;
    const peer: Peer = {
      address,
      lifeLine: new LifeLine({
        identity,
        peer: address,
        timeoutMs: settings.handshakeTimeoutMs,
        wanted: () => peer.outgoing.up,
        onPeerStopped: (incarnation) => this.#peerStopped(peer, incarnation),
      }),
      outgoing: new OutgoingLink({
        identity,
        peer: address,
        settings,
        random,
        now,
        log,
        admit: (incarnation) => this.#meet(peer, incarnation),
        onUp: (incarnation) => {
          if (!this.#isPeer(peer)) return;
          peer.lifeLine.watch(incarnation);
          handler.onLinkUp(id);
        },
        onDown: (reason) => {
          if (this.#isPeer(peer)) handler.onLinkDown(id, reason);
        },
        onDrained: () => {
          if (this.#isPeer(peer)) handler.onDrained(id);
        },
        onPeerStopped: (incarnation) => this.#peerStopped(peer, incarnation),
      }),
      incoming: undefined,
      receivedBefore: 0,
      streams: new Set(),
      incarnation: 0,
      heardAt: undefined,
      incomingReason: undefined,
    };
    return peer;
  }

  /** What is on its way of a removed peer, or of one that had its id before, concerns nobody. */
  #isPeer(peer: Peer): boolean {
    return this.#state !== 'stopped' && this.#peers.get(peer.address.id) === peer;
  }

  /** Links and life line may tell; a newer process of the peer goes on. */
  #peerStopped(peer: Peer, incarnation: number | undefined): void {
    if (!this.#isPeer(peer) || peer.incarnation !== incarnation) return;
    this.#options.handler.onPeerStopped(peer.address.id);
  }

  #admit({ from, incarnation, since, purpose }: Parameters<Admission>[0]): Rejection | undefined {
    const peer = this.#peers.get(from);
    if (peer === undefined) return 'unknown-node';
    // Who comes for a copy learns only from it which generation added the node.
    if (since !== peer.address.since && !(purpose === 'copy' && since === 0)) {
      return since < peer.address.since ? 'replaced-node' : 'newer-node';
    }
    return purpose !== 'copy' && incarnation < peer.incarnation ? 'stale-incarnation' : undefined;
  }

  /** The dialled peer is `incarnation`: refused when a newer process of it has been seen. */
  #meet(peer: Peer, incarnation: number): LinkReason | undefined {
    if (incarnation < peer.incarnation) {
      const seen = peer.incarnation;
      const where = `node ${peer.address.id}'s address`;
      const text = `incarnation ${incarnation} answers at ${where}, but ${seen} has been seen`;
      return linkReason('former-process', text);
    }
    this.#introduce(peer, incarnation);
    return undefined;
  }

  /** Asked for by a peer that was admitted in this very moment. */
  #stream(accepted: Accepted, socket: Socket): void {
    const { handler } = this.#options;
    const { peer: from, purpose } = accepted;
    const peer = this.#peers.get(from);
    if (peer !== undefined && purpose !== 'copy') this.#introduce(peer, accepted.incarnation);
    // The introduction may have removed it.
    if (peer === undefined || !this.#isPeer(peer)) return void socket.destroy();
    if (purpose === 'life-line') return this.#lifeLines.keep(from, socket);
    const method = purpose === 'copy' ? 'onCopy' : 'onStream';
    if (handler[method] === undefined) return void socket.destroy();
    tieStream(peer, socket);
    handler[method](from, ownStream(socket, accepted));
  }

  #accepted(link: IncomingLink, { peer: node, incarnation }: Accepted): void {
    const peer = this.#peers.get(node);
    assert(peer !== undefined && incarnation >= peer.incarnation, 'the peer was admitted');
    const older = peer.incoming;
    peer.receivedBefore += older?.receivedBytes ?? 0;
    peer.incoming = link;
    peer.incomingReason = undefined;
    older?.close(linkReason('replaced', 'a newer link took its place'));
    this.#options.log.info({ peer: node, incarnation, address: link.address }, 'link from peer is up');
    this.#introduce(peer, incarnation);
    peer.outgoing.dialNow();
  }

  /** A newer process ends the links of the older one before anybody hears of it. */
  #introduce(peer: Peer, incarnation: number): void {
    if (incarnation > peer.incarnation) {
      peer.incarnation = incarnation;
      peer.outgoing.dropOlderThan(incarnation);
      const incoming = peer.incoming?.peer;
      if (incoming !== undefined && incoming.incarnation < incarnation) {
        peer.incoming?.close(linkReason('replaced', 'the peer was restarted'));
      }
    }
    if (this.#isPeer(peer)) this.#options.handler.onPeerIncarnation(peer.address.id, incarnation);
  }

  #message(from: NodeId, message: PeerMessage): void {
    const peer = this.#peers.get(from);
    if (peer === undefined || !this.#isPeer(peer)) return;
    peer.heardAt = this.#options.now();
    this.#options.handler.onMessage(from, message);
  }

  #ended(link: IncomingLink, reason: LinkReason, claimed: NodeId | undefined): void {
    const peer = claimed === undefined ? undefined : this.#peers.get(claimed);
    if (link.peer === undefined) {
      if (peer !== undefined) peer.incomingReason = reason;
      if (reason.kind !== 'stopped') this.refusals.tell(link.address, reason, claimed);
      return;
    }
    if (peer === undefined || peer.incoming !== link) return;
    peer.incoming = undefined;
    peer.receivedBefore += link.receivedBytes;
    const fields = { peer: claimed, reason: reason.kind, text: reason.text };
    if (reason.kind === 'protocol-error') this.#options.log.warn(fields, 'link from peer is down');
    else this.#options.log.info(fields, 'link from peer is down');
  }
}
