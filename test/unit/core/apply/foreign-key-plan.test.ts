import { expect, test } from 'vitest';
import {
  leftChildrenSql,
  lockParentsEarlySql,
  lockParentsSql,
} from '../../../../src/core/apply/foreign-key-plan.ts';
import { childKey } from './facts-builder.ts';

const locked =
  'ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[])) AS k(v0) ' +
  'CROSS JOIN LATERAL (SELECT k.v0::pg_catalog.int8 AS c0) AS g CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM ' +
  '(SELECT true AS hit FROM "public"."parent" AS p WHERE p."p" OPERATOR(x.=) g.c0 FOR KEY SHARE OF p) AS q) AS found) AS l';

test('parents are locked with the operators of the constraint; a missing one fails if the child is still there', () => {
  expect(lockParentsSql(childKey)).toBe(
    'SELECT pg_catalog.count(CASE WHEN NOT l.found THEN CASE WHEN EXISTS (SELECT FROM ONLY "public"."child" AS c WHERE ' +
      `c."c" OPERATOR(z.=) g.c0) THEN mtm.fail('23503', 'insert or update on table "child" violates foreign key ` +
      `constraint "fk"', 'public', 'child', 'fk') END END) FROM ${locked}`,
  );
  expect(lockParentsEarlySql(childKey, 'm')).toBe(`SELECT 'm', k.v0 FROM ${locked} WHERE NOT l.found`);
});

test('left children: the parent is not back and a child has its key', () => {
  const sql = leftChildrenSql(childKey);
  expect(sql).toContain('NOT EXISTS (SELECT FROM "public"."parent" AS p WHERE p."p" OPERATOR(y.=) g.c0)');
  expect(sql).toContain('EXISTS (SELECT FROM ONLY "public"."child" AS c WHERE g.c0 OPERATOR(x.=) c."c")');
  expect(sql).toContain('k.v0::pg_catalog.int4 AS c0');
});

test('PERIOD: the range must be covered by all parents together', () => {
  const temporal = {
    ...childKey,
    period: true,
    columns: [...childKey.columns, { ...childKey.columns[0]!, child: 'd', parent: 'e' }],
  };
  expect(lockParentsSql(temporal)).toContain(
    'g.c1 OPERATOR(pg_catalog.<@) (SELECT pg_catalog.range_agg(q.r)',
  );
  expect(leftChildrenSql(temporal)).toContain('c."d" OPERATOR(pg_catalog.&&) g.c1');
});
