/**
 * What a server's tables, memory and WAL hold.
 */
import type { CopiedNode } from '../../src/core/node/catch-up.ts';
import type { Gid, NodeId } from '../../src/core/identity.ts';

/** Whose server it is. Ids are given again; a place, as (id, since), names one node for ever. */
export interface Identity {
  readonly place: number;
  readonly id: NodeId;
  /** The generation that added it; 0 for the first nodes. */
  readonly since: number;
  /** Where its gateway listens. */
  readonly address: string;
}

/** mtm.seed */
export interface Seed {
  readonly source: CopiedNode;
  readonly generation: number;
  /** How much of the source's history the copy holds. */
  readonly copyEnd: number;
  done: boolean;
}

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
  /** It stays open until the others have decided it. */
  heldOpen: Gid | undefined;
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
  | { readonly kind: 'mark'; readonly generation: number }
  /** The gid of what a copy holds already: a header without rows. */
  | { readonly kind: 'header'; readonly gid: Gid };

export type Owner =
  { readonly kind: 'backend'; readonly backend: Backend } | { readonly kind: 'gid'; readonly gid: Gid };
