import { expect, test } from 'vitest';
import { BytePool } from '../../../src/lib/byte-pool.ts';

test('what was given back is lent again, once', () => {
  const pool = new BytePool(64, 2);
  const first = pool.room(40);
  pool.giveBack(first.subarray(3, 9));
  pool.giveBack(first);
  const second = pool.room(64);
  expect(second.buffer).toBe(first.buffer);
  expect(second.length).toBe(64);
  expect(pool.room(64).buffer).not.toBe(first.buffer);
});

test('memory of others is not taken, and not more is kept than was said', () => {
  const pool = new BytePool(64, 1);
  const foreign = [new Uint8Array(64), pool.room(32), pool.room(65)];
  expect(foreign.map(({ length }) => length)).toEqual([64, 32, 65]);
  for (const one of foreign) pool.giveBack(one);
  const lent = [pool.room(33), pool.room(64)];
  for (const { buffer } of foreign) expect(lent.map((one) => one.buffer)).not.toContain(buffer);
  for (const one of lent) pool.giveBack(one);
  expect(pool.room(64).buffer).toBe(lent[0]!.buffer);
  expect(pool.room(64).buffer).not.toBe(lent[1]!.buffer);
});
