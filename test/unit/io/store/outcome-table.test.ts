import fc from 'fast-check';
import { expect, test } from 'vitest';
import { multirange } from '../../../../src/io/store/outcome-table.ts';

test.each([
  [[], '{}'],
  [[5], '{[5,6)}'],
  [[3, 1, 2], '{[1,4)}'],
  [[0, 2, 3, 3, 9], '{[0,1),[2,4),[9,10)}'],
])('%j is %s', (counters, text) => {
  expect(multirange(counters)).toBe(text);
});

test('the ranges hold exactly the numbers', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(50)), (counters) => {
      const held = [...multirange(counters).matchAll(/\[(\d+),(\d+)\)/g)].flatMap(([, from, to]) =>
        Array.from({ length: Number(to) - Number(from) }, (_, index) => Number(from) + index),
      );
      expect(held).toEqual([...new Set(counters)].sort((a, b) => a - b));
    }),
  );
});
