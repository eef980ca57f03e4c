import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { closedFolder } from '../../../../src/io/launcher/account.ts';
import { existingClusterFolder, openClusterFolder } from '../../../../src/io/launcher/cluster-folder.ts';
import { livingPid } from '../../../../src/io/launcher/process-control.ts';

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
  expect(() => openClusterFolder({ ...wish('made'), nodes: 3 })).toThrow('was made with --nodes 2, not 3');
  expect(() => openClusterFolder({ ...wish('made'), pg: [18] })).toThrow('was made with --pg 16,16, not 18');
  expect(openClusterFolder({ ...wish('made'), nodes: 2, pg: [16] }).nodes).toHaveLength(2);
});

test('a pid counts only with our mark in its command line', () => {
  const file = join(base, 'some.pid');
  writeFileSync(file, `${process.pid}\n`);
  expect(livingPid(file, 'no such mark')).toBeUndefined();
  expect(livingPid(file, 'node')).toBe(process.pid);
  writeFileSync(file, 'nonsense');
  expect(livingPid(file, '')).toBeUndefined();
});

test('the folder that another user may not enter is found', () => {
  const stranger = { name: 'stranger', uid: 54321, gid: 54321 };
  expect(closedFolder(base, stranger)).toBe(base); // mkdtemp makes it 700
  expect(closedFolder(tmpdir(), stranger)).toBeUndefined();
});
