/** Byte offsets of UTF-8 against the encoder of the platform. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { statementText, utf8Length } from '../../../../src/core/statement/statement-text.ts';

const encoder = new TextEncoder();

test('the length of any text is what the encoder makes of it', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      expect(utf8Length(text)).toBe(encoder.encode(text).length);
    }),
  );
  expect(utf8Length('a\ud800b')).toBe(encoder.encode('a\ud800b').length);
});

test('a slice by bytes is the slice of the bytes', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'grapheme' }),
      fc.string({ unit: 'binary' }),
      fc.string({ unit: 'grapheme' }),
      (a, b, c) => {
        const start = encoder.encode(a).length;
        expect(statementText(a + b + c, { start, end: start + encoder.encode(b).length })).toBe(b);
      },
    ),
  );
});

test('an offset inside a character or beyond the text is a bug', () => {
  expect(() => statementText('é', { start: 1, end: 2 })).toThrow('inside a character');
  expect(() => statementText('abc', { start: 0, end: 4 })).toThrow('beyond the text');
});
