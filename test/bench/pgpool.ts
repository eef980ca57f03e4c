/**
 * Pgpool-II over three equal servers: native replication (statements to all servers, COMMIT to one after the other, no
 * atomicity) and snapshot isolation. What a user would take instead of this gateway.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type { Candidate } from './candidate.ts';
import { workloadKeys } from './options.ts';
import type { PgbenchTarget } from './pgbench.ts';
import { findProgram, ProxyProcess } from './proxy-process.ts';
import { endSessions, query, type ServerGroup } from './server-group.ts';

export type PgpoolMode = 'native' | 'snapshot';

const modes = {
  native: { key: 'pgpool-native', title: 'Pgpool-II native', clustering: 'native_replication' },
  snapshot: { key: 'pgpool-snapshot', title: 'Pgpool-II snapshot', clustering: 'snapshot_isolation' },
} as const;

export const pgpoolTitle = (mode: PgpoolMode) => modes[mode].title;

export function findPgpool(): { program: string; version: string } | undefined {
  const program = findProgram('pgpool');
  if (program === undefined) return undefined;
  const shown = spawnSync(program, ['--version'], { encoding: 'utf8' });
  const [version] = (shown.stdout + shown.stderr).split('\n');
  return { program, version: (version ?? 'pgpool-II').trim() };
}

/**
 * Reads are not spread over the servers: on one machine that gains nothing, and with snapshot isolation 4.3.5 then reports an
 * open transaction after an autocommit read, at which pgbench gives up.
 */
function settings(mode: PgpoolMode, servers: readonly PgbenchTarget[], port: number, folder: string): string {
  const backends = servers.map(
    (server, index) => `backend_hostname${index} = '127.0.0.1'
backend_port${index} = ${server.port}
backend_weight${index} = 1
backend_flag${index} = 'DISALLOW_TO_FAILOVER'
`,
  );
  return `backend_clustering_mode = '${modes[mode].clustering}'
${backends.join('')}listen_addresses = '127.0.0.1'
port = ${port}
socket_dir = '${folder}'
pcp_listen_addresses = '127.0.0.1'
pcp_port = ${port + 1}
pcp_socket_dir = '${folder}'
wd_ipc_socket_dir = '${folder}'
pid_file_name = '${folder}/pgpool.pid'
logdir = '${folder}'
work_dir = '${folder}'
num_init_children = 110
max_pool = 1
enable_pool_hba = off
pool_passwd = ''
health_check_period = 0
sr_check_period = 0
use_watchdog = off
load_balance_mode = off
memory_cache_enabled = off
log_destination = 'stderr'
`;
}

/** Snapshot isolation wants every session at REPEATABLE READ; a database of its own has that as its default. */
async function prepareDatabases(mode: PgpoolMode, group: ServerGroup): Promise<PgbenchTarget[]> {
  const database = `bench_${mode}`;
  for (const server of group.servers) {
    await query(server, `CREATE DATABASE ${database}`);
    if (mode === 'native') continue;
    await query(server, `ALTER DATABASE ${database} SET default_transaction_isolation = 'repeatable read'`);
  }
  return group.servers.map((server) => ({ port: server.port, database }));
}

export async function startPgpool(
  stack: AsyncDisposableStack,
  mode: PgpoolMode,
  group: ServerGroup,
  program: string,
  folder: string,
  port: number,
): Promise<Candidate> {
  const servers = await prepareDatabases(mode, group);
  const proxy = new ProxyProcess({
    title: pgpoolTitle(mode),
    program,
    args: (own) => [
      '-n',
      '-f',
      join(own, 'pgpool.conf'),
      '-F',
      join(own, 'pcp.conf'),
      '-a',
      join(own, 'hba.conf'),
    ],
    folder,
    port,
    files: {
      'pgpool.conf': settings(mode, servers, port, folder),
      'pcp.conf': '',
      'hba.conf': 'host all all 127.0.0.1/32 trust\n',
    },
    stopSignals: ['SIGINT', 'SIGQUIT'],
  });
  stack.defer(() => proxy.stop());
  await proxy.start();
  return {
    key: modes[mode].key,
    title: pgpoolTitle(mode),
    targets: [{ port, database: servers[0]?.database ?? '' }],
    servers,
    combine: 'sum',
    workloads: workloadKeys,
    get processes() {
      return [proxy.pid];
    },
    recover: async () => {
      await proxy.stop();
      await endSessions(servers);
      await proxy.start();
    },
  };
}
