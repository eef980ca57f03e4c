/**
 * Texts made to take time: every unit of SQL's lexer, and every two of them, again and again. What is read before the
 * parser must take a time that is linear in the text: a text stops all sessions of a gateway while it is read.
 */
import { expect, test } from 'vitest';
import { plain } from '../../../../src/core/session/text-reading.ts';
import { Classifier } from '../../../../src/core/statement/classifier.ts';
import { withoutConcurrently } from '../../../../src/core/statement/concurrently-word.ts';
import { isSingleStatement } from '../../../../src/core/statement/single-statement.ts';
import { contextOf, noSuspicions } from '../../../../src/core/statement/context.ts';

const units = [
  '--\n',
  '--\r',
  '--',
  '/**/',
  '/*',
  '*/',
  "'",
  "''",
  '"',
  '$a$',
  '$a',
  '$$ ',
  "E'",
  '\\',
  '(',
  ') ',
];
const more = [', ', ';', ' ', 'a ', '1', '@-', ':=', 'partition by '];
const all = [...units, ...more];
const characters = 600_000;
/** Many times what it takes on a machine that does nothing else. */
const limitMs = 3000;

const classifier = new Classifier(
  () => ({ kind: 'too-complex' }),
  { get: () => undefined, set: () => undefined, clear: () => undefined },
  contextOf({ ...noSuspicions, operators: ['@@'], relations: ['secret'] }),
);

const readers: Readonly<Record<string, (text: string) => unknown>> = {
  isSingleStatement,
  classify: (text) => classifier.parse(text),
  plain: (text) => plain.test(text),
  withoutConcurrently,
};

function expectQuick(read: (text: string) => unknown, unit: string, count: number): void {
  const body = unit.repeat(count);
  for (const text of [body, `SELECT ${body}`, `INSERT ${body}`, `${body} DO x`]) {
    const begun = performance.now();
    read(text);
    const what = `${count} × ${JSON.stringify(unit)}`;
    expect(performance.now() - begun, what).toBeLessThan(limitMs);
  }
}

test.each(Object.keys(readers))('%s takes a time that is linear in the text', (name) => {
  const read = readers[name]!;
  for (const unit of all) expectQuick(read, unit, Math.ceil(characters / unit.length));
  // What is exponential shows early, and ends here before it takes for ever.
  for (const one of all) {
    for (const other of all) for (const count of [18, 24, 27, 300]) expectQuick(read, one + other, count);
  }
});

test('comments before a command', () => {
  expect(plain.test('/* a *//*b*/-- c\n  insert into t values (1)')).toBe(true);
  expect(plain.test('/* a * / ** */ (select 1)')).toBe(true);
  expect(plain.test(`${'/**/'.repeat(10_000)}DO $$ $$`)).toBe(false);
  // What PostgreSQL takes for a comment up to the end of the line, and no further.
  expect(plain.test('-- c\rDO $$ $$; \n insert')).toBe(false);
  // It is still inside of the comment.
  expect(plain.test('/* /* */ insert */ DO $$ $$')).toBe(false);
});
