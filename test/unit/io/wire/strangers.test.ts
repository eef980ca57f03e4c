import { expect, test } from 'vitest';
import { Strangers } from '../../../../src/io/wire/strangers.ts';

test('the oldest of the address with the most goes first, and one from elsewhere stays', () => {
  const strangers = new Strangers<string>();
  strangers.add('first of all', '10.0.0.1');
  for (const name of ['a', 'b', 'c']) strangers.add(name, '10.0.0.2');
  expect(strangers.oldestOfCrowd).toBe('a');
  strangers.delete('a');
  expect(strangers.oldestOfCrowd).toBe('b');
  strangers.delete('b');
  strangers.delete('b');
  // As many from each: whoever came first.
  expect(strangers.oldestOfCrowd).toBe('first of all');
  expect([...strangers]).toEqual(['first of all', 'c']);
  strangers.delete('c');
  strangers.delete('first of all');
  expect(strangers.oldestOfCrowd).toBeUndefined();
  expect(strangers.size).toBe(0);
});

test('an address that is not known any more is one, too', () => {
  const strangers = new Strangers<number>();
  strangers.add(1, undefined);
  strangers.add(2, undefined);
  expect(strangers.oldestOfCrowd).toBe(1);
});
