/** In words that read alike: nothing but the words may change. What servers read is in statements/strings.test.ts. */
import fc from 'fast-check';
import { readdirSync, readFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import type { SqlParser } from '../../../../src/core/statement/classifier.ts';
import { edited, literalsOf, readsAlike } from '../../../../src/core/statement/string-literals.ts';
import { loadParser } from '../../../../src/io/parser.ts';
import { literalPiece } from './literal-pieces.ts';

let parse: SqlParser;
beforeAll(async () => {
  parse = (await loadParser()).parse;
});

const raw = String.raw;

/** The same text with standard_conforming_strings on, from one that was read with it off; undefined: refused. */
function converted(text: string, standard = false): string | undefined {
  const { edits, unicode, ends } = literalsOf(text, standard);
  return unicode || !ends ? undefined : edited(text, edits);
}

describe('with standard_conforming_strings off', () => {
  test('ordinary literals with backslashes are escape strings', () => {
    const cases: readonly [string, string | undefined][] = [
      ['select \'a\', "\\"', 'select \'a\', "\\"'],
      [raw`select 'a\'b', '\\'`, raw`select E'a\'b', E'\\'`],
      [raw`select 'a''\''; commit; --'`, raw`select E'a''\''; commit; --'`],
      [raw`select e'\'', X'1', b'0', '\n'`, raw`select e'\'', X'1', b'0', E'\n'`],
      [raw`select date'\'', N'\''`, raw`select date E'\'', nchar E'\''`],
      [raw`select $$'\$$, '\''`, raw`select $$'\$$, E'\''`],
      [raw`select $a$ $$'\ $a$, '\''`, raw`select $a$ $$'\ $a$, E'\''`],
      [raw`/* ' /* \ */ ' */ select '\'' -- '\'`, raw`/* ' /* \ */ ' */ select E'\'' -- '\'`],
      ["select 'a'\n '\\'' , 1", "select E'a'\n '\\'' , 1"],
      ["select 'a' -- c'\n  -- d\n '\\''", "select E'a' -- c'\n  -- d\n '\\''"],
      ["select 'a' /**/\n '\\''", "select 'a' /**/\n E'\\''"],
      ["select E'a'\n '\\''", "select E'a'\n '\\''"],
      [raw`select xE'\''`, raw`select xE E'\''`],
      [raw`select "u&"'\'', a&'\''`, raw`select "u&"E'\'', a&E'\''`],
      [raw`select u&"\0061", U&'a'`, undefined],
      [raw`select '\'`, undefined],
      [raw`select $a$ '\'`, undefined],
    ];
    for (const [text, wanted] of cases) expect([text, converted(text)]).toEqual([text, wanted]);
  });

  test('a text without backslashes is not looked at', () => {
    expect(literalsOf("select 'open", false)).toEqual({ edits: [], unicode: false, ends: true });
  });
});

describe('with standard_conforming_strings on', () => {
  test('the same values stand in the same tree', () => {
    let changed = 0;
    fc.assert(
      fc.property(fc.array(literalPiece, { minLength: 1, maxLength: 9 }), (pieces) => {
        const text = `select ${pieces.join('')}`;
        const before = parse(text);
        const clear = converted(text, true);
        if (before.kind !== 'tree' || clear === undefined) return;
        if (clear !== text) changed += 1;
        const after = parse(clear);
        expect([text, clear, withoutPlaces(after)]).toEqual([text, clear, withoutPlaces(before)]);
        expect(readsAlike(clear, true) && readsAlike(clear, false)).toBe(true);
      }),
      { numRuns: 3000 },
    );
    expect(changed).toBeGreaterThan(20);
  });
});

function withoutPlaces(tree: unknown): unknown {
  return JSON.parse(JSON.stringify(tree, (key, value: unknown) => (/location|_len/u.test(key) ? 0 : value)));
}

test('its time is linear in the text', () => {
  const size = 300_000;
  const hostile = ["'\\", "'a'\n", '/*', '$a$', "'a' --\n", "N'\\' ", 'U&', '\\'].map((part) =>
    part.repeat(size / part.length),
  );
  for (const text of hostile) {
    const began = performance.now();
    literalsOf(`${text}\\`, false);
    literalsOf(`${text}\\`, true);
    expect(performance.now() - began).toBeLessThan(2000);
  }
});

test('functions of ours are read alike in every session', () => {
  const folder = new URL('../../../../src/io/postgres/sql/', import.meta.url);
  const wrong: string[] = [];
  let looked = 0;
  for (const file of readdirSync(folder)) {
    const text = readFileSync(new URL(file, folder), 'utf8');
    const functions =
      /CREATE (?:OR REPLACE )?(?:FUNCTION|PROCEDURE) (\S+?)\(([^]*?)AS \$(\w*)\$([^]*?)\$\3\$;/gu;
    for (const [, name, head, , body] of text.matchAll(functions)) {
      looked += 1;
      const pinned = head!.includes('SET standard_conforming_strings = on');
      if (!pinned && !readsAlike(body!, true)) wrong.push(`${file}: ${name}`);
    }
  }
  expect(looked).toBeGreaterThan(150);
  expect(wrong).toEqual([]);
});
