import { describe, expect, test } from 'vitest';
import { initialConfiguration } from '../../../../src/core/generation/configuration.ts';
import type { GenerationRecord } from '../../../../src/core/generation/record.ts';
import { recordFromVotes, type ElectionVote } from '../../../../src/core/generation/value.ts';

const configured = [1, 2, 3];
const three = initialConfiguration(configured);

function record(number: number, members: number[], commits: string[] = [], proposer = 1): GenerationRecord {
  return { number, proposer, members, ...three, donors: members, commits };
}

function vote(
  lastOnline: number,
  accepted: GenerationRecord | undefined,
  prepared: string[] = [],
  committed: string[] = [],
): ElectionVote {
  return { lastOnline, accepted, prepared, committed };
}

/** The outcome for members = voters. */
function elect(votes: Record<number, ElectionVote>) {
  const members = Object.keys(votes).map(Number);
  const proposal = { ballot: { generation: 9, proposer: members[0]! }, members, configured, chosen: 0 };
  return recordFromVotes(proposal, new Map(members.map((node) => [node, votes[node]!])));
}

function commits(votes: Record<number, ElectionVote>): readonly string[] {
  const value = elect(votes);
  if (value.kind !== 'record') throw new Error(value.reason);
  return value.record.commits;
}

const x = 'mtm:1:5:1:1';
const y = 'mtm:2:5:1:1';
const base = record(5, [1, 2, 3]);

test('a cluster that begins: nothing to decide, everybody is complete', () => {
  expect(elect({ 1: vote(0, undefined), 2: vote(0, undefined) })).toEqual({
    kind: 'record',
    record: { number: 9, proposer: 1, members: [1, 2], ...three, donors: [1, 2], commits: [] },
  });
});

describe('a transaction of the base generation', () => {
  test('commits when every voter among its members holds it prepared', () => {
    expect(commits({ 1: vote(5, base, [x]), 2: vote(5, base, [x]) })).toEqual([x]);
  });
  test('aborts when one of them does not', () => {
    expect(commits({ 1: vote(5, base, [x]), 2: vote(5, base) })).toEqual([]);
  });
  test('commits when one has committed it, whatever the other one says', () => {
    expect(commits({ 1: vote(5, base, [], [x]), 2: vote(5, base, [x]) })).toEqual([x]);
  });
  test('a voter that was no member of its generation does not count', () => {
    const two = record(5, [1, 2]);
    expect(commits({ 1: vote(5, two, [x]), 3: vote(4, two) })).toEqual([x]);
  });
  test('committed at all complete voters is listed for those who are not here', () => {
    expect(commits({ 1: vote(5, base, [], [x]), 2: vote(5, base, [], [x]) })).toEqual([x]);
  });
  test('what a complete member has forgotten is finished everywhere', () => {
    expect(commits({ 1: vote(5, base, [], [x]), 2: vote(5, base) })).toEqual([]);
  });
  test('each is judged by itself', () => {
    expect(commits({ 1: vote(5, base, [x, y]), 2: vote(5, base, [y]) })).toEqual([y]);
  });
});

describe('an older transaction', () => {
  const bound = record(7, [1, 2], [x], 2);
  test('follows the record with the highest ballot, also in its silence', () => {
    expect(commits({ 1: vote(5, bound, [x, y]), 2: vote(5, base, [x, y]) })).toEqual([x]);
  });
  test('a higher proposer of the same number is higher', () => {
    const rival = record(7, [1, 2], [y], 3);
    expect(commits({ 1: vote(5, bound, [x, y]), 2: vote(5, rival, [x, y]) })).toEqual([y]);
  });
  test('is carried on when no voter has executed the record, listed or not', () => {
    // Left out by the record, both rolled it back; the one who executed it is not here.
    expect(commits({ 1: vote(5, bound), 3: vote(5, bound) })).toEqual([x]);
  });
  test('is dropped when the complete voters have executed it and need not tell of it any more', () => {
    expect(commits({ 1: vote(7, bound), 2: vote(7, bound) })).toEqual([]);
  });
  test('stays while a complete voter tells of it', () => {
    expect(commits({ 1: vote(7, bound, [], [x]), 3: vote(5, bound, [x]) })).toEqual([x]);
  });
});

describe('who is complete', () => {
  test('the voters with the highest generation that they were online in', () => {
    const value = elect({ 1: vote(5, base), 2: vote(4, base), 3: vote(5, base) });
    expect(value.kind === 'record' && value.record.donors).toEqual([1, 3]);
  });
  test('what one that is behind holds prepared is not even looked at', () => {
    expect(commits({ 1: vote(5, base), 2: vote(4, base, ['mtm:1:4:1:9']) })).toEqual([]);
  });
});

describe('contradictions', () => {
  test('a transaction of a generation that nobody accepted', () => {
    expect(elect({ 1: vote(0, undefined, [x]), 2: vote(0, undefined) }).kind).toBe('contradiction');
    expect(elect({ 1: vote(5, base, ['mtm:1:6:1:1']), 2: vote(5, base) }).kind).toBe('contradiction');
  });
  test('a node that was online in a generation that nobody accepted', () => {
    expect(elect({ 1: vote(6, base), 2: vote(5, base) }).kind).toBe('contradiction');
  });
  test('a prepared transaction that is not one of ours', () => {
    expect(elect({ 1: vote(5, base, ['somebody']), 2: vote(5, base) }).kind).toBe('contradiction');
  });
});

test('it needs the votes of all members and of a majority', () => {
  const proposal = { ballot: { generation: 9, proposer: 1 }, members: [1, 2], configured, chosen: 0 };
  expect(() => recordFromVotes(proposal, new Map([[1, vote(0, undefined)]]))).toThrow('all members');
  const alone = { ...proposal, members: [1] };
  expect(recordFromVotes(alone, new Map([[1, vote(0, undefined)]])).kind).toBe('refused');
});

describe('the nodes change', () => {
  const four = initialConfiguration([1, 2, 3, 4]);
  const before = { ...record(5, [1, 2, 3, 4]), ...four };
  const wish = { kind: 'drop', node: 2 } as const;

  function propose(
    members: number[],
    accepted: Record<number, GenerationRecord>,
    more: { readonly wish?: typeof wish; readonly chosen: number },
  ) {
    const proposal = { ballot: { generation: 9, proposer: members[0]! }, members, configured, ...more };
    const votes = new Map(members.map((node) => [node, vote(5, accepted[node] ?? before)]));
    return recordFromVotes(proposal, votes);
  }

  test('the record names the nodes before it until it is known to be chosen', () => {
    const changed = propose([1, 3, 4], {}, { wish, chosen: 5 });
    expect(changed).toMatchObject({ record: { configured: [1, 3, 4], former: [1, 2, 3, 4] } });
    if (changed.kind !== 'record') throw new Error(changed.reason);
    const { record: next } = changed;
    const carried = propose([1, 3, 4], { 1: { ...next, number: 7 } }, { chosen: 5 });
    expect(carried).toMatchObject({ record: { configured: [1, 3, 4], former: [1, 2, 3, 4] } });
    const settled = propose([1, 3, 4], { 1: { ...next, number: 7 } }, { chosen: 7 });
    expect(settled).toMatchObject({ record: { configured: [1, 3, 4] } });
    expect(settled).not.toHaveProperty('record.former');
  });

  test('who carries it on needs a majority of both; once it is chosen one of those after it is enough', () => {
    const { former: _none, ...plain } = { ...before, former: undefined, number: 7, configured: [1, 3, 4] };
    const unsettled = { ...plain, former: [1, 2, 3, 4] };
    expect(propose([1, 4], { 1: unsettled }, { chosen: 5 })).toMatchObject({ kind: 'refused' });
    expect(propose([1, 4], { 1: unsettled }, { chosen: 7 })).toMatchObject({ kind: 'record' });
  });

  test('nothing is changed on top of a record that may not be chosen', () => {
    expect(propose([1, 3, 4], { 1: { ...before, number: 7 } }, { wish, chosen: 5 })).toMatchObject({
      kind: 'refused',
    });
  });
});
