import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ArrayText } from '../../../../src/core/apply/array-text.ts';
import { CopyText } from '../../../../src/core/apply/copy-text.ts';
import { nullValue, RowPlaces } from '../../../../src/core/apply/row-places.ts';
import { tupleBytes } from './facts-builder.ts';

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

/** A dumber reader of array text. */
function readArray(text: string): (string | null)[] {
  const elements = [...text.matchAll(/[{,](?:NULL|"((?:[^"\\]|\\[\s\S])*)")(?=[,}])/g)];
  return elements.map(([, quoted]) => (quoted === undefined ? null : quoted.replace(/\\([\s\S])/g, '$1')));
}

const value = fc.oneof(
  fc.constant(null),
  fc.string(),
  fc.constantFrom('\\N', '\\.', 'a\tb', '\\', '\r\n', 'ü\\', '"', 'NULL', '{}', ',', '', '\\"'),
);

function places(...values: (string | null | undefined)[]): [Uint8Array, RowPlaces] {
  const bytes = tupleBytes(...values);
  const read = new RowPlaces();
  expect(read.read(bytes, 0, bytes.length)).toBe(bytes.length);
  return [bytes, read];
}

test('rows survive, whatever is in them', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(value, value, value), { maxLength: 9 }), (rows) => {
      const text = new CopyText();
      text.begin(1);
      for (const values of rows) expect(text.row(...places(...values), [0, 1, 2])).toBe(true);
      expect(readCopy(new TextDecoder().decode(text.take()))).toEqual(rows);
    }),
  );
});

test('columns survive as arrays, whatever is in them', () => {
  fc.assert(
    fc.property(fc.array(value, { minLength: 1, maxLength: 300 }), (values) => {
      const text = new ArrayText();
      text.begin();
      for (const one of values) {
        const [bytes, read] = places(one);
        const start = read.start(0);
        if (start === nullValue) text.null();
        else text.value(bytes, start, read.end(0));
      }
      expect(readArray(new TextDecoder().decode(text.take()))).toEqual(values);
    }),
  );
});

test('chosen columns only; no missing values', () => {
  const text = new CopyText();
  text.begin(1);
  expect(text.row(...places('1', undefined, '3'), [2, 0])).toBe(true);
  expect(new TextDecoder().decode(text.take())).toBe('3\t1\n');
  expect(text.row(...places('1', undefined), [0, 1])).toBe(false);
});

test('a row that is cut short, or has values in binary format, has no places', () => {
  const bytes = tupleBytes('1', null, 'xyz');
  const read = new RowPlaces();
  for (let end = 0; end < bytes.length; end++) expect(read.read(bytes, 0, end)).toBe(-1);
  expect(read.read(bytes.with(2, 0x62), 0, bytes.length)).toBe(-1);
  expect(read.read(bytes.with(3, 0xff), 0, bytes.length)).toBe(-1);
  const wide = Array.from({ length: 1600 }, (_, n) => String(n));
  expect(places(...wide)[1].count).toBe(1600);
});
