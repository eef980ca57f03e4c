/** What ends a command beside signals: the end of the npm that runs it. */
import { expect, test } from 'vitest';
import { setTimeout as pause } from 'node:timers/promises';
import { endOfNpm } from '../../../src/cli/signals.ts';

test('a program that npm runs learns of its end: somebody else becomes the parent', async () => {
  let parent = 4711;
  const end = endOfNpm({ npm_command: 'exec' }, () => parent);
  expect(await Promise.race([end, pause(1200, 'it runs')])).toBe('it runs');
  parent = 1;
  expect(await Promise.race([end, pause(30_000, 'it runs')])).toBe('npm ended');
});

test('one that was started otherwise goes on without its parent', async () => {
  let parent = 4711;
  const end = endOfNpm({}, () => parent);
  parent = 1;
  expect(await Promise.race([end, pause(1200, 'it runs')])).toBe('it runs');
});
