/**
 * A whole cluster from one backup, as config/README.md tells it: pg_basebackup of any node through its gateway, restored;
 * the server forgets its cluster; the others are copies of it.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startNode } from '../../../src/io/launcher/embedded-cluster.ts';
import { embeddedHost, type NodeLayout } from '../../../src/io/launcher/node-layout.ts';
import { startServer, stopServer } from '../../../src/io/launcher/postgres-server.ts';
import { startCluster, type Cluster } from '../../support/cluster.ts';
import { findProgram, needs, runProgram } from '../../support/programs.ts';

const main = fileURLToPath(new URL('../../../src/main.ts', import.meta.url));
let cluster: Cluster;

function command(name: string, node: NodeLayout): { readonly code: number | null; readonly output: string } {
  const run = spawnSync(process.execPath, [main, name, '--config', node.configFile], { encoding: 'utf8' });
  return { code: run.status, output: run.stdout + run.stderr };
}

function copyFolder(from: string, to: string): void {
  // cp keeps owners and modes, which a server insists on.
  const run = spawnSync('cp', ['-a', from, to], { encoding: 'utf8' });
  expect(run.status, run.stderr).toBe(0);
}

function rename(node: NodeLayout): void {
  const text = readFileSync(node.configFile, 'utf8');
  writeFileSync(node.configFile, text.replace(/^cluster_name: .*$/m, 'cluster_name: restored'));
}

describe.skipIf(findProgram('pg_basebackup') === undefined)(
  `from one backup${needs('pg_basebackup')}`,
  () => {
    beforeAll(async () => {
      cluster = await startCluster({ majors: [15, 15, 15] });
      await cluster.query(1, 'CREATE TABLE entry (id serial PRIMARY KEY, note text)');
      for (const number of cluster.numbers)
        for (let n = 0; n < 5 * number; n++)
          await cluster.query(number, `INSERT INTO entry (note) VALUES ('before')`);
    });

    afterAll(async () => {
      await cluster?.stop();
    });

    test('all nodes begin again with what the backup holds, and with sequences behind it', async () => {
      const node = cluster.node(1);
      const backup = join(node.folder, 'backup');
      const uri = `host=${embeddedHost} port=${node.gatewayPort} user=postgres application_name=mtm_admin`;
      const made = await runProgram('pg_basebackup', ['-d', uri, '-D', backup, '-X', 'stream', '-c', 'fast']);
      expect(made.code, made.stderr).toBe(0);
      await cluster.query(2, `INSERT INTO entry (note) VALUES ('after')`);
      expect(command('forget-cluster', node)).toMatchObject({ code: 1 });
      await cluster.halt();

      renameSync(node.dataFolder, join(node.folder, 'data-old'));
      copyFolder(backup, node.dataFolder);
      const { uid, gid } = statSync(join(node.folder, 'data-old'));
      spawnSync('chown', ['-R', `${uid}:${gid}`, node.dataFolder]);
      await startServer(node);
      expect(command('forget-cluster', node)).toMatchObject({ code: 0 });
      await expect(startNode(node, ['gateway'])).rejects.toThrow(/has forgotten the cluster/);
      await stopServer(node);
      for (const number of [2, 3]) {
        const other = cluster.node(number);
        renameSync(other.dataFolder, join(other.folder, 'data-old'));
        copyFolder(node.dataFolder, other.dataFolder);
      }
      for (const each of cluster.nodes) rename(each);
      await Promise.all(cluster.nodes.map((each) => startNode(each, ['postgres', 'gateway'])));
      await cluster.whole();

      const notes = await cluster.onAllServers('SELECT note, count(*)::int AS n FROM entry GROUP BY note');
      expect(notes).toEqual(cluster.numbers.map(() => [{ note: 'before', n: 30 }]));
      for (const number of cluster.numbers)
        for (let n = 0; n < 12; n++) await cluster.query(number, `INSERT INTO entry (note) VALUES ('again')`);
      const [count] = await cluster.directly<{ n: number }>(2, 'SELECT count(*)::int AS n FROM entry');
      expect(count!.n).toBe(66);
    });
  },
);
