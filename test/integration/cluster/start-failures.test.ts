/** What keeps a gateway from starting is one clear sentence on standard error and an exit code that is not 0. */
import { spawn } from 'node:child_process';
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as hold } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { startGateways, startServers } from '../../../src/io/launcher/embedded-cluster.ts';
import { startGatewayProcess, stopGatewayProcess } from '../../../src/io/launcher/gateway-process.ts';
import { stopServer } from '../../../src/io/launcher/postgres-server.ts';
import { waitUntilGone } from '../../../src/io/launcher/process-control.ts';
import { makeCluster, type Cluster } from '../../support/cluster.ts';
import { within } from '../../support/polling.ts';

const program = fileURLToPath(new URL('../../../src/main.ts', import.meta.url));

let cluster: Cluster;

beforeAll(async () => {
  cluster = await makeCluster();
  await startServers(cluster.folder);
  await startGateways(cluster.folder);
  await cluster.whole();
});

afterAll(async () => {
  await cluster?.stop();
});

interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** `mtm-gateway` with these arguments, to its end. */
async function gateway(args: readonly string[], more: Record<string, string> = {}): Promise<Run> {
  const child = spawn(process.execPath, [program, ...args], { env: { ...process.env, ...more } });
  let [stdout, stderr] = ['', ''];
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk));
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  try {
    return { code: await within(`mtm-gateway ${args.join(' ')}`, 60_000, ended), stdout, stderr };
  } finally {
    child.kill('SIGKILL');
  }
}

/** The configuration of a node with something changed, in a file of its own. */
function changedConfig(number: number, change: (config: Record<string, object>) => object): string {
  const config = parse(readFileSync(cluster.node(number).configFile, 'utf8')) as Record<string, object>;
  const file = join(cluster.folder.folder, `changed-${Math.random().toString(36).slice(2)}.yaml`);
  writeFileSync(file, stringify({ ...config, ...change(config) }));
  return file;
}

/** One sentence, perhaps with what to do about it; no stack. */
function expectSentence(run: Run, sentence: RegExp): void {
  expect(run.stderr).toMatch(sentence);
  expect(run.stderr, 'a stack trace').not.toMatch(/\n\s+at /);
  expect(run.stderr.trim().split('\n').length, run.stderr).toBeLessThanOrEqual(3);
  expect(run.code).not.toBe(0);
}

/** What the gateway of the node has said last on standard error. */
function lastSentence(number: number): string | undefined {
  const lines = cluster.gatewayLog(number).trim().split('\n');
  return lines.filter((line) => line.startsWith('mtm-gateway: ')).at(-1);
}

describe('bad configuration', () => {
  test.each<[string, (config: Record<string, object>) => object, RegExp]>([
    [
      'an unknown setting',
      () => ({ heartbeat_send_timout: '1s' }),
      /heartbeat_send_timout.*heartbeat_send_timeout/,
    ],
    ['a value of the wrong kind', () => ({ heartbeat_recv_timeout: 'soon' }), /heartbeat_recv_timeout/],
    ['no node id', () => ({ node_id: undefined }), /node_id/],
    ['a node that is its own peer', () => ({ node_id: 2 }), /node_id|peers/],
    ['no secret', () => ({ cluster_secret_file: undefined }), /cluster_secret/],
    ['a secret file that is not there', () => ({ cluster_secret_file: 'nowhere' }), /nowhere/],
  ])('%s', async (_, change, sentence) => {
    const run = await gateway(['serve', '--config', changedConfig(1, change)]);
    expectSentence(run, sentence);
    expect(run.code).toBe(2);
  });

  test('a file that is not there', async () => {
    expectSentence(
      await gateway(['serve', '--config', '/nonexistent/gateway.yaml']),
      /\/nonexistent\/gateway\.yaml/,
    );
  });

  test('a file that is not YAML', async () => {
    const file = changedConfig(1, () => ({}));
    appendFileSync(file, '\n: : [');
    expectSentence(await gateway(['serve', '--config', file]), /changed-\w+\.yaml/);
  });

  test('a port that another process has', async () => {
    const port = cluster.node(1).gatewayPort;
    const file = changedConfig(1, ({ http, peer_listen: peer }) => ({
      listen: { host: '127.0.0.1', port },
      http: { ...http, port: port + 20 },
      peer_listen: { ...peer, port: port + 21 },
      postgres: { host: '127.0.0.1', port: 1, database: 'app' },
    }));
    // The server is asked first: it is not there either.
    expectSentence(await gateway(['serve', '--config', file]), /127\.0\.0\.1:1 does not answer/);
    const taken = await gateway(['serve', '--config', changedConfig(1, () => ({}))]);
    expectSentence(
      taken,
      new RegExp(`127\\.0\\.0\\.1:(${cluster.node(1).httpPort}|${port}).*another process`),
    );
  });
});

describe('the server', () => {
  test('is down', async () => {
    const file = changedConfig(1, ({ http }) => ({
      postgres: { host: '127.0.0.1', port: 1, database: 'app' },
      http: { ...http, port: cluster.node(1).httpPort + 50 },
    }));
    expectSentence(
      await gateway(['serve', '--config', file]),
      /PostgreSQL at 127\.0\.0\.1:1 does not answer/,
    );
    const check = await gateway(['check', '--config', file]);
    expect(check.code).toBe(1);
    expect(check.stdout).toMatch(/CHANGE +connection +.*127\.0\.0\.1:1 does not answer/);
    expect(check.stderr).toBe('');
  });

  test('has no such database, no such user', async () => {
    const change = (postgres: object) =>
      changedConfig(1, (config) => ({
        postgres: { ...config['postgres'], ...postgres },
        http: { host: '127.0.0.1', port: cluster.node(1).httpPort + 50 },
      }));
    expectSentence(
      await gateway(['serve', '--config', change({ database: 'nothing' })]),
      /database "nothing" does not exist/,
    );
    expectSentence(
      await gateway(['serve', '--config', change({ user: 'nobody' })]),
      /role "nobody" does not exist/,
    );
  });

  test('lacks settings: each is named with what it must be', async () => {
    const node = cluster.node(3);
    await stopGatewayProcess(node);
    const admin = await cluster.direct(3);
    await admin.query('ALTER SYSTEM SET max_prepared_transactions = 10');
    await admin.query('ALTER SYSTEM SET max_wal_senders = 2');
    await admin.end();
    await stopServer(node);
    await cluster.startServer(3);
    const run = await gateway(['serve', '--config', node.configFile]);
    expectSentence(
      run,
      /max_prepared_transactions is 10 and must be 200 or more.*max_wal_senders is 2 and must be 5 or more/,
    );
    const check = await gateway(['check', '--config', node.configFile]);
    expect(check.code).toBe(1);
    const again = await cluster.direct(3);
    await again.query('ALTER SYSTEM RESET ALL');
    await again.end();
    await stopServer(node);
    await cluster.startServer(3);
    await cluster.startGateway(3);
    await cluster.whole();
  });
});

describe('the cluster', () => {
  test('does not let in a gateway with another secret; it says so and ends', async () => {
    const node = cluster.node(3);
    await stopGatewayProcess(node);
    const right = readFileSync(node.configFile, 'utf8');
    writeFileSync(
      node.configFile,
      stringify({
        ...(parse(right) as object),
        cluster_secret_file: undefined,
        cluster_secret: 'a secret of its own',
      }),
    );
    try {
      const running = await startGatewayProcess(node);
      const end = await within('the gateway with the wrong secret', 60_000, running.ended);
      expect(end).toMatch(/^exit code [1-9]/);
      expect(lastSentence(3)).toMatch(/secret of node 3 differs/);
      // The others are not harmed.
      expect(await cluster.query(1, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    } finally {
      await stopGatewayProcess(node);
      writeFileSync(node.configFile, right);
      await cluster.startGateway(3);
      await cluster.whole();
    }
  });

  test('a second gateway for the same server takes it over; the first ends and says why', async () => {
    const node = cluster.node(3);
    const file = changedConfig(3, () => ({
      listen: { host: '127.0.0.1', port: node.gatewayPort + 20 },
      http: { host: '127.0.0.1', port: node.httpPort + 20 },
      peer_listen: { host: '127.0.0.1', port: node.peerPort + 20 },
    }));
    const first = cluster.gatewayPid(3);
    const child = spawn(process.execPath, [program, 'serve', '--config', file], { stdio: 'ignore' });
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    try {
      if (!(await waitUntilGone(first, 60_000))) throw new Error(`gateway ${first} does not end`);
      expect(lastSentence(3)).toMatch(/another gateway has taken over the PostgreSQL at .*: this one ends/);
      // And it does not turn the tables: nobody else wants the server.
      await hold(2000);
      expect(child.exitCode).toBe(null);
      expect(await cluster.query(1, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    } finally {
      child.kill('SIGTERM');
      await within('the second gateway', 60_000, ended);
    }
    await stopGatewayProcess(node);
    await cluster.startGateway(3);
    await cluster.whole();
  });
});
