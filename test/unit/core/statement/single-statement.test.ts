/** A proof of being one statement is never wrong: checked against the parser. */
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import type { SqlParser } from '../../../../src/core/statement/classifier.ts';
import { isSingleStatement } from '../../../../src/core/statement/single-statement.ts';
import { loadParser } from '../../../../src/io/parser.ts';
import { readCorpus } from './corpus.ts';

let parse: SqlParser;
beforeAll(async () => {
  parse = (await loadParser()).parse;
});

function count(text: string): number | undefined {
  const outcome = parse(text);
  return outcome.kind === 'tree' ? (outcome.tree.stmts ?? []).length : undefined;
}

const piece = fc.constantFrom(
  "'",
  "''",
  '"',
  '$$',
  '$a$',
  '$1',
  'x$',
  ';',
  ' ; ',
  '--',
  '\n',
  '\r',
  '/*',
  '*/',
  '\\',
  "E'",
  "e'",
  "xe'",
  "_E'",
  "U&'",
  "N'",
  'a',
  'select 1',
  "select ';'",
  ' ',
  '1',
  ',',
  "E'\\'",
  '$é$',
  'é',
  "'a'\n'b'",
  "E'a'\n'\\'",
);

describe('one statement', () => {
  test('is recognised through every kind of quote', () => {
    for (const text of [
      "insert into t values ('a;b', E'\\';', $$;$$, $a$ ; $$ ; $a$, \"c;d\" /* ; /* ; */ ; */ -- ;\n)",
      'select 1 ; \n',
      "select 'it''s;'",
    ]) {
      expect(isSingleStatement(text), text).toBe(true);
      expect(count(text), text).toBe(1);
    }
    for (const text of [
      'select 1; select 2',
      "select '\\'; commit; --'",
      "select 'open;",
      'select /* ;',
      "select E'a'\n'\\';'; commit",
    ]) {
      expect(isSingleStatement(text), text).toBe(false);
    }
  });

  test('is never said of two', () => {
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 14 }), (pieces) => {
        const text = `select ${pieces.join('')}`;
        if (isSingleStatement(text)) expect(count(text) ?? 1, text).toBeLessThanOrEqual(1);
      }),
      { numRuns: 5000 },
    );
    const texts = readCorpus().map((line) => line.text);
    fc.assert(
      fc.property(fc.constantFrom(...texts), fc.constantFrom(...texts), (a, b) => {
        if (count(`${a};${b}`) !== 2) return;
        expect(isSingleStatement(`${a};${b}`), `${a};${b}`).toBe(false);
      }),
      { numRuns: 500 },
    );
  });
});
