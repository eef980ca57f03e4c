/**
 * What the liveness machine is told, what it orders, and the words for the states in between.
 * Every event carries `now`, the monotonic clock of this process in ms, at which it is handled.
 */
import type { NodeId } from '../identity.ts';
import type { PeerMessage } from '../peer/message.ts';

export type Heartbeat = Extract<PeerMessage, { kind: 'heartbeat' }>;
export type HeartbeatAnswer = Extract<PeerMessage, { kind: 'heartbeat-answer' }>;

/** (number, members, configured): elected once, never changed (architecture §4). */
export interface Generation {
  readonly number: number;
  readonly members: readonly NodeId[];
  readonly configured: readonly NodeId[];
}

/** The manual's words (surface.md, mtm.status). */
export type NodeStatus = 'online' | 'recovery' | 'catchup' | 'disabled' | 'isolated';

/** Whether the own PostgreSQL works and the node takes part, as the node layer sees it. */
export type LocalHealth =
  | { readonly healthy: true }
  | {
      readonly healthy: false;
      /** What the node calls itself meanwhile. */
      readonly status: 'recovery' | 'catchup' | 'disabled';
      /** A clause without a full stop: "PostgreSQL does not answer". */
      readonly reason: string;
    };

export type LivenessEvent =
  /**
   * At least twice per heartbeat_send_timeout. `wallMs` feeds the hybrid clock and shows a suspended machine.
   */
  | { readonly kind: 'ticked'; readonly now: number; readonly wallMs: number }
  | {
      readonly kind: 'heartbeat-received';
      readonly now: number;
      readonly from: NodeId;
      readonly message: Heartbeat;
    }
  | {
      readonly kind: 'heartbeat-answer-received';
      readonly now: number;
      readonly from: NodeId;
      readonly message: HeartbeatAnswer;
    }
  /** The outgoing link to `to` can carry messages. */
  | { readonly kind: 'link-up'; readonly now: number; readonly to: NodeId }
  | { readonly kind: 'link-down'; readonly now: number; readonly to: NodeId; readonly reason: string }
  /**
   * `from` has authenticated itself on an incoming link; a higher incarnation means that it was restarted.
   */
  | {
      readonly kind: 'peer-introduced';
      readonly now: number;
      readonly from: NodeId;
      readonly incarnation: number;
    }
  | { readonly kind: 'local-health-changed'; readonly now: number; readonly health: LocalHealth };

export type LivenessEffect =
  | { readonly kind: 'send'; readonly to: NodeId; readonly message: Heartbeat | HeartbeatAnswer }
  /** From now on the node holds a lease / no longer holds one, also when it lapsed between two looks. */
  | { readonly kind: 'lease-gained' }
  | { readonly kind: 'lease-lost' }
  | { readonly kind: 'status-changed'; readonly status: NodeStatus; readonly reason: string }
  /** From now on the member cannot vote. Not sent for members that were never there: all begin as lost. */
  | { readonly kind: 'member-lost'; readonly node: NodeId; readonly reason: string }
  | { readonly kind: 'member-back'; readonly node: NodeId };

/** Why a member cannot take part in a write now. `text` completes "node 2: …". */
export interface MemberTrouble {
  readonly node: NodeId;
  readonly kind: 'no-link' | 'not-heard' | 'no-answer' | 'unhealthy' | 'other-generation';
  readonly text: string;
}
