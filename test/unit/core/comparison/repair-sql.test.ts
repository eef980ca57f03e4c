/** Statements of a repair: found by the key's own operators, values as parameters, and what people are shown. */
import { describe, expect, test } from 'vitest';
import type { ColumnFacts, RelationFacts } from '../../../../src/core/apply/facts.ts';
import {
  RepairSql,
  sameState,
  shownStatements,
  type ItemState,
} from '../../../../src/core/comparison/repair-sql.ts';
import type { ComparedTable } from '../../../../src/core/comparison/relation.ts';
import { keysOf } from '../../../../src/cli/repair.ts';

const column = (name: string, generated = false) =>
  ({ name, type: 'integer', told: 'plain', generated }) as const;
const columns = [column('id'), column('twice', true), column(`v"; --`)];
const keyed: ComparedTable = { schema: 'public', name: "t'", columns, key: ['id'] };
const keyless: ComparedTable = { ...keyed, key: [] };
const facts = {
  columns: [{ name: 'id', keyOperator: 'OPERATOR(public.=)' } as ColumnFacts],
} as unknown as RelationFacts;
const state = (rows: string, values: ItemState['values']): ItemState => ({
  rows,
  first: '1',
  second: '2',
  values,
});

describe('statements', () => {
  test('find rows by the operator of the key, and write no column that is computed', () => {
    const sql = new RepairSql(keyed, facts);
    expect(sql.delete).toBe(`DELETE FROM ONLY "public"."t'" AS t WHERE t."id" OPERATOR(public.=) $1`);
    expect(sql.insert).toBe(
      `INSERT INTO "public"."t'" ("id", "v""; --") OVERRIDING SYSTEM VALUE VALUES ($1, $2)`,
    );
    expect(sql.values).toContain('SELECT t."id", t."v""; --" FROM ONLY');
    expect(sql.parameters({ hash: '5', key: ['7'] })).toEqual(['7']);
  });

  test('find rows without a key by the hash of all that is in them', () => {
    const sql = new RepairSql(keyless, facts);
    expect(sql.delete).toMatch(
      /WHERE hashtextextended\(textin\(record_out\(ROW\(.*\)\)\) COLLATE "C", 7\) = \$1::int8$/,
    );
    expect(sql.parameters({ hash: '-5', key: ['(1,,x)'] })).toEqual(['-5']);
  });

  test('are shown with their values', () => {
    const item = { hash: '', key: ["it's"] };
    expect(shownStatements(keyed, item, state('1', []), state('1', [["it's", null]]))).toEqual([
      `DELETE FROM ONLY "public"."t'" WHERE "id" = 'it''s';`,
      `INSERT INTO "public"."t'" ("id", "v""; --") OVERRIDING SYSTEM VALUE VALUES ('it''s', NULL);`,
    ]);
    expect(shownStatements(keyed, item, state('1', []), state('0', []))).toHaveLength(1);
    expect(shownStatements(keyed, item, state('0', []), state('1', [['a', 'b']]))).toHaveLength(1);
  });
});

test('states are the same when rows and both sums are', () => {
  expect(sameState(state('1', []), state('1', [['x']]))).toBe(true);
  expect(sameState(state('1', []), state('2', []))).toBe(false);
  expect(sameState(state('1', []), { ...state('1', []), second: '3' })).toBe(false);
});

describe('keys on the command line', () => {
  const none = { key: undefined, 'all-differences': false };

  test('are texts, or JSON arrays for several columns', () => {
    const key = ['42', 'a b', '["x", 1, "y z"]'];
    expect(keysOf({ ...none, key })).toEqual([['42'], ['a b'], ['x', '1', 'y z']]);
    expect(keysOf({ ...none, 'all-differences': true })).toBeUndefined();
  });

  test('must be given, once, and well', () => {
    expect(() => keysOf(none)).toThrow('which rows?');
    expect(() => keysOf({ key: ['1'], 'all-differences': true })).toThrow('one or the other');
    expect(() => keysOf({ ...none, key: ['[1'] })).toThrow('JSON array');
  });
});
