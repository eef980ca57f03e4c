import { describe, expect, test } from 'vitest';
import { RelationPlan, truncateSql } from '../../../../src/core/apply/relation-plan.ts';
import { childKey, describeRelation, row } from './facts-builder.ts';
import type { ColumnWish } from './facts-builder.ts';

function plan(
  columns: readonly ColumnWish[],
  more: Parameters<typeof describeRelation>[1] = {},
): RelationPlan {
  const { message, facts } = describeRelation(columns, more);
  const bound = RelationPlan.bind(message, facts);
  if (typeof bound === 'string') throw new Error(bound);
  return bound;
}

const plain = plan([
  { name: 'id', key: true },
  { name: 'v', type: 'text', oid: 25 },
  { name: 'g', generated: true },
]);
const table = 'ONLY "public"."T""x"';

describe('insert', () => {
  test('names every column that can be written, with the types of this node', () => {
    expect(plain.insert).toMatchObject({
      sql: 'INSERT INTO "public"."T""x" ("id", "v") OVERRIDING SYSTEM VALUE VALUES ($1, $2)',
      types: [23, 25],
      parameters: [
        { row: 'new', column: 0 },
        { row: 'new', column: 1 },
      ],
    });
    expect(plain.copy).toBe('COPY "public"."T""x" ("id", "v") FROM STDIN');
  });
});

describe('update', () => {
  const update = (
    target: RelationPlan,
    values: ReturnType<typeof row>,
    old?: ReturnType<typeof row>,
    kind: 'key' | 'full' = 'key',
  ) => target.update({ kind: 'update', relation: 99, row: values, old: old && { kind, row: old } });

  test('by the key, failing when the row is not there', () => {
    const { sql, parameters } = update(plain, row('1', 'a', 'x'));
    expect(sql).toContain(
      `UPDATE ${table} AS t SET "id" = $1, "v" = $2 WHERE t."id" OPERATOR(ops.=) $3 RETURNING 1`,
    );
    expect(sql).toContain(
      `mtm.fail('XX001', 'row to update not found in "public.T"x": the nodes have diverged'`,
    );
    expect(parameters).toEqual([
      { row: 'new', column: 0 },
      { row: 'new', column: 1 },
      { row: 'new', column: 0 },
    ]);
  });

  test('by the old key when it changed; unchanged TOAST values are left out; equal masks share a plan', () => {
    const first = update(plain, row('2', undefined), row('1', null));
    expect(first.sql).toContain('SET "id" = $1 WHERE t."id" OPERATOR(ops.=) $2');
    expect(first.parameters[1]).toEqual({ row: 'old', column: 0 });
    expect(update(plain, row('3', undefined), row('2', null))).toBe(first);
    expect(update(plain, row('3', 'x'), row('2', null))).not.toBe(first);
  });

  test('without a key: one row by ctid, NULLs, and text where equality says too little', () => {
    const full = plan(
      [
        { name: 'a' },
        { name: 'n', type: 'numeric', oid: 1700 },
        { name: 'j', type: 'json', oid: 114 },
        { name: 'z' },
      ],
      { identity: 'full' },
    );
    const { sql, types } = update(full, row('1', '2', '3', '4'), row('1', '1.0', '{}', null), 'full');
    expect(sql).toContain(
      `t.ctid = (SELECT s.ctid FROM ${table} AS s WHERE s."a" OPERATOR(pg_catalog.=) $5 AND ` +
        `s."n" OPERATOR(pg_catalog.=) $6 AND pg_catalog.format('%s', s."n") COLLATE pg_catalog."C" ` +
        `OPERATOR(pg_catalog.=) $7 AND pg_catalog.format('%s', s."j") COLLATE pg_catalog."C" ` +
        `OPERATOR(pg_catalog.=) $8 AND s."z" IS NULL LIMIT 1 FOR UPDATE)`,
    );
    expect(types.slice(4)).toEqual([23, 1700, 25, 25]);
  });

  test('a GENERATED ALWAYS identity is not set; when it changed the row is written anew', () => {
    const identity = plan([{ name: 'id', key: true, identityAlways: true }, { name: 'v' }]);
    expect(update(identity, row('1', '2')).sql).toContain('SET "v" = $1 WHERE');
    const { sql } = update(identity, row('2', undefined), row('1', null));
    expect(sql).toContain(`d AS (DELETE FROM ${table} AS t`);
    expect(sql).toContain('("id", "v") OVERRIDING SYSTEM VALUE SELECT $1, d."v" FROM d RETURNING 1');
  });
});

test('what does not fit this node is said by name', () => {
  const { message, facts } = describeRelation([{ name: 'id', key: true }, { name: 'v' }]);
  expect(RelationPlan.bind(message, { ...facts, columns: facts.columns.slice(0, 1) })).toContain(
    'column "v"',
  );
  const keyless = facts.columns.map((column) => ({ ...column, keyOperator: null }));
  expect(RelationPlan.bind(message, { ...facts, columns: keyless })).toContain('replica identity');
  const [column] = childKey.columns;
  const parentKey = {
    ...childKey,
    isChild: false,
    isParent: true,
    columns: [{ ...column!, parent: 'nowhere' }],
  };
  expect(RelationPlan.bind(message, { ...facts, foreignKeys: [parentKey] })).toContain('generated column');
  // The server itself finds what a child row has there.
  const ofChild = { ...childKey, columns: [{ ...column!, child: 'nowhere' }] };
  expect(RelationPlan.bind(message, { ...facts, foreignKeys: [ofChild] })).toBeInstanceOf(RelationPlan);
});

test('truncate: one statement, flags, partitioned tables without ONLY', () => {
  const { facts } = describeRelation([{ name: 'id' }]);
  const change = { kind: 'truncate', relations: [1, 2], cascade: false, restartIdentity: true } as const;
  expect(truncateSql(change, [facts, { ...facts, name: 'p', kind: 'p' }])).toBe(
    `TRUNCATE ${table}, "public"."p" RESTART IDENTITY CASCADE`,
  );
});
