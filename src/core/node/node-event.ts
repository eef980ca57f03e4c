/**
 * What happens to a node and what it orders: the union of what its parts know, for one drain loop.
 * Events past tense, effects orders; effects are carried out in their order, their ends come back as events.
 * `now` is the monotonic clock of the process in ms.
 */
import type { CommitEffect, CommitEvent } from '../commit/event.ts';
import type { Floor } from '../commit/outcome-memory.ts';
import type { ConfigurationWish } from '../generation/configuration.ts';
import type { Configuration } from '../generation/record.ts';
import type { ElectionEffect } from '../generation/election-event.ts';
import type { RefereeEffect } from '../generation/referee.ts';
import type { LivenessEffect, LivenessEvent, NodeStatus } from '../generation/liveness-event.ts';
import type { Gid, NodeId } from '../identity.ts';
import type { PeerMessage } from '../peer/message.ts';
import type { RefereeNews } from './arbiter.ts';

/** Events about one transaction: their meaning stands in core/commit/event.ts. */
export type GidEvent = Extract<CommitEvent, { readonly gid: Gid }>;

export type NodeEvent =
  | GidEvent
  | RefereeNews
  | Extract<CommitEvent, { kind: 'capture-restarted' }>
  | Extract<
      LivenessEvent,
      { kind: 'link-up' | 'link-down' | 'peer-introduced' | 'peer-stopped' | 'local-health-changed' }
    >
  /**
   * At least twice per heartbeat_send_timeout, better every 50 ms. `wallMs` feeds the hybrid clock; `random`
   * lies between 0 and 1 and is drawn anew each time.
   */
  | { readonly kind: 'ticked'; readonly now: number; readonly wallMs: number; readonly random: number }
  | {
      readonly kind: 'message-received';
      readonly now: number;
      readonly from: NodeId;
      readonly message: PeerMessage;
    }
  /** The change of a `persist`, and all before it, are durable. */
  | { readonly kind: 'persisted'; readonly now: number; readonly token: number }
  /** The donor's commits that were replayed here: committed, durable soon, known from now on. */
  | { readonly kind: 'replayed'; readonly gids: readonly Gid[] }
  /** How much of the donor's WAL is not replayed yet. */
  | { readonly kind: 'recovery-progressed'; readonly now: number; readonly lagBytes: number }
  /**
   * The recovery has ended with the donor's mark of the generation, and everything before that is flushed
   * here. It may be a lower one than was ordered last: what is followed while it ends comes too late for it.
   */
  | { readonly kind: 'recovery-reached'; readonly now: number; readonly generation: number }
  /**
   * The recovery has ended without that; nothing of it will be committed any more. `reseed`: the donor has no
   * longer what this node lacks, or this node's data do not fit.
   */
  | {
      readonly kind: 'recovery-failed';
      readonly now: number;
      readonly reason: string;
      readonly reseed?: boolean;
    }
  /** The copy of another node's server that this node began with is complete: any donor may go on. */
  | { readonly kind: 'seeded'; readonly now: number }
  /** A person asks for a change of the cluster's nodes (undefined: no more); see ConfigurationWish. */
  | {
      readonly kind: 'configuration-wished';
      readonly now: number;
      readonly wish: ConfigurationWish | undefined;
    }
  /** The floor is durable: what is below is forgotten. */
  | { readonly kind: 'floor-raised'; readonly floor: Floor };

export type NodeEffect =
  | CommitEffect
  | LivenessEffect
  | Extract<ElectionEffect, { kind: 'persist' }>
  | Extract<RefereeEffect, { kind: 'request-grant' | 'report-online' }>
  /**
   * Replay the donor's commits that are not known here (`isKnown`), in one phase, each followed by its
   * header. It ends with the mark of `generation`, which is told once everything before it is flushed;
   * undefined: it goes on until it is told.
   */
  | { readonly kind: 'recover'; readonly donor: NodeId; readonly generation: number | undefined }
  /** The recovery that runs ends with the mark of this generation, also when that has come already. */
  | { readonly kind: 'recovery-follow'; readonly generation: number }
  /**
   * End the recovery: no event of it follows, not even its failure, and nothing of it is committed after the
   * effects that come next were carried out.
   */
  | { readonly kind: 'stop-recovery' }
  /**
   * New transactions are stamped with this generation; undefined: none may begin, and sessions that work in
   * an older one cannot commit.
   */
  | { readonly kind: 'serve'; readonly generation: number | undefined }
  /** The nodes of the cluster are these from now on: nothing may be sent to others any more. */
  | { readonly kind: 'configuration-changed'; readonly configuration: Configuration }
  | { readonly kind: 'status-changed'; readonly status: NodeStatus; readonly reason: string };
