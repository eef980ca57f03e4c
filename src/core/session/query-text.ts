/**
 * The text of a Query or Parse message: as characters for the classifier, as the client's own bytes for the
 * server.
 * Rule: what the gateway sends of a client's text are slices of the client's bytes, never a text that was
 * decoded and encoded again: the client's encoding need not be UTF-8.
 */
import { edited } from '../statement/string-literals.ts';
import type { Edit } from '../statement/string-literals.ts';
import type { Statement } from '../statement/statement-class.ts';
import { utf8Length } from '../statement/utf8-length.ts';
import { cstringEnd } from '../wire/messages.ts';

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Encodings of clients in which the second byte of a character may be one of ASCII, and the number of bytes
 * of a character by its first two (pg_encoding_mblen). Taken for itself, such a byte could be a backslash.
 */
type CharacterLength = (first: number, second: number) => number;
const treacherous: ReadonlyMap<string, CharacterLength> = new Map<string, CharacterLength>([
  ['SJIS', shiftLength],
  ['SHIFT_JIS_2004', shiftLength],
  ['BIG5', () => 2],
  ['GBK', () => 2],
  ['UHC', () => 2],
  ['GB18030', (_first, second) => (second >= 0x30 && second <= 0x39 ? 4 : 2)],
  ['JOHAB', (first) => (first === 0x8f ? 3 : 2)],
]);

/** A byte of ASCII in a text in this encoding need not be a character. */
export function isTreacherous(encoding: string): boolean {
  return treacherous.has(encoding);
}

function shiftLength(first: number): number {
  return first >= 0xa1 && first <= 0xdf ? 1 : 2;
}

/** One character for each byte; those of ASCII that only end a character are moved out of it. */
function maskedText(bytes: Uint8Array, length: CharacterLength): string {
  const units = new Uint16Array(bytes);
  for (let at = 0; at < bytes.length; at++) {
    if (bytes[at]! < 0x80) continue;
    const end = Math.min(at + length(bytes[at]!, bytes[at + 1] ?? 0), bytes.length);
    for (at += 1; at < end; at++) if (bytes[at]! < 0x80) units[at] = 0x100 + bytes[at]!;
    at = end - 1;
  }
  return characters(units);
}

/** One character for each byte. (TextDecoder's latin1 is windows-1252.) */
function characters(units: Uint8Array | Uint16Array): string {
  let text = '';
  for (let at = 0; at < units.length; at += 4096) {
    text += String.fromCharCode(...units.subarray(at, at + 4096));
  }
  return text;
}

export interface QueryText {
  readonly bytes: Uint8Array;
  /**
   * Decoded as UTF-8, or byte by byte when it is not: what matters to the parser is ASCII in every encoding.
   */
  readonly text: string;
  readonly isUtf8: boolean;
}

/** The zero-terminated text at `at`. `encoding`: what PostgreSQL calls the client's. */
export function queryTextAt(message: Uint8Array, at: number, encoding = 'UTF8'): QueryText {
  const bytes = message.subarray(at, cstringEnd(message, at, message.length));
  const length = treacherous.get(encoding);
  if (length !== undefined && bytes.some((byte) => byte >= 0x80))
    return { bytes, text: maskedText(bytes, length), isUtf8: false };
  try {
    return { bytes, text: utf8.decode(bytes), isUtf8: true };
  } catch {
    // Not an error: the server knows the client's encoding and says so itself when the bytes do not fit it.
    return { bytes, text: characters(bytes), isUtf8: false };
  }
}

/** The text with these edits, which are of ASCII. */
export function editedText({ bytes, text, isUtf8 }: QueryText, edits: readonly Edit[]): QueryText {
  const parts: Uint8Array[] = [];
  let from = 0;
  let charactersBefore = 0;
  let at = 0;
  for (const edit of edits) {
    // An edit stands at a character of ASCII, so what is before it is whole.
    at += isUtf8 ? utf8Length(text.slice(charactersBefore, edit.at)) : edit.at - charactersBefore;
    charactersBefore = edit.at;
    parts.push(bytes.subarray(from, at), ascii.encode(edit.insert));
    from = at + edit.remove;
  }
  parts.push(bytes.subarray(from));
  return { bytes: joined(parts), text: edited(text, edits), isUtf8 };
}

const ascii = new TextEncoder();

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export interface StatementBytes {
  readonly bytes: Uint8Array;
  /** Characters of the string before this statement: error positions count from the string's beginning. */
  readonly offset: number;
}

/** The statements of a string as slices of its bytes; places are UTF-8 offsets of the decoded text. */
export function sliceStatements(query: QueryText, statements: readonly Statement[]): StatementBytes[] {
  const { bytes, text, isUtf8 } = query;
  let utf8At = 0;
  let byteAt = 0;
  let passed = 0;
  /** Moves on to a UTF-8 offset of the decoded text. */
  const moveTo = (target: number): void => {
    while (utf8At < target && byteAt < bytes.length) {
      const byte = bytes[byteAt++]!;
      if (isUtf8) {
        utf8At++;
        if ((byte & 0xc0) !== 0x80) passed++;
      } else {
        utf8At += text.charCodeAt(byteAt - 1) < 0x80 ? 1 : 2;
        passed++;
      }
    }
  };
  return statements.map(({ start, end }) => {
    moveTo(start);
    const offset = passed;
    const from = byteAt;
    moveTo(end);
    return { bytes: bytes.subarray(from, byteAt), offset };
  });
}
