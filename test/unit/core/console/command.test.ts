import { describe, expect, test } from 'vitest';
import { parseConsoleText, shows } from '../../../../src/core/console/command.ts';

function errorOf(text: string): string {
  const parsed = parseConsoleText(text);
  if (parsed.kind !== 'error') throw new Error(`${text} was understood as ${parsed.kind}`);
  expect(parsed.error.message).toMatch(/^\[multimaster\] /);
  return `${parsed.error.sqlstate} ${parsed.error.message.replace('[multimaster] ', '')}`;
}

describe('what is understood', () => {
  test.each(shows)('SHOW %s', (what) => {
    expect(parseConsoleText(`SHOW ${what.toUpperCase()};`)).toEqual({ kind: 'show', what });
    expect(parseConsoleText(` /* a */ show -- b\n ${what} ; ;`)).toEqual({ kind: 'show', what });
  });

  test.each([
    ['', { kind: 'empty' }],
    [' ; -- nothing', { kind: 'empty' }],
    ['show', { kind: 'show', what: 'help' }],
    ['SHOW PEERS', { kind: 'show', what: 'nodes' }],
    ['PAUSE', { kind: 'pause', database: undefined }],
    ['pause App;', { kind: 'pause', database: 'app' }],
    ['resume "My ""db"""', { kind: 'resume', database: 'My "db"' }],
    ['RELOAD', { kind: 'reload' }],
    ['shutdown', { kind: 'shutdown' }],
    ['KILL_CLIENT 17', { kind: 'kill-client', id: 17 }],
    ['BEGIN ISOLATION LEVEL READ COMMITTED', { kind: 'begin' }],
    ['START TRANSACTION READ ONLY', { kind: 'begin' }],
    ['END', { kind: 'commit' }],
    ['ABORT', { kind: 'rollback' }],
    ['SET extra_float_digits = 3', { kind: 'set', tag: 'SET' }],
    ["SET SESSION application_name TO 'x'", { kind: 'set', tag: 'SET' }],
    ["SET client_encoding TO 'utf-8'", { kind: 'set', tag: 'SET' }],
    ['RESET ALL', { kind: 'set', tag: 'RESET' }],
    ['DISCARD ALL', { kind: 'deallocate', name: undefined, tag: 'DISCARD ALL' }],
    ['DEALLOCATE ALL', { kind: 'deallocate', name: undefined, tag: 'DEALLOCATE ALL' }],
    ['DEALLOCATE PREPARE "_pg3_0"', { kind: 'deallocate', name: '_pg3_0', tag: 'DEALLOCATE' }],
    ['UNLISTEN *', { kind: 'set', tag: 'UNLISTEN' }],
    ['CLOSE ALL', { kind: 'set', tag: 'CLOSE CURSOR ALL' }],
  ])('%s', (text, command) => {
    expect(parseConsoleText(text)).toEqual(command);
  });
});

describe('what is refused, with its reason', () => {
  test.each([
    ['SELECT 1', /^42601 this is no command of the admin console: SELECT 1$/],
    ['SHOW CLIENTS; SHUTDOWN', /^42601 the console takes one command at a time$/],
    ['SHOW CLIENTS SERVERS', /^42601 /],
    ['SHOW "clients"', /^42601 /],
    ['SHOW constructor', /^42601 /],
    ['__proto__', /^42601 /],
    ['RELOAD now', /^42601 /],
    ['PAUSE a b', /^42601 /],
    ["PAUSE 'app'", /^42601 /],
    ['KILL_CLIENT', /^42601 /],
    ['KILL_CLIENT -1', /^42601 /],
    ['KILL_CLIENT 1e3', /^42601 /],
    ['KILL_CLIENT 99999999999999999999', /^42601 /],
    ['COMMIT PREPARED x', /^42601 /],
    ['ROLLBACK TO SAVEPOINT x', /^42601 /],
    ["SHOW 'unfinished", /^42601 a quote or a comment/],
    ['SHOW /* unfinished', /^42601 a quote or a comment/],
    ['DISABLE app', /^0A000 DISABLE is not supported: /],
    ['suspend', /^0A000 SUSPEND is not supported: /],
    ['SHOW POOLS', /^0A000 SHOW POOLS is not supported: /],
    ['SHUTDOWN WAIT_FOR_CLIENTS', /^0A000 SHUTDOWN WAIT_FOR_CLIENTS is not supported: /],
    ['SET max_connections = 1', /^0A000 settings of the gateway are not changed by SET$/],
    ["SET client_encoding = 'latin1'", /^0A000 the console speaks UTF8 only$/],
    ['\u0000', /^42601 /],
    ['🐘', /^42601 /],
  ])('%s', (text, error) => {
    expect(errorOf(text)).toMatch(error);
  });

  test('what is long is answered shortly, and soon', () => {
    const begun = performance.now();
    for (const text of [
      'x'.repeat(1e6),
      '('.repeat(1e6),
      '/**/'.repeat(250_000),
      '"'.repeat(1e6 + 1),
      ' '.repeat(1e6),
    ]) {
      const parsed = parseConsoleText(text);
      if (parsed.kind === 'error') expect(parsed.error.message.length).toBeLessThan(200);
      else expect(parsed.kind).toBe('empty');
    }
    expect(performance.now() - begun).toBeLessThan(10_000);
  });
});
