/**
 * The value of one election and what a node must never forget of elections (architecture §3 and §4).
 *
 * An election of generation `number` is one Paxos decision: its ballot is (number, proposer), its value a
 * `GenerationRecord`: who the members are and what becomes of every older transaction.
 * Rule: pure values. A chosen record is never changed; its silence about an older gid means that it aborted.
 */
import type { Gid, NodeId } from '../identity.ts';

/** Ordered by generation, then by proposer; no proposer uses one twice, so two proposals never share one. */
export interface Ballot {
  readonly generation: number;
  /** 0 only in the ballot of a node that has promised nothing. */
  readonly proposer: NodeId;
}

/** A node that the configuration files need not know. */
export interface AddedNode {
  readonly id: NodeId;
  /** Where its gateway listens for the others. */
  readonly host: string;
  readonly port: number;
  /** How clients reach it, as libpq writes it. */
  readonly conninfo: string;
  /** The generation that added it; 0 for nodes of the configuration files. */
  readonly since: number;
}

export interface Configuration {
  /** Ascending: the nodes against which majorities are counted. */
  readonly configured: readonly NodeId[];
  /** Ascending: added and not counted yet. */
  readonly joining: readonly NodeId[];
  /** By ascending id: those, joining or configured, that were added at run time. */
  readonly added: readonly AddedNode[];
}

export interface GenerationRecord extends Configuration {
  readonly number: number;
  readonly proposer: NodeId;
  /**
   * The nodes configured before it, when they were others and the record before it is the last that was known
   * to be chosen: until this one is, whatever is based on it needs a majority of them as well.
   */
  readonly former?: readonly NodeId[];
  /** Ascending; contains a majority of `configured` (or the proposer holds the referee's grant). */
  readonly members: readonly NodeId[];
  /** The complete voters: members and others recover from one of them. Ascending. */
  readonly donors: readonly NodeId[];
  /**
   * Every gid stamped < number that was undecided or not finished everywhere and that commits. Every other
   * older gid that a complete node still holds prepared is aborted.
   */
  readonly commits: readonly Gid[];
}

/** What the node's server keeps of elections (schema mtm, synchronous_commit=on). */
export interface DurableState {
  /** The highest ballot that this node voted for. */
  readonly promised: Ballot;
  /** The record accepted with the highest ballot. */
  readonly accepted: GenerationRecord | undefined;
  /** The highest record that this node knows to be chosen. */
  readonly chosen: GenerationRecord | undefined;
  /** The highest generation that this node was online in; 0 for none. */
  readonly lastOnline: number;
}

/** What a `persist` effect writes; the fields that are absent stay as they are. */
export type DurableChange = Partial<DurableState>;

/** What a vote tells of the voter's transactions, of all generations. */
export interface Holdings {
  /** Held prepared, own and foreign. */
  readonly prepared: readonly Gid[];
  /** Committed here and not known to be finished everywhere. */
  readonly committed: readonly Gid[];
}

const noBallot: Ballot = { generation: 0, proposer: 0 };

/** A node that never took part in an election. */
export function freshState(): DurableState {
  return { promised: noBallot, accepted: undefined, chosen: undefined, lastOnline: 0 };
}

/** Negative when `a` is lower. */
export function compareBallots(a: Ballot, b: Ballot): number {
  return a.generation - b.generation || a.proposer - b.proposer;
}

/** The ballot with which the record was proposed. */
export function ballotOf(record: GenerationRecord): Ballot {
  return { generation: record.number, proposer: record.proposer };
}

/** Of two records that of the higher ballot; one ballot has one record. */
export function higherRecord(
  a: GenerationRecord | undefined,
  b: GenerationRecord | undefined,
): GenerationRecord | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return compareBallots(ballotOf(b), ballotOf(a)) > 0 ? b : a;
}
