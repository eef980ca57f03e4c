import { expect, test } from 'vitest';
import { Prng } from '../../../src/lib/prng.ts';

test('the same seed gives the same numbers, another seed others', () => {
  const numbers = (seed: number): number[] => {
    const random = new Prng(seed);
    return Array.from({ length: 5 }, () => random.below(1000));
  };
  expect(numbers(1)).toEqual(numbers(1));
  expect(numbers(1)).not.toEqual(numbers(2));
});

test('every value of a small range comes up, none outside', () => {
  const random = new Prng(7);
  const seen = new Set(Array.from({ length: 300 }, () => random.below(6)));
  expect([...seen].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5]);
  expect(() => random.below(0)).toThrow();
});

test('shuffling keeps the items', () => {
  const items = [1, 2, 3, 4, 5];
  expect(new Prng(3).shuffled(items).sort((a, b) => a - b)).toEqual(items);
  expect(items).toEqual([1, 2, 3, 4, 5]);
});
