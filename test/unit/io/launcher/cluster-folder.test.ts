import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { closedFolder } from '../../../../src/io/launcher/account.ts';
import {
  existingClusterFolder,
  lockNodes,
  openClusterFolder,
  saveDropped,
  saveJoined,
  saveJoining,
} from '../../../../src/io/launcher/cluster-folder.ts';
import { livingPid, spawnLogged } from '../../../../src/io/launcher/process-control.ts';

const base = mkdtempSync(join(tmpdir(), 'mtm-launcher-'));
afterAll(() => rmSync(base, { recursive: true }));

/** What initdb would make. */
const withData = (folder: string) => mkdirSync(join(base, folder, 'node1/data'), { recursive: true });

const wish = (folder: string) => ({
  folder: join(base, folder),
  nodes: undefined,
  pg: undefined,
  port: undefined,
});

test('three nodes of 18 by default, and the same again afterwards', () => {
  const cluster = openClusterFolder({ ...wish('usual'), port: 9001 });
  expect(cluster.nodes.map((node) => node.major)).toEqual([18, 18, 18]);
  withData('usual');
  expect(statSync(cluster.secretFile).mode & 0o777).toBe(0o600);
  expect(openClusterFolder(wish('usual'))).toEqual(cluster);
  expect(existingClusterFolder(join(base, 'usual'))).toEqual(cluster);
});

test('one version for each node', () => {
  const cluster = openClusterFolder({ ...wish('mixed'), pg: [15, 18] });
  expect(cluster.nodes.map((node) => node.major)).toEqual([15, 18]);
  expect(() => openClusterFolder({ ...wish('odd'), pg: [15, 18], nodes: 3 })).toThrow(
    '--pg names 2 versions for 3 nodes',
  );
});

test('what does not fit the data is refused', () => {
  openClusterFolder({ ...wish('made'), nodes: 1, pg: [15] }); // no data yet: it binds nobody
  openClusterFolder({ ...wish('made'), nodes: 2, pg: [16] });
  withData('made');
  expect(() => openClusterFolder({ ...wish('made'), nodes: 3 })).toThrow('has 2 nodes (1, 2), not 3');
  expect(() => openClusterFolder({ ...wish('made'), pg: [18] })).toThrow('was made with --pg 16,16, not 18');
  expect(openClusterFolder({ ...wish('made'), nodes: 2, pg: [16] }).nodes).toHaveLength(2);
});

test('nodes come and go: numbers may be missing, ports stay', () => {
  const folder = join(base, 'changing');
  openClusterFolder({ ...wish('changing'), pg: [17, 18, 16], port: 9101 });
  withData('changing');
  const numbers = () => existingClusterFolder(folder).nodes.map(({ node, major }) => `${node}:${major}`);
  const added = saveJoining(folder, 4, 17);
  expect(added.joining).toMatchObject({
    copied: undefined,
    layout: { node: 4, major: 17, gatewayPort: 9104 },
  });
  expect(added.nodes).toHaveLength(3); // it is none of them yet
  saveJoining(folder, 4, 17, { source: 1, end: '0/12D357F0' });
  expect(existingClusterFolder(folder).joining?.copied).toEqual({ source: 1, end: '0/12D357F0' });
  expect(openClusterFolder(wish('changing')).joining?.layout.node).toBe(4); // a start of the others keeps it
  saveJoined(folder);
  expect(existingClusterFolder(folder).joining).toBeUndefined();
  saveDropped(folder, 2);
  expect(numbers()).toEqual(['1:17', '3:16', '4:17']);
  expect(openClusterFolder(wish('changing')).nodes[1]).toMatchObject({
    node: 3,
    gatewayPort: 9103,
    peerPort: 9403,
  });
  saveJoining(folder, 2, 18);
  saveJoined(folder);
  expect(() => openClusterFolder({ ...wish('changing'), port: 9301 })).toThrow(
    'has nodes that were added at --port 9101, which cannot change any more',
  );
  expect(numbers()).toEqual(['1:17', '2:18', '3:16', '4:17']);
  saveJoining(folder, 5, 18);
  expect(saveDropped(folder, 5).joining).toBeUndefined();
});

test('what was written before nodes could come and go is read', () => {
  const folder = join(base, 'former');
  mkdirSync(join(folder, 'node1/data'), { recursive: true });
  const file = join(folder, 'cluster.json');
  writeFileSync(file, '{"pg":[15,18],"port":9201}');
  expect(existingClusterFolder(folder).nodes.map(({ node, major }) => [node, major])).toEqual([
    [1, 15],
    [2, 18],
  ]);
  expect(openClusterFolder(wish('former')).basePort).toBe(9201);
  expect(readFileSync(file, 'utf8')).toContain('"nodes"');
  writeFileSync(file, '{"nodes":[{"node":17,"pg":18}],"port":1}');
  expect(() => existingClusterFolder(folder)).toThrow('cluster.json is damaged');
});

test('a referee is for two nodes: the third ends it', () => {
  const folder = join(base, 'refereed');
  openClusterFolder({ ...wish('refereed'), referee: true });
  expect(existingClusterFolder(folder).referee).toBeDefined();
  expect(saveDropped(folder, 2).referee).toBeUndefined();
});

test('one command at a time changes the nodes', () => {
  const folder = join(base, 'locked');
  const lock = lockNodes(folder);
  expect(Number(readFileSync(join(folder, 'nodes.pid'), 'utf8'))).toBe(process.pid);
  lock.release();
  lockNodes(folder).release();
});

test('a pid counts only with our mark in its command line', () => {
  const file = join(base, 'some.pid');
  writeFileSync(file, `${process.pid}\n`);
  expect(livingPid(file, 'no such mark')).toBeUndefined();
  expect(livingPid(file, 'node')).toBe(process.pid);
  writeFileSync(file, 'nonsense');
  expect(livingPid(file, '')).toBeUndefined();
});

test('a process that was just started is known at once, and so is that it has ended', async () => {
  const file = join(base, 'started.pid');
  for (let round = 0; round < 20; round++) {
    const { pid, ended } = await spawnLogged({
      title: 'sleeper',
      command: 'sleep',
      args: ['61.25'],
      logFile: join(base, 'started.log'),
      pidFile: file,
      account: undefined,
    });
    expect(livingPid(file, '61.25')).toBe(pid);
    process.kill(pid, 'SIGKILL');
    const since = performance.now();
    while (livingPid(file, '61.25') !== undefined) continue; // its parent, this process, does not collect it
    expect(performance.now() - since).toBeLessThan(500);
    expect(await ended).toBe('signal SIGKILL');
  }
});

test('the folder that another user may not enter is found', () => {
  const stranger = { name: 'stranger', uid: 54321, gid: 54321 };
  expect(closedFolder(base, stranger)).toBe(base); // mkdtemp makes it 700
  expect(closedFolder(tmpdir(), stranger)).toBeUndefined();
});
