/**
 * Places in a query string: PostgreSQL counts UTF-8 bytes, a JavaScript string counts UTF-16 units.
 */
import { assert } from '../../lib/assert.ts';
import type { Statement } from './statement-class.ts';

/** Length in bytes of a text as UTF-8; a lone surrogate counts three, as an encoder writes U+FFFD. */
export function utf8Length(text: string): number {
  return text.length + extraBytes(text, text.length);
}

/** Bytes that the first `units` units take in UTF-8 beyond one each. */
function extraBytes(text: string, units: number): number {
  let extra = 0;
  for (let index = 0; index < units; index++) {
    const code = text.charCodeAt(index);
    if (code < 0x80) continue;
    if (code < 0x800) extra += 1;
    else if (isPair(text, index)) {
      // Four bytes for two units.
      extra += 2;
      index += 1;
    } else extra += 2;
  }
  return extra;
}

function isPair(text: string, index: number): boolean {
  const code = text.charCodeAt(index);
  if (code < 0xd800 || code > 0xdbff) return false;
  const next = text.charCodeAt(index + 1);
  return next >= 0xdc00 && next <= 0xdfff;
}

/** The index of the unit at which a byte offset stands. The offset must be on the border of a character. */
function unitAt(text: string, byteOffset: number): number {
  let bytes = 0;
  let index = 0;
  while (bytes < byteOffset) {
    const code = text.charCodeAt(index);
    assert(index < text.length, 'byte offset beyond the text');
    const pair = isPair(text, index);
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : pair ? 4 : 3;
    index += pair ? 2 : 1;
  }
  assert(bytes === byteOffset, 'byte offset inside a character');
  return index;
}

/** The text of one statement of a query string, as it was written. */
export function statementText(text: string, statement: Pick<Statement, 'start' | 'end'>): string {
  const start = unitAt(text, statement.start);
  const rest = statement.start === 0 ? text : text.slice(start);
  return rest.slice(0, unitAt(rest, statement.end - statement.start));
}
