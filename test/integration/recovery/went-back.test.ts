/**
 * A server that went back in time, here an old copy of its data folder, has forgotten votes and commits: its
 * peers know, its gateway ends and says so, and the others go on.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startGatewayProcess, stopGatewayProcess } from '../../../src/io/launcher/gateway-process.ts';
import { stopServer } from '../../../src/io/launcher/postgres-server.ts';
import { startCluster, type Cluster } from '../../support/cluster.ts';
import { eventually, within } from '../../support/polling.ts';

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({
    majors: [17, 17, 17],
    unequal: [{ away: [3], why: 'its server is an old copy' }],
  });
});

afterAll(async () => {
  await cluster?.stop();
});

async function stopNode(number: number): Promise<void> {
  await stopGatewayProcess(cluster.node(number));
  await stopServer(cluster.node(number));
}

async function startNode(number: number): Promise<void> {
  await cluster.startServer(number);
  await cluster.startGateway(number);
}

/** How many bytes of WAL node 1 remembers of the server of node 3. */
async function remembered(): Promise<number> {
  const text = `SELECT (flushed - '0/0')::float8 AS bytes FROM mtm.peer_position WHERE node = 3`;
  return (await cluster.directly<{ bytes: number }>(1, text))[0]?.bytes ?? 0;
}

async function writes(number: number): Promise<boolean> {
  const text = `INSERT INTO past VALUES ((SELECT coalesce(max(id), 0) + 1 FROM past))`;
  return cluster.query(number, text).then(
    () => true,
    () => false,
  );
}

/** The gateway of node 3 ends; what it says. */
async function lastWords(): Promise<string> {
  const running = await startGatewayProcess(cluster.node(3));
  expect(await within('the gateway of node 3', 60_000, running.ended)).toBe('exit code 1');
  const lines = cluster.gatewayLog(3).trim().split('\n');
  return lines.filter((line) => line.startsWith('mtm-gateway: ')).at(-1) ?? '';
}

test('an orderly restart of all is nothing of the kind', async () => {
  await cluster.query(1, 'CREATE TABLE past (id int PRIMARY KEY)');
  for (const number of cluster.numbers) expect(await writes(number)).toBe(true);
  await cluster.halt();
  await Promise.all(cluster.numbers.map((number) => startNode(number)));
  await cluster.whole();
});

test('an old copy is refused, also by peers that have been restarted', async () => {
  const data = cluster.node(3).dataFolder;
  const copy = join(cluster.node(3).folder, 'copy');
  await stopNode(3);
  execFileSync('cp', ['-a', data, copy]);
  await startNode(3);
  await cluster.whole();
  const before = await remembered();
  for (let round = 0; round < 5; round++) expect(await writes(3)).toBe(true);
  await eventually('its peers know that it went on', async () => (await remembered()) > before);
  await stopNode(3);

  execFileSync('rm', ['-rf', data]);
  execFileSync('cp', ['-a', copy, data]);
  await cluster.startServer(3);
  expect(await lastWords()).toMatch(
    /^mtm-gateway: the PostgreSQL of node 3 went back in time: node [12] remembers it at \S+ on timeline 1, now it is at/,
  );
  await eventually('the others write', async () => (await writes(1)) && writes(2));
  const online = await cluster.directly<{ n: number }>(
    3,
    'SELECT last_online::int AS n FROM mtm.generation_state',
  );

  // What they know is on their disks; and a peer that has seen a newer process does not even let it in.
  for (const number of [1, 2]) {
    await stopGatewayProcess(cluster.node(number));
    await cluster.startGateway(number).catch(() => undefined); // alone it does not get online
  }
  await eventually('the others write again', async () => (await writes(1)) && writes(2), 40_000);
  expect(await lastWords()).toMatch(/^mtm-gateway: .*went back in time/);
  const after = await cluster.directly<{ n: number }>(
    3,
    'SELECT last_online::int AS n FROM mtm.generation_state',
  );
  expect(after).toEqual(online);
  const counts = await cluster.onAllServers<{ n: number }>('SELECT count(*)::int AS n FROM past');
  expect(counts[0]).toEqual(counts[1]);
  const text = 'SELECT unsupervised_writes::int AS n FROM mtm.status()';
  expect((await cluster.directly<{ n: number }>(1, text))[0]).toEqual({ n: 0 });
});
