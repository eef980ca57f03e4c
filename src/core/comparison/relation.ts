/**
 * A relation whose rows are compared, as each node describes it (mtm.compared_relations, sql/comparison.sql),
 * and what all nodes have in common of it.
 * Rule: by name only, never by oid or position: those are each node's own.
 */
import type { NodeId } from '../identity.ts';
import { quoteQualified } from '../apply/quoting.ts';

export interface Column {
  readonly name: string;
  /** As format_type prints it, with its schema. */
  readonly type: string;
  /**
   * How its value is told: as it is; shortened, because big values are frequent; not at all, because its
   * text is each server's own; or computed when it is read.
   */
  readonly told: 'plain' | 'bytes' | 'text' | 'untellable' | 'computed';
  /** Cannot be written: it is computed from others. */
  readonly generated: boolean;
}

export interface Relation {
  readonly schema: string;
  readonly name: string;
  /** pg_class.relkind: r or m. */
  readonly kind: string;
  readonly columns: readonly Column[];
  /** Columns of the primary key; empty: it has none. */
  readonly key: readonly string[];
  /** Of its file, without indexes; what it takes to read it. */
  readonly bytes: number;
  /** It can be read in pieces by the place of its rows. */
  readonly pieces: boolean;
  /** Why its rows are each node's own; absent: they are everybody's. */
  readonly apart?: string;
}

/** What is read of it, on every node the same. */
export interface ComparedTable {
  readonly schema: string;
  readonly name: string;
  readonly columns: readonly Column[];
  readonly key: readonly string[];
}

export function shownName({ schema, name }: { readonly schema: string; readonly name: string }): string {
  const plain = (part: string): boolean => /^[a-z_][a-z0-9_$]*$/.test(part);
  return plain(schema) && plain(name) ? `${schema}.${name}` : quoteQualified(schema, name);
}

/** The relations of all nodes by name, in the order of their names. */
export function byName(
  lists: ReadonlyMap<NodeId, readonly Relation[]>,
): ReadonlyMap<string, ReadonlyMap<NodeId, Relation>> {
  const found = new Map<string, Map<NodeId, Relation>>();
  for (const [node, relations] of lists) {
    for (const relation of relations) {
      const name = shownName(relation);
      const nodes = found.get(name) ?? new Map<NodeId, Relation>();
      nodes.set(node, relation);
      found.set(name, nodes);
    }
  }
  return new Map([...found].toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

/** Columns that all nodes have, with the same key; a key that is not everywhere the same is none. */
export function inCommon(relations: readonly Relation[]): ComparedTable {
  const first = relations[0]!;
  const columns = first.columns.filter((column) =>
    relations.every((other) =>
      other.columns.some(({ name, told }) => name === column.name && told === column.told),
    ),
  );
  const tellable = columns.filter(({ told }) => told !== 'untellable' && told !== 'computed');
  const sameKey = relations.every(({ key }) => JSON.stringify(key) === JSON.stringify(first.key));
  const keyIsTold = first.key.every((name) => tellable.some((column) => column.name === name));
  return {
    schema: first.schema,
    name: first.name,
    columns: tellable.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    key: sameKey && keyIsTold ? first.key : [],
  };
}
