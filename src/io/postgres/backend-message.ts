/** Reads what PostgreSQL answers on the gateway's own connections. Grammar: manual, "Message Formats". */
import type { NodeId, Refusal } from '../../core/identity.ts';
import { catalogConflict } from '../../core/wire/catalog-conflict.ts';
import { cstringAt, errorFields, int32At } from '../../core/wire/messages.ts';

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** Clashes that every application knows how to repeat. */
const retryableStates = new Set(['40001', '40P01']);
/** Clashes of timing on this node only: lock_not_available, query_canceled. */
const passingStates = new Set(['55P03', '57014']);

/**
 * ErrorResponse as a refusal that says which node refused. What was in the way here and will not be again is
 * told as 40001, with the server's own words in the detail: nobody has cancelled the client's statement.
 */
export function readRefusal(node: NodeId, buffer: Uint8Array, start: number, end: number): Refusal {
  const fields = errorFields(buffer, start, end);
  const sqlstate = fields.get('C') ?? 'XX000';
  if (passingStates.has(sqlstate)) {
    return {
      sqlstate: '40001',
      message: `[multimaster] node ${node} could not apply the transaction just now`,
      detail: `Node ${node}: ${fields.get('M') ?? ''} (${sqlstate})`,
      hint: 'Repeat the transaction.',
      node,
      retryable: true,
    };
  }
  const conflict = catalogConflict(fields);
  if (conflict !== undefined) {
    const { sqlstate: clash, message, detail, hint } = conflict;
    return { sqlstate: clash, message, detail: `Node ${node}: ${detail}`, hint, node, retryable: true };
  }
  const optional = {
    detail: fields.get('D'),
    hint: fields.get('H'),
    schema: fields.get('s'),
    table: fields.get('t'),
    column: fields.get('c'),
    constraint: fields.get('n'),
  };
  const given = Object.fromEntries(
    Object.entries(optional).filter(([, value]) => value !== undefined && value !== ''),
  );
  return {
    sqlstate,
    message: fields.get('M') ?? '',
    ...given,
    node,
    retryable: retryableStates.has(sqlstate),
  };
}

/** DataRow: Int16 columns, for each Int32 length (-1: NULL) and bytes. NULL is read as an empty text. */
export function readRow(buffer: Uint8Array, start: number): string[] {
  const count = (buffer[start + 5]! << 8) | buffer[start + 6]!;
  const columns: string[] = [];
  let at = start + 7;
  for (let index = 0; index < count; index++) {
    const length = int32At(buffer, at);
    at += 4;
    columns.push(length < 0 ? '' : decoder.decode(buffer.subarray(at, at + Math.max(length, 0))));
    at += Math.max(length, 0);
  }
  return columns;
}

/** CommandComplete: String tag. */
export function readTag(buffer: Uint8Array, start: number, end: number): string {
  return cstringAt(buffer, start + 5, end);
}
