import { expect, test } from 'vitest';
import { Reachability } from '../../../../src/core/commit/membership.ts';

const membership = { self: 1, members: [1, 2, 3], blockingSize: 2, waitPeerCommits: true, retainBytes: 0 };

test('at first nobody is heard; whoever is no member does not count', () => {
  const reach = new Reachability(membership);
  expect([...reach.lost]).toEqual([2, 3]);
  reach.memberBack(2);
  reach.memberLost(5);
  expect([...reach.lost]).toEqual([3]);
});

test('all others are waited for, lost or not', () => {
  const reach = new Reachability(membership);
  reach.memberBack(2);
  expect(reach.othersIn(new Set([2]))).toBe(false);
  expect(reach.othersIn(new Set([2, 3]))).toBe(true);
  expect(reach.othersIn(new Set([1, 2, 3]))).toBe(true);
});
