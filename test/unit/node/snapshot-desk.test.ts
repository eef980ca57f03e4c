/** What is said of the first difference between two nodes. */
import { describe, expect, test } from 'vitest';
import { differenceOf } from '../../../src/node/snapshot-desk.ts';

const names = ['node 1', 'node 2'] as const;
const columns = ['a', 'b'];

function difference(
  one: readonly (readonly (string | null)[])[],
  other: readonly (readonly (string | null)[])[],
): string | undefined {
  return differenceOf({ columns, rows: one }, { columns, rows: other }, 100, names);
}

describe('the first difference', () => {
  test('there is none between equal rows', () => {
    expect(difference([], [])).toBeUndefined();
    expect(difference([['1', null]], [['1', null]])).toBeUndefined();
  });

  test('is named by column and row', () => {
    const one = [
      ['1', 'x'],
      ['2', null],
    ];
    const other = [
      ['1', 'x'],
      ['2', ''],
    ];
    expect(difference(one, other)).toBe("mismatch in column 'b' of row 101: (null) on node 1,  on node 2");
  });

  test('or by who has fewer rows', () => {
    expect(difference([['1', 'x']], [])).toBe('query results mismatch: 100 rows on node 2, more on node 1');
    expect(difference([], [['1', 'x']])).toBe('query results mismatch: 100 rows on node 1, more on node 2');
  });

  test('or by columns', () => {
    const one = { columns, rows: [] };
    expect(differenceOf(one, { columns: ['a'], rows: [] }, 0, names)).toBe(
      'query results mismatch: 2 columns on node 1, 1 on node 2',
    );
  });
});
