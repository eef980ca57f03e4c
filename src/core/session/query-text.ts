/**
 * The text of a Query or Parse message: as characters for the classifier, as the client's own bytes for the
 * server.
 * Rule: what the gateway sends of a client's text are slices of the client's bytes, never a text that was
 * decoded and encoded again: the client's encoding need not be UTF-8.
 */
import type { Statement } from '../statement/statement-class.ts';
import { cstringEnd } from '../wire/messages.ts';

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** One character for each byte. (TextDecoder's latin1 is windows-1252.) */
function byteWise(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += 4096) {
    text += String.fromCharCode(...bytes.subarray(at, at + 4096));
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

/** The zero-terminated text at `at`. */
export function queryTextAt(message: Uint8Array, at: number): QueryText {
  const bytes = message.subarray(at, cstringEnd(message, at, message.length));
  try {
    return { bytes, text: utf8.decode(bytes), isUtf8: true };
  } catch {
    // Not an error: the server knows the client's encoding and says so itself when the bytes do not fit it.
    return { bytes, text: byteWise(bytes), isUtf8: false };
  }
}

export interface StatementBytes {
  readonly bytes: Uint8Array;
  /** Characters of the string before this statement: error positions count from the string's beginning. */
  readonly offset: number;
}

/** The statements of a string as slices of its bytes; places are UTF-8 offsets of the decoded text. */
export function sliceStatements(query: QueryText, statements: readonly Statement[]): StatementBytes[] {
  const { bytes, isUtf8 } = query;
  let utf8At = 0;
  let byteAt = 0;
  let characters = 0;
  /** Moves on to a UTF-8 offset of the decoded text. */
  const moveTo = (target: number): void => {
    while (utf8At < target && byteAt < bytes.length) {
      const byte = bytes[byteAt++]!;
      if (isUtf8) {
        utf8At++;
        if ((byte & 0xc0) !== 0x80) characters++;
      } else {
        utf8At += byte < 0x80 ? 1 : 2;
        characters++;
      }
    }
  };
  return statements.map(({ start, end }) => {
    moveTo(start);
    const offset = characters;
    const from = byteAt;
    moveTo(end);
    return { bytes: bytes.subarray(from, byteAt), offset };
  });
}
