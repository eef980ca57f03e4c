import { expect, test } from 'vitest';
import { newBlock } from '../../../../src/core/session/block.ts';
import { Seniority } from '../../../../src/core/session/seniority.ts';

test('a transaction begins now', () => {
  expect(new Seniority().begin(7)).toBe(7);
});

test('the repetition of one that was lost is as old as that one, and so are further ones', () => {
  const seniority = new Seniority();
  seniority.lost(newBlock(true, 100, undefined, undefined), 900);
  expect(seniority.begin(1000)).toBe(100);
  seniority.lost(newBlock(true, 100, undefined, undefined), 2500);
  expect(seniority.begin(2600)).toBe(100);
  // That one has ended well: what comes next is another one.
  expect(seniority.begin(2700)).toBe(2700);
});

test('not for what comes later, nor for what the gateway repeats itself', () => {
  const seniority = new Seniority();
  seniority.lost(newBlock(true, 100, undefined, undefined), 900);
  expect(seniority.begin(2901)).toBe(2901);
  seniority.lost(newBlock(false, 3000, undefined, undefined), 3100);
  seniority.lost(undefined, 3100);
  expect(seniority.begin(3200)).toBe(3200);
});
