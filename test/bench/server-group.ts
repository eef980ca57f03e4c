/** PostgreSQL servers of the benchmark, all of the same kind as the embedded cluster's, so that only what stands in front differs. */
import { Client } from 'pg';
import { openClusterFolder, type ClusterFolder } from '../../src/io/launcher/cluster-folder.ts';
import { startServers, stopCluster } from '../../src/io/launcher/embedded-cluster.ts';
import { embeddedDatabase, embeddedHost } from '../../src/io/launcher/node-layout.ts';
import type { BenchOptions } from './options.ts';
import type { PgbenchTarget } from './pgbench.ts';

export interface ServerGroup {
  readonly cluster: ClusterFolder;
  readonly servers: readonly PgbenchTarget[];
}

export async function query(target: PgbenchTarget, sql: string): Promise<readonly Record<string, unknown>[]> {
  const client = new Client({
    ssl: false,
    host: embeddedHost,
    port: target.port,
    user: 'postgres',
    database: target.database,
    connectionTimeoutMillis: 10_000,
  });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

/** `count` servers from `port` on, stopped when `stack` is disposed. */
export async function startGroup(
  stack: AsyncDisposableStack,
  options: BenchOptions,
  folder: string,
  port: number,
  count: number,
  signal: AbortSignal,
): Promise<ServerGroup> {
  const cluster = openClusterFolder({ folder, nodes: count, pg: [options.major], port });
  stack.defer(async () => void (await stopCluster(cluster.nodes)));
  await startServers(cluster, { signal });
  const servers = cluster.nodes.map((node) => ({ port: node.postgresPort, database: embeddedDatabase }));
  return { cluster, servers };
}

/** Ends every session in the database but ours: what a proxy that was killed has left behind. */
export async function endSessions(servers: readonly PgbenchTarget[]): Promise<void> {
  for (const server of servers) {
    await query(
      server,
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE datname = current_database() AND pid <> pg_backend_pid()`,
    );
  }
}

/** The small hot tables as they were at the start, so that no measurement pays for the ones before it. */
export async function vacuumHotTables(servers: readonly PgbenchTarget[]): Promise<void> {
  await Promise.all(servers.map((server) => query(server, 'VACUUM pgbench_branches, pgbench_tellers')));
}

const contents = `
  SELECT (SELECT sum(abalance) FROM pgbench_accounts) || ' ' || (SELECT sum(tbalance) FROM pgbench_tellers)
    || ' ' || (SELECT sum(bbalance) FROM pgbench_branches)
    || ' ' || (SELECT count(*) || ' ' || coalesce(sum(delta), 0) FROM pgbench_history) AS sums`;

const settleLimitMs = 10_000;

/** True when the servers hold the same balances and history; a speed that loses updates is worth nothing. */
export async function serversAgree(servers: readonly PgbenchTarget[], question = contents): Promise<boolean> {
  const deadline = performance.now() + settleLimitMs;
  for (;;) {
    const sums = await Promise.all(
      servers.map(async (server) => (await query(server, question))[0]?.['sums']),
    );
    if (new Set(sums).size === 1) return true;
    if (performance.now() > deadline) return false;
  }
}
