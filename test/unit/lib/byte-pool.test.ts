import { expect, test } from 'vitest';
import { BytePool } from '../../../src/lib/byte-pool.ts';

test('what was given back is lent again, once', () => {
  const pool = new BytePool(64, 2);
  const first = pool.take();
  pool.giveBack(first.subarray(3, 9));
  pool.giveBack(first);
  const second = pool.take();
  expect(second.buffer).toBe(first.buffer);
  expect(pool.take().buffer).not.toBe(first.buffer);
});

test('memory of others is not taken, and not more is kept than was said', () => {
  const pool = new BytePool(64, 1);
  const foreign = new Uint8Array(64);
  pool.giveBack(foreign);
  const lent = [pool.take(), pool.take()];
  expect(lent.map(({ buffer }) => buffer)).not.toContain(foreign.buffer);
  for (const one of lent) pool.giveBack(one);
  expect(pool.take().buffer).toBe(lent[0]!.buffer);
  expect(pool.take().buffer).not.toBe(lent[1]!.buffer);
});

test('only sizes between half of a piece and a piece are worth it', () => {
  const pool = new BytePool(64, 1);
  expect([32, 33, 64, 65].map((bytes) => pool.suits(bytes))).toEqual([false, true, true, false]);
});
