import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { queryTextAt, sliceStatements } from '../../../../src/core/session/query-text.ts';
import type { Statement } from '../../../../src/core/statement/statement-class.ts';

/** The places of the parts in UTF-8, as the parser gives them; a semicolon stands between two. */
function places(parts: readonly string[]): Statement[] {
  let at = 0;
  return parts.map((part) => {
    const start = at;
    const end = start + Buffer.byteLength(part);
    at = end + 1;
    return { class: { kind: 'read' }, start, end };
  });
}

const part = fc
  .string({ unit: 'grapheme', maxLength: 12 })
  .filter((value) => !value.includes('\0') && value.isWellFormed());

describe('statements of a string', () => {
  test('UTF-8: slices are the bytes of each, offsets count characters', () => {
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 5 }), (parts) => {
        const text = parts.join(';');
        const source = queryTextAt(Buffer.from(`Q0000${text}\0`), 5);
        expect(source).toMatchObject({ text, isUtf8: true });
        let before = '';
        for (const [index, { bytes, offset }] of sliceStatements(source, places(parts)).entries()) {
          expect(Buffer.from(bytes).toString()).toBe(parts[index]);
          expect(offset).toBe([...before].length);
          before += `${parts[index]};`;
        }
      }),
    );
  });

  test('other encodings: the bytes stay as they are', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 8 }), { minLength: 1, maxLength: 4 }), (raw) => {
        const parts = [...raw.map((bytes) => bytes.map((byte) => byte || 1)), Uint8Array.of(0xff)];
        const latin1 = parts.map((bytes) => String.fromCharCode(...bytes));
        const message = Buffer.from(`Q0000${latin1.join(';')}\0`, 'latin1');
        const source = queryTextAt(message, 5);
        expect(source).toMatchObject({ text: latin1.join(';'), isUtf8: false });
        const slices = sliceStatements(source, places(latin1));
        expect(slices.map(({ bytes }) => [...bytes])).toEqual(parts.map((bytes) => [...bytes]));
      }),
    );
  });
});
