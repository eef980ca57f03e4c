import { expect, test } from 'vitest';
import { createLog, withoutPasswords } from '../../../src/telemetry/log.ts';

function logged(fields: Record<string, unknown>): string {
  const lines: string[] = [];
  createLog('info', { write: (line) => void lines.push(line) })
    .child({ component: 'test' })
    .info(fields, 'event');
  return lines.join('');
}

test('secrets are taken out wherever they are', () => {
  const line = logged({
    config: { clusterSecret: 'hush', postgres: { password: 'hush', user: 'u' } },
    password: 'hush',
    conninfo: 'postgresql://u:hush@host/db',
    err: new Error("cannot connect: host=a password='hush' user=u"),
  });
  expect(line).not.toContain('hush');
  expect(JSON.parse(line)).toMatchObject({
    level: 'info',
    component: 'test',
    msg: 'event',
    config: { postgres: { user: 'u' } },
  });
});

test.each([
  ['postgresql://u:p%40w@h:1/d', 'postgresql://u:***@h:1/d'],
  ['redis://:pw@h', 'redis://:***@h'],
  ["password = 'a b' x", 'password = *** x'],
  ['nothing here', 'nothing here'],
])('%s', (text, clean) => expect(withoutPasswords(text)).toBe(clean));

test('less important lines are not written', () => {
  const lines: string[] = [];
  createLog('warn', { write: (line) => void lines.push(line) }).info('quiet');
  expect(lines).toEqual([]);
});
