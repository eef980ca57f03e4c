import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { blockingSize, isMajority, majoritySize } from '../../../../src/core/generation/quorum.ts';

function subsets(nodes: readonly number[]): number[][] {
  return nodes.reduce<number[][]>((found, node) => [...found, ...found.map((set) => [...set, node])], [[]]);
}

const meet = (a: readonly number[], b: readonly number[]) => a.some((node) => b.includes(node));

describe.each([1, 2, 3, 4, 5, 6, 7])('a cluster of %i', (size) => {
  const configured = Array.from({ length: size }, (_, index) => index + 1);
  const all = subsets(configured);
  const quorums = all.filter((set) => set.length * 2 > size);

  test('majorities are those sets that are more than half, and any two meet', () => {
    for (const set of all) expect(isMajority(set, configured)).toBe(quorums.includes(set));
    for (const a of quorums) for (const b of quorums) expect(meet(a, b)).toBe(true);
    expect(majoritySize(size)).toBe(Math.min(...quorums.map((set) => set.length)));
  });

  test('a set blocks exactly when it meets every majority', () => {
    for (const set of all) {
      const blocks = quorums.every((quorum) => meet(set, quorum));
      expect(set.length >= blockingSize(size)).toBe(blocks);
    }
    const blocking = all.filter((set) => quorums.every((quorum) => meet(set, quorum)));
    expect(blockingSize(size)).toBe(Math.min(...blocking.map((set) => set.length)));
  });

  test('of a generation with fewer members, a blocking set still meets the members in every majority', () => {
    for (const members of quorums) {
      for (const set of subsets(members)) {
        if (set.length < blockingSize(size)) continue;
        for (const quorum of quorums) {
          expect(
            meet(
              set,
              quorum.filter((node) => members.includes(node)),
            ),
          ).toBe(true);
        }
      }
    }
  });
});

test('nodes that are named twice or unknown do not count', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 20 }), (named) => {
      const configured = [1, 2, 3, 4, 5];
      const distinct = [...new Set(named)].filter((node) => configured.includes(node));
      expect(isMajority(named, configured)).toBe(distinct.length >= 3);
    }),
  );
});
