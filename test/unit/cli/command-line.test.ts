/** The program as people start it: a process, its output and its exit code. No server is needed. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
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
  for (const word of ['dev', 'serve', 'check', 'nodes', 'add-node', 'join', 'drop-node', 'Examples:'])
    expect(stdout).toContain(word);
});

test('--version', () => expect(run('--version')).toMatchObject({ status: 0, stdout: '0.1.0\n' }));

test.each([
  [['dve'], 'dve is unknown here; the nearest known name is dev'],
  [[], 'which command? mtm-gateway --help lists them'],
  [['dev', '--prot', '1'], 'prot is unknown here; the nearest known name is --port'],
  [['serve', '--listen-prot', '1'], 'listen-prot is unknown here; the nearest known name is --listen-port'],
  [['dev', '--refere'], 'refere is unknown here; the nearest known name is --referee'],
  [['init', '--clustr', 'x'], 'clustr is unknown here; the nearest known name is --cluster'],
  [['dev', '--referee', '--nodes', '3'], '--referee is for two nodes, not 3'],
  [['dev', '--nodes', '9'], '--nodes must be a whole number from 1 to 5, not 9'],
  [['dev', '--pg', '14'], '--pg must be 15, 16, 17, 18 or one of them for each node, not 14'],
  [['nodes'], 'which gateway? name one with --config FILE or --url URL'],
  [['compare', '--url', 'x', '--database', 'y'], '--url must be postgresql://user@host:port'],
  [['add-nod'], 'add-nod is unknown here; the nearest known name is add-node'],
  [['drop-node', 'two', '--url', 'x'], 'the id of a node is a number such as 3, not two'],
  [['drop-node', '0', '--url', 'x'], 'the id of a node is a number such as 3, not 0'],
  [
    ['join', '--from', 'db1', '--pgdata', 'd'],
    '--from must be HOST:PORT, the peer address of a member, not db1',
  ],
  [
    ['join', '--form', 'db1:1', '--pgdata', 'd', '--from', 'db1:1'],
    'form is unknown here; the nearest known name is --from',
  ],
  [['join', '--from', 'db1:1', '--pgdata', 'd', '--pg-bin', 'no'], 'there is no program postgres in no'],
  [
    ['join', '--from', 'db1:1', '--pgdata', 'd', '-c', 'none.yaml'],
    'the configuration file none.yaml does not exist',
  ],
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

test.each([['join'], ['drop', '--node', '2']])('dev %s without a cluster', (...args) => {
  const { status, stderr } = run('dev', ...args, '--data', 'nothing');
  expect(status).toBe(1);
  expect(stderr).toContain('has no cluster: mtm-gateway dev --data nothing makes one');
});

test('add-node without its address, join without a place', () => {
  expect(run('add-node', '--url', 'x')).toMatchObject({ status: 2 });
  expect(run('join', '--from', 'db1:7301').stderr).toContain('Missing required argument: pgdata');
});

test('a gateway that does not answer is named, without its password', () => {
  const { status, stderr } = run('status', '--url', 'postgresql://postgres:hidden@127.0.0.1:1/app');
  expect(status).toBe(1);
  expect(stderr).toMatch(
    /^mtm-gateway: the gateway at postgresql:\/\/postgres@127\.0\.0\.1:1\/app does not answer: /,
  );
});

test('join finds its directory in use before it calls anybody', () => {
  const file = join(folder, 'joining.yaml');
  writeFileSync(file, 'node_id: 4\ncluster_secret: 0123456789abcdef\npostgres: {database: app}\n');
  const { status, stderr } = run('join', '-c', file, '--from', '127.0.0.1:1', '--pgdata', folder);
  expect(status).toBe(1);
  expect(stderr).toBe(
    `mtm-gateway: the directory ${folder} is not empty\n  what to do: remove what is in it, or name another place\n`,
  );
  const nobody = run('join', '-c', file, '--from', '127.0.0.1:1', '--pgdata', join(folder, 'data'));
  expect(nobody.stderr).toMatch(/^mtm-gateway: there is no copy to be had: 127\.0\.0\.1:1: .*ECONNREFUSED/);
  expect(existsSync(join(folder, 'data'))).toBe(false);
});

test('check says that the server is down, and looks at the rest', () => {
  const file = join(folder, 'gateway.yaml');
  writeFileSync(file, 'node_id: 1\ncluster_secret: 0123456789abcdef\npostgres: {database: app, port: 1}\n');
  const { status, stdout } = run('check', '--config', file);
  expect(status).toBe(1);
  expect(stdout).toContain('CHANGE  connection  PostgreSQL at 127.0.0.1:1 does not answer: ');
  expect(stdout).toContain('advice  the configuration file');
});
