/**
 * What gateways say to each other. One closed union; the codec beside it puts it into bytes.
 * Rule: every message may be lost with its link; whoever needs an answer asks again after a reconnect.
 */
import type { Gid, NodeId, Refusal } from '../identity.ts';

export type Fate = 'prepared' | 'committed' | 'aborted' | 'never' | 'unknown';

export type PeerMessage =
  /**
   * Sent every heartbeat_send_timeout. `sentAt` is the sender's monotonic clock, in ms, and comes back in
   * the answer.
   */
  | {
      readonly kind: 'heartbeat';
      readonly sentAt: number;
      readonly generation: number;
      readonly maxVoted: number;
      /** Nodes that the sender heard within heartbeat_recv_timeout, itself included. */
      readonly connected: readonly NodeId[];
      /** The sender's PostgreSQL works and the sender takes part in transactions. */
      readonly healthy: boolean;
      /** Why not healthy; empty otherwise. */
      readonly reason: string;
      /** Hybrid logical clock of the sender, ms. */
      readonly clock: number;
    }
  | {
      readonly kind: 'heartbeat-answer';
      readonly sentAt: number;
      readonly maxVoted: number;
      readonly clock: number;
    }
  /**
   * Opens a transaction. Its data follow on the same link, in order, possibly interleaved with other gids.
   */
  | {
      readonly kind: 'transaction-start';
      readonly gid: Gid;
      readonly startTime: number;
      readonly ddl: boolean;
      readonly members: readonly NodeId[];
      readonly deps: readonly Gid[];
    }
  /**
   * pgoutput messages, each as [length: uint32 big endian][message]; every relation is introduced before its
   * first row.
   * `offset` counts the bytes of the transaction before these, so that a repeat after a reconnect is
   * recognised.
   */
  | {
      readonly kind: 'transaction-data';
      readonly gid: Gid;
      readonly offset: number;
      readonly data: Uint8Array;
    }
  | { readonly kind: 'transaction-end'; readonly gid: Gid }
  | { readonly kind: 'vote'; readonly gid: Gid; readonly refusal: Refusal | undefined }
  /**
   * The coordinator has rolled back its own branch and asks the member to do the same. Answer: rolled-back.
   */
  | { readonly kind: 'rollback-request'; readonly gid: Gid }
  | { readonly kind: 'rolled-back'; readonly gid: Gid }
  | { readonly kind: 'outcome'; readonly gid: Gid; readonly outcome: 'commit' | 'abort' }
  /** The member has executed the outcome. */
  | { readonly kind: 'finished'; readonly gid: Gid }
  /** Every member has finished these: they leave deps and (at the next syncpoint) the outcome memory. */
  | { readonly kind: 'finished-everywhere'; readonly gids: readonly Gid[] }
  /**
   * The sender holds more unapplied changes than it wants to keep in memory (open: false), or can take more
   * again.
   */
  | { readonly kind: 'flow'; readonly open: boolean }
  /** A member asks the coordinator of `gid` to refuse it: `winner` is older and waits for its locks. */
  | { readonly kind: 'refuse-request'; readonly gid: Gid; readonly winner: Gid }
  /**
   * Asked by a restarted coordinator about its former gids (a node that answers never prepares them
   * afterwards), and by a
   * member about gids that it holds prepared and whose coordinator it had lost.
   */
  | { readonly kind: 'fate-question'; readonly gids: readonly Gid[] }
  | { readonly kind: 'fate-answer'; readonly fates: readonly { readonly gid: Gid; readonly fate: Fate }[] };
