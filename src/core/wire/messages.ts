/**
 * Builders and readers of single protocol messages, as byte arrays. Grammar: manual, "Message Formats".
 * Rule: no state; what is read is checked against the message's end, never beyond.
 */
import { bytesOfText } from './any-text.ts';
import { backend, cancelRequestCode, frontend, protocol30, sslRequestCode, status } from './codes.ts';
import { MessageWriter } from './message-writer.ts';

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** Query (F): 'Q', String. */
export function query(text: string): Uint8Array {
  return new MessageWriter(text.length + 8).begin(frontend.query).cstring(text).end().take();
}

/** Parse (F): String name, String query, Int16 count of parameter types. */
export function parse(name: string, text: string): Uint8Array {
  return new MessageWriter(text.length + name.length + 16)
    .begin(frontend.parse)
    .cstring(name)
    .cstring(text)
    .int16(0)
    .end()
    .take();
}

/** CopyFail (F): String reason. */
export function copyFail(reason: string): Uint8Array {
  return new MessageWriter(64).begin(frontend.copyFail).cstring(reason).end().take();
}

/** Close (F): 'S' for a prepared statement or 'P' for a portal, String name. */
function close(what: number, name: string): Uint8Array {
  return new MessageWriter(name.length + 8).begin(frontend.close).byte(what).cstring(name).end().take();
}

export const closeStatement = (name: string): Uint8Array => close(0x53, name);
export const closePortal = (name: string): Uint8Array => close(0x50, name);

/** The head of a CopyData (F) with a body of so many bytes. */
export function copyDataHead(bodyBytes: number): Uint8Array {
  return new MessageWriter(8)
    .byte(frontend.copyData)
    .int32(bodyBytes + 4)
    .take();
}

/**
 * The same Query or Parse text between other bytes: a message of the type with `head`, the text, a zero byte
 * and `tail`.
 */
export function withText(type: number, head: Uint8Array, text: Uint8Array, tail: Uint8Array): Uint8Array {
  return new MessageWriter(head.length + text.length + tail.length + 8)
    .begin(type)
    .bytes(head)
    .bytes(text)
    .byte(0)
    .bytes(tail)
    .end()
    .take();
}

export const syncMessage = new MessageWriter(8).begin(frontend.sync).end().take();
export const flushMessage = new MessageWriter(8).begin(frontend.flush).end().take();
export const terminateMessage = new MessageWriter(8).begin(frontend.terminate).end().take();

/** StartupMessage (F): Int32 version, pairs of strings, zero byte. */
export function startup(parameters: Iterable<readonly [string, string]>, version = protocol30): Uint8Array {
  const writer = new MessageWriter(256).begin(0).int32(version);
  for (const [name, value] of parameters) {
    writer.bytes(bytesOfText(name)).byte(0).bytes(bytesOfText(value)).byte(0);
  }
  return writer.byte(0).end().take();
}

/** SSLRequest (F). */
export const sslRequest: Uint8Array = new MessageWriter(8).begin(0).int32(sslRequestCode).end().take();

/** CancelRequest (F): Int32 code, Int32 process id, secret key (4 bytes, up to 256 in protocol 3.2). */
export function cancelRequest(processId: number, key: Uint8Array): Uint8Array {
  return new MessageWriter(16).begin(0).int32(cancelRequestCode).int32(processId).bytes(key).end().take();
}

/** ReadyForQuery (B): Byte1 transaction status. Every statement ends in one, so they are made once. */
const readyMessages = new Map(Object.values(status).map((each) => [Number(each), ready(each)]));

function ready(transactionStatus: number): Uint8Array {
  return new MessageWriter(8).begin(backend.readyForQuery).byte(transactionStatus).end().take();
}

/** The bytes are shared: never write to them. */
export function readyForQuery(transactionStatus: number): Uint8Array {
  return readyMessages.get(transactionStatus) ?? ready(transactionStatus);
}

export function commandComplete(tag: string): Uint8Array {
  return new MessageWriter(32).begin(backend.commandComplete).cstring(tag).end().take();
}

export function parameterStatus(name: string, value: string): Uint8Array {
  return new MessageWriter(64).begin(backend.parameterStatus).cstring(name).cstring(value).end().take();
}

/** Fields of ErrorResponse and NoticeResponse by their one-letter codes. */
export type ErrorFields = ReadonlyMap<string, string>;

export interface ErrorText {
  readonly severity: 'ERROR' | 'FATAL' | 'PANIC' | 'WARNING' | 'NOTICE';
  readonly sqlstate: string;
  readonly message: string;
  readonly detail?: string | undefined;
  readonly hint?: string | undefined;
  readonly schema?: string | undefined;
  readonly table?: string | undefined;
  readonly column?: string | undefined;
  readonly constraint?: string | undefined;
}

const errorFieldOrder = [
  ['C', 'sqlstate'],
  ['M', 'message'],
  ['D', 'detail'],
  ['H', 'hint'],
  ['s', 'schema'],
  ['t', 'table'],
  ['c', 'column'],
  ['n', 'constraint'],
] as const;

/** ErrorResponse, or NoticeResponse for WARNING and NOTICE (B). */
export function errorResponse(error: ErrorText): Uint8Array {
  const notice = error.severity === 'WARNING' || error.severity === 'NOTICE';
  const writer = new MessageWriter(256).begin(notice ? backend.noticeResponse : backend.errorResponse);
  writer.byte(0x53).cstring(error.severity).byte(0x56).cstring(error.severity);
  for (const [code, name] of errorFieldOrder) {
    const value = error[name];
    if (value !== undefined && value !== '') writer.byte(code.charCodeAt(0)).cstring(value);
  }
  return writer.byte(0).end().take();
}

/** An error for a client of protocol 1 or 2: 'E', String. */
export function oldErrorResponse({ severity, message }: ErrorText): Uint8Array {
  return new MessageWriter(128).byte(backend.errorResponse).cstring(`${severity}:  ${message}\n`).take();
}

/** The fields of an ErrorResponse or NoticeResponse at buffer[start…end), type byte at `start`. */
export function errorFields(buffer: Uint8Array, start: number, end: number): ErrorFields {
  const fields = new Map<string, string>();
  let at = start + 5;
  while (at < end && buffer[at] !== 0) {
    const code = String.fromCharCode(buffer[at]!);
    const stop = cstringEnd(buffer, at + 1, end);
    fields.set(code, decoder.decode(buffer.subarray(at + 1, stop)));
    at = stop + 1;
  }
  return fields;
}

/** The same error with some fields replaced or added: used to move error positions and to rename codes. */
export function withErrorFields(
  buffer: Uint8Array,
  start: number,
  end: number,
  replaced: ReadonlyMap<string, string>,
): Uint8Array {
  const fields = new Map(errorFields(buffer, start, end));
  for (const [code, value] of replaced) fields.set(code, value);
  const writer = new MessageWriter(end - start + 64).begin(buffer[start]!);
  for (const [code, value] of fields) writer.byte(code.charCodeAt(0)).cstring(value);
  return writer.byte(0).end().take();
}

/** Index of the zero byte that ends the string at `at`, or `end` when there is none before it. */
export function cstringEnd(buffer: Uint8Array, at: number, end: number): number {
  const near = Math.min(end, at + 64);
  let stop = at;
  while (stop < near && buffer[stop] !== 0) stop++;
  if (stop < near || near === end) return stop;
  // A text may have hundreds of megabytes: the platform's search takes a fifth of the loop's time.
  const found = buffer.subarray(stop, end).indexOf(0);
  return found < 0 ? end : stop + found;
}

/** The text of the zero-terminated string at `at`. */
export function cstringAt(buffer: Uint8Array, at: number, end: number): string {
  const stop = cstringEnd(buffer, at, end);
  if (stop - at < 24) {
    // Short ASCII is the common case, and a decoder call costs more than the loop.
    let text = '';
    for (let index = at; index < stop; index++) {
      const code = buffer[index]!;
      if (code > 0x7f) return decoder.decode(buffer.subarray(at, stop));
      text += String.fromCharCode(code);
    }
    return text;
  }
  return decoder.decode(buffer.subarray(at, stop));
}

export function int32At(buffer: Uint8Array, at: number): number {
  return (buffer[at]! << 24) | (buffer[at + 1]! << 16) | (buffer[at + 2]! << 8) | buffer[at + 3]!;
}
