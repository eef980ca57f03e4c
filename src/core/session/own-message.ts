/** Takes from the reply to a statement of the gateway's own what its task wants to know. */
import { backend } from '../wire/codes.ts';
import { catalogConflict } from '../wire/catalog-conflict.ts';
import { cstringAt, errorFields, errorResponse, int32At } from '../wire/messages.ts';
import type { Reply } from './reply.ts';

export function takeError(reply: Reply, buffer: Uint8Array, start: number, end: number): void {
  const fields = errorFields(buffer, start, end);
  const conflict = catalogConflict(fields);
  reply.error = conflict === undefined ? buffer.slice(start, end) : errorResponse(conflict);
  reply.sqlstate = conflict?.sqlstate ?? fields.get('C') ?? '';
}

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
    // DataRow (B): Int16 columns, then Int32 length and bytes of each.
    const length = int32At(buffer, start + 7);
    if (length >= 0) reply.value = cstringAt(buffer, start + 11, start + 11 + length);
  }
}
