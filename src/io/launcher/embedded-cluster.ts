/**
 * A whole embedded cluster: servers first, then gateways; stopped the other way round. `mtm-gateway dev` and
 * the integration tests use it. It works on pid files, so it also stops what another process has started.
 */
import { readFileSync, rmSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import type { ClusterFolder } from './cluster-folder.ts';
import {
  gatewayPid,
  isOnline,
  startGatewayProcess,
  stopGatewayProcess,
  waitUntilOnline,
  writeGatewayConfig,
  type ExtraSettings,
} from './gateway-process.ts';
import { embeddedDatabase, requireFreePorts, type NodeLayout } from './node-layout.ts';
import { createDatabases, initServer, postgresPid, startServer, stopServer } from './postgres-server.ts';
import { waitUntil, type RunningProcess } from './process-control.ts';

export type Part = 'gateway' | 'postgres';
export const bothParts: readonly Part[] = ['gateway', 'postgres'];

const restartPauseMs = 500;

/**
 * The gateways hear each other within a heartbeat or two; a node that does not is told of in mtm.status().
 */
const writableLimitMs = 10_000;

export interface LaunchOptions {
  /** Checked before each step. */
  readonly signal?: AbortSignal;
  /** How long a gateway may take to come online, in ms; 120 s when absent. */
  readonly onlineLimitMs?: number;
  /** More settings for gateway.yaml, names as there. */
  readonly settings?: ExtraSettings;
  /** Told of each process that was started. */
  readonly onStart?: (node: NodeLayout, part: Part, running: RunningProcess) => void;
}

/**
 * All must succeed; waits for the others before it throws the first failure, so that nothing starts after a
 * stop.
 */
async function forAll<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  const results = await Promise.allSettled(items.map(work));
  const failed = results.find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

/** Data directories, servers and the database, the same on all nodes. */
export async function startServers(cluster: ClusterFolder, options: LaunchOptions = {}): Promise<void> {
  await requireFreePorts(cluster.nodes, ['postgres']);
  await forAll(cluster.nodes, initServer);
  options.signal?.throwIfAborted();
  await forAll(cluster.nodes, async (node) => {
    const server = await startServer(node);
    options.onStart?.(node, 'postgres', server);
    await createDatabases(node, [embeddedDatabase, ...cluster.moreDatabases]);
  });
  options.signal?.throwIfAborted();
}

/** All gateways; resolves when every node is online and they hear each other. */
export async function startGateways(cluster: ClusterFolder, options: LaunchOptions = {}): Promise<void> {
  await requireFreePorts(cluster.nodes, ['gateway']);
  for (const node of cluster.nodes) writeGatewayConfig(node, cluster, options.settings);
  const failed = new AbortController();
  await forAll(cluster.nodes, async (node) => {
    const gateway = await startGatewayProcess(node);
    options.onStart?.(node, 'gateway', gateway);
    const signals = options.signal === undefined ? [failed.signal] : [failed.signal, options.signal];
    try {
      await waitUntilOnline(node, gateway, options.onlineLimitMs ?? 120_000, AbortSignal.any(signals));
    } catch (error) {
      failed.abort(error);
      throw failed.signal.reason;
    }
  });
  // A node is online as soon as it hears a majority; a write needs all.
  const writable = async (): Promise<boolean> =>
    (await Promise.all(cluster.nodes.map((node) => isOnline(node, true)))).every(Boolean);
  await waitUntil(writable, writableLimitMs);
}

/** Orderly: all gateways, then all servers. Returns what was running. */
export async function stopCluster(nodes: readonly NodeLayout[]): Promise<string[]> {
  const stopped: string[] = [];
  await forAll(nodes, async (node) => {
    if (await stopGatewayProcess(node)) stopped.push(`gateway of node ${node.node}`);
  });
  await forAll(nodes, async (node) => {
    if (await stopServer(node)) stopped.push(`PostgreSQL of node ${node.node}`);
  });
  return stopped;
}

/** At once, for one who does not wait for stopCluster: gateways are killed, servers recover next time. */
export function killCluster(nodes: readonly NodeLayout[]): void {
  const pids = nodes.map((node) => [
    [gatewayPid(node), 'SIGKILL'] as const,
    [postgresPid(node), 'SIGQUIT'] as const,
  ]);
  for (const [pid, signal] of pids.flat()) if (pid !== undefined) process.kill(pid, signal);
}

/** Starts what does not run on one node; resolves with that once the node is online. */
export async function startNode(
  node: NodeLayout,
  parts: readonly Part[],
  onlineLimitMs = 60_000,
): Promise<readonly Part[]> {
  const started: Part[] = [];
  if (parts.includes('postgres') && postgresPid(node) === undefined) {
    await requireFreePorts([node], ['postgres']);
    await startServer(node);
    started.push('postgres');
  }
  if (parts.includes('gateway') && gatewayPid(node) === undefined) {
    await requireFreePorts([node], ['gateway']);
    await waitUntilOnline(node, await startGatewayProcess(node), onlineLimitMs);
    started.push('gateway');
  }
  return started;
}

/** Stops one node, or a part of it. */
export async function stopNode(node: NodeLayout, parts: readonly Part[]): Promise<string[]> {
  const stopped: string[] = [];
  if (parts.includes('gateway') && (await stopGatewayProcess(node))) stopped.push('gateway');
  if (parts.includes('postgres') && (await stopServer(node))) stopped.push('postgres');
  return stopped;
}

export interface NodeState {
  readonly node: number;
  readonly online: boolean;
  readonly gateway: { readonly running: boolean; readonly pid: number | null; readonly port: number };
  readonly postgres: {
    readonly running: boolean;
    readonly pid: number | null;
    readonly port: number;
    readonly version: number;
  };
  readonly httpPort: number;
  readonly peerPort: number;
}

export async function nodeState(node: NodeLayout): Promise<NodeState> {
  const gateway = gatewayPid(node) ?? null;
  const postgres = postgresPid(node) ?? null;
  return {
    node: node.node,
    online: gateway !== null && (await isOnline(node)),
    gateway: { running: gateway !== null, pid: gateway, port: node.gatewayPort },
    postgres: { running: postgres !== null, pid: postgres, port: node.postgresPort, version: node.major },
    httpPort: node.httpPort,
    peerPort: node.peerPort,
  };
}

/** True when the process ended by itself; whoever stops one on purpose removes its pid file first. */
function endedByItself(pidFile: string, pid: number): boolean {
  try {
    return Number.parseInt(readFileSync(pidFile, 'utf8'), 10) === pid;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

export interface Watch {
  /** Start again what dies. */
  readonly restart: boolean;
  readonly report: (line: string) => void;
  readonly signal: AbortSignal;
}

/**
 * Reports a process that ends by itself, and starts it again when told to. Returns when nothing is left to
 * watch.
 */
export async function watchProcess(
  node: NodeLayout,
  part: Part,
  first: RunningProcess,
  watch: Watch,
): Promise<void> {
  const pidFile = part === 'gateway' ? node.gatewayPidFile : node.postgresPidFile;
  let running = first;
  for (;;) {
    const reason = await running.ended;
    if (watch.signal.aborted || !endedByItself(pidFile, running.pid)) return;
    rmSync(pidFile, { force: true });
    watch.report(`${running.title} ended with ${reason}; see ${running.logFile}`);
    if (!watch.restart) return;
    await pause(restartPauseMs);
    if (watch.signal.aborted) return;
    running = part === 'gateway' ? await startGatewayProcess(node) : await startServer(node);
    watch.report(`${running.title} started again`);
  }
}
