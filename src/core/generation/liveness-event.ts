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

/** Where this node stands in the elections; its heartbeats say so. */
export interface Standing {
  /** The generation that it takes part in, recovering or online; undefined: in none. */
  readonly generation: Generation | undefined;
  /** The highest generation that it voted for. */
  readonly maxVoted: number;
  /** The highest that it was ever online in. */
  readonly lastOnline: number;
  /** It has executed what its generation's record says: with a lease it may serve. */
  readonly online: boolean;
  /** It fell behind and has nearly caught up, or is catching up as a member. */
  readonly level: boolean;
}

/** The manual's words (surface.md, mtm.status). */
export type NodeStatus = 'online' | 'recovery' | 'catchup' | 'disabled' | 'isolated';

/** Whether the own PostgreSQL works, as the node layer sees it. */
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
  /**
   * The process of the peer that was last introduced has certainly ended (the system on its side says so, or
   * it took its leave after it had ended its sessions): nobody has to wait for a timeout.
   */
  | { readonly kind: 'peer-stopped'; readonly now: number; readonly from: NodeId; readonly reason: string }
  | { readonly kind: 'local-health-changed'; readonly now: number; readonly health: LocalHealth }
  | { readonly kind: 'standing-changed'; readonly now: number; readonly standing: Standing };

export type LivenessEffect =
  | { readonly kind: 'send'; readonly to: NodeId; readonly message: Heartbeat | HeartbeatAnswer }
  /**
   * From now on the member of the generation cannot vote. Not sent for members that were never there: in each
   * generation all others begin as lost.
   */
  | { readonly kind: 'member-lost'; readonly node: NodeId; readonly reason: string }
  | { readonly kind: 'member-back'; readonly node: NodeId };

/** Why a member cannot take part in a write now. `text` completes "node 2: …". */
export interface MemberTrouble {
  readonly node: NodeId;
  readonly kind: 'no-link' | 'not-heard' | 'no-answer' | 'unhealthy' | 'other-generation' | 'not-online';
  readonly text: string;
}

/** A configured node that is heard and can be spoken to, this one included, as its last heartbeat says. */
export interface Contact {
  readonly node: NodeId;
  readonly healthy: boolean;
  readonly connected: readonly NodeId[];
  readonly generation: number;
  readonly maxVoted: number;
  readonly lastOnline: number;
  readonly onlineIn: number;
  readonly level: boolean;
}
