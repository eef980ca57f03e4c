/**
 * The main stories of the commit machine. UPDATE_GOLDEN=1 writes what it says now; read the difference before
 * you keep it.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { replay } from './script.ts';

const folder = new URL('.', import.meta.url);

test.each(readdirSync(folder).filter((name) => name.endsWith('.txt')))('%s', (name) => {
  const file = new URL(name, folder);
  const script = readFileSync(file, 'utf8');
  const now = replay(script);
  if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(file, now);
  else expect(now).toBe(script);
});
