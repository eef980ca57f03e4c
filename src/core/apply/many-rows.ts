/**
 * SQL that changes many rows of one relation by their keys: the values come as one array for each column. A
 * row costs a third of what a statement of its own does (measured on 18: 6 against 18 µs of the server for
 * an UPDATE).
 *
 * Rule: it may be used only where nobody can tell in which order the rows change: not with another unique
 * index, whose values may move from row to row, and not with a trigger that fires here. As with single rows
 * the statement fails inside the server (XX001) when one of the rows is not there.
 *
 * Its plan must look each row up. When the statistics say that there are pages and no rows (an ANALYZE has
 * seen a table while it was loaded), the planner takes a scan of the whole index for the cheapest thing there
 * is, and every statement reads the table: `careful` then leaves it bitmap scans, which need a condition.
 */
import type { RelationMessage } from '../pgoutput/messages.ts';
import type { ColumnFacts, RelationFacts } from './facts.ts';
import { quoteLiteral, quoteName } from './quoting.ts';
import { unchangedValue, type RowPlaces } from './row-places.ts';

/** SQLSTATE of "the row is not there" (data_corrupted): a true alarm, see architecture §9. */
const divergenceState = 'XX001';

/** Its parameters are an array for each of these columns, and the number of rows. */
export interface ManyStatement {
  readonly sql: string;
  readonly columns: readonly number[];
}

const statementsKept = 64;

/** Before each such statement, with the relation's OID as its parameter: it may be planned anew any time. */
export const careful =
  "SELECT pg_catalog.set_config('enable_indexscan', 'off', true) FROM pg_catalog.pg_class c " +
  'WHERE c.oid = $1 AND c.relpages > 0 AND c.reltuples >= 0 AND c.reltuples < 10';

export class ManyRows {
  /** Columns of the replica identity, unless that is the whole row. */
  readonly keyColumns: readonly number[];
  /** Updates that keep the key, and deletes, may be one statement. */
  readonly updates: boolean;
  readonly deletes: boolean;
  readonly #message: RelationMessage;
  readonly #facts: RelationFacts;
  /** In the order of the message's columns. */
  readonly #columns: readonly ColumnFacts[];
  /** Columns of the message that can be written here. */
  readonly #sent: readonly number[];
  readonly #target: string;
  readonly #statements = new Map<string, ManyStatement | undefined>();

  /** `allowed`: what the relation's plan says. */
  constructor(
    message: RelationMessage,
    facts: RelationFacts,
    columns: readonly ColumnFacts[],
    sent: readonly number[],
    target: string,
    allowed: { readonly update: boolean },
  ) {
    this.#message = message;
    this.#facts = facts;
    this.#columns = columns;
    this.#sent = sent;
    this.#target = target;
    const keyed = message.identity === 'default' || message.identity === 'index';
    this.keyColumns = keyed ? message.columns.flatMap(({ key }, index) => (key ? [index] : [])) : [];
    const possible = this.keyColumns.every((index) => columns[index]!.inArrays) && !facts.oneByOne;
    this.deletes = this.keyColumns.length > 0 && possible;
    this.updates = this.deletes && allowed.update;
  }

  /** Which of the columns the row at these places leaves out. */
  missing(places: RowPlaces): string {
    let mask = '';
    for (let index = 0; index < places.count; index++)
      if (places.start(index) === unchangedValue) mask += `u${index}`;
    return mask;
  }

  /** Undefined: a column cannot stand in an array, or none changes. */
  update(missing: string): ManyStatement | undefined {
    const known = this.#statements.get(missing);
    if (known !== undefined || this.#statements.has(missing)) return known;
    if (this.#statements.size >= statementsKept) this.#statements.clear();
    const made = this.#update(new Set(missing.split('u').slice(1).map(Number)));
    this.#statements.set(missing, made);
    return made;
  }

  #update(missing: ReadonlySet<number>): ManyStatement | undefined {
    const changed = this.#sent.filter((index) => !missing.has(index) && !this.keyColumns.includes(index));
    if (changed.length === 0 || !changed.every((index) => this.#columns[index]!.inArrays)) return undefined;
    const columns = [...this.keyColumns, ...changed];
    const sets = changed.map((index) => `${this.#name(index)} = v.c${columns.indexOf(index)}`);
    const dml = `UPDATE ${this.#target} AS t SET ${sets.join(', ')} FROM ${this.#meant(columns)}`;
    return { sql: this.#allOf(dml, 'update', columns.length), columns };
  }

  delete(): ManyStatement {
    const known = this.#statements.get('delete');
    if (known !== undefined) return known;
    const columns = this.keyColumns;
    const dml = `DELETE FROM ${this.#target} AS t USING ${this.#meant(columns)}`;
    const made = { sql: this.#allOf(dml, 'delete', columns.length), columns };
    this.#statements.set('delete', made);
    return made;
  }

  #name(index: number): string {
    return quoteName(this.#message.columns[index]!.name);
  }

  /** The arrays as rows v, and which row of t each of them means. */
  #meant(columns: readonly number[]): string {
    const arrays = columns.map((index, at) => `$${at + 1}::${this.#columns[index]!.type}[]`);
    const names = columns.map((_, at) => `c${at}`);
    const terms = this.keyColumns.map((index, at) => {
      const operator = this.#columns[index]!.keyOperator ?? 'OPERATOR(pg_catalog.=)';
      return `t.${this.#name(index)} ${operator} v.c${at}`;
    });
    // Only the bare name takes several arrays; the grammar itself turns it into pg_catalog's.
    return `unnest(${arrays.join(', ')}) AS v(${names.join(', ')}) WHERE ${terms.join(' AND ')} RETURNING 1`;
  }

  #allOf(dml: string, verb: string, before: number): string {
    const wanted = `$${before + 1}::pg_catalog.int8`;
    const count = '(SELECT pg_catalog.count(*) FROM u)';
    const failure = divergence(this.#facts, verb);
    return `WITH u AS (${dml}) SELECT ${failure} WHERE ${count} OPERATOR(pg_catalog.<>) ${wanted}`;
  }
}

/** The call that fails because a row is not there. */
export function divergence({ schema, name }: RelationFacts, verb: string): string {
  const text = `row to ${verb} not found in "${schema}.${name}": the nodes have diverged`;
  return `mtm.fail(${[divergenceState, text, schema, name, ''].map(quoteLiteral).join(', ')})`;
}
