/** What whoever repairs wants, and what was done; plain values, sent as JSON. */
import type { NodeId } from '../identity.ts';

/** Rows of so many keys at a time. */
export const mostItems = 200;

export interface RepairOptions {
  /** Whose rows are right. */
  readonly from: NodeId;
  /** As in options.ts; it must be one. */
  readonly table: string;
  /** Absent: all others. */
  readonly nodes?: readonly NodeId[];
  /** The texts of the columns of keys; absent: the first that differ. */
  readonly keys?: readonly (readonly string[])[];
  /** Without it nothing is changed. */
  readonly apply: boolean;
}

export interface NodeRepair {
  readonly node: NodeId;
  /** Keys (without a key: rows) that were not as they should be. */
  readonly rows: number;
  readonly deleted: number;
  readonly inserted: number;
}

export interface RepairReport {
  readonly table: string;
  readonly nodes: readonly NodeRepair[];
  /** Of a dry run: what would be done. */
  readonly statements: readonly { readonly node: NodeId; readonly sql: string }[];
  /** There are more rows that differ. */
  readonly more: boolean;
}
