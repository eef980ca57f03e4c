import { expect, test } from 'vitest';
import { createLog } from '../../../src/telemetry/log.ts';
import { LogLevel } from '../../../src/telemetry/log-level.ts';

test('a new level is that of all loggers that were made of the log, and of theirs', () => {
  const lines: string[] = [];
  const log = createLog('info', { write: (line) => void lines.push(line) });
  const level = new LogLevel(log);
  const child = log.child({ component: 'a' });
  const grandchild = child.child({ component: 'b' });
  level.set('warn');
  for (const each of [log, child, grandchild, log.child({})]) each.info('no');
  level.set('debug');
  for (const each of [log, child, grandchild]) each.debug('yes');
  expect(lines.map((line) => (JSON.parse(line) as { msg: string }).msg)).toEqual(['yes', 'yes', 'yes']);
});
