/**
 * The checks that replace the foreign-key triggers, which do not fire on apply (architecture §3, Foreign
 * keys).
 *
 * Each statement takes one text array per key column and runs at the end of the transaction, just before
 * PREPARE. It fails inside the server with 23503 and the constraint's name, so PREPARE can travel behind it.
 * Rule: the parents of new child keys are *locked* (FOR KEY SHARE): insert-child here and delete-parent there
 * become a lock conflict instead of an orphan. A key whose child row is gone again by then is no violation.
 */
import type { ForeignKeyFacts } from './facts.ts';
import { quoteLiteral, quoteName, quoteQualified } from './quoting.ts';

/** Locks the parents of the given child keys; fails if one is missing and a child row still has the key. */
export function lockParentsSql(key: ForeignKeyFacts): string {
  const same = key.columns.map(
    (column, index) => `c.${quoteName(column.child)} ${column.childChild} g.c${index}`,
  );
  const violated = `EXISTS (SELECT FROM ${childTable(key)} AS c WHERE ${same.join(' AND ')})`;
  const text = `insert or update on table "${key.childTable}" violates foreign key constraint "${key.name}"`;
  const failed = `CASE WHEN NOT l.found THEN CASE WHEN ${violated} THEN ${failure(key, text)} END END`;
  return `SELECT pg_catalog.count(${failed}) FROM ${lockedKeys(key)}`;
}

/**
 * The same for the child rows that this transaction has written, found by their row versions: a key of
 * generated columns is not in the stream. Without an index it reads the whole table.
 */
export function lockParentsOfWrittenSql(key: ForeignKeyFacts): string {
  const columns = key.columns.map(({ child }, index) => `c.${quoteName(child)} AS c${index}`);
  const filled = key.columns.map(({ child }) => `c.${quoteName(child)} IS NOT NULL`);
  const own = 'c.xmin OPERATOR(pg_catalog.=) pg_catalog.pg_current_xact_id()::pg_catalog.xid';
  const where = [own, ...filled].join(' AND ');
  const written = `SELECT ${columns.join(', ')} FROM ${childTable(key)} AS c WHERE ${where}`;
  const text = `insert or update on table "${key.childTable}" violates foreign key constraint "${key.name}"`;
  return (
    `SELECT pg_catalog.count(CASE WHEN NOT l.found THEN ${failure(key, text)} END) ` +
    `FROM (${written}) AS g CROSS JOIN LATERAL (SELECT ${foundParent(key)} AS found) AS l`
  );
}

/**
 * Locks the parents in the middle of a large transaction, so that the keys need not be kept. A key without a
 * parent comes back as a row (mark, key columns): its parent may still be on the way.
 */
export function lockParentsEarlySql(key: ForeignKeyFacts, mark: string): string {
  const values = key.columns.map((_, index) => `k.v${index}`);
  return `SELECT ${quoteLiteral(mark)}, ${values.join(', ')} FROM ${lockedKeys(key)} WHERE NOT l.found`;
}

/**
 * k: the keys as text, g: as the child's types, l.found: whether the parent is there, which is locked by
 * asking.
 */
function lockedKeys(key: ForeignKeyFacts): string {
  const given = key.columns.map((column, index) => `k.v${index}::${column.childType} AS c${index}`);
  return (
    `${unnested(key)} CROSS JOIN LATERAL (SELECT ${given.join(', ')}) AS g ` +
    `CROSS JOIN LATERAL (SELECT ${foundParent(key)} AS found) AS l`
  );
}

/** Whether the parent of the key g is there. */
function foundParent(key: ForeignKeyFacts): string {
  const terms = plainColumns(key).map(
    (column, index) => `p.${quoteName(column.parent)} ${column.parentChild} g.c${index}`,
  );
  const parent = parentTable(key);
  return key.period ? coveredByParents(key, parent, terms) : lockedParent(parent, terms);
}

/**
 * Fails when a child row is left whose parent key (given as text arrays) was deleted or changed and is not
 * back.
 */
export function leftChildrenSql(key: ForeignKeyFacts): string {
  const child = childTable(key);
  const parent = parentTable(key);
  const given = key.columns.map((column, index) => `k.v${index}::${column.parentType} AS c${index}`);
  const cast = `LATERAL (SELECT ${given.join(', ')}) AS g`;
  const plain = plainColumns(key);
  const isBack = plain.map(
    (column, index) => `p.${quoteName(column.parent)} ${column.parentParent} g.c${index}`,
  );
  const isChild = plain.map(
    (column, index) => `g.c${index} ${column.parentChild} c.${quoteName(column.child)}`,
  );
  const left = key.period
    ? uncoveredChildren(key, child, parent, isChild)
    : leftChildren(child, parent, isBack, isChild);
  const text =
    `update or delete on table "${key.parentTable}" violates foreign key constraint "${key.name}" ` +
    `on table "${key.childTable}"`;
  const failed = `CASE WHEN ${left} THEN ${failure(key, text)} END`;
  return `SELECT pg_catalog.count(${failed}) FROM ${unnested(key)} CROSS JOIN ${cast}`;
}

/**
 * $1: oids of foreign keys. For each that is still there: the mark with its oid, then its tables as they are
 * called now.
 */
export function foreignKeyNamesSql(mark: string): string {
  const tables = ['conrelid', 'confrelid'].map(
    (column, index) =>
      `JOIN pg_catalog.pg_class t${index} ON t${index}.oid = k.${column} ` +
      `JOIN pg_catalog.pg_namespace n${index} ON n${index}.oid = t${index}.relnamespace`,
  );
  return (
    `SELECT ${quoteLiteral(mark)} || k.oid::pg_catalog.text, n0.nspname, t0.relname, ` +
    `n1.nspname, t1.relname ` +
    `FROM pg_catalog.pg_constraint k ${tables.join(' ')} ` +
    `WHERE k.oid = ANY ($1::pg_catalog.text[]::pg_catalog.oid[])`
  );
}

function childTable(key: ForeignKeyFacts): string {
  return `${key.childPartitioned ? '' : 'ONLY '}${quoteQualified(key.childSchema, key.childTable)}`;
}

function parentTable(key: ForeignKeyFacts): string {
  return `${key.parentPartitioned ? '' : 'ONLY '}${quoteQualified(key.parentSchema, key.parentTable)}`;
}

function plainColumns(key: ForeignKeyFacts): ForeignKeyFacts['columns'] {
  return key.period ? key.columns.slice(0, -1) : key.columns;
}

/** `unnest` of several arrays is understood without a schema only, so each stands for itself. */
function unnested(key: ForeignKeyFacts): string {
  const arrays = key.columns
    .map((_, index) => `pg_catalog.unnest($${index + 1}::pg_catalog.text[])`)
    .join(', ');
  const names = key.columns.map((_, index) => `v${index}`).join(', ');
  return `ROWS FROM (${arrays}) AS k(${names})`;
}

function failure(key: ForeignKeyFacts, text: string): string {
  const parts = ['23503', text, key.childSchema, key.childTable, key.name];
  return `mtm.fail(${parts.map(quoteLiteral).join(', ')})`;
}

function lockedParent(parent: string, terms: readonly string[]): string {
  const row = `SELECT true AS hit FROM ${parent} AS p WHERE ${terms.join(' AND ')} FOR KEY SHARE OF p`;
  return `EXISTS (SELECT FROM (${row}) AS q)`;
}

/** PERIOD: the child's range must lie within the union of the parents' ranges. */
function coveredByParents(key: ForeignKeyFacts, parent: string, terms: readonly string[]): string {
  const last = key.columns.length - 1;
  const period = `p.${quoteName(key.columns[last]!.parent)}`;
  const where = [...terms, `${period} OPERATOR(pg_catalog.&&) g.c${last}`].join(' AND ');
  const rows = `SELECT ${period} AS r FROM ${parent} AS p WHERE ${where} FOR KEY SHARE OF p`;
  const union = `SELECT pg_catalog.range_agg(q.r) FROM (${rows}) AS q`;
  return `COALESCE(g.c${last} OPERATOR(pg_catalog.<@) (${union}), false)`;
}

function leftChildren(
  child: string,
  parent: string,
  isBack: readonly string[],
  isChild: readonly string[],
): string {
  return (
    `NOT EXISTS (SELECT FROM ${parent} AS p WHERE ${isBack.join(' AND ')}) ` +
    `AND EXISTS (SELECT FROM ${child} AS c WHERE ${isChild.join(' AND ')})`
  );
}

function uncoveredChildren(
  key: ForeignKeyFacts,
  child: string,
  parent: string,
  isChild: readonly string[],
): string {
  const last = key.columns[key.columns.length - 1]!;
  const [period, range] = [`p.${quoteName(last.parent)}`, `c.${quoteName(last.child)}`];
  const same = plainColumns(key).map(
    (column) => `p.${quoteName(column.parent)} ${column.parentChild} c.${quoteName(column.child)}`,
  );
  const parents = [...same, `${period} OPERATOR(pg_catalog.&&) ${range}`].join(' AND ');
  const covered = `(SELECT pg_catalog.range_agg(${period}) FROM ${parent} AS p WHERE ${parents})`;
  const where = [
    ...isChild,
    `${range} OPERATOR(pg_catalog.&&) g.c${key.columns.length - 1}`,
    `NOT COALESCE(${range} OPERATOR(pg_catalog.<@) ${covered}, false)`,
  ];
  return `EXISTS (SELECT FROM ${child} AS c WHERE ${where.join(' AND ')})`;
}
