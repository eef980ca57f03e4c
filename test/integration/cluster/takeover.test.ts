/**
 * Two gateways in front of one server: the later one has it, the former ends; what was acknowledged is there. A
 * cluster of one node, because the others would look for the second gateway at the ports of the first.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { gatewayPid } from '../../../src/io/launcher/gateway-process.ts';
import { startCluster, type Cluster } from '../../support/cluster.ts';
import { eventually, within } from '../../support/polling.ts';

const program = fileURLToPath(new URL('../../../src/main.ts', import.meta.url));

let cluster: Cluster;
const children: ChildProcess[] = [];

beforeAll(async () => {
  cluster = await startCluster({ majors: [16] });
  await cluster.query(1, 'CREATE TABLE taken (id bigint PRIMARY KEY)');
});

afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await cluster?.stop();
});

interface Second {
  readonly port: number;
  readonly ended: Promise<number | null>;
  readonly stderr: () => string;
  stop(): void;
}

/** A gateway for the server of node 1 on other ports. */
function anotherGateway(offset: number): Second {
  const node = cluster.node(1);
  const config = parse(readFileSync(node.configFile, 'utf8')) as object;
  const at = (port: number) => ({ host: '127.0.0.1', port: port + offset });
  const ports = { listen: at(node.gatewayPort), http: at(node.httpPort), peer_listen: at(node.peerPort) };
  const file = join(cluster.folder.folder, `another-${offset}.yaml`);
  writeFileSync(file, stringify({ ...config, ...ports }));
  const child = spawn(process.execPath, [program, 'serve', '--config', file]);
  children.push(child);
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
  child.stdout.resume();
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  return { port: ports.listen.port, ended, stderr: () => stderr, stop: () => child.kill('SIGTERM') };
}

async function session(port: number): Promise<Client> {
  const client = new Client({ host: '127.0.0.1', port, user: 'postgres', database: 'app', ssl: false });
  client.on('error', () => undefined); // the next statement fails
  await client.connect();
  return client;
}

/** Writes one row after the other until it fails; resolves with the ids that were acknowledged. */
async function writeOn(port: number, from: number): Promise<number[]> {
  const client = await session(port);
  const written: number[] = [];
  try {
    for (let id = from; ; id++) {
      await client.query('INSERT INTO taken VALUES ($1)', [id]);
      written.push(id);
    }
  } catch {
    return written;
  } finally {
    void client.end().catch(() => undefined); // its gateway may have ended
  }
}

async function writes(port: number, id: number): Promise<boolean> {
  try {
    const client = await session(port);
    try {
      await client.query('INSERT INTO taken VALUES ($1)', [id]);
      return true;
    } finally {
      await client.end();
    }
  } catch {
    return false; // It is not online yet.
  }
}

test('the second serves; the first ends with one sentence', async () => {
  const first = cluster.gatewayPid(1);
  const load = [0, 1, 2, 3].map((lane) => writeOn(cluster.node(1).gatewayPort, lane * 1_000_000));
  const second = anotherGateway(20);
  const written = (await within('the first gateway serves to its end', 60_000, Promise.all(load))).flat();
  expect(written.length).toBeGreaterThan(0);
  await eventually('the first has ended', () => gatewayPid(cluster.node(1)) === undefined);
  expect(first).toBeGreaterThan(0);
  const said = cluster.gatewayLog(1).trim().split('\n');
  const sentence = said.find((line) => line.startsWith('mtm-gateway: '));
  expect(sentence).toMatch(
    /^mtm-gateway: another gateway has taken over the PostgreSQL at .*: this one ends$/,
  );

  await eventually('the second serves', () => writes(second.port, -1));
  const once = await session(second.port);
  const { rows } = await once.query<{ id: string }>('SELECT id FROM taken');
  const there = new Set(rows.map(({ id }) => Number(id)));
  await once.end();
  expect(
    written.filter((id) => !there.has(id)),
    'acknowledged and lost',
  ).toEqual([]);
  second.stop();
  expect(await within('the second stops', 60_000, second.ended)).toBe(0);
});

test('of two that start at once one stays, and the other says why it does not', async () => {
  const rivals = [anotherGateway(40), anotherGateway(60)];
  const ends = rivals.map((rival, index) => rival.ended.then((code) => ({ index, code })));
  const lost = await within('one of them ends', 60_000, Promise.race(ends));
  const { stderr } = rivals[lost.index]!;
  // The second sentence when its connection was ended before it had said that it is there.
  expect(stderr()).toMatch(/^mtm-gateway: (another gateway has taken over|PostgreSQL at .* failed while)/m);
  expect(lost.code).toBe(1);
  expect(stderr()).not.toMatch(/\n\s+at /);
  const winner = rivals[1 - lost.index]!;
  await eventually('the other one serves', () => writes(winner.port, -2));
  winner.stop();
  expect(await within('it stops', 60_000, winner.ended)).toBe(0);
});
