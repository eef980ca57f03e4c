/**
 * The other nodes as the node machine sees them: links, and what comes over them.
 * Rule: it decides nothing; what is lost with a link is said again by the machines.
 */
import type { Logger } from 'pino';
import type { GatewayConfig } from '../config/schema.ts';
import { sinceOf } from '../core/generation/configuration.ts';
import type { Configuration } from '../core/generation/record.ts';
import type { NodeId } from '../core/identity.ts';
import type { NodeMachine } from '../core/node/node-machine.ts';
import type { PeerMessage } from '../core/peer/message.ts';
import { GatewayError } from '../lib/gateway-error.ts';
import { PeerLinks } from '../io/peers/peer-links.ts';
import type { SharedPort } from '../io/peers/peer-listener.ts';
import type { PeerStream } from '../io/peers/peer-stream.ts';
import type { Happening } from './drain.ts';
import { peerAddresses, type KnownPeer } from './peer-addresses.ts';
import type { PeerQuestion } from './peer-questions.ts';

export type ServerPositionMessage = Extract<
  PeerMessage,
  { kind: 'server-position' | 'server-position-verdict' }
>;

export interface MembersHandler {
  event(event: Happening): void;
  /** The member wants the changes of this node to pause, or to go on. */
  flow(from: NodeId, open: boolean): void;
  /** The link to the member can take no more changes, or can again. */
  linkFull(to: NodeId, full: boolean): void;
  linkUp(member: NodeId): void;
  /** About the member's server, or about this node's. */
  serverPosition(from: NodeId, message: ServerPositionMessage): void;
  /** A member asks or answers. */
  question(from: NodeId, message: PeerQuestion): void;
  linkDown(member: NodeId, reason: string): void;
  startTimeSeen(startTime: number): void;
  /** A node asks for this node's history, or the machine of one that was added for a copy of its server. */
  stream(from: NodeId, stream: PeerStream, wanted: 'history' | 'copy'): void;
  /** What mtm.status() and mtm.nodes() show has changed. */
  changed(): void;
}

export class Members {
  readonly links: PeerLinks;
  readonly #config: GatewayConfig;
  readonly #log: Logger;
  readonly #handler: MembersHandler;
  #peers: readonly KnownPeer[];

  constructor(
    config: GatewayConfig,
    incarnation: number,
    configuration: Configuration,
    log: Logger,
    sharedPort: SharedPort | undefined,
    handler: MembersHandler,
  ) {
    this.#config = config;
    this.#log = log;
    this.#handler = handler;
    this.#peers = this.#addresses(configuration);
    this.links = new PeerLinks({
      clusterName: config.clusterName,
      secret: config.clusterSecret,
      tls: config.peerTls,
      nodeId: config.nodeId,
      incarnation,
      listen: config.peerListen,
      sharedPort,
      peers: this.#peers,
      since: sinceOf(configuration, config.nodeId),
      log: log.child({ component: 'peers' }),
      random: Math.random,
      now: () => performance.now(),
      handler: {
        onMessage: (from, message) => this.#received(from, message),
        onLinkUp: (to) => this.#linkUp(to),
        onLinkDown: (to, reason) => this.#linkDown(to, reason.text),
        onPeerIncarnation: (from, known) =>
          handler.event((now) => ({ kind: 'peer-introduced', now, from, incarnation: known })),
        onPeerStopped: (from) =>
          handler.event((now) => ({ kind: 'peer-stopped', now, from, reason: 'its gateway has ended' })),
        onDrained: (to) => handler.linkFull(to, false),
        onStream: (from, stream) => handler.stream(from, stream, 'history'),
        onCopy: (from, stream) => handler.stream(from, stream, 'copy'),
      },
    });
  }

  /** The other nodes of the cluster whose addresses are known. */
  get peers(): readonly KnownPeer[] {
    return this.#peers;
  }

  get ids(): readonly NodeId[] {
    return this.#peers.map(({ id }) => id);
  }

  /** The nodes of the cluster are these from now on. */
  configure(configuration: Configuration): void {
    const former = this.#peers;
    this.#peers = this.#addresses(configuration);
    for (const { id } of former) if (!this.ids.includes(id)) this.links.removePeer(id);
    for (const peer of this.#peers) this.links.addPeer(peer);
    // Of the end of a link that was removed nobody tells.
    for (const { id } of former) if (!this.linked(id)) this.#handler.linkFull(id, false);
  }

  #addresses(configuration: Configuration): readonly KnownPeer[] {
    const { known, unknown, strangers } = peerAddresses(this.#config, configuration);
    if (unknown.length > 0)
      this.#log.error({ nodes: unknown }, 'these nodes of the cluster are missing in peers: add them');
    if (strangers.length > 0)
      this.#log.warn({ nodes: strangers }, 'peers lists nodes that the cluster does not have');
    return known;
  }

  send(to: NodeId, message: PeerMessage): void {
    const queued = this.links.send(to, message);
    // Where no link is up nobody is waited for: it may never be again, and the machine repeats what was lost.
    if (!queued && message.kind === 'transaction-data' && this.linked(to)) this.#handler.linkFull(to, true);
  }

  sendAll(message: PeerMessage): void {
    for (const id of this.ids) this.send(id, message);
  }

  /** What no retry cures, like another secret. */
  misconfiguration(): GatewayError | undefined {
    const reason = this.links.misconfiguration();
    if (reason === undefined) return undefined;
    // It holds its server: what a peer has seen of a newer gateway is of a future that the server has lost.
    const code = reason.kind === 'stale-incarnation' ? 'server-went-back' : 'peer-rejected';
    return new GatewayError(code, reason.text);
  }

  /** Is the link to this node up? */
  linked(to: NodeId): boolean {
    return this.links.isUp(to);
  }

  #linkUp(to: NodeId): void {
    this.#handler.event((now) => ({ kind: 'link-up', now, to }));
    this.#handler.linkUp(to);
  }

  #linkDown(to: NodeId, reason: string): void {
    this.#handler.event((now) => ({ kind: 'link-down', now, to, reason }));
    this.#handler.linkFull(to, false);
    this.#handler.linkDown(to, reason);
    this.#handler.changed();
  }

  #received(from: NodeId, message: PeerMessage): void {
    if (message.kind === 'flow') return this.#handler.flow(from, message.open);
    if (message.kind === 'server-position' || message.kind === 'server-position-verdict') {
      return this.#handler.serverPosition(from, message);
    }
    if (message.kind === 'request' || message.kind === 'reply') return this.#handler.question(from, message);
    if (message.kind === 'transaction-start') this.#handler.startTimeSeen(message.startTime);
    this.#handler.event((now) => ({ kind: 'message-received', now, from, message }));
  }
}

/** Peers that are heard and whose links are up. */
export function contacts(members: Members, machine: NodeMachine): NodeId[] {
  return machine.liveness.connected(performance.now()).filter((node) => members.linked(node));
}
