/**
 * What happens to the commit machine and what it orders. Events are past tense, effects are orders; the owner
 * executes effects in the given order and reports their ends as events. Nothing here does I/O.
 */
import type { Gid, NodeId, Refusal } from '../identity.ts';
import type { PeerMessage } from '../peer/message.ts';

export type Finish = 'commit' | 'rollback';

export type ApplyResult =
  | { readonly kind: 'prepared' }
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  /**
   * The connection died and its backend is gone (no PREPARE can follow); whether it is prepared here is not
   * known.
   */
  | { readonly kind: 'lost'; readonly reason: string };

/** Who holds the lock that an applied transaction waits for. */
export type Holder =
  | { readonly kind: 'transaction'; readonly gid: Gid }
  | {
      readonly kind: 'session';
      readonly pid: number;
      /**
       * Hybrid logical start time of the session's transaction, ms; undefined for a session that is not
       * supervised.
       */
      readonly startTime: number | undefined;
      /** The session itself waits for a lock, of whomever. */
      readonly waiting: boolean;
      /** It waits for the very transaction that waits for it. */
      readonly mutual: boolean;
    };

/** Asked about gids of one generation; an OutcomeMemory is one. */
export interface CommittedGids {
  isCommitted(gid: Gid): boolean;
}

export type CommitEvent =
  | { readonly kind: 'prepare-sent'; readonly gid: Gid; readonly startTime: number }
  /** early: the client does not want to wait for the other members (SET multimaster.wait_peer_commits). */
  | { readonly kind: 'prepare-returned'; readonly gid: Gid; readonly early?: boolean }
  /** PREPARE answered with an error or ROLLBACK: nothing is prepared and never will be. */
  | { readonly kind: 'prepare-failed'; readonly gid: Gid }
  /** The session's connection is gone and its backend too; whether PREPARE happened must be looked up. */
  | { readonly kind: 'prepare-lost'; readonly gid: Gid }
  /**
   * In place of 'prepare-returned': the transaction cannot be prepared at home. Its last statement has been
   * executed, nothing in it is deferred any more, and it stays open until 'finish-open'.
   */
  | { readonly kind: 'held-open'; readonly gid: Gid }
  /**
   * It is not open any more and certainly not committed: its session is gone, or its COMMIT has failed.
   */
  | { readonly kind: 'open-lost'; readonly gid: Gid; readonly refusal: Refusal }
  /** The client does not want it any more. */
  | { readonly kind: 'client-cancelled'; readonly gid: Gid }
  /** Its changes cannot be read. */
  | { readonly kind: 'capture-failed'; readonly gid: Gid; readonly refusal: Refusal }
  /** A piece of the transaction's changes came out of the slot; `last` with its Prepare message. */
  | {
      readonly kind: 'captured';
      readonly gid: Gid;
      readonly ddl: boolean;
      readonly data: Uint8Array;
      readonly last: boolean;
    }
  /**
   * The server's decoding waits for a lock that the prepared transaction itself holds: it would wait for
   * ever.
   */
  | { readonly kind: 'capture-blocked'; readonly gid: Gid }
  /**
   * The slot is read anew, from a place that may lie before transactions already shown: what comes again is
   * recognised. Told before the first piece of the new stream.
   */
  | { readonly kind: 'capture-restarted' }
  | { readonly kind: 'message-received'; readonly from: NodeId; readonly message: PeerMessage }
  | { readonly kind: 'apply-ended'; readonly gid: Gid; readonly result: ApplyResult }
  | { readonly kind: 'finish-ended'; readonly gid: Gid; readonly finish: Finish; readonly missing: boolean }
  | {
      readonly kind: 'apply-blocked';
      readonly gid: Gid;
      readonly ddl: boolean;
      readonly holder: Holder;
      readonly waitedMs: number;
    }
  /** The outgoing link to a node works (again); its gateway runs with this incarnation. */
  | { readonly kind: 'link-up'; readonly node: NodeId; readonly incarnation: number }
  /**
   * The node has opened a (new) link to this one: what it said on the former one may be lost with it, and
   * what it will not say again by itself is asked for.
   */
  | { readonly kind: 'link-accepted'; readonly node: NodeId }
  | { readonly kind: 'link-down'; readonly node: NodeId }
  /**
   * The failure detector gave the node up: silent for heartbeat_recv_timeout, or it said that it stopped. At
   * the start all other members count as lost, until 'member-back'.
   */
  | { readonly kind: 'member-lost'; readonly node: NodeId; readonly reason: string }
  | { readonly kind: 'member-back'; readonly node: NodeId }
  /**
   * The generation is over for this node: it is about to vote for a higher one, or knows of one. For good.
   */
  | { readonly kind: 'frozen' }
  /**
   * A higher generation was chosen, and the machine is quiet: `commits` is its record's word about all older
   * transactions that are prepared anywhere; what is committed stays so. `complete`: this node is one of the
   * record's donors and holds all of `commits`, so that silence means aborted. Otherwise the node recovers:
   * what it holds prepared is rolled back, whatever its fate, and comes back from the donor; its sessions are
   * answered by 'released'.
   */
  | { readonly kind: 'settled'; readonly commits: ReadonlySet<Gid>; readonly complete: boolean }
  /**
   * Every member of the newer generation is online in it, this node too: from now on every read shows what
   * was committed. `committed`: what this node's outcome memory says, complete for the generation of this
   * machine.
   */
  | { readonly kind: 'released'; readonly committed: CommittedGids }
  /**
   * For longer than heartbeat_recv_timeout there is no quorum: nobody waits any longer. May be told again and
   * again, for what has begun to wait since.
   */
  | { readonly kind: 'given-up'; readonly reason: string }
  /** Sends what was kept back to travel together. Time itself decides nothing here. */
  | { readonly kind: 'tick' };

export type Answer =
  | { readonly kind: 'committed' }
  | { readonly kind: 'aborted'; readonly refusal: Refusal }
  | { readonly kind: 'unknown'; readonly reason: string };

export type CommitEffect =
  | { readonly kind: 'send'; readonly to: NodeId; readonly message: PeerMessage }
  | { readonly kind: 'open-apply'; readonly gid: Gid }
  | { readonly kind: 'push-apply'; readonly gid: Gid; readonly data: Uint8Array }
  | { readonly kind: 'end-apply'; readonly gid: Gid }
  | { readonly kind: 'cancel-apply'; readonly gid: Gid; readonly refusal: Refusal }
  /**
   * The generation ends while the PREPARE of this gid, or the COMMIT of what is held open, is on its way at
   * home: cancel it, or end its backend. Its end is told as always; also when the order came too late.
   */
  | { readonly kind: 'end-prepare'; readonly gid: Gid; readonly refusal: Refusal }
  /**
   * COMMIT PREPARED or ROLLBACK PREPARED, repeated by the owner until the server has said done or missing.
   */
  | { readonly kind: 'finish'; readonly gid: Gid; readonly finish: Finish }
  /**
   * COMMIT or ROLLBACK by the session that holds the transaction open. Its end is told as 'finish-ended', a
   * COMMIT that failed as 'open-lost'.
   */
  | { readonly kind: 'finish-open'; readonly gid: Gid; readonly finish: Finish }
  /** The session that waits for this gid may answer its client. At most once per gid. */
  | { readonly kind: 'answer'; readonly gid: Gid; readonly answer: Answer }
  /** The local session holds a lock that an older transaction needs: end its transaction. */
  | { readonly kind: 'interrupt-session'; readonly pid: number; readonly winner: Gid }
  /** The nodes differ, or a peer broke the protocol: a person must look. */
  | { readonly kind: 'alarm'; readonly gid: Gid; readonly text: string };
