/**
 * What the election machine orders, and what it asks of the node around it.
 */
import type { Gid, NodeId } from '../identity.ts';
import type { ElectionMessage } from '../peer/message.ts';
import type { Exclusion } from './exclusion.ts';
import type { Contact } from './liveness-event.ts';
import type { Ballot, DurableChange, GenerationRecord, Holdings } from './record.ts';

export interface ElectionOptions {
  readonly self: NodeId;
  /** Ascending, of the configuration file: counts until there is a record. */
  readonly configured: readonly NodeId[];
  readonly incarnation: number;
  readonly sendTimeoutMs: number;
  readonly recvTimeoutMs: number;
}

/** The node as the election sees it. */
export interface ElectionNode {
  readonly exclusion: Exclusion;
  /** Whom something can be agreed with, this node first. */
  contacts(now: number): readonly Contact[];
  /** The commit machines are frozen and nothing that could still become prepared here is on its way. */
  quiet(): boolean;
  /** What the vote tells; asked only while quiet. */
  holdings(): Holdings;
  /**
   * The number of the generation that this node may be the only member of (referee.ts). The function is
   * absent where there is no referee.
   */
  readonly grant?: () => number | undefined;
}

export type ElectionEffect =
  | { readonly kind: 'send'; readonly to: NodeId; readonly message: ElectionMessage }
  /**
   * Written with synchronous_commit=on, in the order of the tokens, and confirmed by 'persisted'. A change
   * with `lastOnline` also writes the mark of that generation into the WAL (a transactional logical message
   * 'mtm-mark'), in the same transaction: whatever is committed before it here belongs to older generations.
   */
  | { readonly kind: 'persist'; readonly token: number; readonly change: DurableChange }
  /**
   * The node serves no more in any generation below the ballot's, and its commit machine is frozen. To be
   * carried out before the effects that follow: the vote is sent only afterwards.
   */
  | { readonly kind: 'leave-generation'; readonly ballot: Ballot }
  /**
   * The record is chosen and noted here. `voted`: this process voted for it, so it takes part in it; a
   * process that began later does not, for it forgot what its predecessor had refused.
   */
  | { readonly kind: 'record-chosen'; readonly record: GenerationRecord; readonly voted: boolean }
  /** It is noted durably that this node was online in the generation. */
  | { readonly kind: 'online-noted'; readonly number: number }
  /** The votes contradict each other: a person must look. */
  | { readonly kind: 'alarm'; readonly gid: Gid; readonly text: string };
