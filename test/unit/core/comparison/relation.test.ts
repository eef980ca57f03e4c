/** What nodes have in common of a table, what is asked of it, and what of definitions differs. */
import { describe, expect, test } from 'vitest';
import { commonLines, notEverywhere } from '../../../../src/core/comparison/definition-lines.ts';
import { comparisonDefaults, matches, readOptions } from '../../../../src/core/comparison/options.ts';
import { inCommon, shownName, type Column, type Relation } from '../../../../src/core/comparison/relation.ts';
import { bucketsSql, rowsSql, sumsSql } from '../../../../src/core/comparison/row-sql.ts';

const column = (name: string, told: Column['told'] = 'plain'): Column => ({
  name,
  type: 'integer',
  told,
  generated: false,
});
const relation = (columns: readonly Column[], key: readonly string[]): Relation => ({
  schema: 'public',
  name: 't',
  kind: 'r',
  columns,
  key,
  bytes: 0,
  pieces: true,
});

describe('in common', () => {
  test('are columns by name, whatever their order', () => {
    const one = relation([column('b'), column('a')], ['a']);
    const other = relation([column('a'), column('c'), column('b')], ['a']);
    expect(inCommon([one, other])).toMatchObject({ columns: [{ name: 'a' }, { name: 'b' }], key: ['a'] });
  });

  test('is no key that is not everywhere the same', () => {
    expect(inCommon([relation([column('a')], ['a']), relation([column('a')], [])]).key).toEqual([]);
  });

  test('is nothing that has no text of its own', () => {
    const columns = [column('a'), column('tree', 'untellable'), column('v', 'computed')];
    expect(inCommon([relation(columns, ['a'])]).columns.map(({ name }) => name)).toEqual(['a']);
  });
});

describe('queries', () => {
  const hostile = inCommon([relation([column('a"); DROP TABLE x; --')], ['a"); DROP TABLE x; --'])]);

  test('quote what a name says', () => {
    for (const sql of [
      sumsSql(hostile, { from: 0, to: 10 }),
      bucketsSql(hostile, 10, undefined),
      rowsSql(hostile, { bits: 10, values: ['1'] }, 5),
    ])
      expect(sql.replaceAll('"a""); DROP TABLE x; --"', '')).not.toContain('DROP');
  });

  test('read a part of a table by the place of its rows', () => {
    expect(sumsSql(hostile, { from: 8, to: undefined })).toContain(`WHERE t.ctid >= '(8,0)' OFFSET 0`);
    expect(sumsSql(hostile, undefined)).not.toContain('WHERE');
  });
});

test('names are shown as they can be written', () => {
  expect(shownName({ schema: 'public', name: 'a_1' })).toBe('public.a_1');
  expect(shownName({ schema: 'public', name: 'A"b' })).toBe('"public"."A""b"');
});

describe('wishes', () => {
  test('have defaults, and limits', () => {
    expect(readOptions({})).toEqual(comparisonDefaults);
    expect(readOptions({ tables: ['a'], jobs: 3 })).toEqual({
      ...comparisonDefaults,
      tables: ['a'],
      jobs: 3,
    });
    for (const wrong of [
      { jobs: 0 },
      { jobs: 1.5 },
      { details: -1 },
      { tables: 'a' },
      { exclude: [1] },
      { maxTimeMs: 0 },
    ])
      expect(readOptions(wrong)).toBeTypeOf('string');
  });

  test('name tables with and without their schema, with * for anything', () => {
    const table = { schema: 'sales', name: 'Orders.2024' };
    for (const pattern of ['Orders.2024', 'sales.Orders.2024', 'sales.*', 'Ord*', '*'])
      expect([pattern, matches(pattern, table)]).toEqual([pattern, true]);
    for (const pattern of ['orders.2024', 'Orders', 'Orders?2024', 'sale.*', '(.*)'])
      expect([pattern, matches(pattern, table)]).toEqual([pattern, false]);
  });
});

describe('definitions', () => {
  test('that are not on all nodes', () => {
    const lists = new Map([
      [1, ['a', 'b']],
      [2, ['a']],
      [3, ['a', 'c']],
    ]);
    expect([...notEverywhere(lists)]).toEqual([
      [1, ['b']],
      [2, []],
      [3, ['c']],
    ]);
  });

  test('are told of different versions without what these print differently', () => {
    expect(
      commonLines([
        'constraint a_not_null on t: NOT NULL a valid t',
        'relation t acl {postgres=arwdDxtm/postgres}',
      ]),
    ).toEqual(['relation t acl {postgres=arwdDxt/postgres}']);
  });
});
