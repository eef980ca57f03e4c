import { describe, expect, test } from 'vitest';
import { judgePosition, readHistory } from '../../../../src/io/store/server-position.ts';
import type { ServerPosition } from '../../../../src/io/store/server-position.ts';

const known = { systemIdentifier: '1', timeline: 2, flushed: 1000n };
const now = (more: Partial<ServerPosition>): ServerPosition => ({ ...known, branches: [], ...more });

describe('a server', () => {
  test('that nobody remembers is as known', () => {
    expect(judgePosition(undefined, now({}))).toBe('as-known');
  });
  test('that goes on is as known', () => {
    expect(judgePosition(known, now({}))).toBe('as-known');
    expect(judgePosition(known, now({ flushed: 1001n }))).toBe('as-known');
  });
  test('with another identifier is another', () => {
    expect(judgePosition(known, now({ systemIdentifier: '2' }))).toBe('other-server');
  });
  test('that is not as far as it was went back', () => {
    expect(judgePosition(known, now({ flushed: 999n }))).toBe('went-back');
    expect(judgePosition(known, now({ timeline: 1, flushed: 5000n }))).toBe('went-back');
  });
  test('on a later timeline went back unless that branched off behind what was reported', () => {
    const later = (at: bigint): ServerPosition =>
      now({
        timeline: 3,
        flushed: 9000n,
        branches: [
          { timeline: 1, at: 500n },
          { timeline: 2, at },
        ],
      });
    expect(judgePosition(known, later(1000n))).toBe('as-known');
    expect(judgePosition(known, later(999n))).toBe('went-back');
    expect(judgePosition(known, now({ timeline: 3, flushed: 9000n }))).toBe('went-back');
  });
});

test('a history file is read', () => {
  const text = '1\t0/5000\tno recovery target specified\n\n2\t1/A0\tbefore 2024-01-01\n';
  expect(readHistory(text)).toEqual([
    { timeline: 1, at: 0x5000n },
    { timeline: 2, at: 0x1_0000_00a0n },
  ]);
  expect(readHistory('')).toEqual([]);
});
