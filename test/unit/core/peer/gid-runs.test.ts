import { expect, test } from 'vitest';
import { gidsOf, maxGidsInRuns, runsOf } from '../../../../src/core/peer/gid-runs.ts';

const origin = { node: 1, generation: 5, incarnation: 2 };

test('counters in a row are one run, whatever their order; doubles are lost', () => {
  const gids = [7, 5, 6, 9, 6, 10].map((counter) => `mtm:1:5:2:${counter}`);
  expect(runsOf([...gids, 'mtm:2:5:1:0'])).toEqual([
    { ...origin, first: 5, length: 3 },
    { ...origin, first: 9, length: 2 },
    { node: 2, generation: 5, incarnation: 1, first: 0, length: 1 },
  ]);
});

test('nothing is no run', () => {
  expect(runsOf([])).toEqual([]);
  expect(gidsOf([], 0)).toEqual([]);
});

test('hundreds of thousands in a row are a few bytes and come back', () => {
  const gids = Array.from({ length: 100_000 }, (_, counter) => `mtm:1:5:2:${counter}`);
  const runs = runsOf(gids);
  expect(runs.length).toBe(1);
  expect(gidsOf(runs, gids.length)).toEqual(gids);
});

test('a claim beyond the limit is not expanded', () => {
  const length = maxGidsInRuns + 1;
  expect(gidsOf([{ ...origin, first: 0, length }], length)).toBeUndefined();
  expect(gidsOf([{ ...origin, first: 0, length: 3 }], 2)).toBeUndefined();
});

test('what is no gid of ours is a bug of ours', () => {
  expect(() => runsOf(['somebody'])).toThrow();
});
