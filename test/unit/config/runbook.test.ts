/** The runbook says something of every error that the gateway makes. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { clientRunbook, runbookText } from '../../../src/config/runbook.ts';
import { errorCatalogue } from '../../../src/lib/gateway-error.ts';

const source = fileURLToPath(new URL('../../../src/', import.meta.url));

/** Every SQLSTATE that our own code gives to an error. */
function states(): Set<string> {
  const found = new Set<string>();
  for (const name of readdirSync(source, { recursive: true, encoding: 'utf8' })) {
    if (!/\.(ts|sql)$/.test(name)) continue;
    const text = readFileSync(join(source, name), 'utf8');
    const patterns = [
      /sqlstate: '([0-9A-Z]{5})'/g,
      /ERRCODE = '([0-9A-Z]{5})'/g,
      /RequestError\(\s*'([0-9A-Z]{5})'/g,
    ];
    for (const pattern of patterns) for (const [, state] of text.matchAll(pattern)) found.add(state!);
  }
  return found;
}

test('every SQLSTATE has an entry', () => {
  const found = [...states()];
  expect(found.length).toBeGreaterThan(20);
  // 00000 is no error: notices have it.
  expect(found.filter((state) => state !== '00000' && clientRunbook[state] === undefined)).toEqual([]);
});

test('every code of the catalogue has its row, with a meaning and steps', () => {
  const rows = runbookText().split('\n');
  for (const code of Object.keys(errorCatalogue)) {
    const row = rows.find((line) => line.startsWith(`| \`${code}\` `)) ?? '';
    const [, , meaning = '', steps = ''] = row.split(/ \| |^\| /);
    expect(meaning.length, code).toBeGreaterThan(20);
    expect(steps.length, code).toBeGreaterThan(20);
  }
});

test('no cell breaks its table', () => {
  for (const row of runbookText()
    .split('\n')
    .filter((line) => line.startsWith('| ')))
    expect(row.split(' | ').length, row).toBe(3);
});
