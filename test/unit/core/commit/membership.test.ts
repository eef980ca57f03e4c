import { expect, test } from 'vitest';
import { Reachability } from '../../../../src/core/commit/membership.ts';

const membership = {
  self: 1,
  members: [1, 2, 3, 4, 5],
  blockingSize: 3,
  waitPeerCommits: true,
  retainBytes: 0,
};

test('at first nobody is heard; with two others a blocking set can be asked', () => {
  const reach = new Reachability(membership);
  expect(reach.canBlock(new Set())).toBe(false);
  reach.memberBack(2);
  expect(reach.canBlock(new Set())).toBe(false);
  expect(reach.canBlock(new Set([5])), 'node 5 was lost after it had said so').toBe(true);
  reach.memberBack(3);
  expect(reach.canBlock(new Set())).toBe(true);
});

test('a lost member is waited for until it is silenced', () => {
  const reach = new Reachability(membership);
  for (const node of [2, 3, 4, 5]) reach.memberBack(node);
  const finished = new Set([2, 3, 4]);
  reach.memberLost(5);
  expect(reach.allHaveOrSilent(finished)).toBe(false);
  reach.memberSilenced(5);
  expect(reach.allHaveOrSilent(finished)).toBe(true);
  reach.memberBack(5);
  expect(reach.allHaveOrSilent(finished)).toBe(false);
});

test('nobody is silenced who is not lost', () => {
  const reach = new Reachability(membership);
  reach.memberBack(2);
  expect(() => reach.memberSilenced(2)).toThrow(/only while it is lost/);
});
