import { expect, test } from 'vitest';
import { RelationPlan } from '../../../../src/core/apply/relation-plan.ts';
import { writeRun } from '../../../../src/core/apply/row-runs.ts';
import { StatementPipeline } from '../../../../src/core/apply/statement-pipeline.ts';
import type { RelationFacts } from '../../../../src/core/apply/facts.ts';
import { PieceWriter } from '../../../../src/core/pgoutput/piece-writer.ts';
import { cstringAt, int32At } from '../../../../src/core/wire/messages.ts';
import { describeRelation, tupleBytes, type ColumnWish } from './facts-builder.ts';

const columns: readonly ColumnWish[] = [{ name: 'id', key: true }, { name: 'v' }, { name: 't' }];

function bind(wishes = columns, more: Partial<RelationFacts> = {}): RelationPlan {
  const { message, facts } = describeRelation(wishes, more);
  return RelationPlan.bind(message, facts) as RelationPlan;
}

type Row = readonly (string | null | undefined)[];

/** I, U or D of relation 99, its letter and its row. */
function change(type: string, letter: string, row: Row): Uint8Array {
  const head = [type.charCodeAt(0), 0, 0, 0, 99, letter.charCodeAt(0)];
  return Uint8Array.from([...head, ...tupleBytes(...row)]);
}
const update = (...row: Row): Uint8Array => change('U', 'N', row);
const remove = (...row: Row): Uint8Array => change('D', 'K', row);

function piece(...messages: Uint8Array[]): Uint8Array {
  const writer = new PieceWriter();
  for (const message of messages) writer.message(message, 0, message.length);
  return writer.take();
}

/**
 * How many of the changes went, into which statement, with which values; before those stands the relation's OID
 * for the look at its statistics.
 */
function run(plan: RelationPlan, ...changes: Uint8Array[]): { rows: number; sql: string; values: string[] } {
  const pipeline = new StatementPipeline();
  const data = piece(...changes);
  const end = writeRun(pipeline, undefined, plan, data, 0);
  const bytes = pipeline.take();
  let sql = '';
  const values: string[] = [];
  for (let at = 0; at < bytes.length; at += 1 + int32At(bytes, at + 1)) {
    if (bytes[at] === 0x50)
      sql = cstringAt(bytes, at + 5 + cstringAt(bytes, at + 5, bytes.length).length + 1, bytes.length);
    if (bytes[at] !== 0x42) continue;
    let next = at + 5 + 1 + cstringAt(bytes, at + 6, bytes.length).length + 1 + 2;
    const count = (bytes[next]! << 8) | bytes[next + 1]!;
    next += 2;
    for (let index = 0; index < count; index++) {
      const length = int32At(bytes, next);
      values.push(new TextDecoder().decode(bytes.subarray(next + 4, next + 4 + length)));
      next += 4 + length;
    }
  }
  let rows = 0;
  for (let at = 0; typeof end === 'number' && at < end; at += 4 + int32At(data, at)) rows++;
  return { rows, sql, values };
}

const six = (make: (n: number) => Uint8Array): Uint8Array[] => Array.from({ length: 6 }, (_, n) => make(n));

test('updates that keep their key, as one statement', () => {
  const { rows, sql, values } = run(bind(), ...six((n) => update(String(n), `v${n}`, n === 2 ? null : 'x"')));
  expect(rows).toBe(6);
  expect(sql).toContain(
    'UPDATE ONLY "public"."T""x" AS t SET "v" = v.c1, "t" = v.c2 FROM unnest($1::pg_catalog.int4[], ' +
      '$2::pg_catalog.int4[], $3::pg_catalog.int4[]) AS v(c0, c1, c2) WHERE t."id" OPERATOR(ops.=) v.c0 RETURNING 1',
  );
  expect(sql).toContain(
    'WHERE (SELECT pg_catalog.count(*) FROM u) OPERATOR(pg_catalog.<>) $4::pg_catalog.int8',
  );
  expect(values.shift()).toBe(String(bind().facts.oid));
  expect(values[0]).toBe('{"0","1","2","3","4","5"}');
  expect(values[2]).toBe('{"x\\"","x\\"",NULL,"x\\"","x\\"","x\\""}');
  expect(values[3]).toBe('6');
});

test('a run ends where a key comes again, other columns change, or something else stands', () => {
  const many = six((n) => update(String(n), 'a', 'b'));
  expect(run(bind(), ...many, update('3', 'c', 'b'), update('9', 'a', 'b')).rows).toBe(6);
  expect(run(bind(), ...many, update('9', 'a', undefined)).rows).toBe(6);
  expect(run(bind(), ...many, remove('9', null, null), update('7', 'a', 'b')).rows).toBe(6);
  expect(run(bind(), ...many.slice(0, 4), remove('9', null, null)).rows).toBe(0);
  expect(run(bind(), ...six(() => update('1', 'a', 'b'))).rows).toBe(0);
  const changedKey = change('U', 'K', ['1', null, null]);
  expect(run(bind(), ...six(() => changedKey)).rows).toBe(0);
});

test('values that stay are left out', () => {
  const { rows, sql } = run(bind(), ...six((n) => update(String(n), 'a', undefined)));
  expect(rows).toBe(6);
  expect(sql).toContain('SET "v" = v.c1 FROM');
  expect(run(bind(), ...six((n) => update(String(n), undefined, undefined))).rows).toBe(0);
});

test('deletes by key', () => {
  const { rows, sql, values } = run(bind(), ...six((n) => remove(String(n), null, null)));
  expect(rows).toBe(6);
  expect(sql).toContain(
    'DELETE FROM ONLY "public"."T""x" AS t USING unnest($1::pg_catalog.int4[]) AS v(c0) WHERE',
  );
  expect(values).toEqual([String(bind().facts.oid), '{"0","1","2","3","4","5"}', '6']);
});

test('before each statement its planner is kept from reading the whole index', () => {
  const pipeline = new StatementPipeline();
  const data = piece(...six((n) => update(String(n), 'a', 'b')));
  writeRun(pipeline, undefined, bind(), data, 0);
  const text = new TextDecoder().decode(pipeline.take());
  expect(text.indexOf("set_config('enable_indexscan', 'off', true)")).toBeGreaterThan(0);
  expect(text.indexOf("set_config('enable_indexscan', 'off', true)")).toBeLessThan(text.indexOf('WITH u AS'));
});

test('one by one where the order can be seen, or a value cannot stand in an array', () => {
  const updates = six((n) => update(String(n), 'a', 'b'));
  const deletes = six((n) => remove(String(n), null, null));
  expect(run(bind(columns, { oneByOne: true }), ...updates).rows).toBe(0);
  expect(run(bind(columns, { oneByOne: true }), ...deletes).rows).toBe(0);
  const listed = describeRelation(columns);
  const lists = listed.facts.columns.map((column) => ({ ...column, inArrays: column.name !== 'v' }));
  const plan = bind(columns, { columns: lists });
  expect(run(plan, ...updates).rows).toBe(0);
  expect(run(plan, ...deletes).rows).toBe(6);
  const fixed = bind([columns[0]!, { name: 'v', identityAlways: true }, columns[2]!]);
  expect(run(fixed, ...updates).rows).toBe(0);
  const full = describeRelation(columns, { identity: 'full' });
  const whole = RelationPlan.bind(full.message, full.facts) as RelationPlan;
  expect(run(whole, ...updates).rows).toBe(0);
});

test('a broken row is no row', () => {
  const good = change('I', 'N', ['1', '2', '3']);
  const bad = good.with(6, 9);
  const data = piece(good, good, good, good, good, bad);
  expect(writeRun(new StatementPipeline(), undefined, bind(), data, 0)).toBe('malformed');
});
