/**
 * What a server's tables, memory and WAL hold.
 */
import type { Gid } from '../../src/core/identity.ts';

export interface Row {
  readonly value: number;
  /** Who wrote this version. */
  readonly by: Gid;
  readonly commitIndex: number;
}

/** One changed row, as the slot shows it. */
export interface Change {
  readonly key: string;
  /** undefined: the row is deleted. */
  readonly value: number | undefined;
  /** Whose version was replaced; undefined when there was no row. For the checker only. */
  readonly base: Gid | undefined;
  /** A row that must be there (a foreign key). */
  readonly requires: string | undefined;
}

export interface Backend {
  readonly pid: number;
  readonly kind: 'session' | 'apply';
  /** Of an apply connection. */
  readonly gid: Gid | undefined;
  readonly startTime: number;
  readonly changes: Map<string, Change>;
  readonly locks: Set<string>;
  snapshotIndex: number;
  waitingFor: string | undefined;
  state: 'open' | 'preparing' | 'closed';
}

export interface Prepared {
  /** COMMIT PREPARED finds it: the slot may show it earlier than that. */
  findable: boolean;
  readonly changes: readonly Change[];
  readonly locks: readonly string[];
}

export interface WalRecord {
  readonly gid: Gid;
  readonly changes: readonly Change[];
}

/** One entry of the WAL as the retained slot shows it: commits and marks, in commit order. */
export type HistoryEntry =
  | {
      readonly kind: 'commit';
      readonly gid: Gid;
      readonly changes: readonly Change[];
      /** The rows before it. */
      readonly undo: readonly (readonly [string, Row | undefined])[];
    }
  | { readonly kind: 'mark'; readonly generation: number };

export type Owner =
  { readonly kind: 'backend'; readonly backend: Backend } | { readonly kind: 'gid'; readonly gid: Gid };
