/**
 * Statements that make the rows of one key (without a key: all rows with the same text) those of another
 * node.
 * Rules: rows are found by the operators of the key's own index; a row that changes is deleted and inserted
 * again, because what it was is not to be believed. Values are parameters, read by the input functions of
 * the columns.
 */
import { quoteLiteral, quoteName, quoteQualified } from '../apply/quoting.ts';
import type { RelationFacts } from '../apply/facts.ts';
import type { ComparedTable } from './relation.ts';
import { rowText, source } from './row-sql.ts';

/** By a key: the texts of its columns; without: the hash of the row. */
export interface RepairItem {
  readonly hash: string;
  readonly key: readonly string[];
}

export type Values = readonly (string | null)[];

/** The rows of one item on one node. */
export interface ItemState {
  readonly rows: string;
  readonly first: string;
  readonly second: string;
  /** Columns that can be written, in the order of `writtenColumns`. */
  readonly values: readonly Values[];
}

const hashSeed = 7;

function writtenColumns({ columns }: ComparedTable): string[] {
  return columns.filter(({ generated }) => !generated).map(({ name }) => name);
}

export class RepairSql {
  readonly #table: ComparedTable;
  readonly #where: string;

  constructor(table: ComparedTable, facts: RelationFacts) {
    this.#table = table;
    this.#where = table.key.length === 0 ? this.#sameText() : this.#sameKey(facts);
  }

  /** Rows, and the sums of their hashes. */
  get state(): string {
    return (
      'SELECT count(*)::text, coalesce(sum(hashtextextended(r, 0)), 0)::text, ' +
      'coalesce(sum(hashtextextended(r, 1)), 0)::text ' +
      `FROM (SELECT ${rowText(this.#table)} COLLATE "C" AS r FROM ${source(this.#table)} ` +
      `WHERE ${this.#where} OFFSET 0) AS q`
    );
  }

  get values(): string {
    const names = writtenColumns(this.#table).map((name) => `t.${quoteName(name)}`);
    return `SELECT ${names.join(', ')} FROM ${source(this.#table)} WHERE ${this.#where}`;
  }

  get delete(): string {
    return `DELETE FROM ${source(this.#table)} WHERE ${this.#where}`;
  }

  get insert(): string {
    const columns = writtenColumns(this.#table);
    const marks = columns.map((_, index) => `$${index + 1}`);
    return insertText(this.#table, columns, marks);
  }

  parameters({ key, hash }: RepairItem): string[] {
    return this.#table.key.length === 0 ? [hash] : [...key];
  }

  #sameKey(facts: RelationFacts): string {
    const terms = this.#table.key.map((name, index) => {
      const fact = facts.columns.find((column) => column.name === name);
      return `t.${quoteName(name)} ${fact?.keyOperator ?? 'OPERATOR(pg_catalog.=)'} $${index + 1}`;
    });
    return terms.join(' AND ');
  }

  #sameText(): string {
    return `hashtextextended(${rowText(this.#table)} COLLATE "C", ${hashSeed}) = $1::int8`;
  }
}

function insertText(table: ComparedTable, columns: readonly string[], values: readonly string[]): string {
  const name = quoteQualified(table.schema, table.name);
  if (columns.length === 0) return `INSERT INTO ${name} DEFAULT VALUES`;
  const names = columns.map(quoteName).join(', ');
  return `INSERT INTO ${name} (${names}) OVERRIDING SYSTEM VALUE VALUES (${values.join(', ')})`;
}

/** For people: what would be done about one item, with the values in it. */
export function shownStatements(
  table: ComparedTable,
  item: RepairItem,
  has: ItemState,
  wanted: ItemState,
): string[] {
  const name = quoteQualified(table.schema, table.name);
  const statements: string[] = [];
  if (has.rows !== '0') {
    const where =
      table.key.length === 0
        ? `<${has.rows} rows whose text is that of ${item.key.join(' ')}>`
        : table.key
            .map((column, at) => `${quoteName(column)} = ${quoteLiteral(item.key[at]!)}`)
            .join(' AND ');
    statements.push(`DELETE FROM ONLY ${name} WHERE ${where};`);
  }
  for (const row of wanted.values) {
    const values = row.map((value) => (value === null ? 'NULL' : quoteLiteral(value)));
    statements.push(`${insertText(table, writtenColumns(table), values)};`);
  }
  return statements;
}

export function sameState(a: ItemState, b: ItemState): boolean {
  return a.rows === b.rows && a.first === b.first && a.second === b.second;
}
