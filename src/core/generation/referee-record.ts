/**
 * The referee's memory and its two rules. The referee of two data nodes is one record in Redis or PostgreSQL
 * (architecture §4); what the adapters do there by compare-and-set is written down here as pure functions.
 *
 *   low, high    the two data nodes, by ascending id
 *   online       by node: the highest generation with both members that it has told to have been online in
 *   cleared      the lesser of the two: both nodes were online in it, so both have everything up to it
 *   winner, generation   the last grant; it is *in force* while generation > cleared
 *
 * Rule of granting: a grant in force goes to its winner only, as often as he asks. When none is in force it
 * goes to a node that is complete and that knows of no generation of both nodes above `cleared`: so an empty,
 * an old or somebody else's record grants nothing to anybody.
 * Rule of clearing: each node tells for itself what it was online in, which stays true for ever. So neither
 * a late nor a repeated call can clear a grant that somebody needs; what is at or below `cleared` is refused.
 * It must never: be deleted, forget a winner before both nodes have told, lower `online`.
 */
import type { NodeId } from '../identity.ts';

export interface RefereeRecord {
  /** 0: nothing was ever granted. */
  readonly winner: NodeId;
  /** 0: nothing was ever granted. */
  readonly generation: number;
  readonly onlineLow: number;
  readonly onlineHigh: number;
  /** Raised by every grant and by every report that changes something. */
  readonly revision: number;
}

/** The two data nodes; `low` is the lesser id. */
export interface RefereePair {
  readonly low: NodeId;
  readonly high: NodeId;
}

export interface GrantRequest {
  readonly node: NodeId;
  /** The number of the generation that it would be the only member of. */
  readonly generation: number;
  /**
   * The referee must have cleared this generation, or else it is not the one that the node knows. 0: the node
   * may not be complete and asks for its own grant again, if it has one.
   */
  readonly since: number;
}

export interface OnlineReport {
  readonly node: NodeId;
  /** It was online in this generation, and both nodes are its members. */
  readonly generation: number;
  /**
   * A grant of this node's own for a higher generation that nobody uses any more is given back, unless the
   * record has changed since this revision. 0: nothing is given back.
   */
  readonly revision: number;
}

/** Why there is no grant. */
export type GrantRefusal = 'no-record' | 'cleared' | 'other-winner' | 'incomplete' | 'unconfirmed';

export type GrantVerdict =
  | { readonly kind: 'granted'; readonly record: RefereeRecord }
  | {
      readonly kind: 'refused';
      readonly refusal: GrantRefusal;
      /** Undefined: there is none. */
      readonly record: RefereeRecord | undefined;
    };

export function clearedUpTo(record: RefereeRecord): number {
  return Math.min(record.onlineLow, record.onlineHigh);
}

/** The grant that only its winner can get again; undefined when there is none. */
export function grantInForce(record: RefereeRecord): { winner: NodeId; generation: number } | undefined {
  const { winner, generation } = record;
  return generation > clearedUpTo(record) ? { winner, generation } : undefined;
}

/** Only a verdict 'granted' changes the record. */
export function judgeGrant(record: RefereeRecord | undefined, request: GrantRequest): GrantVerdict {
  if (record === undefined) return { kind: 'refused', refusal: 'no-record', record };
  const cleared = clearedUpTo(record);
  const refused = (refusal: GrantRefusal): GrantVerdict => ({ kind: 'refused', refusal, record });
  const { node, generation, since } = request;
  if (generation <= cleared) return refused('cleared');
  const inForce = grantInForce(record);
  if (inForce === undefined) {
    if (since === 0) return refused('incomplete');
    if (since > cleared) return refused('unconfirmed');
  } else if (inForce.winner !== node) {
    return refused('other-winner');
  }
  const granted = {
    ...record,
    winner: node,
    generation: Math.max(generation, inForce?.generation ?? 0),
    revision: record.revision + 1,
  };
  return { kind: 'granted', record: granted };
}

const empty: RefereeRecord = { winner: 0, generation: 0, onlineLow: 0, onlineHigh: 0, revision: 0 };

/** The record after a report: the first one creates it. */
export function afterReport(
  record: RefereeRecord | undefined,
  pair: RefereePair,
  report: OnlineReport,
): RefereeRecord {
  const { node, generation, revision } = report;
  const old = record ?? empty;
  const givesBack = old.winner === node && old.generation > generation && old.revision === revision;
  const changed: RefereeRecord = {
    winner: old.winner,
    generation: givesBack ? generation : old.generation,
    onlineLow: node === pair.low ? Math.max(old.onlineLow, generation) : old.onlineLow,
    onlineHigh: node === pair.high ? Math.max(old.onlineHigh, generation) : old.onlineHigh,
    revision: old.revision + 1,
  };
  const same =
    changed.generation === old.generation &&
    changed.onlineLow === old.onlineLow &&
    changed.onlineHigh === old.onlineHigh;
  return same ? old : changed;
}
