/**
 * The main stories of a client session. UPDATE_GOLDEN=1 writes what the machine does now; read the difference
 * before you keep it.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { contextOf, noSuspicions } from '../../../src/core/statement/context.ts';
import { loadClassifier } from '../../../src/io/parser.ts';
import { replay, shortened } from './script.ts';

const folder = new URL('.', import.meta.url);
const classifier = await loadClassifier(contextOf(noSuspicions));

const names = readdirSync(folder).filter((name) => name.endsWith('.txt'));

test.each(names)('%s', (name) => {
  const file = new URL(name, folder);
  const script = readFileSync(file, 'utf8');
  const now = replay(script, classifier);
  if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(file, now);
  else expect(now).toBe(script);
});

test.each(names)('%s: the same when the server is heard byte by byte', (name) => {
  const script = readFileSync(new URL(name, folder), 'utf8');
  expect(replay(script, classifier, 1)).toBe(script);
  expect(replay(script, classifier, 7)).toBe(script);
});

test.each(names)('%s: the same when plain reads take the short way', (name) => {
  const script = readFileSync(new URL(name, folder), 'utf8');
  expect(replay(script, classifier, Infinity, true)).toBe(script);
});

test('plain reads take the short way, both packets, and others do not', () => {
  const prepared = '> client P r SELECT 1 /* rows 2 */ | S\n';
  expect(shortened(`${prepared}> client B - r | D - | E - | S`, classifier)).toBe(2);
  expect(shortened(`${prepared}> client B p r | E p | S`, classifier)).toBe(0);
  expect(shortened(`${prepared}> client Q BEGIN\n> client B - r | E - | S`, classifier)).toBe(0);
});
