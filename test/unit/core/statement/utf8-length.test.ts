/** Lengths in UTF-8 against the encoder of the platform. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { utf8Length } from '../../../../src/core/statement/utf8-length.ts';

const encoder = new TextEncoder();

test('the length of any text is what the encoder makes of it', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      expect(utf8Length(text)).toBe(encoder.encode(text).length);
    }),
  );
  expect(utf8Length('a\ud800b')).toBe(encoder.encode('a\ud800b').length);
});

test('the length of a long text, wherever its pieces are cut', () => {
  const units = ['a', 'ä', '€', '😀', '\ud83d', '\ude00'];
  fc.assert(
    fc.property(fc.constantFrom(...units), fc.nat(9), fc.constantFrom(...units), (one, shift, other) => {
      const text = `${'x'.repeat(shift)}${one.repeat(20_000)}${other.repeat(20_000)}`;
      expect(utf8Length(text)).toBe(encoder.encode(text).length);
    }),
  );
});
