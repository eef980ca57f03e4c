/** The golden table of classes, and places in a string of many statements. */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { classifyTree } from '../../../../src/core/statement/classify-tree.ts';
import { builtInFunctions, volatileFunctions } from '../../../../src/core/statement/built-in-functions.ts';
import { builtInWriters } from '../../../../src/core/statement/built-in-writers.ts';
import type { EverywhereCommand } from '../../../../src/core/statement/everywhere-command.ts';
import type { SqlParser } from '../../../../src/core/statement/classifier.ts';
import { contextOf, noSuspicions, unknownSuspicions } from '../../../../src/core/statement/context.ts';
import type {
  Statement,
  StatementClass,
  TransactionModes,
} from '../../../../src/core/statement/statement-class.ts';
import { loadParser } from '../../../../src/io/parser.ts';
import { readCorpus } from './corpus.ts';

/** The text of one statement of a query string: its places count bytes. */
function statementText(text: string, { start, end }: Statement): string {
  return new TextDecoder('utf-8', { fatal: true }).decode(
    new TextEncoder().encode(text).subarray(start, end),
  );
}

const clean = contextOf(noSuspicions);
let parse: SqlParser;
beforeAll(async () => {
  parse = (await loadParser()).parse;
});

const corpusContext = contextOf({
  functions: ['lower', 'total'],
  trustedFunctions: ['similarity'],
  attributeFunctions: ['total'],
  relations: ['watched'],
  operators: ['==='],
  hiddenCode: false,
  hiddenNotify: false,
  identityNothing: false,
  hiddenLargeObjects: false,
});

function classify(text: string, context = clean): readonly Statement[] {
  const outcome = parse(text);
  if (outcome.kind !== 'tree') throw new Error(`${text}: ${JSON.stringify(outcome)}`);
  return classifyTree(outcome.tree, text, context);
}

function kinds(text: string): readonly string[] {
  return classify(text).map((statement) => statement.class.kind);
}

function modesText(modes: TransactionModes): readonly string[] {
  return [
    modes.isolation ?? '',
    modes.readOnly === undefined ? '' : modes.readOnly ? 'read-only' : 'read-write',
    modes.deferrable === undefined ? '' : modes.deferrable ? 'deferrable' : 'not-deferrable',
  ];
}

function everywhereWords({ what, relation, partition, name, columns, lenient }: EverywhereCommand): string[] {
  const paths = [relation, partition].map((path) => path.join('.'));
  const words = [paths[0] || '""', paths[1] ?? '', name || '""', columns.join(','), lenient ? 'lenient' : ''];
  return [what, ...words];
}

/** The class as the headings of the corpus write it. */
function heading(found: StatementClass): string {
  const words: (string | undefined)[] = [found.kind];
  if (found.kind === 'write') {
    words.push(
      found.certain ? 'certain' : '',
      found.temporary ? 'temporary' : '',
      found.copyIn ? 'copyIn' : '',
      found.instead === undefined ? '' : `instead ${found.instead}`,
    );
  }
  if (found.kind === 'announced') words.push(found.tag);
  if (found.kind === 'everywhere') words.push(...everywhereWords(found.command));
  if (found.kind === 'begin') words.push(found.tag, ...modesText(found.modes));
  if (found.kind === 'set-transaction') words.push(...modesText(found.modes));
  if (found.kind === 'commit' || found.kind === 'rollback') words.push(found.chain ? 'chain' : '');
  if (found.kind === 'prepare-transaction') words.push(found.gid);
  if (found.kind === 'finish-prepared') words.push(found.gid, found.commit ? 'commit' : 'rollback');
  if (found.kind === 'show-guarded') words.push(found.name);
  if (found.kind === 'refused') words.push(found.sqlstate);
  if (found.kind === 'set-guarded') {
    words.push(found.name, found.value, found.local ? 'local' : '', found.also && `also ${found.also}`);
  }
  return words.filter((word) => word !== undefined && word !== '').join(' ');
}

const corpus = readCorpus();

describe('classes of single statements', () => {
  test('the corpus is big enough to mean something', () => {
    expect(corpus.length).toBeGreaterThan(350);
    expect(readFileSync(new URL('corpus.txt', import.meta.url), 'utf8')).toContain('## read');
  });

  test.each(corpus)('$expected: $text', ({ expected, text }) => {
    expect(classify(text, corpusContext).map((statement) => heading(statement.class))).toEqual([expected]);
  });

  test('a refusal says who refuses and what to do instead', () => {
    for (const { text, expected } of corpus.filter((line) => line.expected.startsWith('refused'))) {
      const found = classify(text, corpusContext)[0]?.class;
      expect(found?.kind, expected).toBe('refused');
      if (found?.kind !== 'refused') continue;
      expect(found.message).toMatch(/^\[multimaster\] /u);
      expect(found.hint.length).toBeGreaterThan(20);
    }
  });

  test('while the catalog is unknown, or hides code, no query is a sure read', () => {
    const blind = contextOf(unknownSuspicions);
    for (const { text } of corpus.filter((line) => line.expected === 'read')) {
      if (/^explain/u.test(text)) continue;
      expect(classify(text, blind)[0]?.class.kind, text).toBe('write');
    }
  });

  test('operators that the grammar hides count as well', () => {
    const equal = contextOf({ ...noSuspicions, operators: ['=', '>='] });
    for (const text of [
      'select * from a natural join b',
      'select * from a join b using (x)',
      'select case a when 1 then 2 end from t',
      'select nullif(a, b) from t',
      'select a in (1, 2) from t',
      'select a in (select 1) from t',
      'select a between 1 and 2 from t',
      'select a is distinct from b from t',
    ]) {
      expect(classify(text, equal)[0]?.class.kind, text).toBe('write');
    }
    expect(classify('select a + 1 from t', equal)[0]?.class.kind).toBe('read');
  });

  test('a function of a user that a newer grammar made a keyword', () => {
    const context = contextOf({ ...noSuspicions, functions: ['json_scalar', 'json_array'] });
    expect(classify('select json_array(1)', context)[0]?.class.kind).toBe('write');
    expect(classify('select json_scalar(1)', context)[0]?.class.kind).toBe('write');
    expect(classify("select json_value('{}', '$')", context)[0]?.class.kind).toBe('read');
  });

  test('every writer is a function of pg_catalog, and most volatile ones were judged harmless', () => {
    for (const name of builtInWriters) expect(builtInFunctions.has(name), name).toBe(true);
    for (const name of volatileFunctions) {
      if (
        /^(?:lo_|pg_restore_|pg_clear_|query_to|cursor_to|pg_replication_origin_(?:create|drop))/u.test(name)
      ) {
        expect(builtInWriters.has(name), name).toBe(true);
      }
    }
  });
});

describe('what only the checked header sees', () => {
  const large = contextOf({ ...noSuspicions, hiddenLargeObjects: true });

  test.each([
    'insert into t values (lo_create(0))',
    'update t set o = pg_catalog.lo_from_bytea(0, $1)',
    'delete from t where lowrite(1, x) > 0',
    'with n as (select lo_creat(-1) as o) insert into t select o from n',
  ])('%s', (text) => {
    expect(classify(text, clean)).toMatchObject([{ class: { kind: 'write', certain: false } }]);
  });

  test.each(['insert into t values (1)', 'delete from t', 'copy t from stdin'])('%s', (text) => {
    expect(classify(text, clean)).toMatchObject([{ class: { kind: 'write', certain: true } }]);
    expect(classify(text, large)).toMatchObject([{ class: { kind: 'write', certain: false } }]);
  });

  test('a DO that says NOTIFY', () => {
    const notifies = (text: string): unknown => classify(text, clean)[0]?.class;
    expect(notifies('do $$ begin notify a; end $$')).toHaveProperty('notifies', true);
    expect(notifies('do $$ begin perform pg_notify($a$a$a$, $b$b$b$); end $$')).not.toHaveProperty(
      'notifies',
    );
  });
});

describe('strings of many statements', () => {
  test('each has its class and its text, in bytes of UTF-8', () => {
    const text = "  SELECT 'é😀'; /* ü */ insert into t values ('ß') ; ;COMMIT; -- €\n select 漢 ";
    const statements = classify(text);
    expect(statements.map((statement) => statement.class.kind)).toEqual(['read', 'write', 'commit', 'read']);
    expect(statements.map((statement) => statementText(text, statement).trim())).toEqual([
      "SELECT 'é😀'",
      "insert into t values ('ß')",
      'COMMIT',
      'select 漢',
    ]);
  });

  test('PREPARE TRANSACTION and SET TRANSACTION are seen at any place', () => {
    expect(kinds("insert into t values (1); prepare transaction 'x'")).toEqual([
      'write',
      'prepare-transaction',
    ]);
    expect(kinds('set transaction read write; select 1; vacuum')).toEqual([
      'set-transaction',
      'read',
      'local',
    ]);
  });

  test('semicolons inside bodies do not split', () => {
    expect(kinds('do $$ begin a; b; end $$; select 1')).toEqual(['write', 'read']);
    expect(kinds('create function f() returns int begin atomic select 1; select 2; end; commit')).toEqual([
      'write',
      'commit',
    ]);
  });

  test('any statements of the corpus joined together keep their classes and texts', () => {
    const joinable = corpus.filter((line) => line.expected !== 'empty' && !line.text.includes(';'));
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...joinable), { minLength: 1, maxLength: 6 }), (lines) => {
        const text = lines.map((line) => line.text).join('; /* é */\n');
        const statements = classify(text, corpusContext);
        expect(statements.map((statement) => heading(statement.class))).toEqual(
          lines.map((line) => line.expected),
        );
        expect(statements.map((statement) => statementText(text, statement))).toEqual(
          lines.map((line) => line.text),
        );
      }),
      { numRuns: 150 },
    );
  });

  test('a tree as deep as the parser allows does not overflow ours', () => {
    expect(kinds(`select ${Array(3000).fill('1').join('+')}`)).toEqual(['read']);
    expect(kinds(Array(3000).fill('select 1').join(' union all '))).toEqual(['read']);
  });
});
