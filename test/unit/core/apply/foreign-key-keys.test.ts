import { expect, test } from 'vitest';
import { ForeignKeyKeys, sameKey } from '../../../../src/core/apply/foreign-key-keys.ts';
import { childKey, row } from './facts-builder.ts';

const two = { ...childKey, columns: [childKey.columns[0]!, childKey.columns[0]!] };
const places = { foreignKey: two, columns: [0, 2], inIdentity: false };
const texts = (keys: ForeignKeyKeys, size: number) =>
  [...keys.batches(size)].map(({ side, arrays }) => [
    side,
    ...arrays.map((bytes) => new TextDecoder().decode(bytes)),
  ]);

test('distinct keys as array literals, without NULLs and unchanged values, in batches', () => {
  const keys = new ForeignKeyKeys();
  keys.add(places, 'child', row('1', 'x', 'a"\\b'));
  keys.add(places, 'child', row('1', 'y', 'a"\\b'));
  keys.add(places, 'child', row('2', 'y', ''));
  keys.add(places, 'child', row('2', 'y', null));
  keys.add(places, 'child', row(undefined, 'y', 'z'));
  keys.add(places, 'parent', row('5', null, 'NULL'));
  expect(keys.count).toBe(3);
  expect(texts(keys, 1)).toEqual([
    ['child', '{"1"}', '{"a\\"\\\\b"}'],
    ['child', '{"2"}', '{""}'],
    ['parent', '{"5"}', '{"NULL"}'],
  ]);
  expect(texts(keys, 10)[0]).toEqual(['child', '{"1","2"}', '{"a\\"\\\\b",""}']);
  keys.clearChildren();
  expect(keys.count).toBe(1);
});

test('the same key', () => {
  expect(sameKey(places, row('1', 'x', 'a'), row('1', 'y', 'a'))).toBe(true);
  expect(sameKey(places, row('1', 'x', 'a'), row('1', 'y', undefined))).toBe(true);
  expect(sameKey(places, row('1', 'x', null), row('1', 'x', null))).toBe(true);
  for (const other of [row('1', 'x', 'b'), row('1', 'x', null), row('12', 'x', 'a')]) {
    expect(sameKey(places, row('1', 'x', 'a'), other)).toBe(false);
  }
});
