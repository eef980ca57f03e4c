/**
 * The names of things: nodes, global transaction ids, log positions, priorities.
 * Rule: pure values; a gid is made in one place and never used twice (invariant 1 in src/README.md).
 */

/** 1…64, the place of a node in the configured cluster. */
export type NodeId = number;

/** `mtm:<node>:<generation>:<incarnation>:<counter>`, at most 199 bytes (PostgreSQL's GIDSIZE - 1). */
export type Gid = string;

/** PostgreSQL's log sequence number: a byte position in the WAL. */
export type Lsn = bigint;

export interface GidParts {
  readonly node: NodeId;
  readonly generation: number;
  /** Raised durably at each start of the gateway. */
  readonly incarnation: number;
  readonly counter: number;
}

export const gidPrefix = 'mtm:';

export function formatGid(parts: GidParts): Gid {
  return `mtm:${parts.node}:${parts.generation}:${parts.incarnation}:${parts.counter}`;
}

const gidPattern = /^mtm:([0-9]{1,3}):([0-9]{1,15}):([0-9]{1,15}):([0-9]{1,15})$/;

/** The parts of one of our gids; undefined for any other text. */
export function parseGid(text: string): GidParts | undefined {
  const match = gidPattern.exec(text);
  if (match === null) return undefined;
  return {
    node: Number(match[1]),
    generation: Number(match[2]),
    incarnation: Number(match[3]),
    counter: Number(match[4]),
  };
}

/**
 * Who wins a conflict between two undecided transactions. Every node computes it from the transaction's
 * own data, so all pick the same winner without talking (architecture §3, Conflicts).
 */
export interface Priority {
  /** A transaction with DDL is older than any without. */
  readonly ddl: boolean;
  /** Hybrid logical clock, milliseconds; kept when the gateway repeats a statement. */
  readonly startTime: number;
  readonly gid: Gid;
}

/** Negative when `a` is older and wins. Total: two different gids never compare equal. */
export function comparePriority(a: Priority, b: Priority): number {
  if (a.ddl !== b.ddl) return a.ddl ? -1 : 1;
  if (a.startTime !== b.startTime) return a.startTime - b.startTime;
  return a.gid < b.gid ? -1 : a.gid > b.gid ? 1 : 0;
}

/** Why a transaction was refused, in the fields of PostgreSQL's ErrorResponse (protocol manual §54.8). */
export interface Refusal {
  readonly sqlstate: string;
  readonly message: string;
  readonly detail?: string;
  readonly hint?: string;
  readonly schema?: string;
  readonly table?: string;
  readonly column?: string;
  readonly constraint?: string;
  /** Which node said so; 0 when it was the gateway itself. */
  readonly node: NodeId;
  /** True for a clash of timing that a repeat can win (conflict, deadlock), false for a broken constraint. */
  readonly retryable: boolean;
}
