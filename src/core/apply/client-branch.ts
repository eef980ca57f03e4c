/**
 * The rows by which the nodes tell each other what clients have prepared (sql/client-prepared.sql), and the
 * statements that prepare a branch from them.
 *
 * As a member: the rows of a branch are held until its last one has come; then the branch is prepared, and
 * only then does the transaction that brought them go on. In a replay nothing is prepared: the decision to
 * commit applies the branch's changes at its own place, because that is where they became visible.
 * Rule: a branch is prepared before the transaction that brings its rows is.
 */
import { decodePgoutput } from '../pgoutput/decoder.ts';
import type { RelationMessage, Tuple } from '../pgoutput/messages.ts';
import { clientTables, isSharedTable } from '../pgoutput/own-tables.ts';
import { PieceWriter, frameEnd } from '../pgoutput/piece-writer.ts';
import { quoteLiteral, quoteName } from './quoting.ts';
import type { StatementPipeline } from './statement-pipeline.ts';

export interface ClientBranch {
  /** Never used twice. */
  readonly id: string;
  /** The client's name for it. */
  readonly gid: string;
  /** Undefined: there is no such role here any more. */
  readonly owner: string | undefined;
  readonly home: number;
  /** Of its header. */
  readonly proof: string;
  /** Framed messages. */
  readonly body: Uint8Array;
}

export type Decision = 'commit' | 'rollback';

const textOid = 25;
const int4Oid = 23;
const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
const nothing = new Uint8Array(0);

export class ClientRows {
  readonly #relations = new Map<number, RelationMessage>();
  readonly #held = new PieceWriter();
  #parts: Uint8Array[] = [];
  /** Rows of these tables have come, or come next. */
  active = false;

  /** A relation was introduced. */
  introduced(message: RelationMessage): void {
    if (!isSharedTable(message.schema, message.name)) return;
    this.#relations.set(message.oid, message);
    this.active = true;
  }

  /** Rows of a branch are held whose last one has not come. */
  get holding(): boolean {
    return this.#held.size > 0;
  }

  /**
   * An insert, as a member: `held`, or the whole branch with its last row; undefined for another table.
   */
  insert(piece: Uint8Array, start: number, end: number): ClientBranch | 'held' | undefined {
    const message = decodePgoutput(piece, start, end);
    if (message.kind !== 'insert') return undefined;
    const relation = this.#relations.get(message.relation);
    if (relation === undefined) return undefined;
    const { row } = message;
    const text = columnsOf(relation, row);
    if (relation.name === clientTables.head) return branchOf(text, joined(this.#parts.splice(0)));
    this.#held.message(piece, start, end);
    const data = row.values[relation.columns.findIndex(({ name }) => name === 'data')];
    this.#parts.push(hexBytes(data ?? nothing, 2)); // behind the \x
    return 'held';
  }

  /** The frames that were held, to be looked at again. */
  takeHeld(): Uint8Array {
    return this.#held.take();
  }

  /** An update: the decision about a branch; undefined for another table. */
  decision(
    piece: Uint8Array,
    start: number,
    end: number,
  ): { readonly id: string; readonly decision: Decision } | undefined {
    const message = decodePgoutput(piece, start, end);
    if (message.kind !== 'update') return undefined;
    const relation = this.#relations.get(message.relation);
    if (relation?.name !== clientTables.head) return undefined;
    const text = columnsOf(relation, message.row);
    return { id: text('id'), decision: text('decision') === 'commit' ? 'commit' : 'rollback' };
  }
}

function columnsOf(relation: RelationMessage, row: Tuple): (name: string) => string {
  return (name) => {
    const value = row.values[relation.columns.findIndex((column) => column.name === name)];
    return value === undefined || value === null ? '' : decoder.decode(value);
  };
}

function branchOf(text: (name: string) => string, body: Uint8Array): ClientBranch {
  return {
    id: text('id'),
    gid: text('gid'),
    owner: text('owner'),
    home: Number(text('home')),
    proof: text('proof'),
    body,
  };
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function nibble(code: number): number {
  return code < 0x3a ? code - 0x30 : code - 0x57;
}

/** The bytes of PostgreSQL's hexadecimal text (lower case) from this place on. */
function hexBytes(text: Uint8Array, from: number): Uint8Array {
  const bytes = new Uint8Array((text.length - from) >> 1);
  for (let at = 0, digit = from; at < bytes.length; at++, digit += 2) {
    bytes[at] = (nibble(text[digit]!) << 4) | nibble(text[digit + 1]!);
  }
  return bytes;
}

export function fromHex(text: string): Uint8Array {
  return hexBytes(encoder.encode(text), 0);
}

/** False when its frames do not fit its bytes. */
export function isWholeBody(body: Uint8Array): boolean {
  let at = 0;
  while (at < body.length) {
    at = frameEnd(body, at);
    if (at === 0) return false;
  }
  return true;
}

/** The first statements of a branch, behind BEGIN. */
export function writeBranchStart(pipeline: StatementPipeline, { gid, home }: ClientBranch): void {
  const values = [encoder.encode(gid), encoder.encode(String(home))];
  pipeline.run('SELECT mtm.await_client_gid($1, $2)', [textOid, int4Oid], values);
}

/** Its last ones. The owner prepares it, so that every node shows the same in pg_prepared_xacts. */
export function writeBranchEnd(pipeline: StatementPipeline, { id, gid, owner, proof }: ClientBranch): void {
  const values = [encoder.encode(id), encoder.encode(proof)];
  pipeline.run('SELECT mtm.mark_client($1, $2)', [textOid, textOid], values);
  if (owner !== undefined) pipeline.runOnce(`SET LOCAL SESSION AUTHORIZATION ${quoteName(owner)}`);
  pipeline.runOnce(`PREPARE TRANSACTION ${quoteLiteral(gid)}`);
}

export const bodyMark = 'mtm-body:';

/** In a replay: asks for the changes of a branch; one row with the mark and hexadecimal text. */
export function askBody(pipeline: StatementPipeline, id: string): void {
  const sql =
    `SELECT '${bodyMark}' || COALESCE(pg_catalog.string_agg(pg_catalog.encode(data, 'hex'), '' ` +
    "ORDER BY part), '') FROM mtm.client_body WHERE id OPERATOR(pg_catalog.=) $1";
  pipeline.run(sql, [textOid], [encoder.encode(id)]);
}

/** In a replay: the rows of a branch go with its decision. */
export function forgetBranch(pipeline: StatementPipeline, id: string): void {
  pipeline.run('SELECT mtm.forget_client($1)', [textOid], [encoder.encode(id)]);
}
