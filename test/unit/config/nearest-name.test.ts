import { test, expect } from 'vitest';
import fc from 'fast-check';
import { editDistance, nearestName } from '../../../src/config/nearest-name.ts';

test.each([
  ['', '', 0],
  ['a', '', 1],
  ['prot', 'port', 1],
  ['kitten', 'sitting', 3],
])('from %j to %j it takes %i edits', (a, b, distance) => {
  expect(editDistance(a, b)).toBe(distance);
});

const word = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 6 });

test('distance is symmetric, zero only for equal words, and bounded by the longer one', () => {
  fc.assert(
    fc.property(word, word, (a, b) => {
      const distance = editDistance(a, b);
      expect(distance).toBe(editDistance(b, a));
      expect(distance === 0).toBe(a === b);
      expect(distance).toBeLessThanOrEqual(Math.max(a.length, b.length));
      expect(distance).toBeGreaterThanOrEqual(Math.abs(a.length - b.length));
    }),
  );
});

test('the nearest name, whatever its case', () => {
  expect(nearestName('LISTEN', ['http', 'listen'])).toEqual({ name: 'listen', distance: 0 });
  expect(nearestName('x', [])).toBeUndefined();
});
