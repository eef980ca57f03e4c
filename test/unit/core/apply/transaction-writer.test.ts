import { expect, test } from 'vitest';
import { StatementPipeline } from '../../../../src/core/apply/statement-pipeline.ts';
import { TransactionWriter } from '../../../../src/core/apply/transaction-writer.ts';
import type { PlanStore } from '../../../../src/core/apply/plan-store.ts';
import type { RelationPlan } from '../../../../src/core/apply/relation-plan.ts';
import { PieceWriter } from '../../../../src/core/pgoutput/piece-writer.ts';
import {
  body,
  head,
  headRow,
  insert as row,
  relation as relationOf,
  update,
} from '../pgoutput/client-messages.ts';
import { recorded } from '../pgoutput/fixtures.ts';
import { describeRelation } from './facts-builder.ts';
import { sentMessages } from './sent-messages.ts';

/** Frontend messages as text: type letter, and for Parse its query. */
function sent(pipeline: StatementPipeline): string[] {
  return sentMessages(pipeline).map(({ type, body }) =>
    type === 'P' ? `P ${body.split('\0')[1]!.slice(0, 24)}` : type,
  );
}

function fixture() {
  const plans = new Map<string, RelationPlan>();
  const store: PlanStore = {
    epoch: 0,
    find: (key) => plans.get(key),
    store: (key, plan) => void plans.set(key, plan),
  };
  const pipeline = new StatementPipeline();
  const columns = [{ name: 'id', key: true }, { name: 'v' }, { name: 'd' }, { name: 'j' }];
  const facts = `mtm-facts:${JSON.stringify(describeRelation(columns).facts)}`;
  return {
    plans,
    store,
    pipeline,
    facts,
    make: () => new TransactionWriter(pipeline, store, 'mtm:1:1:1:1', 'h', 4),
  };
}

function piece(...messages: Uint8Array[]): Uint8Array {
  const writer = new PieceWriter();
  for (const message of messages) writer.message(message, 0, message.length);
  return writer.take();
}

const [, relation, insert] = recorded(18) as [Uint8Array, Uint8Array, Uint8Array];

test('a transaction: catalog first, then rows, header and PREPARE; the next one needs no answer', () => {
  const { plans, pipeline, facts, make } = fixture();
  const first = make();
  first.push(piece(relation, insert, insert));
  expect(first.step().kind).toBe('waiting');
  expect(sent(pipeline)).toEqual([
    'P BEGIN ISOLATION LEVEL RE',
    'B',
    'E',
    "P SELECT 'mtm-facts:' || C",
    'B',
    'E',
    'H',
  ]);
  expect(first.step().kind).toBe('waiting');
  first.answer([facts]);
  expect(first.step().kind).toBe('hungry');
  expect(first.finish().kind).toBe('complete');
  expect(sent(pipeline)).toEqual([
    'P INSERT INTO "public"."T"',
    'B',
    'E',
    'B',
    'E',
    'P SELECT pg_catalog.pg_log',
    'B',
    'E',
    "P PREPARE TRANSACTION 'mtm",
    'B',
    'E',
  ]);
  expect(plans.size).toBe(1);
  pipeline.confirm();
  const second = make();
  second.push(piece(relation, ...Array.from({ length: 9 }, () => insert)));
  expect(second.step().kind).toBe('hungry');
  expect(sent(pipeline)).toEqual(['B', 'E', 'B', 'E', 'P COPY "public"."T""x" ("i', 'B', 'E', 'd']);
  // The COPY goes on with the next piece, however few rows it has, and ends before anything else.
  second.push(piece(insert, insert));
  expect(second.step().kind).toBe('hungry');
  expect(sent(pipeline)).toEqual(['d']);
  expect(second.finish().kind).toBe('complete');
  expect(sent(pipeline)).toEqual(['c', 'B', 'E', "P PREPARE TRANSACTION 'mtm", 'B', 'E']);
});

test('a refused transaction ends its COPY before the Sync', () => {
  const { pipeline, facts, make } = fixture();
  const writer = make();
  writer.push(piece(relation, ...Array.from({ length: 9 }, () => insert)));
  writer.step();
  writer.answer([facts]);
  expect(writer.step().kind).toBe('hungry');
  expect(sent(pipeline).at(-1)).toBe('d');
  pipeline.sync();
  expect(sent(pipeline)).toEqual(['c', 'S']);
});

test('what failed is parsed again under another name', () => {
  const { pipeline, make } = fixture();
  make();
  expect(sent(pipeline)).toEqual(['P BEGIN ISOLATION LEVEL RE', 'B', 'E']);
  pipeline.forget();
  expect(sent(pipeline)).toEqual(['C']);
  make();
  expect(sent(pipeline)).toEqual(['P BEGIN ISOLATION LEVEL RE', 'B', 'E']);
  pipeline.confirm();
  pipeline.forget();
  expect(sent(pipeline)).toEqual([]);
});

test('no relation, unknown rows, broken frames are refused', () => {
  const refusal = (data: Uint8Array, answer?: string) => {
    const { make } = fixture();
    const writer = make();
    writer.push(data);
    writer.step();
    if (answer !== undefined) writer.answer([answer]);
    const stepped = writer.step();
    const step = stepped.kind === 'hungry' ? writer.finish() : stepped;
    return step.kind === 'refused' ? step.sqlstate : step.kind;
  };
  expect(refusal(piece(relation, insert), 'mtm-facts:')).toBe('42P01');
  expect(refusal(piece(insert))).toBe('08P01');
  expect(refusal(piece(relation).subarray(0, 20))).toBe('08P01');
  expect(refusal(piece(recorded(18)[0]!))).toBe('08P01');
});

test('statements are closed when there are too many', () => {
  const pipeline = new StatementPipeline(3);
  for (let index = 0; index < 5; index++) pipeline.run(`SELECT ${index}`);
  expect(sent(pipeline).filter((line) => line === 'C')).toHaveLength(2);
  pipeline.run('SELECT 4');
  expect(sent(pipeline)).toEqual(['B', 'E']);
  pipeline.run('SELECT 0');
  expect(sent(pipeline)).toEqual(['C', 'P SELECT 0', 'B', 'E']);
});

test('what is to be followed goes to the server as it is', () => {
  const { pipeline, make } = fixture();
  const writer = make();
  sent(pipeline);
  const text = new TextEncoder();
  const content = text.encode('{"do":"sequence"}');
  // Message: M, flags, lsn, prefix, length, content.
  const head = [0x4d, 1, 0, 0, 0, 0, 0, 0, 0, 0];
  const prefix = [...text.encode('mtm-follow'), 0, 0, 0, 0, content.length];
  writer.push(piece(Uint8Array.from([...head, ...prefix, ...content])));
  expect(writer.step().kind).toBe('hungry');
  expect(sent(pipeline)).toEqual(['P SELECT mtm.follow($1)', 'B', 'E']);
  expect(writer.ddl).toBe(false);
});

/** What is parsed, in order. */
function parsed(pipeline: StatementPipeline): string[] {
  return sent(pipeline).filter((line) => line.startsWith('P '));
}

const branchBody = piece(relationOf(1, 'public', 't', ['id']));
const hex = Buffer.from(branchBody).toString('hex');

test("the rows of a client's transaction: that is prepared first, then they are written", () => {
  const { pipeline, make } = fixture();
  const writer = make();
  writer.push(piece(body, row(901, ['client:1', '0', `\\x${hex.slice(0, 20)}`])));
  expect(writer.step().kind).toBe('hungry');
  writer.push(piece(row(901, ['client:1', '1', `\\x${hex.slice(20)}`]), head, row(900, headRow())));
  expect(writer.client).toBeUndefined();
  // Then the catalog is asked about the first of our own tables.
  expect(writer.step().kind).toBe('waiting');
  expect(writer.client).toMatchObject({
    id: 'client:1',
    gid: "it's",
    owner: 'bob',
    home: 2,
    body: branchBody,
  });
  expect(writer.concernsClients).toBe(true);
  expect(parsed(pipeline)).toEqual([
    'P BEGIN ISOLATION LEVEL RE',
    'P COMMIT',
    'P SELECT mtm.await_client_',
    'P SELECT mtm.mark_client($',
    'P SET LOCAL SESSION AUTHOR',
    "P PREPARE TRANSACTION 'it'",
    "P SELECT 'mtm-facts:' || C",
  ]);
});

test("a client's transaction that is cut short is refused", () => {
  const { make } = fixture();
  const writer = make();
  writer.push(piece(body, row(901, ['client:1', '0', `\\x${hex}`])));
  expect(writer.step().kind).toBe('hungry');
  expect(writer.finish()).toMatchObject({ kind: 'refused', sqlstate: '08P01' });
  const half = make();
  half.push(piece(body, head, row(901, ['client:1', '0', `\\x${hex.slice(0, -2)}`]), row(900, headRow())));
  expect(half.step()).toMatchObject({ kind: 'refused', sqlstate: '08P01' });
});

test('in a replay the decision to commit brings the changes, the other one nothing', () => {
  const { pipeline, store } = fixture();
  const writer = new TransactionWriter(pipeline, store, undefined, '', 4);
  writer.push(piece(head, update(900, headRow('commit'))));
  expect(writer.step().kind).toBe('waiting');
  expect(parsed(pipeline)).toEqual(["P SELECT 'mtm-body:' || CO", 'P SELECT mtm.forget_client']);
  writer.answer([`mtm-body:${Buffer.from(piece(relation, insert)).toString('hex')}`]);
  expect(writer.step().kind).toBe('waiting');
  expect(parsed(pipeline)).toEqual(["P SELECT 'mtm-facts:' || C"]);
  const other = new TransactionWriter(new StatementPipeline(), store, undefined, '', 4);
  other.push(piece(head, update(900, headRow('rollback'))));
  expect(other.step().kind).toBe('hungry');
  expect(other.finish().kind).toBe('complete');
});
