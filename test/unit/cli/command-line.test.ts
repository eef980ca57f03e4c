/** The program as people start it: a process, its output and its exit code. No server is needed. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';

const main = fileURLToPath(new URL('../../../src/main.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'mtm-cli-'));
afterAll(() => rmSync(folder, { recursive: true }));

function run(...args: string[]) {
  const environment = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.startsWith('MTM_')),
  );
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], {
    cwd: folder,
    encoding: 'utf8',
    env: environment,
  });
  return { status, stdout, stderr };
}

test('--help lists the commands with examples', () => {
  const { status, stdout } = run('--help');
  expect(status).toBe(0);
  for (const word of ['dev', 'serve', 'check', 'Examples:']) expect(stdout).toContain(word);
});

test('--version', () => expect(run('--version')).toMatchObject({ status: 0, stdout: '0.1.0\n' }));

test.each([
  [['dve'], 'dve is unknown here; the nearest known name is dev'],
  [[], 'which command? mtm-gateway --help lists them'],
  [['dev', '--prot', '1'], 'prot is unknown here; the nearest known name is --port'],
  [['serve', '--listen-prot', '1'], 'listen-prot is unknown here; the nearest known name is --listen-port'],
  [['dev', '--referee', '--nodes', '3'], '--referee is for two nodes, not 3'],
  [['dev', '--nodes', '9'], '--nodes must be a whole number from 1 to 5, not 9'],
  [['dev', '--pg', '14'], '--pg must be 15, 16, 17, 18 or one of them for each node, not 14'],
  [['serve', '--config', 'none.yaml'], 'the configuration file none.yaml does not exist'],
] as const)('%j is a wrong usage', (args, sentence) => {
  const { status, stderr } = run(...args);
  expect(status).toBe(2);
  expect(stderr.split('\n')[0]).toBe(`mtm-gateway: ${sentence}`);
});

test('dev status without a cluster', () => {
  const { status, stderr } = run('dev', 'status', '--data', 'nothing');
  expect(status).toBe(1);
  expect(stderr).toContain('has no cluster: mtm-gateway dev --data nothing makes one');
});

test('check says in one sentence that the server is down', () => {
  const file = join(folder, 'gateway.yaml');
  writeFileSync(file, 'node_id: 1\ncluster_secret: 0123456789abcdef\npostgres: {database: app, port: 1}\n');
  const { status, stderr } = run('check', '--config', file);
  expect(status).toBe(1);
  expect(stderr).toMatch(
    /^mtm-gateway: PostgreSQL at 127\.0\.0\.1:1 does not answer: .*\n {2}what to do: .*\n$/,
  );
});
