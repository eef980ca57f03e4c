import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CopyText } from '../../../../src/core/apply/copy-text.ts';
import { row } from './facts-builder.ts';

/** A second, dumber reader of the text format. */
function readCopy(text: string): (string | null)[][] {
  const escapes: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', '\\': '\\' };
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) =>
      line
        .split('\t')
        .map((value) =>
          value === '\\N' ? null : value.replace(/\\(.)/g, (_, letter: string) => escapes[letter]!),
        ),
    );
}

test('rows survive, whatever is in them', () => {
  const value = fc.oneof(
    fc.constant(null),
    fc.string(),
    fc.constantFrom('\\N', '\\.', 'a\tb', '\\', '\r\n', 'ü\\'),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(value, value, value), { maxLength: 9 }), (rows) => {
      const text = new CopyText();
      for (const values of rows) expect(text.row(row(...values), [0, 1, 2])).toBe(true);
      expect(readCopy(new TextDecoder().decode(text.take()))).toEqual(rows);
    }),
  );
});

test('chosen columns only; no missing or binary values', () => {
  const text = new CopyText();
  expect(text.row(row('1', undefined, '3'), [2, 0])).toBe(true);
  expect(new TextDecoder().decode(text.take())).toBe('3\t1\n');
  expect(text.row(row('1', undefined), [0, 1])).toBe(false);
  expect(text.row({ ...row('1'), binary: new Set([0]) }, [0])).toBe(false);
});
