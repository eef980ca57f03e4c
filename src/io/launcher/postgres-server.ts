/**
 * One embedded PostgreSQL server: made with initdb, configured by a file, run as a child process of its own.
 * Rule: settings are in postgresql.conf and not on the command line, because a server that was once started
 * without max_prepared_transactions cannot recover its prepared transactions.
 */
import { spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Client, escapeIdentifier } from 'pg';
import { GatewayError } from '../../lib/gateway-error.ts';
import { requireReachable, serverAccount, type ServerAccount } from './account.ts';
import { embeddedHost, type NodeLayout } from './node-layout.ts';
import {
  endedEarly,
  livingPid,
  pidExists,
  spawnLogged,
  stopByPidFile,
  waitUntil,
  waitUntilGone,
  type RunningProcess,
} from './process-control.ts';
import { serverBinaries } from './server-binaries.ts';

const startLimitMs = 60_000;
const stopLimitMs = 60_000;
const obstacleLimitMs = 10_000;

const stateAt = 16;
const inProduction = 6;

/** The settings that replication between nodes needs, and enough connections for a load test. */
export function serverSettings(node: NodeLayout): Record<string, string | number> {
  return {
    listen_addresses: embeddedHost,
    port: node.postgresPort,
    unix_socket_directories: node.socketFolder ?? '',
    max_connections: 400,
    wal_level: 'logical',
    max_prepared_transactions: 300,
    max_wal_senders: 50,
    max_replication_slots: 200,
    ...(node.major >= 18 ? { max_active_replication_origins: 200 } : {}),
    fsync: 'on',
    synchronous_commit: 'on',
    shared_buffers: '128MB',
    max_wal_size: '4GB',
    autovacuum: 'on',
    jit: 'off',
    log_line_prefix: '%m [%p] %a ',
    timezone: 'UTC',
    log_timezone: 'UTC',
  };
}

function settingsFile(node: NodeLayout): string {
  const lines = Object.entries(serverSettings(node)).map(([name, value]) =>
    typeof value === 'number' ? `${name} = ${value}` : `${name} = '${value}'`,
  );
  const header =
    '# Written anew at each start by mtm-gateway dev. For settings of your own use ALTER SYSTEM.';
  return `${header}\n${lines.join('\n')}\n`;
}

async function runInitdb(
  binaries: string,
  folder: string,
  account: ServerAccount | undefined,
): Promise<void> {
  const locale = process.platform === 'linux' ? 'C.UTF-8' : 'C';
  const args = ['-D', folder, '-U', 'postgres', '-A', 'trust', '--encoding=UTF8', `--locale=${locale}`];
  const child = spawn(join(binaries, 'initdb'), args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: '/',
    ...(account === undefined ? {} : { uid: account.uid, gid: account.gid }),
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const code = await new Promise<number | string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (exitCode, signal) => resolve(exitCode ?? signal ?? 'unknown'));
  });
  if (code === 0) return;
  throw new GatewayError('launcher-failed', `initdb failed (${code}):\n${output.trimEnd()}`);
}

/** Makes the node's folder, where its server can reach its data directory. */
export function makeNodeFolder(node: NodeLayout): ServerAccount | undefined {
  const account = serverAccount();
  mkdirSync(node.folder, { recursive: true });
  if (account !== undefined) chmodSync(node.folder, 0o755);
  requireReachable(node.folder, 'the data directory', account);
  requireReachable(serverBinaries(node.major), 'its program', account);
  return account;
}

/** Makes the data directory unless it is there; refuses one of another major version. */
export async function initServer(node: NodeLayout): Promise<void> {
  const account = makeNodeFolder(node);
  const binaries = serverBinaries(node.major);
  const versionFile = join(node.dataFolder, 'PG_VERSION');
  if (existsSync(versionFile)) {
    const found = readFileSync(versionFile, 'utf8').trim();
    if (found === String(node.major)) return;
    throw new GatewayError(
      'launcher-failed',
      `${node.dataFolder} belongs to PostgreSQL ${found}, not ${node.major}`,
      {
        hint: `use --pg ${found}, or another directory with --data`,
      },
    );
  }
  // Made beside its place and renamed, so that an interrupted initdb leaves no half of a data directory.
  const unfinished = join(node.folder, 'data.unfinished');
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { mode: 0o700 });
  if (account !== undefined) chownSync(unfinished, account.uid, account.gid);
  await runInitdb(binaries, unfinished, account);
  renameSync(unfinished, node.dataFolder);
}

/** The pid of a postmaster that still holds the data directory, whoever started it. */
function lockHolder(node: NodeLayout): number | undefined {
  const file = join(node.dataFolder, 'postmaster.pid');
  if (!existsSync(file)) return undefined;
  const pid = Number.parseInt(readFileSync(file, 'utf8'), 10);
  return Number.isInteger(pid) && pidExists(pid) ? pid : undefined;
}

/** The server writes `ready` into the eighth line of its own postmaster.pid (src/include/utils/pidfile.h). */
function saysReady(dataFolder: string, pid: number): boolean {
  const file = join(dataFolder, 'postmaster.pid');
  if (!existsSync(file)) return false;
  const lines = readFileSync(file, 'utf8').split('\n');
  return Number(lines[0]) === pid && lines[7]?.trim() === 'ready';
}

export function postgresPid(node: NodeLayout): number | undefined {
  return livingPid(node.postgresPidFile, node.dataFolder);
}

/**
 * Of a server that was killed: its sessions hold its memory, or its pid is not collected yet. It passes by
 * itself.
 */
const passingObstacles = ['pre-existing shared memory block', 'lock file "postmaster.pid" already exists'];

/**
 * Starts the server and waits until it accepts connections. Throws launcher-failed with the end of its log.
 */
export async function startServer(node: NodeLayout, limitMs = startLimitMs): Promise<RunningProcess> {
  const holder = lockHolder(node);
  if (holder !== undefined && postgresPid(node) === holder) {
    throw new GatewayError(
      'launcher-failed',
      `the PostgreSQL of node ${node.node} already runs (pid ${holder})`,
    );
  }
  if (holder !== undefined) await waitUntilGone(holder, obstacleLimitMs);
  const account = serverAccount();
  const configFile = join(node.dataFolder, 'postgresql.conf');
  writeFileSync(configFile, settingsFile(node));
  if (account !== undefined) chownSync(configFile, account.uid, account.gid);
  const deadline = performance.now() + obstacleLimitMs;
  for (;;) {
    const attempt = await launch(node, account, limitMs);
    if (attempt.failure === undefined) return attempt.server;
    const passing = passingObstacles.some((text) => attempt.failure?.message.includes(text));
    if (!passing || performance.now() > deadline) throw attempt.failure;
    await pause(100);
  }
}

/**
 * Recovery is over, also that from a backup: while a server replays, it may say ready to those who only read.
 * The state in pg_control (src/include/catalog/pg_control.h), behind the system's identifier and two
 * versions.
 */
function isInProduction(dataFolder: string): boolean {
  const bytes = readFileSync(join(dataFolder, 'global/pg_control'));
  return bytes.readInt32LE(stateAt) === inProduction;
}

export interface ServerOrder {
  readonly title: string;
  /** The folder with its program. */
  readonly binaries: string;
  readonly dataFolder: string;
  readonly args?: readonly string[];
  readonly logFile: string;
  readonly pidFile: string;
  readonly account: ServerAccount | undefined;
  readonly limitMs: number;
}

/**
 * Starts a server; resolves when it takes connections that write, or has failed. One that recovers from a
 * backup has then been promoted.
 */
export async function launchServer(order: ServerOrder) {
  const { title, dataFolder, pidFile, limitMs } = order;
  const server = await spawnLogged({
    title,
    command: join(order.binaries, 'postgres'),
    args: ['-D', dataFolder, ...(order.args ?? [])],
    logFile: order.logFile,
    pidFile,
    account: order.account,
  });
  let end: string | undefined;
  void server.ended.then((reason) => (end = reason));
  const isUp = (): boolean => saysReady(dataFolder, server.pid) && isInProduction(dataFolder);
  const ready = await waitUntil(() => end !== undefined || isUp(), limitMs);
  if (ready && end === undefined) return { server, failure: undefined };
  if (end !== undefined) rmSync(pidFile, { force: true });
  return { server, failure: endedEarly(server, end ?? `is not ready after ${limitMs / 1000} s`) };
}

function launch(node: NodeLayout, account: ServerAccount | undefined, limitMs: number) {
  return launchServer({
    title: `PostgreSQL of node ${node.node}`,
    binaries: serverBinaries(node.major),
    dataFolder: node.dataFolder,
    logFile: node.postgresLog,
    pidFile: node.postgresPidFile,
    account,
    limitMs,
  });
}

/** Fast shutdown: sessions are ended, everything is written. False: it did not run. */
export async function stopServer(node: NodeLayout): Promise<boolean> {
  return stopByPidFile({
    title: `PostgreSQL of node ${node.node}`,
    pidFile: node.postgresPidFile,
    mark: node.dataFolder,
    signals: ['SIGINT', 'SIGQUIT'],
    limitMs: stopLimitMs,
  });
}

/** Creates these databases on the server unless they are there. */
export async function createDatabases(node: NodeLayout, names: readonly string[]): Promise<void> {
  const client = new Client({
    ssl: false,
    host: embeddedHost,
    port: node.postgresPort,
    user: 'postgres',
    database: 'postgres',
  });
  await client.connect();
  try {
    for (const name of names) {
      const found = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [name]);
      if (found.rowCount === 0)
        await client.query(`CREATE DATABASE ${escapeIdentifier(name)} TEMPLATE template0`);
    }
  } finally {
    await client.end();
  }
}
