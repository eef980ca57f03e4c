import { expect, test } from 'vitest';
import { RelationPlan } from '../../../../src/core/apply/relation-plan.ts';
import { RowWriter } from '../../../../src/core/apply/row-writer.ts';
import { StatementPipeline } from '../../../../src/core/apply/statement-pipeline.ts';
import type { RelationFacts } from '../../../../src/core/apply/facts.ts';
import { describeRelation, row } from './facts-builder.ts';
import { sentMessages } from './sent-messages.ts';

function planOf(more: Partial<RelationFacts>): RelationPlan {
  const wishes = [
    { name: 'id', key: true },
    { name: 'v', type: 'text', oid: 25 },
  ];
  const { message, facts } = describeRelation(wishes, more);
  const plan = RelationPlan.bind(message, facts);
  if (typeof plan === 'string') throw new Error(plan);
  return plan;
}

const guarded = planOf({ foreignCode: true, owner: 'ann"a' });
const plain = planOf({});

/** Of Parse its statement's name and text, of Bind its statement's name. */
function sent(pipeline: StatementPipeline): string[] {
  return sentMessages(pipeline).flatMap(({ type, body }) => {
    const [first, second] = body.split('\0');
    if (type === 'P') return [`P ${first}:${second}`];
    return type === 'B' ? [`B ${second}`] : [];
  });
}

/** The bytes of all messages as text. */
const text = (pipeline: StatementPipeline): string => new TextDecoder().decode(pipeline.take());

const settings = ['P :RESET ALL', 'B ', expect.stringMatching(/^P :SELECT .*transaction_timeout/), 'B '];
const call = [
  'P :SELECT mtm.require_guard($1, $2)',
  'B ',
  'P :SELECT mtm."guard x 0"($1, $2)',
  'B ',
  ...settings,
];

test('rows of a guarded relation are one INSERT in a function of the owner, which is dropped in the end', () => {
  const pipeline = new StatementPipeline();
  const rows = new RowWriter(pipeline, 'x');
  rows.insert(guarded, row('1', "it's \\"));
  rows.insert(guarded, row('2', null));
  expect(sent(pipeline)).toEqual([]);
  rows.insert(plain, row('3', 'x'));
  expect(sent(pipeline)).toEqual([
    expect.stringMatching(/^P :CREATE FUNCTION mtm\."guard x 0"\(.* SECURITY DEFINER/),
    'B ',
    'P :ALTER FUNCTION mtm."guard x 0"(pg_catalog.text, pg_catalog.text) OWNER TO "ann""a"',
    'B ',
    'P :REVOKE ALL ON FUNCTION mtm."guard x 0"(pg_catalog.text, pg_catalog.text) FROM PUBLIC',
    'B ',
    ...call,
    expect.stringMatching(/^P :INSERT INTO "public"\."T""x"/),
    'B ',
  ]);
  rows.change(
    guarded,
    guarded.delete({ kind: 'delete', relation: 1, old: { kind: 'key', row: row('1', null) } }),
    undefined,
    row('1', null),
  );
  expect(sent(pipeline)).toEqual(call);
  rows.end();
  rows.end();
  expect(sent(pipeline)).toEqual([
    'P :DROP FUNCTION mtm."guard x 0"(pg_catalog.text, pg_catalog.text)',
    'B ',
  ]);
});

test('values stand in the text as literals of their types; a row that is not there is the failure it always is', () => {
  const pipeline = new StatementPipeline();
  const rows = new RowWriter(pipeline, 'x');
  rows.insert(guarded, row('1', "it's \\"));
  rows.insert(guarded, row('2', null));
  rows.flush();
  expect(text(pipeline)).toContain(
    `INSERT INTO "public"."T""x" ("id", "v") OVERRIDING SYSTEM VALUE VALUES ` +
      `('1'::pg_catalog.int4, E'it''s \\\\'::pg_catalog.text), ('2'::pg_catalog.int4, NULL::pg_catalog.text)`,
  );
  const change = {
    kind: 'update',
    relation: 1,
    row: row('7', 'b'),
    old: { kind: 'key', row: row('1', null) },
  } as const;
  rows.change(guarded, guarded.update(change), change.row, change.old.row);
  const written = text(pipeline);
  expect(written).toContain(
    `SET "id" = '7'::pg_catalog.int4, "v" = 'b'::pg_catalog.text ` +
      `WHERE t."id" OPERATOR(ops.=) '1'::pg_catalog.int4 RETURNING 1`,
  );
  expect(written).toContain("SELECT mtm.fail('XX001', 'row to update not found");
});

test('what cannot be written with the rights of its owner is refused', () => {
  const bind = (more: Partial<RelationFacts>): unknown => {
    const { message, facts } = describeRelation([{ name: 'id', key: true }], more);
    return RelationPlan.bind(message, facts);
  };
  expect(bind({ foreignCode: true, superusers: true })).toMatch(/belongs to a superuser/);
  expect(bind({ foreignCode: true, forcedRowSecurity: true })).toMatch(/FORCE ROW LEVEL SECURITY/);
  expect(bind({ superusers: true, forcedRowSecurity: true })).toBeInstanceOf(RelationPlan);
});

test('TRUNCATE: with the rights of the owner where its triggers fire, of one owner only', () => {
  const { facts } = plain;
  const fires = { ...facts, foreignTruncate: true };
  const pipeline = new StatementPipeline();
  const rows = new RowWriter(pipeline, 'x');
  expect(rows.truncate('TRUNCATE a', [facts])).toBeUndefined();
  expect(sent(pipeline)).toEqual(['P :TRUNCATE a', 'B ']);
  expect(rows.truncate('TRUNCATE a, b', [facts, fires])).toBeUndefined();
  expect(sent(pipeline).slice(-call.length)).toEqual(call);
  expect(rows.truncate('TRUNCATE a, b', [{ ...facts, owner: 'bob' }, fires])).toMatch(/several owners/);
});

test('behind code of others statements have no name, until everything is discarded', () => {
  const pipeline = new StatementPipeline();
  pipeline.run('SELECT 1');
  pipeline.confirm();
  sent(pipeline);
  pipeline.clean();
  pipeline.run('SELECT 1');
  expect(sent(pipeline)).toEqual(['B a0']);
  pipeline.runForeign(['ALTER TABLE t ADD CHECK (f())']);
  expect(sent(pipeline)).toEqual(['P :ALTER TABLE t ADD CHECK (f())', 'B ', ...settings]);
  pipeline.run('SELECT 1');
  expect(sent(pipeline)).toEqual(['P :SELECT 1', 'B ']);
  const cleaning = ['P :DISCARD ALL', 'B ', 'P :BEGIN', 'B ', settings[2], 'B ', 'P :COMMIT', 'B '];
  pipeline.clean();
  expect(sent(pipeline)).toEqual(cleaning);
  // An error may have kept it from happening.
  pipeline.forget();
  sent(pipeline);
  pipeline.clean();
  expect(sent(pipeline)).toEqual(cleaning);
  pipeline.run('SELECT 1');
  expect(sent(pipeline)).toEqual(['P a1:SELECT 1', 'B a1']);
  pipeline.confirm();
  pipeline.clean();
  expect(sent(pipeline)).toEqual([]);
});
