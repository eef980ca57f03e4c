/**
 * Reads just enough of a pgoutput message to forward it: its type, relation or prefix.
 * Rule: for messages of the local server; undefined or 0 where the bytes do not carry what is asked for.
 */
import { cstringAt, cstringEnd, int32At } from '../wire/messages.ts';

/** Type bytes, by the names of the manual. */
export const pgoutputType = {
  begin: 0x42, // B
  commit: 0x43, // C
  beginPrepare: 0x62, // b
  prepare: 0x50, // P
  commitPrepared: 0x4b, // K
  rollbackPrepared: 0x72, // r
  origin: 0x4f, // O
  relation: 0x52, // R
  type: 0x59, // Y
  insert: 0x49, // I
  update: 0x55, // U
  delete: 0x44, // D
  truncate: 0x54, // T
  message: 0x4d, // M
} as const;

/** OID of the relation or type that an I, U, D, R or Y is about; 0 when the message is too short. */
export function peekOid(buffer: Uint8Array, start: number, end: number): number {
  return end - start < 5 ? 0 : int32At(buffer, start + 1) >>> 0;
}

/** The prefix of a logical message (M). */
export function peekPrefix(buffer: Uint8Array, start: number, end: number): string | undefined {
  const at = start + 10;
  if (buffer[start] !== pgoutputType.message || at >= end) return undefined;
  return cstringEnd(buffer, at, end) < end ? cstringAt(buffer, at, end) : undefined;
}

/** Schema and name of a relation message (R). */
export function peekRelation(
  buffer: Uint8Array,
  start: number,
  end: number,
): { schema: string; name: string } {
  const middle = cstringEnd(buffer, start + 5, end);
  return {
    schema: cstringAt(buffer, start + 5, end) || 'pg_catalog',
    name: cstringAt(buffer, middle + 1, end),
  };
}

/** Relations of a truncate (T). */
export function peekTruncated(buffer: Uint8Array, start: number, end: number): number[] {
  const relations: number[] = [];
  for (let at = start + 6; at + 4 <= end; at += 4) relations.push(int32At(buffer, at) >>> 0);
  return relations;
}
