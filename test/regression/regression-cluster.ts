/**
 * A cluster of three on loopback whose database is named as PostgreSQL's tests expect it: `regression`.
 * Rule: whatever it started, `stop` stops; the data stay where the caller wanted them.
 */
import { join } from 'node:path';
import { Client, type QueryResult } from 'pg';
import { openClusterFolder, type ClusterFolder } from '../../src/io/launcher/cluster-folder.ts';
import { startServers, stopCluster } from '../../src/io/launcher/embedded-cluster.ts';
import {
  isOnline,
  startGatewayProcess,
  waitUntilOnline,
  writeGatewayConfig,
} from '../../src/io/launcher/gateway-process.ts';
import {
  clusterLayout,
  embeddedDatabase,
  embeddedHost,
  type NodeLayout,
} from '../../src/io/launcher/node-layout.ts';
import {
  createDatabases,
  initServer,
  startServer,
  stopServer,
} from '../../src/io/launcher/postgres-server.ts';
import type { PostgresMajor } from '../../src/io/launcher/server-binaries.ts';

export const database = 'regression';
const onlineLimitMs = 120_000;
/** No node fails in these tests, and the machine may be busy. */
const patience = '30s';

/** A statement, or several in one string, on a session of its own; the rows of the last. */
export async function query<R extends Record<string, unknown>>(
  port: number,
  text: string,
  databaseName = database,
): Promise<R[]> {
  const client = new Client({
    ssl: false,
    host: embeddedHost,
    port,
    user: 'postgres',
    database: databaseName,
  });
  await client.connect();
  try {
    const result = (await client.query<R>(text)) as QueryResult<R> | QueryResult<R>[];
    return (Array.isArray(result) ? result.at(-1) : result)?.rows ?? [];
  } finally {
    await client.end();
  }
}

/** What pg_regress itself does to a database that it makes; it is given one that is there. */
export async function adjustDatabase(port: number): Promise<void> {
  const settings = [
    ...['lc_messages', 'lc_monetary', 'lc_numeric', 'lc_time'].map((name) => [name, 'C']),
    ['bytea_output', 'hex'],
    ['timezone_abbreviations', 'Default'],
  ];
  for (const [name, value] of settings) {
    await query(port, `ALTER DATABASE ${database} SET ${name} TO '${value}'`);
  }
}

async function nameDatabase(node: NodeLayout): Promise<void> {
  await query(node.postgresPort, `ALTER DATABASE ${embeddedDatabase} RENAME TO ${database}`, 'postgres');
}

/** One server, without any gateway, that listens on `port`. */
export async function startSingleServer(
  folder: string,
  port: number,
  major: PostgresMajor,
): Promise<{ stop(): Promise<void> }> {
  const [node] = clusterLayout(folder, port - 100, [major]);
  if (node === undefined) throw new Error('no layout');
  const stop = async (): Promise<void> => {
    await stopServer(node);
  };
  try {
    await initServer(node);
    await startServer(node);
    await createDatabases(node, [database]);
    return { stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/**
 * Each node draws from its sequences as if it were alone. Only for these tests, whose clients are all at gateway 1, and
 * only to compare: two nodes that both draw would draw the same values.
 */
export async function drawPlainly({ nodes }: RegressionCluster): Promise<void> {
  const parameters = 'r mtm.sequence, cycles boolean, my_id integer, node_count integer';
  const own = ['start', 'increment', 'min', 'max'].map((name) => `(r).user_${name}`).join(', ');
  for (const node of nodes) {
    await query(
      node.postgresPort,
      // Silent for the event triggers.
      `SET session_replication_role = replica;
       CREATE OR REPLACE FUNCTION mtm.own_kind(${parameters}) RETURNS mtm.sequence LANGUAGE sql
       AS 'SELECT ROW((r).seqrelid, ${own}, ${own})::mtm.sequence';
       CREATE OR REPLACE FUNCTION mtm.place_sequence(seq oid, value bigint, called boolean, onward boolean)
       RETURNS boolean LANGUAGE sql
       AS 'SELECT pg_catalog.mtm_local_setval(seq::regclass, value, called) IS NOT NULL'`,
    );
  }
}

export interface RegressionCluster {
  readonly folder: ClusterFolder;
  readonly nodes: readonly NodeLayout[];
  stop(): Promise<void>;
}

async function startGateways(folder: ClusterFolder): Promise<void> {
  await Promise.all(
    folder.nodes.map(async (node) => {
      const postgres = {
        host: node.socketFolder ?? embeddedHost,
        port: node.postgresPort,
        user: 'postgres',
        database,
      };
      writeGatewayConfig(node, folder, { postgres, heartbeat_recv_timeout: patience });
      await waitUntilOnline(node, await startGatewayProcess(node), onlineLimitMs);
    }),
  );
  const deadline = performance.now() + onlineLimitMs;
  const writable = async () =>
    (await Promise.all(folder.nodes.map((node) => isOnline(node, true)))).every(Boolean);
  while (!(await writable())) {
    if (performance.now() > deadline) throw new Error('the gateways do not hear each other');
  }
}

/** New servers of that version in `folder`, which must not exist, and a gateway for each. */
export async function startRegressionCluster(
  folder: string,
  port: number,
  major: PostgresMajor,
): Promise<RegressionCluster> {
  const cluster = openClusterFolder({ folder: join(folder, 'cluster'), nodes: 3, pg: [major], port });
  const stop = async (): Promise<void> => {
    await stopCluster(cluster.nodes);
  };
  try {
    await startServers(cluster);
    for (const node of cluster.nodes) await nameDatabase(node);
    await startGateways(cluster);
    return { folder: cluster, nodes: cluster.nodes, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
