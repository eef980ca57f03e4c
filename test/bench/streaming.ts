/**
 * PostgreSQL's own synchronous streaming replication: a primary that answers when two standbys have applied the commit
 * (`remote_apply`). What a user would take for safety with one writer. Clients connect to the primary.
 */
import { spawnSync } from 'node:child_process';
import { appendFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { serverAccount } from '../../src/io/launcher/account.ts';
import { openClusterFolder } from '../../src/io/launcher/cluster-folder.ts';
import { stopCluster } from '../../src/io/launcher/embedded-cluster.ts';
import { embeddedDatabase, embeddedHost, type NodeLayout } from '../../src/io/launcher/node-layout.ts';
import {
  createDatabases,
  initServer,
  makeNodeFolder,
  serverSettings,
  startServer,
  stopServer,
} from '../../src/io/launcher/postgres-server.ts';
import { endedEarly, spawnLogged, waitUntil } from '../../src/io/launcher/process-control.ts';
import { serverBinaries } from '../../src/io/launcher/server-binaries.ts';
import type { Candidate } from './candidate.ts';
import { workloadKeys, type BenchOptions } from './options.ts';
import { endSessions, query } from './server-group.ts';

export const streamingTitle = 'streaming, remote_apply';
const startLimitMs = 30_000;

const nameOf = ({ node }: NodeLayout): string => `standby${node}`;

/** A standby of `primary`, whose server does not run while its files are copied. */
function copyServer(primary: NodeLayout, standby: NodeLayout): void {
  makeNodeFolder(standby);
  // -a: owner and mode of every file, without which a server does not start.
  const copied = spawnSync('cp', ['-a', primary.dataFolder, standby.dataFolder], { encoding: 'utf8' });
  if (copied.status !== 0) throw new Error(`the primary's files cannot be copied: ${copied.stderr.trim()}`);
  writeFileSync(join(standby.dataFolder, 'standby.signal'), '');
  const settings = {
    ...serverSettings(standby),
    primary_conninfo: `host=${embeddedHost} port=${primary.postgresPort} user=postgres application_name=${nameOf(standby)}`,
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name} = '${value}'\n`);
  appendFileSync(join(standby.dataFolder, 'postgresql.conf'), lines.join(''));
}

async function startStandby(standby: NodeLayout): Promise<void> {
  const server = await spawnLogged({
    title: `standby ${standby.node}`,
    command: join(serverBinaries(standby.major), 'postgres'),
    args: ['-D', standby.dataFolder],
    logFile: standby.postgresLog,
    pidFile: standby.postgresPidFile,
    account: serverAccount(),
  });
  let end: string | undefined;
  void server.ended.then((reason) => (end = reason));
  const target = { port: standby.postgresPort, database: embeddedDatabase };
  const answers = (): Promise<boolean> =>
    query(target, 'SELECT 1').then(
      () => true,
      () => end !== undefined,
    );
  const answered = await waitUntil(answers, startLimitMs);
  if (!answered || end !== undefined) throw endedEarly(server, end ?? 'is not ready');
}

/** Three servers from `port` on, stopped when `stack` is disposed; throws unless both standbys are synchronous. */
export async function startStreaming(
  stack: AsyncDisposableStack,
  options: BenchOptions,
  folder: string,
  port: number,
): Promise<Candidate> {
  const { nodes } = openClusterFolder({ folder, nodes: 3, pg: [options.major], port });
  const [primary, ...standbys] = nodes;
  if (primary === undefined) throw new Error('the group has no server');
  stack.defer(async () => void (await stopCluster(nodes)));
  await initServer(primary);
  await startServer(primary);
  await createDatabases(primary, [embeddedDatabase]);
  await stopServer(primary);
  for (const standby of standbys) copyServer(primary, standby);
  await startServer(primary);
  for (const standby of standbys) await startStandby(standby);
  const target = { port: primary.postgresPort, database: embeddedDatabase };
  await query(target, `ALTER SYSTEM SET synchronous_commit = remote_apply`);
  const names = standbys.map(nameOf).join(', ');
  await query(target, `ALTER SYSTEM SET synchronous_standby_names = 'FIRST ${standbys.length} (${names})'`);
  await query(target, 'SELECT pg_reload_conf()');
  const synchronous = async (): Promise<boolean> => {
    const rows = await query(target, `SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'`);
    return rows.length === standbys.length;
  };
  if (!(await waitUntil(synchronous, startLimitMs))) throw new Error('the standbys are not synchronous');
  return {
    key: 'streaming',
    title: streamingTitle,
    targets: [target],
    // The standbys take neither VACUUM nor CHECKPOINT from us; they follow.
    servers: [target],
    combine: 'sum',
    workloads: workloadKeys,
    processes: [],
    recover: () => endSessions([target]),
  };
}
