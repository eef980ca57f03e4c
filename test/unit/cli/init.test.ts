/** `mtm-gateway init`, and what every command says of itself, as people start them: processes without a server. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { gatewayFile, plannedNodes } from '../../../src/cli/init.ts';
import { loadConfig } from '../../../src/config/loading.ts';

const main = fileURLToPath(new URL('../../../src/main.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'mtm-init-'));
afterAll(() => rmSync(folder, { recursive: true }));

function run(args: readonly string[], more: Record<string, string> = {}) {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('MTM_'));
  const env = { ...Object.fromEntries(kept), SHELL: '/bin/bash', ...more };
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], {
    cwd: folder,
    encoding: 'utf8',
    env,
    input: '',
  });
  return { status, stdout, stderr };
}

describe('init', () => {
  const answers = ['init', '--nodes', 'db1,db2 [::1]:6432', '--database', 'my "app"', '--dir', 'made'];

  test('a folder for each node, that makes a configuration; one secret, which nobody else reads', () => {
    const { status, stdout } = run([...answers, '--json']);
    expect(status).toBe(0);
    const { files } = JSON.parse(stdout) as { files: string[] };
    expect(files).toHaveLength(6);
    const secrets = files.filter((file) => file.endsWith('cluster.secret'));
    for (const file of secrets) expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(new Set(secrets.map((file) => readFileSync(file, 'utf8'))).size).toBe(1);
    const configs = files
      .filter((file) => file.endsWith('.yaml'))
      .map((file) => loadConfig({ file, environment: {}, flags: {} }));
    expect(configs.map(({ nodeId }) => nodeId)).toEqual([1, 2, 3]);
    expect(configs[0]).toMatchObject({ postgres: { database: 'my "app"' }, listen: { host: '0.0.0.0' } });
    expect(configs[2]).toMatchObject({ listen: { host: '::1', port: 6432 }, peerListen: { port: 6732 } });
    expect(configs[0]?.peers.map(({ id, host, port }) => [id, host, port])).toEqual([
      [2, 'db2', 7301],
      [3, '::1', 6732],
    ]);
    expect(configs[0]?.peers[1]?.conninfo).toBe('postgresql://[::1]:6432/my%20%22app%22');
  });

  test('nothing is overwritten, and then nothing at all is written', () => {
    const before = readFileSync(join(folder, 'made/node1/cluster.secret'), 'utf8');
    rmSync(join(folder, 'made/node3'), { recursive: true });
    const again = run(answers);
    expect(again.status).toBe(1);
    expect(again.stderr).toMatch(/node1\/cluster\.secret is there already: nothing was written/);
    expect(readFileSync(join(folder, 'made/node1/cluster.secret'), 'utf8')).toBe(before);
    expect(statSync(join(folder, 'made/node3'), { throwIfNoEntry: false })).toBeUndefined();
  });

  test('what the settings do not allow is not written', () => {
    const two = run([
      'init',
      '--nodes',
      'a,b,c',
      '--database',
      'x',
      '--referee',
      'redis://r',
      '--dir',
      'bad',
    ]);
    expect(two.status).toBe(2);
    expect(two.stderr).toContain('referee_connstring is for clusters of 2 nodes');
    expect(statSync(join(folder, 'bad/node1/gateway.yaml'), { throwIfNoEntry: false })).toBeUndefined();
    const name = run(['init', '--nodes', 'a', '--database', 'mtm_gateway', '--dir', 'bad']);
    expect(name.stderr).toContain('that is the admin console');
  });

  test.each([
    [[], '--nodes db1,db2,db3 is missing, and there is no terminal to ask'],
    [['--nodes', 'a'], '--database app is missing'],
    [['--nodes', 'a b', '--database', ' '], '--database must name'],
    [['--nodes', ',', '--database', 'x'], '--nodes must name 1 to 64 machines'],
    [['--nodes', 'a/b', '--database', 'x'], 'a/b is no machine'],
    [['--nodes', 'a:66000', '--database', 'x'], 'the port 66000 of a must be 1 to 65235'],
  ])('%j is answered with a sentence', (args, sentence) => {
    const { status, stderr } = run(['init', ...args]);
    expect(status).toBe(2);
    expect(stderr).toContain(sentence);
  });

  test('names that YAML would read as something else stay what they are', () => {
    const nodes = plannedNodes('10.0.0.1,no', 7001, 5432);
    const file = join(folder, 'odd.yaml');
    writeFileSync(join(folder, 'cluster.secret'), 'x'.repeat(20));
    for (const word of ['no', 'null', '123', 'a: b', '# c', "it's", '"', 'ü', '-', '{}', '~']) {
      const args = {
        cluster: word,
        user: word,
        database: word,
        'password-file': undefined,
        referee: undefined,
      };
      writeFileSync(file, gatewayFile(nodes[0]!, nodes, args));
      const config = loadConfig({ file, environment: {}, flags: {} });
      expect([config.clusterName, config.postgres.user, config.postgres.database]).toEqual([
        word,
        word,
        word,
      ]);
      expect(config.peers[0]?.host).toBe('no');
    }
  });
});

describe('what commands say of themselves', () => {
  const words = run(['--get-yargs-completions', 'mtm-gateway', '']).stdout.trim().split('\n');

  test('the shell is offered the commands, and flags when a dash was typed', () => {
    expect(words).toEqual(
      expect.arrayContaining(['dev', 'init', 'serve', 'check', 'reload', 'join', 'completion']),
    );
    const flags = run(['--get-yargs-completions', 'mtm-gateway', 'serve', '--']).stdout;
    expect(flags).toContain('--max-connections');
    expect(run(['completion']).stdout).toContain('complete -o bashdefault -o default -F');
    expect(run(['completion'], { SHELL: '/bin/zsh' }).stdout).toContain('#compdef mtm-gateway');
  });

  test('each has a help text with examples', () => {
    for (const word of words.filter((each) => each !== 'completion')) {
      const { status, stdout } = run([word, '--help']);
      expect(status, word).toBe(0);
      expect(stdout, word).toMatch(/Examples:\n\s+mtm-gateway/);
    }
  }, 60_000);
});
