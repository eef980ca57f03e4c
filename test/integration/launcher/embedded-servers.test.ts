/** The launcher with real servers of all versions, without gateways: start, suitability, kill -9, stop, start again. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openClusterFolder, type ClusterFolder } from '../../../src/io/launcher/cluster-folder.ts';
import { nodeState, startServers, stopCluster } from '../../../src/io/launcher/embedded-cluster.ts';
import { embeddedDatabase, embeddedHost, type NodeLayout } from '../../../src/io/launcher/node-layout.ts';
import { startServer } from '../../../src/io/launcher/postgres-server.ts';
import { waitUntil } from '../../../src/io/launcher/process-control.ts';
import { checkServer, connectForCheck } from '../../../src/io/postgres-check.ts';
import { GatewayError } from '../../../src/lib/gateway-error.ts';
import { freeBasePort } from '../../support/free-port.ts';

const folder = mkdtempSync(join(tmpdir(), 'mtm-servers-'));
chmodSync(folder, 0o755); // as root the servers run as another user
let cluster: ClusterFolder;

const connect = (node: NodeLayout) =>
  connectForCheck(
    {
      host: embeddedHost,
      port: node.postgresPort,
      user: 'postgres',
      password: undefined,
      database: embeddedDatabase,
    },
    2000,
  );

beforeAll(async () => {
  const pg = [15, 16, 17, 18] as const;
  const port = await freeBasePort(pg);
  cluster = openClusterFolder({ folder: join(folder, 'data'), nodes: undefined, pg, port });
  await startServers(cluster);
});

afterAll(async () => {
  await stopCluster(cluster.nodes);
  rmSync(folder, { recursive: true });
});

test('every version suits as a node as it is', async () => {
  for (const node of cluster.nodes) {
    const client = await connect(node);
    try {
      const findings = await checkServer(client);
      expect(findings.filter((finding) => !finding.ok)).toEqual([]);
      expect(findings.find((finding) => finding.name === 'version')?.has).toMatch(
        new RegExp(`^${node.major}\\.`),
      );
    } finally {
      await client.end();
    }
  }
});

test('a server that was killed starts again and has kept its prepared transaction', async () => {
  const [node] = cluster.nodes;
  if (node === undefined) throw new Error('no node');
  const before = await connect(node);
  await before.query('CREATE TABLE t (a int)');
  await before.query('BEGIN');
  await before.query('INSERT INTO t VALUES (1)');
  await before.query("PREPARE TRANSACTION 'x'");
  const pid = (await nodeState(node)).postgres.pid ?? 0;
  process.kill(pid, 'SIGKILL');
  await waitUntil(async () => !(await nodeState(node)).postgres.running, 10_000);
  await startServer(node);
  const after = await connect(node);
  await after.query("COMMIT PREPARED 'x'");
  expect((await after.query('SELECT a FROM t')).rows).toEqual([{ a: 1 }]);
  await after.end();
});

test('a server that is down is one clear sentence', async () => {
  const [, node] = cluster.nodes;
  if (node === undefined) throw new Error('no node');
  expect(await stopCluster([node])).toEqual(['PostgreSQL of node 2']);
  const failure = await connect(node).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(GatewayError);
  expect((failure as GatewayError).code).toBe('server-unreachable');
  expect((failure as GatewayError).message).toContain(
    `PostgreSQL at 127.0.0.1:${node.postgresPort} does not answer: `,
  );
});
