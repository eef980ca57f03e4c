/**
 * The other nodes as the node machine sees them: links, and what comes over them.
 * Rule: it decides nothing; what is lost with a link is said again by the machines.
 */
import type { Logger } from 'pino';
import type { GatewayConfig } from '../config/schema.ts';
import type { NodeId } from '../core/identity.ts';
import type { PeerMessage } from '../core/peer/message.ts';
import { PeerLinks } from '../io/peers/peer-links.ts';
import type { PeerStream } from '../io/peers/peer-stream.ts';
import type { Happening } from './drain.ts';

export type ServerPositionMessage = Extract<
  PeerMessage,
  { kind: 'server-position' | 'server-position-verdict' }
>;

export interface MembersHandler {
  event(event: Happening): void;
  /** The member can take more changes, or cannot. */
  flow(member: NodeId, open: boolean): void;
  linkUp(member: NodeId): void;
  /** About the member's server, or about this node's. */
  serverPosition(from: NodeId, message: ServerPositionMessage): void;
  startTimeSeen(startTime: number): void;
  /** A node asks for this node's history, or the machine of one that was added for a copy of its server. */
  stream(from: NodeId, stream: PeerStream, wanted: 'history' | 'copy'): void;
  /** What mtm.status() and mtm.nodes() show has changed. */
  changed(): void;
}

export class Members {
  readonly links: PeerLinks;
  readonly #handler: MembersHandler;

  constructor(config: GatewayConfig, incarnation: number, log: Logger, handler: MembersHandler) {
    this.#handler = handler;
    this.links = new PeerLinks({
      clusterName: config.clusterName,
      secret: config.clusterSecret,
      nodeId: config.nodeId,
      incarnation,
      listen: config.peerListen,
      peers: config.peers.map(({ id, host, port }) => ({ id, host, port, since: 0 })),
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
        onDrained: (to) => handler.flow(to, true),
        onStream: (from, stream) => handler.stream(from, stream, 'history'),
        onCopy: (from, stream) => handler.stream(from, stream, 'copy'),
      },
    });
  }

  send(to: NodeId, message: PeerMessage): void {
    const queued = this.links.send(to, message);
    if (!queued && message.kind === 'transaction-data') this.#handler.flow(to, false);
  }

  #linkUp(to: NodeId): void {
    this.#handler.event((now) => ({ kind: 'link-up', now, to }));
    this.#handler.linkUp(to);
    this.#handler.flow(to, true);
  }

  #linkDown(to: NodeId, reason: string): void {
    this.#handler.event((now) => ({ kind: 'link-down', now, to, reason }));
    this.#handler.flow(to, true);
    this.#handler.changed();
  }

  #received(from: NodeId, message: PeerMessage): void {
    if (message.kind === 'flow') return this.#handler.flow(from, message.open);
    if (message.kind === 'server-position' || message.kind === 'server-position-verdict') {
      return this.#handler.serverPosition(from, message);
    }
    if (message.kind === 'transaction-start') this.#handler.startTimeSeen(message.startTime);
    this.#handler.event((now) => ({ kind: 'message-received', now, from, message }));
  }
}
