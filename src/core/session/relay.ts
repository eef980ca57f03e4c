/**
 * What relaying a single server message takes: reading errors and tags, holding back, and naming true reasons.
 * Rule: bytes that nobody needs to read are never read.
 */
import type { Refusal } from '../identity.ts';
import { backend, frontend } from '../wire/codes.ts';
import { cstringAt, errorFields, withErrorFields } from '../wire/messages.ts';
import type { Reply } from './reply.ts';

/** Messages that belong to COPY FROM STDIN: they go straight through while the server takes copy data. */
export function isCopyStage(type: number): boolean {
  switch (type) {
    case frontend.copyData:
    case frontend.copyDone:
    case frontend.copyFail:
    case frontend.flush:
    case frontend.sync:
      return true;
    default:
      return false;
  }
}

/** FATAL and PANIC end the session; field V is never translated. */
export function isFatal(buffer: Uint8Array, start: number, end: number): boolean {
  return errorFields(buffer, start, end).get('V') !== 'ERROR';
}

export function takeError(reply: Reply, buffer: Uint8Array, start: number, end: number): void {
  reply.error = buffer.slice(start, end);
  reply.sqlstate = errorFields(buffer, start, end).get('C') ?? '';
}

/** Takes from the reply to a statement of the gateway's own what its task wants to know. */
export function takeOwnMessage(
  reply: Reply,
  type: number,
  buffer: Uint8Array,
  start: number,
  end: number,
): void {
  if (type === backend.errorResponse) {
    if (reply.error === undefined) takeError(reply, buffer, start, end);
  } else if (type === backend.commandComplete) {
    reply.tag = cstringAt(buffer, start + 5, end);
  } else if (type === backend.dataRow && reply.value === undefined && end - start > 11) {
    const length = new DataView(buffer.buffer, buffer.byteOffset + start + 7, 4).getInt32(0);
    if (length >= 0) reply.value = cstringAt(buffer, start + 11, start + 11 + length);
  }
}

/** Completions are held to the end; rows only while they are few, so that a large result streams. */
export function holdMessage(
  reply: Reply,
  buffer: Uint8Array,
  start: number,
  end: number,
  limitBytes: number,
  release: (reply: Reply) => void,
): void {
  reply.held.push(buffer.subarray(start, end));
  reply.heldBytes += end - start;
  if (reply.heldBytes <= limitBytes || buffer[start] === backend.commandComplete) return;
  const keep = reply.held.at(-1)![0] === backend.commandComplete ? reply.held.pop() : undefined;
  release(reply);
  if (keep !== undefined) reply.held.push(keep);
}

/** The server's error with the words of the refusal that caused it. */
export function refusalInsteadOf(error: Uint8Array, refusal: Refusal): Uint8Array {
  const fields = new Map([
    ['C', refusal.sqlstate],
    ['M', refusal.message],
  ]);
  if (refusal.detail !== undefined) fields.set('D', refusal.detail);
  if (refusal.hint !== undefined) fields.set('H', refusal.hint);
  return withErrorFields(error, 0, error.length, fields);
}
