/** PgBouncer with session pooling in front of the direct server: what merely forwarding costs in C. */
import { spawnSync } from 'node:child_process';
import type { Candidate } from './candidate.ts';
import { workloadKeys } from './options.ts';
import { findProgram, ProxyProcess } from './proxy-process.ts';
import { endSessions, type ServerGroup } from './server-group.ts';

export function findPgbouncer(): { program: string; version: string } | undefined {
  const program = findProgram('pgbouncer');
  if (program === undefined) return undefined;
  const [version] = spawnSync(program, ['--version'], { encoding: 'utf8' }).stdout.split('\n');
  return { program, version: version ?? 'PgBouncer' };
}

/** Beside its server like a gateway, so it reaches it as a gateway does: through the Unix socket, where there is one. */
function settings(host: string, serverPort: number, database: string, port: number, folder: string): string {
  return `[databases]
${database} = host=${host} port=${serverPort} dbname=${database}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = trust
auth_file = ${folder}/users.txt
pool_mode = session
default_pool_size = 150
max_client_conn = 300
ignore_startup_parameters = extra_float_digits
log_connections = 0
log_disconnections = 0
stats_period = 3600
`;
}

export async function startPgbouncer(
  stack: AsyncDisposableStack,
  group: ServerGroup,
  program: string,
  folder: string,
  port: number,
): Promise<Candidate> {
  const [server] = group.servers;
  const host = group.cluster.nodes[0]?.socketFolder ?? '127.0.0.1';
  if (server === undefined) throw new Error('the group has no server');
  const proxy = new ProxyProcess({
    title: 'PgBouncer',
    program,
    args: (own) => [`${own}/pgbouncer.ini`],
    folder,
    port,
    files: {
      'pgbouncer.ini': settings(host, server.port, server.database, port, folder),
      'users.txt': '"postgres" ""\n',
    },
    stopSignals: ['SIGTERM'],
  });
  stack.defer(() => proxy.stop());
  await proxy.start();
  return {
    key: 'pgbouncer',
    title: 'PgBouncer',
    targets: [{ port, database: server.database }],
    servers: group.servers,
    combine: 'sum',
    workloads: workloadKeys,
    get processes() {
      return [proxy.pid];
    },
    recover: async () => {
      await proxy.stop();
      await endSessions(group.servers);
      await proxy.start();
    },
  };
}
