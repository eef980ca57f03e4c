/**
 * The other nodes: the links to them, and who of them is lost or certainly silent.
 * Rule: it passes on what arrives and what the links do; what that means is decided by the machines.
 */
import type { Logger } from 'pino';
import type { GatewayConfig } from '../config/schema.ts';
import type { CommitEvent } from '../core/commit/event.ts';
import type { LivenessEvent } from '../core/generation/liveness-event.ts';
import { SilenceWatch } from '../core/generation/silence.ts';
import type { NodeId } from '../core/identity.ts';
import type { PeerMessage } from '../core/peer/message.ts';
import { PeerLinks } from '../io/peers/peer-links.ts';

export interface MembersHandler {
  commit(event: CommitEvent): void;
  liveness(event: () => LivenessEvent): void;
  /** The member can take more changes, or cannot. */
  flow(member: NodeId, open: boolean): void;
  linkUp(member: NodeId): void;
  startTimeSeen(startTime: number): void;
  /** What mtm.status() and mtm.nodes() show has changed. */
  changed(): void;
}

export class Members {
  readonly links: PeerLinks;
  readonly #handler: MembersHandler;
  readonly #silence: SilenceWatch;
  readonly #incarnations = new Map<NodeId, number>();
  /** Members that cannot take part; at first none has been heard. */
  readonly #lost: Set<NodeId>;
  /** Those of them that may be passed over in answers. */
  readonly #silenced = new Set<NodeId>();

  constructor(config: GatewayConfig, incarnation: number, log: Logger, handler: MembersHandler) {
    this.#handler = handler;
    this.#lost = new Set(config.peers.map(({ id }) => id));
    this.#silence = new SilenceWatch({
      self: config.nodeId,
      configured: [config.nodeId, ...this.#lost],
      recvTimeoutMs: config.heartbeatRecvTimeoutMs,
      sendTimeoutMs: config.heartbeatSendTimeoutMs,
      now: performance.now(),
    });
    this.links = new PeerLinks({
      clusterName: config.clusterName,
      secret: config.clusterSecret,
      nodeId: config.nodeId,
      incarnation,
      listen: config.peerListen,
      peers: config.peers,
      log: log.child({ component: 'peers' }),
      random: Math.random,
      now: () => performance.now(),
      handler: {
        onMessage: (from, message) => this.#received(from, message),
        onLinkUp: (to) => this.#linkUp(to),
        onLinkDown: (to, reason) => this.#linkDown(to, reason.text),
        onPeerIncarnation: (from, known) => this.#introduced(from, known),
        onDrained: (to) => handler.flow(to, true),
      },
    });
  }

  send(to: NodeId, message: PeerMessage): void {
    if (message.kind === 'heartbeat-answer') this.#silence.answered(to, performance.now());
    const queued = this.links.send(to, message);
    if (!queued && message.kind === 'transaction-data') this.#handler.flow(to, false);
  }

  #linkUp(to: NodeId): void {
    this.#handler.liveness(() => ({ kind: 'link-up', now: performance.now(), to }));
    this.#handler.commit({ kind: 'link-up', node: to, incarnation: this.#incarnations.get(to) ?? 0 });
    this.#handler.linkUp(to);
    this.#handler.flow(to, true);
  }

  #linkDown(to: NodeId, reason: string): void {
    this.#handler.liveness(() => ({ kind: 'link-down', now: performance.now(), to, reason }));
    this.#handler.commit({ kind: 'link-down', node: to });
    this.#handler.flow(to, true);
    this.#handler.changed();
  }

  #introduced(from: NodeId, incarnation: number): void {
    this.#incarnations.set(from, incarnation);
    this.#handler.liveness(() => ({ kind: 'peer-introduced', now: performance.now(), from, incarnation }));
    this.#handler.commit({ kind: 'link-accepted', node: from, incarnation });
  }

  #received(from: NodeId, message: PeerMessage): void {
    switch (message.kind) {
      case 'heartbeat':
        this.#silence.heartbeat(from, message.connected, performance.now());
        this.#handler.liveness(() => ({
          kind: 'heartbeat-received',
          now: performance.now(),
          from,
          message,
        }));
        return;
      case 'heartbeat-answer':
        this.#handler.liveness(() => ({
          kind: 'heartbeat-answer-received',
          now: performance.now(),
          from,
          message,
        }));
        return;
      case 'flow':
        this.#handler.flow(from, message.open);
        return;
      case 'transaction-start':
        this.#handler.startTimeSeen(message.startTime);
        break;
      default:
        break;
    }
    this.#handler.commit({ kind: 'message-received', from, message });
  }

  lost(node: NodeId): void {
    this.#lost.add(node);
  }

  back(node: NodeId): void {
    this.#lost.delete(node);
    this.#silenced.delete(node);
  }

  /** Tells of each lost member once when it is certain that it cannot serve. */
  lookForSilence(now: number): void {
    for (const node of this.#lost) {
      if (this.#silenced.has(node) || !this.#silence.isSilent(node, now)) continue;
      this.#silenced.add(node);
      this.#handler.commit({ kind: 'member-silenced', node });
    }
  }
}
