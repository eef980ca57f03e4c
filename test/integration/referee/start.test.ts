/** `mtm-gateway dev --referee` from start to end, and what keeps a gateway from starting with a referee. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { Client } from 'pg';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { existingClusterFolder } from '../../../src/io/launcher/cluster-folder.ts';
import { stopCluster } from '../../../src/io/launcher/embedded-cluster.ts';
import { refereePid, stopReferee } from '../../../src/io/launcher/referee-process.ts';
import { startServer } from '../../../src/io/launcher/postgres-server.ts';
import { freeBasePort } from '../../support/free-port.ts';
import { eventually, within } from '../../support/polling.ts';
import { killGateway } from '../failover/process-faults.ts';
import { needsRedis, redisProgram, RedisServer, suitable } from './redis-server.ts';

const program = fileURLToPath(new URL('../../../src/main.ts', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'mtm-dev-referee-'));
chmodSync(folder, 0o755); // as root the servers run as another user
const data = join(folder, 'data');
const port = await freeBasePort([18, 18]);

interface Run {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  out: string;
  err: string;
}

function mtmGateway(args: readonly string[], more: Record<string, string> = {}): Run {
  const child = spawn(process.execPath, [program, ...args], { env: { ...process.env, ...more } });
  const ended = once(child, 'close').then(([code]) => code as number | null);
  const run: Run = { child, ended, out: '', err: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => (run.out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (run.err += text));
  return run;
}

async function writes(text: string): Promise<boolean> {
  const client = new Client({ connectionString: `postgresql://postgres@127.0.0.1:${port}/app` });
  client.on('error', () => undefined);
  await client.connect();
  try {
    await client.query(text);
    return true;
  } catch (error) {
    if ((error as { code?: string }).code !== '57P03') throw error;
    return false;
  } finally {
    await client.end();
  }
}

/** Has each node reported the generation that node 1 is online in? */
async function knowsBoth(refereePort: number): Promise<boolean> {
  const redis = new Redis(refereePort, '127.0.0.1');
  const client = new Client({ host: '127.0.0.1', port, user: 'postgres', database: 'app', ssl: false });
  try {
    await client.connect();
    const { rows } = await client.query<{ gen_num: string }>('SELECT gen_num FROM mtm.status()');
    const [key] = await redis.keys('mtm:referee:*');
    return Number(await redis.hget(key ?? '', 'cleared_up_to')) >= Number(rows[0]?.gen_num);
  } finally {
    await client.end();
    redis.disconnect();
  }
}

describe.skipIf(redisProgram === undefined)(`a referee of one's own${needsRedis}`, () => {
  // What a test that failed has left running would fail the next one, too.
  afterEach(async () => {
    if (!existsSync(join(data, 'cluster.json'))) return;
    const { nodes, referee } = existingClusterFolder(data);
    await stopCluster(nodes);
    if (referee !== undefined) await stopReferee(referee);
  });

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('dev --referee: two nodes and a Redis; one of them goes on alone; all of it ends', async () => {
    const run = mtmGateway(['dev', '--referee', '--data', data, '--port', String(port)]);
    try {
      await eventually('it is ready', () => run.out.includes('\nready\n'), 120_000);
      const { nodes, referee } = existingClusterFolder(data);
      expect(nodes).toHaveLength(2);
      expect(referee).toMatchObject({ folder: join(data, 'referee'), port: port + 400 });
      expect(run.out).toContain(`referee redis://127.0.0.1:${port + 400}\n`);
      expect(refereePid(referee!)).toBeGreaterThan(1);
      // Before it has heard of both that they are online it lets nobody go on alone.
      await eventually('the referee knows both', () => knowsBoth(referee!.port));
      await killGateway(nodes[1]!);
      await eventually('node 1 writes', () => writes('CREATE TABLE alone (id int PRIMARY KEY)'));
      run.child.kill('SIGINT');
      expect(await within('dev', 60_000, run.ended)).toBe(0);
      expect(refereePid(referee!)).toBeUndefined();
      expect(run.err).toBe('');
    } finally {
      run.child.kill('SIGKILL');
    }
  });

  test('a referee that might forget keeps the gateway from starting, in one sentence', async () => {
    const redis = await RedisServer.start({ ...suitable, appendfsync: 'everysec' });
    try {
      const [node] = existingClusterFolder(data).nodes;
      await startServer(node!);
      const config = parse(readFileSync(node!.configFile, 'utf8')) as Record<string, unknown>;
      const file = join(dirname(node!.configFile), 'other.yaml');
      writeFileSync(file, stringify({ ...config, referee_connstring: `redis://127.0.0.1:${redis.port}` }));
      const run = mtmGateway(['serve', '--config', file]);
      expect(await within('serve', 60_000, run.ended)).not.toBe(0);
      expect(run.err).toMatch(/^mtm-gateway: .*appendfsync.*\n {2}what to do: .*\n$/);
    } finally {
      await redis.remove();
    }
  });

  test('without redis-server it says so, and starts nothing', async () => {
    const other = join(folder, 'other');
    const args = ['dev', '--referee', '--data', other, '--port', String(port + 10)];
    const run = mtmGateway(args, { PATH: folder });
    expect(await within('dev', 60_000, run.ended)).toBe(1);
    expect(run.err).toMatch(
      /^mtm-gateway: --referee needs redis-server, and there is none in PATH\n {2}what to do: .*\n$/,
    );
  });
});
