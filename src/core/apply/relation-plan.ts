/**
 * SQL for the changes of one relation: its description by the origin (relation message) joined to the facts
 * of this node.
 *
 * Rules: names are quoted, operators and types qualified, so nobody's search_path or look-alike operator
 * matters. An UPDATE or DELETE that hits no row fails *inside the server* (mtm.fail, SQLSTATE XX001: the
 * nodes have diverged), because PREPARE travels in the same packet. It costs 5 µs more than the plain
 * statement (measured on 18: 19 against 14 µs). More than one row cannot be hit: keys are unique, and without
 * a key one row is chosen by its ctid.
 */
import type {
  DeleteMessage,
  RelationMessage,
  TruncateMessage,
  Tuple,
  UpdateMessage,
} from '../pgoutput/messages.ts';
import type { ColumnFacts, ForeignKeyFacts, RelationFacts } from './facts.ts';
import { parameterMark, whyUnguardable } from './row-writer.ts';
import { divergence, ManyRows } from './many-rows.ts';
import { quoteLiteral, quoteName, quoteQualified } from './quoting.ts';
import { statementKey } from './statement-pipeline.ts';

/** A parameter is the text of a column of the new or of the old row. */
export interface Parameter {
  readonly row: 'new' | 'old';
  readonly column: number;
}

export interface Statement {
  /** Of a guarded relation (row-writer.ts) the parameters stand in it as `parameterMark` gives them. */
  readonly sql: string;
  /** Of text and types: under which the connection remembers it. */
  readonly key: string;
  /** Type OIDs of the parameters, on this node. */
  readonly types: readonly number[];
  readonly parameters: readonly Parameter[];
  /** Of a guarded relation: the types as text, and what to run when no row was hit. */
  readonly casts: readonly string[];
  readonly otherwise: string;
}

/** Where a foreign key's columns are in the relation message. */
export interface KeyPlaces {
  readonly foreignKey: ForeignKeyFacts;
  readonly columns: readonly number[];
  /** The old value comes with the change itself; otherwise it must be looked up before the change. */
  readonly inIdentity: boolean;
}

const textOid = 25;
const plansKept = 256;
const exactTypes = new Set(
  'bool bytea char date int2 int4 int8 name oid text time timestamp timestamptz uuid varchar xid xid8'.split(
    ' ',
  ),
);
const equalTypes = new Set(['bpchar', 'float4', 'float8', 'interval', 'numeric', 'timetz']);
const collatable = new Set(['text', 'varchar']);

/** Its input function refuses every text: nobody is to make up a tree; those of the stream are a server's. */
const unreadableType = 'pg_node_tree';

export class RelationPlan {
  readonly message: RelationMessage;
  readonly facts: RelationFacts;
  /** Foreign keys of which this relation is the child, the parent. */
  readonly asChild: readonly KeyPlaces[];
  readonly asParent: readonly KeyPlaces[];
  readonly insert: Statement;
  /** Its text before the values. */
  readonly insertHead: string;
  /** COPY takes what INSERT takes, in the same order, also for GENERATED ALWAYS identities. */
  readonly copy: string;
  /** Columns of the message that COPY takes, in its order. */
  readonly copyColumns: readonly number[];
  /** Only a function of ours reads values of a column: COPY cannot. */
  readonly unreadable: boolean;
  /** Many rows at a time. */
  readonly many: ManyRows;
  /** Its rows are written in a function of its owner's, by RowWriter. */
  readonly guarded: boolean;
  readonly #columns: readonly (ColumnFacts | undefined)[];
  readonly #target: string;
  readonly #statements = new Map<string, Statement>();
  /** Identity columns that UPDATE may not name. */
  readonly #fixed: readonly number[];

  private constructor(message: RelationMessage, facts: RelationFacts, columns: readonly ColumnFacts[]) {
    this.message = message;
    this.facts = facts;
    this.guarded = facts.foreignCode;
    this.unreadable = columns.some(({ builtin }) => builtin === unreadableType);
    this.#columns = columns.map((column) => (column.generated ? undefined : column));
    this.#target = relationTarget(facts.schema, facts.name, facts.kind === 'p');
    this.#fixed = this.#columns.flatMap((column, index) => (column?.identityAlways === true ? [index] : []));
    this.asChild = facts.foreignKeys.filter((key) => key.isChild).map((key) => this.#places(key, 'child'));
    this.asParent = facts.foreignKeys.filter((key) => key.isParent).map((key) => this.#places(key, 'parent'));
    this.insertHead = this.#insertHead();
    this.insert = this.#insert();
    this.copyColumns = this.#sent();
    const names = this.copyColumns.map((index) => quoteName(message.columns[index]!.name));
    this.many = new ManyRows(message, facts, columns, this.copyColumns, this.#target, {
      // An identity that UPDATE may not name, and a key that must be looked up first: each row for itself.
      update:
        this.asParent.every((key) => key.inIdentity) &&
        this.#fixed.every((index) => message.columns[index]!.key),
    });
    this.copy = `COPY ${this.#name()}${names.length > 0 ? ` (${names.join(', ')})` : ''} FROM STDIN`;
  }

  /** The text says what does not fit: a column that is missing here, another replica identity. */
  static bind(message: RelationMessage, facts: RelationFacts): RelationPlan | string {
    const where = `${message.schema}.${message.name}`;
    const columns: ColumnFacts[] = [];
    for (const column of message.columns) {
      const fact = facts.columns.find((candidate) => candidate.name === column.name);
      if (fact === undefined)
        return `column "${column.name}" of relation "${where}" does not exist on this node`;
      if (column.key && message.identity !== 'full' && fact.keyOperator === null) {
        return `column "${column.name}" of relation "${where}" is not in the replica identity on this node`;
      }
      columns.push(fact);
    }
    const plan = new RelationPlan(message, facts, columns);
    const unguardable = whyUnguardable(plan, where);
    if (unguardable !== undefined) return unguardable;
    const lost = plan.asParent.find((places) => places.columns.includes(-1));
    if (lost === undefined) return plan;
    const key = lost.foreignKey.name;
    return `foreign key "${key}" at relation "${where}" uses a generated column: not supported`;
  }

  #name(): string {
    return quoteQualified(this.facts.schema, this.facts.name);
  }

  #places(foreignKey: ForeignKeyFacts, side: 'child' | 'parent'): KeyPlaces {
    const columns = foreignKey.columns.map((column) =>
      this.message.columns.findIndex((candidate) => candidate.name === column[side]),
    );
    const full = this.message.identity === 'full';
    const inIdentity = columns.every((index) => full || this.message.columns[index]?.key === true);
    return { foreignKey, columns, inIdentity };
  }

  /** Columns of the message that can be written here. */
  #sent(): number[] {
    return this.message.columns.flatMap((_, index) => (this.#columns[index] === undefined ? [] : [index]));
  }

  #insertHead(): string {
    const names = this.#sent().map((index) => quoteName(this.message.columns[index]!.name));
    if (names.length === 0) return `INSERT INTO ${this.#name()} DEFAULT VALUES`;
    return `INSERT INTO ${this.#name()} (${names.join(', ')}) OVERRIDING SYSTEM VALUE VALUES `;
  }

  #insert(): Statement {
    const draft = new Draft(this);
    const values = this.#sent().map((index) => draft.value('new', index));
    return draft.statement(this.insertHead + (values.length === 0 ? '' : `(${values.join(', ')})`));
  }

  update(change: UpdateMessage): Statement {
    const mask = updateMask(change) + (this.#rewrites(change) ? 'r' : '');
    return this.#cached(`U${mask}`, () =>
      mask.endsWith('r') ? this.#rewrite(change) : this.#update(change),
    );
  }

  delete(change: DeleteMessage): Statement {
    const mask = change.old.kind === 'full' ? nullMask(change.old.row) : '';
    return this.#cached(`D${mask}`, () => {
      const draft = new Draft(this);
      const where = this.#where(draft, change.old, undefined);
      return this.#exactlyOne(draft, `DELETE FROM ${this.#target} AS t WHERE ${where} RETURNING 1`, 'delete');
    });
  }

  /**
   * Reads the parent's key columns before an UPDATE or DELETE takes them away. The row begins with `mark`;
   * there is none when a column is NULL, because nothing can refer to it.
   */
  lookup(places: KeyPlaces, change: UpdateMessage | DeleteMessage, mark: string): Statement {
    const mask = change.old?.kind === 'full' ? nullMask(change.old.row) : (change.old?.kind ?? '');
    return this.#cached(`L${places.foreignKey.oid} ${mask}`, () => {
      const draft = new Draft(this, false);
      const names = places.columns.map((index) => `t.${quoteName(this.message.columns[index]!.name)}`);
      const texts = names.map((name) => `pg_catalog.format('%s', ${name})`);
      const present = names.map((name) => `${name} IS NOT NULL`);
      const where = [this.#where(draft, change.old, change), ...present].join(' AND ');
      return draft.statement(
        `SELECT ${quoteLiteral(mark)}, ${texts.join(', ')} FROM ${this.#target} AS t ` +
          `WHERE ${where} FOR UPDATE`,
      );
    });
  }

  #cached(mask: string, make: () => Statement): Statement {
    const known = this.#statements.get(mask);
    if (known !== undefined) return known;
    if (this.#statements.size >= plansKept) this.#statements.clear();
    const made = make();
    this.#statements.set(mask, made);
    return made;
  }

  #update(change: UpdateMessage): Statement {
    const draft = new Draft(this);
    const named = this.#sent().filter(
      (index) => change.row.values[index] !== undefined && !this.#fixed.includes(index),
    );
    const sets = named.map(
      (index) => `${quoteName(this.message.columns[index]!.name)} = ${draft.value('new', index)}`,
    );
    const where = this.#where(draft, change.old, change);
    if (sets.length === 0) {
      // Nothing but unchanged values: the row is still looked for and locked.
      const row = `SELECT 1 AS one FROM ${this.#target} AS t WHERE ${where} FOR NO KEY UPDATE`;
      return this.#exactlyOne(draft, row, 'update');
    }
    const sql = `UPDATE ${this.#target} AS t SET ${sets.join(', ')} WHERE ${where} RETURNING 1`;
    return this.#exactlyOne(draft, sql, 'update');
  }

  /**
   * True when a GENERATED ALWAYS identity changes, or when that cannot be known: UPDATE cannot set such a
   * column, so the row is deleted and inserted again.
   */
  #rewrites(change: UpdateMessage): boolean {
    return this.#fixed.some((index) => {
      if (change.old?.kind === 'full' || (change.old?.kind === 'key' && this.message.columns[index]!.key)) {
        return !sameBytes(change.old.row.values[index], change.row.values[index]);
      }
      return !this.message.columns[index]!.key;
    });
  }

  #rewrite(change: UpdateMessage): Statement {
    const draft = new Draft(this);
    const sent = this.#sent();
    const names = sent.map((index) => quoteName(this.message.columns[index]!.name));
    const values = sent.map((index, at) =>
      change.row.values[index] === undefined ? `d.${names[at]}` : draft.value('new', index),
    );
    const where = this.#where(draft, change.old, change);
    const deleted = `d AS (DELETE FROM ${this.#target} AS t WHERE ${where} RETURNING t.*)`;
    const inserted =
      `INSERT INTO ${this.#name()} (${names.join(', ')}) OVERRIDING SYSTEM VALUE ` +
      `SELECT ${values.join(', ')} FROM d RETURNING 1`;
    return this.#exactlyOne(draft, inserted, 'update', deleted);
  }

  /** Fails when no row was hit. `before`: what the statement reads from. */
  #exactlyOne(draft: Draft, dml: string, verb: string, before = ''): Statement {
    const failure = `SELECT ${divergence(this.facts, verb)}`;
    if (this.guarded) return draft.statement(before === '' ? dml : `WITH ${before} ${dml}`, failure);
    const first = before === '' ? '' : `${before}, `;
    return draft.statement(`WITH ${first}u AS (${dml}) ${failure} WHERE NOT EXISTS (SELECT FROM u)`);
  }

  /**
   * The row that is meant: by the key (the old one if it changed), or one row that equals the whole old one.
   */
  #where(draft: Draft, old: UpdateMessage['old'], update: UpdateMessage | DeleteMessage | undefined): string {
    if (old?.kind === 'full') {
      const terms = old.row.values.flatMap((value, index) => this.#fullTerm(draft, value, index));
      const where = terms.length === 0 ? 'true' : terms.join(' AND ');
      return `t.ctid = (SELECT s.ctid FROM ${this.#target} AS s WHERE ${where} LIMIT 1 FOR UPDATE)`;
    }
    const row = old === undefined && update?.kind === 'update' ? 'new' : 'old';
    const keys = this.message.columns.flatMap((column, index) => (column.key ? [index] : []));
    if (keys.length === 0) return 'false';
    return keys
      .map((index) => {
        const operator = this.#fact(index).keyOperator ?? 'OPERATOR(pg_catalog.=)';
        return `t.${quoteName(this.message.columns[index]!.name)} ${operator} ${draft.key(row, index)}`;
      })
      .join(' AND ');
  }

  /**
   * Equality may hold between different texts (1.0 and 1.00): then the text must agree too, byte by byte,
   * whatever the column's collation takes for equal; some types have no equality.
   */
  #fullTerm(draft: Draft, value: Uint8Array | null | undefined, index: number): string[] {
    const fact = this.#columns[index];
    if (fact === undefined || value === undefined) return [];
    const name = `s.${quoteName(fact.name)}`;
    if (value === null) return [`${name} IS NULL`];
    const exact = exactTypes.has(fact.builtin) && (fact.deterministic || !collatable.has(fact.builtin));
    const equal = exact || equalTypes.has(fact.builtin);
    const terms = equal ? [`${name} OPERATOR(pg_catalog.=) ${draft.key('old', index)}`] : [];
    if (!exact) {
      const bytes = `pg_catalog.format('%s', ${name}) COLLATE pg_catalog."C"`;
      terms.push(`${bytes} OPERATOR(pg_catalog.=) ${draft.text('old', index)}`);
    }
    return terms;
  }

  #fact(index: number): ColumnFacts {
    return this.facts.columns.find((fact) => fact.name === this.message.columns[index]!.name)!;
  }

  columnFacts(index: number): ColumnFacts {
    return this.#fact(index);
  }
}

/** Gathers the parameters of one statement while its text is put together. */
class Draft {
  readonly #plan: RelationPlan;
  readonly #guarded: boolean;
  readonly #parameters: Parameter[] = [];
  readonly #types: number[] = [];
  readonly #casts: string[] = [];

  constructor(plan: RelationPlan, guarded = plan.guarded) {
    this.#plan = plan;
    this.#guarded = guarded;
  }

  /** To be stored in the column. */
  value(row: 'new' | 'old', column: number): string {
    const { typeOid, type, builtin } = this.#plan.columnFacts(column);
    if (builtin !== unreadableType || this.#guarded) return this.#add(row, column, typeOid, type);
    return `mtm.node_tree(pg_catalog.textout(${this.text(row, column)}))`;
  }

  /** To be compared with the column. */
  key(row: 'new' | 'old', column: number): string {
    const { baseTypeOid, type } = this.#plan.columnFacts(column);
    return this.#add(row, column, baseTypeOid, type);
  }

  text(row: 'new' | 'old', column: number): string {
    return this.#add(row, column, textOid, 'pg_catalog.text');
  }

  #add(row: 'new' | 'old', column: number, type: number, cast: string): string {
    this.#types.push(type);
    this.#casts.push(cast);
    const count = this.#parameters.push({ row, column });
    return this.#guarded ? `${parameterMark}${count - 1}${parameterMark}` : `$${count}`;
  }

  statement(sql: string, otherwise = ''): Statement {
    const types = this.#types;
    const key = statementKey(sql, types);
    return { sql, key, types, parameters: this.#parameters, casts: this.#casts, otherwise };
  }
}

function relationTarget(schema: string, name: string, partitioned: boolean): string {
  return partitioned ? quoteQualified(schema, name) : `ONLY ${quoteQualified(schema, name)}`;
}

function updateMask(change: UpdateMessage): string {
  let mask = change.old === undefined ? '' : change.old.kind === 'key' ? 'k' : nullMask(change.old.row);
  for (let index = 0; index < change.row.values.length; index++) {
    if (change.row.values[index] === undefined) mask += `u${index}`;
  }
  return mask;
}

function nullMask(row: Tuple): string {
  return `f${row.values.map((value) => (value === null ? 'n' : value === undefined ? 'u' : 'v')).join('')}`;
}

function sameBytes(a: Uint8Array | null | undefined, b: Uint8Array | null | undefined): boolean {
  if (a === b) return true;
  if (a === null || a === undefined || b === null || b === undefined || a.length !== b.length) return false;
  return a.every((byte, index) => byte === b[index]);
}

/**
 * One TRUNCATE of all relations of the message; `facts` in its order. CASCADE reaches nothing that the
 * origin has not truncated, where it was a condition; but partitioned tables, which may be what references,
 * are not in the message.
 */
export function truncateSql(change: TruncateMessage, facts: readonly RelationFacts[]): string {
  const targets = facts.map((fact) => relationTarget(fact.schema, fact.name, fact.kind === 'p'));
  const restart = change.restartIdentity ? ' RESTART IDENTITY' : ' CONTINUE IDENTITY';
  return `TRUNCATE ${targets.join(', ')}${restart} CASCADE`;
}
