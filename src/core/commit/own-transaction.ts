/**
 * The record of a transaction that began on this node.
 *
 * States (architecture §3, "Decision rule"):
 *   preparing   PREPARE was sent to the home server. Ends: collecting (captured or returned), gone (failed),
 *               aborting (lost).
 *   collecting  prepared at home; changes go to the members, votes come back. Ends: committing when all of M
 *               are prepared; aborting on a NO, a lost member, or a conflict with an older transaction.
 *   aborting    rolling back at home and, until a blocking set can never be prepared, at the members. Votes
 *               no longer count.
 *   aborted     announced. Ends when every member has confirmed.
 *   committing  decided, by the coordinator or by the record of a higher generation. Ends when every member
 *               has executed it.
 * A transaction that cannot be prepared at home is `heldOpen` there by its session (architecture §6): only
 * the others vote, and when all of them are prepared its own COMMIT, the last, is the decision. Until that
 * has returned (`committingOpen`) it is `collecting`; if it fails, nothing of it is left at home.
 * After the freeze nothing becomes `aborted`: `aborting` then only means that nothing is prepared at home any
 * more, or soon. What it means for the client is the record's word (coordinator.ts, `settled`).
 */
import type { Gid, NodeId, Refusal } from '../identity.ts';
import type { CommitEffect } from './event.ts';
import { CapturedChanges } from './captured-changes.ts';

export type OwnState = 'preparing' | 'collecting' | 'aborting' | 'aborted' | 'committing';

export interface OwnTransaction {
  readonly gid: Gid;
  readonly startTime: number;
  state: OwnState;
  ddl: boolean;
  deps: readonly Gid[];
  readonly changes: CapturedChanges;
  /** It stays open in its session until all others are prepared. */
  heldOpen: boolean;
  /** Its session was told to commit, and has not said how that ended. */
  committingOpen: boolean;
  /** It changed nothing: no other node ever hears of it. */
  homeOnly: boolean;
  homePrepared: boolean;
  /**
   * PREPARE has returned, or its backend is gone. The slot shows a transaction as soon as its record is in
   * the WAL, before the server can find it by its gid (measured): until then COMMIT PREPARED and ROLLBACK
   * PREPARED say that it does not exist.
   */
  homeReturned: boolean;
  homeFinished: boolean;
  /** Its client is answered before the other members have executed it. */
  early: boolean;
  /** Nobody waits for an answer any more. */
  answered: boolean;
  readonly votes: Set<NodeId>;
  /** Members that can never prepare it. */
  readonly gone: Set<NodeId>;
  /** Members that have executed the outcome. */
  readonly finished: Set<NodeId>;
  refusal: Refusal | undefined;
}

export function newOwnTransaction(gid: Gid, startTime: number, retainBytes: number): OwnTransaction {
  return {
    gid,
    startTime,
    state: 'preparing',
    ddl: false,
    deps: [],
    changes: new CapturedChanges(retainBytes),
    heldOpen: false,
    committingOpen: false,
    homeOnly: false,
    homePrepared: false,
    homeReturned: false,
    homeFinished: false,
    early: false,
    answered: false,
    votes: new Set(),
    gone: new Set(),
    finished: new Set(),
    refusal: undefined,
  };
}

/** The order to roll it back at home: what is prepared there by its gid, what is open by its session. */
export function rollbackOrder({ gid, heldOpen }: OwnTransaction): CommitEffect {
  return { kind: heldOpen ? 'finish-open' : 'finish', gid, finish: 'rollback' };
}
