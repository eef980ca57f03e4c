/** What is told while all nodes are compared, in this order of time; plain values, sent as JSON. */
import type { NodeId } from '../identity.ts';
import type { FoundKey } from './row-search.ts';
import { isSame, type Sums } from './sums.ts';

/** Nodes whose rows with a key are the same; no rows: they lack it. */
export interface Version {
  readonly nodes: readonly NodeId[];
  readonly rows: number;
}

export type ComparisonNews =
  | {
      readonly kind: 'begun';
      readonly members: readonly NodeId[];
      readonly away: readonly NodeId[];
      readonly tables: number;
    }
  | { readonly kind: 'left-out'; readonly table: string; readonly reason: string }
  | { readonly kind: 'remark'; readonly text: string }
  /** A difference of definitions: on these nodes, and not on the others. */
  | { readonly kind: 'definition'; readonly nodes: readonly NodeId[]; readonly line: string }
  | { readonly kind: 'sequence'; readonly text: string }
  | {
      readonly kind: 'table';
      readonly table: string;
      readonly equal: boolean;
      /** By node. */
      readonly rows: Readonly<Record<NodeId, string>>;
    }
  | {
      readonly kind: 'row';
      readonly table: string;
      /** Texts of the key's columns; without a key: the beginning of the row. */
      readonly key: readonly (string | null)[];
      readonly keyed: boolean;
      readonly versions: readonly Version[];
      readonly columns: readonly string[];
    }
  | { readonly kind: 'more-rows'; readonly table: string }
  /** Something was not compared: the result is not whole. */
  | { readonly kind: 'not-compared'; readonly what: string; readonly reason: string }
  | { readonly kind: 'lost'; readonly node: NodeId; readonly reason: string }
  | { readonly kind: 'end'; readonly equal: boolean; readonly whole: boolean; readonly ms: number };

export interface ComparisonProgress {
  /** What is looked at when all rows have been read; before, what is read besides. */
  readonly what: string;
  readonly bytes: number;
  readonly ofBytes: number;
}

/** Those that have it first, who lacks it last. */
export function versionsOf({ sums }: FoundKey, nodes: readonly NodeId[]): Version[] {
  const groups: { readonly sums: Sums; readonly nodes: NodeId[] }[] = [];
  sums.forEach((each, index) => {
    const group = groups.find((one) => isSame(one.sums, each));
    if (group === undefined) groups.push({ sums: each, nodes: [nodes[index]!] });
    else group.nodes.push(nodes[index]!);
  });
  return groups
    .toSorted((a, b) => b.nodes.length - a.nodes.length)
    .toSorted((a, b) => Number(b.sums.rows > 0n) - Number(a.sums.rows > 0n))
    .map((group) => ({ nodes: group.nodes, rows: Number(group.sums.rows) }));
}
