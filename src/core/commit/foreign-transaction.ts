/**
 * The record of a transaction of another node.
 *
 * States:
 *   waiting     its deps are not all committed here; data is kept. Ends: applying.
 *   applying    runs on an apply connection. Ends: prepared, refused, rolling-back (the connection was lost).
 *   prepared    voted YES, durably (invariant 3). Ends: committing, rolling-back.
 *   refused     nothing is prepared; voted NO, volatile. Ends with the coordinator's word.
 *   committing, rolling-back   being executed. Ends: finished; refused when only a lost connection was
 *                              cleaned up.
 *   finished    executed and confirmed; kept until every member has finished it, so that a repeat is
 *               recognised.
 */
import type { Gid, NodeId, Refusal } from '../identity.ts';
import type { Finish } from './event.ts';

export type ForeignState =
  'waiting' | 'applying' | 'prepared' | 'refused' | 'committing' | 'rolling-back' | 'finished';

export interface ForeignTransaction {
  readonly gid: Gid;
  readonly coordinator: NodeId;
  readonly startTime: number;
  readonly ddl: boolean;
  state: ForeignState;
  /** Deps that are not yet committed here. */
  readonly missing: Set<Gid>;
  /** Data that came while waiting. */
  kept: Uint8Array[];
  received: number;
  ended: boolean;
  refusal: Refusal | undefined;
  /**
   * What the coordinator waits for: a vote, the confirmation that it asked for (rolled-back), or, once it has
   * announced the outcome, that of its execution (finished).
   */
  owed: 'vote' | 'rolled-back' | 'finished';
  outcome: Finish | undefined;
}

export function newForeignTransaction(
  gid: Gid,
  coordinator: NodeId,
  state: ForeignState,
  startTime = 0,
  ddl = false,
): ForeignTransaction {
  return {
    gid,
    coordinator,
    startTime,
    ddl,
    state,
    missing: new Set(),
    kept: [],
    received: 0,
    ended: false,
    refusal: undefined,
    owed: 'vote',
    outcome: undefined,
  };
}
