/**
 * What gateways say to each other. One closed union; the codec beside it puts it into bytes.
 * Rule: every message may be lost with its link; whoever needs an answer asks again after a reconnect.
 */
import type { Ballot, GenerationRecord } from '../generation/record.ts';
import type { Gid, Lsn, NodeId, Refusal } from '../identity.ts';

export type PeerMessage =
  /**
   * Sent every heartbeat_send_timeout. `sentAt` is the sender's monotonic clock, in ms, and comes back in
   * the answer.
   */
  | {
      readonly kind: 'heartbeat';
      readonly sentAt: number;
      /** The generation that the sender takes part in, recovering or online; 0 for none. */
      readonly generation: number;
      readonly maxVoted: number;
      /** The highest generation that the sender was ever online in. */
      readonly lastOnline: number;
      /**
       * The generation in which the sender claims the right to serve, 0 for none: an answer to this heartbeat
       * renews its lease only when it claims, and whoever answers a claim does not vote to exclude the sender
       * within the term.
       */
      readonly onlineIn: number;
      /** A sender that fell behind has nearly caught up, or does so as a member. */
      readonly level: boolean;
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
      /** It renews no lease: the answerer would elect without the asker. */
      readonly withheld: boolean;
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
  /**
   * Every member has finished these transactions of the sender: they leave deps and the outcome memory.
   * `floor` is the sender's lowest counter in `generation` that is not finished everywhere.
   */
  | {
      readonly kind: 'finished-everywhere';
      readonly gids: readonly Gid[];
      readonly generation: number;
      readonly floor: number;
    }
  /**
   * The sender holds more unapplied changes than it wants to keep in memory (open: false, repeated while it
   * holds), or can take more again.
   */
  | { readonly kind: 'flow'; readonly open: boolean }
  /** A member asks the coordinator of `gid` to refuse it: `winner` is older and waits for its locks. */
  | { readonly kind: 'refuse-request'; readonly gid: Gid; readonly winner: Gid }
  // ---- servers (src/node/server-witness.ts)
  /** How far the sender's server is: it never goes back. `branches`: where older timelines were left. */
  | {
      readonly kind: 'server-position';
      readonly systemIdentifier: string;
      readonly timeline: number;
      readonly flushed: Lsn;
      readonly branches: readonly { readonly timeline: number; readonly at: Lsn }[];
    }
  /** The answer. `refusal` is a sentence: the server is not what the answerer remembers; empty: it is. */
  | { readonly kind: 'server-position-verdict'; readonly refusal: string }
  // ---- questions (src/node/peer-questions.ts)
  /** `id` is the asker's own. `body` is JSON, at most maxBodyBytes. */
  | { readonly kind: 'request'; readonly id: number; readonly verb: string; readonly body: string }
  /** `body`: the answer, or with `ok` false {sqlstate?, message, hint?}. */
  | { readonly kind: 'reply'; readonly id: number; readonly ok: boolean; readonly body: string }
  // ---- elections (core/generation/election.ts)
  /** Asks a proposed member for its promise. */
  | {
      readonly kind: 'vote-request';
      readonly ballot: Ballot;
      readonly members: readonly NodeId[];
      readonly configured: readonly NodeId[];
    }
  /** The promise, durable before it is sent, with everything that the value is made of. */
  | {
      readonly kind: 'election-vote';
      readonly ballot: Ballot;
      readonly incarnation: number;
      readonly lastOnline: number;
      /** The record that the voter has accepted with the highest ballot. */
      readonly accepted: GenerationRecord | undefined;
      readonly prepared: readonly Gid[];
      readonly committed: readonly Gid[];
    }
  | {
      readonly kind: 'vote-refused';
      readonly ballot: Ballot;
      /** A clause for the status: "node 3 was answered a moment ago". */
      readonly reason: string;
      readonly retryAfterMs: number;
      /** What the refuser has promised: the next ballot must be higher. */
      readonly promised: Ballot;
    }
  /** The ballot is that of the record. */
  | { readonly kind: 'accept-request'; readonly record: GenerationRecord }
  | { readonly kind: 'accepted'; readonly ballot: Ballot }
  | { readonly kind: 'accept-refused'; readonly ballot: Ballot; readonly promised: Ballot }
  /** A record that is chosen. */
  | { readonly kind: 'record'; readonly record: GenerationRecord }
  /** Asks for the highest chosen record, if its number is above this one. */
  | { readonly kind: 'record-request'; readonly above: number };

/** What belongs to elections. */
export type ElectionMessage = Extract<
  PeerMessage,
  {
    kind:
      | 'vote-request'
      | 'election-vote'
      | 'vote-refused'
      | 'accept-request'
      | 'accepted'
      | 'accept-refused'
      | 'record'
      | 'record-request';
  }
>;

const electionKinds: ReadonlySet<PeerMessage['kind']> = new Set<ElectionMessage['kind']>([
  'vote-request',
  'election-vote',
  'vote-refused',
  'accept-request',
  'accepted',
  'accept-refused',
  'record',
  'record-request',
]);

export function isElectionMessage(message: PeerMessage): message is ElectionMessage {
  return electionKinds.has(message.kind);
}
