/**
 * Whenever the glance answers, the parser answers the same: on the corpus, on its mutations and on
 * generated text.
 */
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { classifyTree } from '../../../../src/core/statement/classify-tree.ts';
import type { SqlParser } from '../../../../src/core/statement/classifier.ts';
import { contextOf, noSuspicions, unknownSuspicions } from '../../../../src/core/statement/context.ts';
import { quickClass } from '../../../../src/core/statement/quick-class.ts';
import { loadParser } from '../../../../src/io/parser.ts';
import { readCorpus } from './corpus.ts';

let parse: SqlParser;
beforeAll(async () => {
  parse = (await loadParser()).parse;
});

const clean = contextOf(noSuspicions);
const wary = contextOf({
  ...noSuspicions,
  functions: ['total'],
  attributeFunctions: ['total'],
  relations: ['watched'],
  operators: ['===', '=', '*-'],
});

/** How many texts both answered. A text that does not parse may get any class: the server refuses it. */
function agree(text: string): number {
  let answered = 0;
  for (const context of [clean, wary]) {
    const quick = quickClass(text, context);
    const outcome = quick === undefined ? undefined : parse(text);
    if (quick === undefined || outcome?.kind !== 'tree') continue;
    const statements = classifyTree(outcome.tree, text, context);
    expect(
      statements.map((statement) => statement.class),
      text,
    ).toEqual([quick]);
    answered += 1;
  }
  return answered;
}

const names = fc.constantFrom(
  't',
  'T',
  'watched',
  'total',
  'mtm',
  'pg_temp',
  'pg_temp.t',
  'mtm.node',
  't.total',
  't.a',
  'a',
  'b1',
  'é',
  '"q"',
  'for',
  'fort',
  'into',
  'form',
  'select',
  'case a when 1 then 2 end',
  'current_user',
  'natural join u',
  'distinct',
  '*',
  'null',
  'set_config',
);
const values = fc.constantFrom(
  '1',
  '-1',
  '1.5',
  '.5',
  '1e3',
  '$1',
  '$12',
  '$$;$$',
  "'x'",
  "'it''s'",
  "';'",
  "E'\\''",
  "e'\\';'",
  "'é'",
  "'\\'",
  "U&'\\0041'",
  "b'1'",
  'f(1)',
  '(1)',
  'a::text',
  '1a',
  'x$y',
  '--',
  '/*',
  '*/',
  ';',
  '; ;',
  '[1]',
  'array[1]',
  "'a'\n'b'",
);
const operators = fc.constantFrom(
  '=',
  '<',
  '<>',
  '!=',
  '===',
  '+',
  '-',
  '*-',
  '*',
  '/',
  '%',
  '||',
  '->',
  'and',
  'or',
  'is',
  'in',
  ',',
);
const words = fc.constantFrom(
  'select',
  'SELECT',
  'Insert into',
  'update',
  'DELETE from',
  'set',
  'from',
  'where',
  'order by',
  'limit',
  'union',
  'values',
  'for',
  'for update',
  'into',
  'returning',
  'begin',
  'commit',
  'end',
  'using',
  'between',
  'as',
  'group by',
  'like',
);
const token = fc.oneof(names, values, operators, words);
const separators = fc.constantFrom(' ', ' ', ' ', '\n', '\t', '');

describe('the glance', () => {
  test('agrees with the parser on the corpus, in every spelling', () => {
    let answered = 0;
    for (const { text } of readCorpus()) {
      for (const variant of [
        text,
        `${text};`,
        `${text} ; \n`,
        text.toUpperCase(),
        ` ${text}`,
        text.replaceAll(' ', '\n'),
      ]) {
        answered += agree(variant);
      }
    }
    expect(answered).toBeGreaterThan(80);
  });

  test('agrees with the parser on shapes of queries and row changes', () => {
    let answered = 0;
    const shape = fc.oneof(
      fc
        .tuple(names, names, names, operators, values)
        .map(([a, b, c, o, v]) => `select ${a} from ${b} where ${c} ${o} ${v}`),
      fc.tuple(names, names, values).map(([a, b, v]) => `insert into ${a} values (${v}, ${b})`),
      fc
        .tuple(names, names, operators, values)
        .map(([a, b, o, v]) => `update ${a} set a = ${b} ${o} ${v} where b = ${v}`),
      fc.tuple(names, names, values).map(([a, b, v]) => `delete from ${a} where ${b} = ${v}`),
    );
    fc.assert(
      fc.property(shape, fc.constantFrom('', ';', ' ; ', ';;', '; select 1'), (text, tail) => {
        answered += agree(text + tail);
      }),
      { numRuns: 3000 },
    );
    expect(answered).toBeGreaterThan(300);
  });

  test('agrees with the parser on anything that is made of SQL', () => {
    const start = fc.constantFrom(
      'select ',
      'insert ',
      'insert into t ',
      'update t set a = 1 ',
      'delete from t ',
      '',
    );
    const soup = fc.array(fc.tuple(token, separators), { maxLength: 12 });
    fc.assert(
      fc.property(start, soup, (first, parts) => {
        agree(first + parts.map(([text, separator]) => text + separator).join(''));
      }),
      { numRuns: 4000 },
    );
  });

  test('knows the statements of pgbench and transaction control', () => {
    for (const [text, kind] of [
      ['SELECT abalance FROM pgbench_accounts WHERE aid = 12345;', 'read'],
      ['SELECT abalance FROM pgbench_accounts WHERE aid = $1', 'read'],
      ["SELECT name FROM users WHERE email = 'a@b.c' LIMIT 1", 'read'],
      ['UPDATE pgbench_accounts SET abalance = abalance + -4 WHERE aid = 7;', 'write'],
      [
        'INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 2, 3, 4, CURRENT_TIMESTAMP);',
        'write',
      ],
      ['DELETE FROM t WHERE a = 1', 'write'],
      ['BEGIN;', 'begin'],
      ['start transaction', 'begin'],
      ['END;', 'commit'],
      ['commit', 'commit'],
      ['ROLLBACK', 'rollback'],
    ] as const) {
      expect(quickClass(text, clean)?.kind, text).toBe(kind);
    }
  });

  test('leaves everything doubtful to the parser', () => {
    for (const text of [
      '',
      ';',
      ' ',
      'select f()',
      'select 1 for update',
      'select 1 into x',
      'select 1; select 2',
      'select 1 -- x',
      "select e'x'",
      'select $$x$$',
      'insert into t values (1); commit',
      'insert into mtm.node values (1)',
      'update pg_temp.t set a = 1',
      "insert into t select set_config('event_triggers', 'off', true)",
      'insert into t values (lo_create(0))',
      'delete from t where LoWrite(1, x) > 0',
      'selectx',
      'commit and chain',
    ]) {
      expect(quickClass(text, clean), text).toBeUndefined();
    }
    const large = contextOf({ ...noSuspicions, hiddenLargeObjects: true });
    expect(quickClass('insert into t values (1)', large)).toBeUndefined();
    expect(quickClass('update slots set low = 1', clean)).toBeDefined();
    expect(quickClass('select a from t', contextOf(unknownSuspicions))).toBeUndefined();
    expect(quickClass('select a from watched', wary)).toBeUndefined();
    expect(quickClass('select t.total from t', wary)).toBeUndefined();
    expect(quickClass('select a from t where a = 1', wary)).toBeUndefined();
  });
});
