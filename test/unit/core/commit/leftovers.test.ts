import { describe, expect, test } from 'vitest';
import { Leftovers } from '../../../../src/core/commit/leftovers.ts';

const [one, two, three] = ['mtm:1:1:1:1', 'mtm:2:1:1:1', 'mtm:3:1:1:1'] as const;

describe('leftovers', () => {
  test('are told in a vote', () => {
    const leftovers = new Leftovers([one, two], [three]);
    expect(leftovers.holdings()).toEqual({ prepared: [one, two], committed: [three] });
    expect([one, two, three, 'mtm:1:1:1:2'].map((gid) => leftovers.holds(gid))).toEqual([
      true,
      true,
      true,
      false,
    ]);
    expect(leftovers.settled).toBe(true);
    expect(leftovers.size).toBe(2);
  });

  test('of a complete node: what the record lists commits, its silence aborts', () => {
    const leftovers = new Leftovers([one, two], [three]);
    expect(leftovers.settle(new Set([two, three]), true)).toEqual([
      { kind: 'finish', gid: one, finish: 'rollback' },
      { kind: 'finish', gid: two, finish: 'commit' },
    ]);
    expect(leftovers.settled).toBe(false);
    expect(leftovers.holdings(), 'its fate is bound').toEqual({ prepared: [], committed: [three, two] });
    expect(leftovers.isFinishing(one)).toBe(true);
    expect(leftovers.finishEnded(one)).toBe(true);
    expect(leftovers.finishEnded(two)).toBe(true);
    expect(leftovers.finishEnded(three)).toBe(false);
    expect(leftovers.settled).toBe(true);
  });

  test('of a node that fell behind: all are rolled back, for what committed comes from the donor', () => {
    const leftovers = new Leftovers([one], []);
    expect(leftovers.settle(new Set([one]), false)).toEqual([
      { kind: 'finish', gid: one, finish: 'rollback' },
    ]);
    expect(leftovers.holds(one)).toBe(false);
    expect(leftovers.settle(new Set([one]), true), 'a later record finds nothing').toEqual([]);
  });
});
