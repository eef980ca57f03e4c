/**
 * Writes single rows: with the gateway's rights, which are a superuser's, but for *guarded* relations, where
 * to write is to run code of others (a CHECK, an index expression, a generated column, a domain, a trigger
 * that fires here too). There it has the rights of the relation's owner, as in PostgreSQL's own logical
 * replication.
 *
 * Why a function: see ddl-plan.ts. One for each owner, made and dropped within the transaction, because a
 * function that stayed would keep its owner from being dropped.
 * Rules: before each call it is made sure that the code has not changed the function; behind each call the
 * session's settings are put back, and statements that were prepared in it are not used any more. Values
 * stand in the text as literals, which are read inside the function. Slow (a row costs some 200 µs, many
 * inserts at once much less), and only for those relations.
 */
import type { Tuple, TupleValue } from '../pgoutput/messages.ts';
import { quoteLiteral, quoteName } from './quoting.ts';
import type { RelationFacts } from './facts.ts';
import type { RelationPlan, Statement } from './relation-plan.ts';
import type { StatementPipeline } from './statement-pipeline.ts';

/** Before and behind the number of a parameter; no SQL text has a NUL in it. */
export const parameterMark = '\0';

/** Of the text of one INSERT with many rows. */
const mostText = 65_536;
const nameOid = 19;
const textOid = 25;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

const body = `DECLARE
  hits bigint;
BEGIN
  EXECUTE command;
  GET DIAGNOSTICS hits = ROW_COUNT;
  IF hits OPERATOR(pg_catalog.=) 0 AND otherwise OPERATOR(pg_catalog.<>) '' THEN
    EXECUTE otherwise;
  END IF;
END`;

export class RowWriter {
  readonly #pipeline: StatementPipeline;
  /** Tells apart functions of transactions that are not finished. */
  readonly #unique: string;
  /** Name of the function, by owner. */
  readonly #guards = new Map<string, string>();
  #plan: RelationPlan | undefined;
  #rows = '';

  constructor(pipeline: StatementPipeline, unique: string) {
    this.#pipeline = pipeline;
    this.#unique = unique;
  }

  /** Rows of a guarded relation wait for more of them: `flush` before anything else is written. */
  insert(plan: RelationPlan, row: Tuple): void {
    if (this.#plan !== plan) this.flush();
    if (!plan.guarded) return this.#pipeline.row(plan.insert, row, undefined);
    this.#plan = plan;
    const values = filled(plan.insert, row, undefined).slice(plan.insertHead.length);
    this.#rows += this.#rows === '' ? values : `, ${values}`;
    if (this.#rows.length >= mostText || values === '') this.flush();
  }

  change(plan: RelationPlan, statement: Statement, row: Tuple | undefined, old: Tuple | undefined): void {
    if (!plan.guarded) return this.#pipeline.row(statement, row, old);
    this.#call(plan.facts.owner, filled(statement, row, old), statement.otherwise);
  }

  /** The relations are those of the statement. Returns why it cannot be. */
  truncate(sql: string, relations: readonly RelationFacts[]): string | undefined {
    const guarded = relations.find(({ foreignTruncate }) => foreignTruncate);
    if (guarded === undefined) this.#pipeline.runOnce(sql);
    else if (relations.every(({ owner }) => owner === guarded.owner)) this.#call(guarded.owner, sql, '');
    else {
      const name = `${guarded.schema}.${guarded.name}`;
      return `tables of several owners are truncated, and "${name}" has a trigger that fires at the peers`;
    }
    return undefined;
  }

  /** Writes what `insert` has kept. */
  flush(): void {
    if (this.#plan === undefined) return;
    const { insertHead, facts } = this.#plan;
    const command = insertHead + this.#rows;
    this.#plan = undefined;
    this.#rows = '';
    this.#call(facts.owner, command, '');
  }

  /** Drops the functions: before a command, which may concern their owner, and before the end. */
  end(): void {
    this.flush();
    for (const name of this.#guards.values()) this.#pipeline.runOnce(`DROP FUNCTION ${signature(name)}`);
    this.#guards.clear();
  }

  #call(owner: string, command: string, otherwise: string): void {
    const name = this.#guards.get(owner) ?? this.#make(owner);
    this.#pipeline.taint();
    const pair = [name, owner].map((text) => encoder.encode(text));
    this.#pipeline.run('SELECT mtm.require_guard($1, $2)', [nameOid, nameOid], pair);
    const texts = [command, otherwise].map((text) => encoder.encode(text));
    this.#pipeline.run(`SELECT mtm.${quoteName(name)}($1, $2)`, [textOid, textOid], texts);
    this.#pipeline.restoreSettings();
  }

  #make(owner: string): string {
    const name = `guard ${this.#unique} ${this.#guards.size}`;
    this.#guards.set(owner, name);
    for (const sql of [
      `CREATE FUNCTION mtm.${quoteName(name)}(command pg_catalog.text, otherwise pg_catalog.text) ` +
        `RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS ${quoteLiteral(body)}`,
      `ALTER FUNCTION ${signature(name)} OWNER TO ${quoteName(owner)}`,
      `REVOKE ALL ON FUNCTION ${signature(name)} FROM PUBLIC`,
    ])
      this.#pipeline.runOnce(sql);
    return name;
  }
}

function signature(name: string): string {
  return `mtm.${quoteName(name)}(pg_catalog.text, pg_catalog.text)`;
}

/** The statement with its values in it. */
function filled(statement: Statement, row: Tuple | undefined, old: Tuple | undefined): string {
  const parts = statement.sql.split(parameterMark);
  for (let at = 1; at < parts.length; at += 2) {
    const number = Number(parts[at]);
    const { row: side, column } = statement.parameters[number]!;
    parts[at] = literal((side === 'new' ? row : old)?.values[column], statement.casts[number]!);
  }
  return parts.join('');
}

/** A literal that is cast is read by the type's input function, whatever casts users have made. */
function literal(value: TupleValue, type: string): string {
  const text = value === null || value === undefined ? 'NULL' : quoteLiteral(decoder.decode(value));
  return `${text}::${type}`;
}

/** The sentence about a relation whose rows can be written neither with our rights nor with its owner's. */
export function whyUnguardable(plan: RelationPlan, where: string): string | undefined {
  const { facts, message, asChild, asParent } = plan;
  if (!facts.foreignCode && !facts.foreignTruncate) return undefined;
  if (facts.superusers) {
    return (
      `relation "${where}" belongs to a superuser, and a function, operator, domain or trigger of another ` +
      'role runs when its rows change: on this node it would run as superuser; give one of them another owner'
    );
  }
  if (facts.forcedRowSecurity) {
    return (
      `relation "${where}" has FORCE ROW LEVEL SECURITY, and code of its owner runs when its rows change: ` +
      'they cannot be written with the rights of the owner on this node'
    );
  }
  const places = [...asChild, ...asParent].flatMap(({ columns }) => columns.filter((index) => index >= 0));
  const names = new Set(places.map((index) => message.columns[index]!.name));
  const bad = facts.columns.find(({ name, foreign }) => foreign && names.has(name));
  if (bad === undefined) return undefined;
  return `column "${bad.name}" of relation "${where}" is in a foreign key; reading it runs code of others`;
}
