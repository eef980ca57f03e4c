import { expect, test } from 'vitest';
import { FlushProgress } from '../../../../src/io/recovery/replay-commit.ts';
import { ReplayQueue } from '../../../../src/io/recovery/replay-queue.ts';

test('a position is durable when all before it are', () => {
  const progress = new FlushProgress();
  expect(progress.flushed(1000n)).toBeUndefined();
  progress.committed(10n, 100n);
  progress.committed(20n, 200n);
  progress.committed(30n, 0n); // nothing of its own, but behind the others
  progress.committed(40n, 300n);
  expect(progress.flushed(99n)).toBeUndefined();
  expect(progress.flushed(100n)).toBe(10n);
  expect(progress.flushed(100n)).toBeUndefined();
  expect(progress.flushed(250n)).toBe(30n);
  expect(progress.waiting).toBe(true);
  expect(progress.flushed(300n)).toBe(40n);
  expect(progress.waiting).toBe(false);
});

test('the queue keeps the order and counts its bytes', () => {
  const queue = new ReplayQueue();
  const positions: bigint[] = [];
  for (let round = 0; round < 3; round++) {
    for (let index = 0; index < 1500; index++) {
      queue.push({ kind: 'position', position: BigInt(round * 1500 + index) });
    }
    for (let index = 0; index < 1400; index++) {
      const item = queue.take();
      if (item?.kind === 'position') positions.push(item.position);
    }
  }
  queue.push({ kind: 'piece', data: new Uint8Array(1000) });
  expect(queue.bytes).toBe(300 * 64 + 1064);
  for (let item = queue.take(); item !== undefined; item = queue.take()) {
    if (item.kind === 'position') positions.push(item.position);
  }
  expect(positions).toEqual(Array.from({ length: 4500 }, (_, index) => BigInt(index)));
  expect([queue.bytes, queue.empty]).toEqual([0, true]);
});
