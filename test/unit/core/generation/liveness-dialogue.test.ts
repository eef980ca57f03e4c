/**
 * The dialogues in script/*.txt, events and effects in one file. `vitest -u` writes the effects anew: read
 * the diff.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { play } from './liveness-dialogue.ts';

const folder = new URL('script/', import.meta.url);

test.each(readdirSync(folder))('%s', async (name) => {
  const file = new URL(name, folder);
  await expect(play(readFileSync(file, 'utf8'))).toMatchFileSnapshot(file.pathname);
});
