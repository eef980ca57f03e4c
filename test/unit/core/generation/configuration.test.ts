import { describe, expect, test } from 'vitest';
import {
  changed,
  initialConfiguration,
  isFulfilled,
  nodesOf,
  obstacleTo,
  sinceOf,
  transitionFault,
  withMembers,
} from '../../../../src/core/generation/configuration.ts';
import type { Configuration } from '../../../../src/core/generation/record.ts';

const fourth = { id: 4, host: 'd', port: 7304, conninfo: 'host=d port=7004' };
const three = initialConfiguration([1, 2, 3]);
const add = { kind: 'add', node: fourth } as const;

describe('a change', () => {
  test('a node joins, is admitted, is dropped, and its id means another one afterwards', () => {
    const joining = changed(three, add, 7);
    expect(joining).toEqual({ ...three, joining: [4], added: [{ ...fourth, since: 7 }] });
    expect(isFulfilled(add, joining)).toBe(true);
    expect(nodesOf(joining)).toEqual([1, 2, 3, 4]);
    const four = withMembers(joining, [1, 2, 4]);
    expect(four).toEqual({ configured: [1, 2, 3, 4], joining: [], added: joining.added });
    const dropped = changed(four, { kind: 'drop', node: 4 }, 9);
    expect(dropped).toEqual(three);
    const again = changed(dropped, { kind: 'add', node: { ...fourth, host: 'e' } }, 11);
    expect([sinceOf(four, 4), sinceOf(again, 4), sinceOf(again, 1)]).toEqual([7, 11, 0]);
  });

  test('what cannot come true changes nothing', () => {
    expect(obstacleTo({ kind: 'drop', node: 1 }, initialConfiguration([1]))).toMatch(/only one/);
    expect(obstacleTo({ kind: 'add', node: { ...fourth, id: 2 } }, three)).toMatch(/is a node 2 already/);
    for (const wish of [
      { kind: 'drop', node: 9 } as const,
      { kind: 'add', node: { ...fourth, id: 2 } } as const,
    ])
      expect(changed(three, wish, 7)).toBe(three);
    expect(withMembers(three, [1, 2])).toBe(three);
  });
});

/** All subsets. */
function subsets(nodes: readonly number[]): number[][] {
  return nodes.reduce<number[][]>((sets, node) => [...sets, ...sets.map((set) => [...set, node])], [[]]);
}

/** May `voters` lead from `before` to `after`? */
function may(before: Configuration, after: Configuration, voters: readonly number[], known = true): boolean {
  const members = voters.filter((node) => after.configured.includes(node));
  return transitionFault(before, after, { members, voters, known }) === undefined;
}

/** Every configuration that one change away from it is possible. */
function nextOf(before: Configuration): Configuration[] {
  const free = [1, 2, 3, 4, 5, 6].find((id) => !before.configured.includes(id))!;
  const joining = changed(before, { kind: 'add', node: { ...fourth, id: free } }, 7);
  const dropped = before.configured.map((node) => changed(before, { kind: 'drop', node }, 7));
  return [before, withMembers(joining, [free]), ...dropped.filter((each) => each !== before)];
}

describe('votes for a change', () => {
  test('two elections from one record, whatever each changes, have a voter in common', () => {
    for (const size of [1, 2, 3, 4, 5]) {
      const before = initialConfiguration([1, 2, 3, 4, 5].slice(0, size));
      for (const one of nextOf(before)) {
        for (const other of nextOf(before)) {
          const all = [...new Set([...one.configured, ...other.configured, ...before.configured])];
          const enough = (after: Configuration): number[][] =>
            subsets(all).filter((voters) => may(before, after, voters));
          for (const a of enough(one)) {
            for (const b of enough(other))
              expect(
                a.some((node) => b.includes(node)),
                `${size}: ${a.join()} | ${b.join()}`,
              ).toBe(true);
          }
        }
      }
    }
  });

  test('whoever still knows the former nodes meets those who know the next ones', () => {
    for (const size of [1, 2, 3, 4, 5]) {
      const before = initialConfiguration([1, 2, 3, 4, 5].slice(0, size));
      for (const after of nextOf(before)) {
        const all = [...new Set([...before.configured, ...after.configured])];
        const late = subsets(all).filter((voters) => may(before, before, voters));
        const next = subsets(all).filter((voters) => may(after, after, voters));
        for (const a of late) {
          for (const b of next) expect(a.some((node) => b.includes(node))).toBe(true);
        }
      }
    }
  });

  test('two changes that may both be carried on, each by those who know of it, have a voter in common', () => {
    for (const size of [1, 2, 3, 4, 5]) {
      const before = initialConfiguration([1, 2, 3, 4, 5].slice(0, size));
      const former = before.configured;
      const all = [1, 2, 3, 4, 5, 6];
      const carried = (after: Configuration, bound: readonly number[] | undefined): number[][] =>
        subsets(all).filter((voters) => {
          const members = voters.filter((node) => after.configured.includes(node));
          const facts = { members, voters, known: false, former: bound };
          return transitionFault(after, after, facts) === undefined;
        });
      const apart = (bound: readonly number[] | undefined): boolean =>
        nextOf(before).some((one) =>
          nextOf(before).some((other) =>
            carried(one, bound).some((a) =>
              carried(other, bound).some((b) => !a.some((node) => b.includes(node))),
            ),
          ),
        );
      expect(apart(former), `${size}`).toBe(false);
      // Without it of four nodes two could go on without 3, and the other two without 1.
      if (size === 4) expect(apart(undefined)).toBe(true);
    }
  });

  test('it needs a chosen record before it, one node at a time, and no stranger', () => {
    const after = withMembers(changed(three, add, 7), [4]);
    const voters = [1, 2, 3, 4];
    expect(may(three, after, voters)).toBe(true);
    expect(may(three, after, voters, false)).toBe(false);
    expect(may(three, after, [1, 2])).toBe(false);
    const two = { ...after, configured: [1, 2, 3, 4, 5] };
    expect(transitionFault(three, two, { members: voters, voters, known: true })).toMatch(
      /one node at a time/,
    );
    expect(transitionFault(three, three, { members: voters, voters, known: true })).toMatch(/node 4 is not/);
  });
});
