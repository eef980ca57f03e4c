/**
 * One gateway of an embedded cluster as a process of its own: its gateway.yaml, its start, its stop, its
 * readiness.
 */
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { GatewayError } from '../../lib/gateway-error.ts';
import type { ClusterFolder } from './cluster-folder.ts';
import { connectionString, embeddedDatabase, embeddedHost, type NodeLayout } from './node-layout.ts';
import {
  endedEarly,
  livingPid,
  spawnLogged,
  stopByPidFile,
  waitUntil,
  type RunningProcess,
} from './process-control.ts';

const stopLimitMs = 20_000;
const probeLimitMs = 1000;
/**
 * Of what a gateway allocates next to nothing lives long: a large new space is only memory (146 against 103
 * MB idle).
 */
const smallNewSpace = '--max-semi-space-size=2';
const compileCache = process.env['NODE_COMPILE_CACHE'] ?? join(tmpdir(), 'mtm-gateway-compile-cache');

/** Settings for tests and for people who try things; names as in gateway.yaml. */
export type ExtraSettings = Readonly<Record<string, unknown>>;

/** Of all databases together: the embedded servers have room for so many. */
const usualWorkers = 100;

/** Writes the node's gateway.yaml. The secret stays in its own file, which only we can read. */
export function writeGatewayConfig(
  node: NodeLayout,
  cluster: Pick<ClusterFolder, 'nodes' | 'secretFile' | 'moreDatabases'>,
  extra: ExtraSettings = {},
): void {
  const { moreDatabases } = cluster;
  const address = (port: number) => ({ host: embeddedHost, port });
  const socket = node.socketFolder === undefined ? {} : { host: node.socketFolder };
  const config = {
    node_id: node.node,
    cluster_name: 'embedded',
    cluster_secret_file: cluster.secretFile,
    listen: address(node.gatewayPort),
    peer_listen: address(node.peerPort),
    http: address(node.httpPort),
    postgres: {
      ...address(node.postgresPort),
      ...socket,
      user: 'postgres',
      database: embeddedDatabase,
      ...(moreDatabases.length === 0 ? {} : { more_databases: moreDatabases }),
    },
    ...(moreDatabases.length === 0
      ? {}
      : { max_workers: Math.floor(usualWorkers / (1 + moreDatabases.length)) }),
    peers: cluster.nodes
      .filter((other) => other.node !== node.node)
      .map((other) => ({ id: other.node, ...address(other.peerPort), conninfo: connectionString(other) })),
    ...extra,
  };
  writeFileSync(node.configFile, `# Written anew at each start of mtm-gateway dev.\n${stringify(config)}`);
}

/** What the launcher itself decides for each node must not come from variables meant for another gateway. */
const decidedHere =
  /^MTM_(CONFIG|NODE_ID|CLUSTER_\w+|LISTEN_\w+|PEER_LISTEN_\w+|HTTP_\w+|POSTGRES_\w+|PEERS)$/;

function withoutDecided(environment: NodeJS.ProcessEnv): Record<string, undefined> {
  return Object.fromEntries(
    Object.keys(environment)
      .filter((name) => decidedHere.test(name))
      .map((name) => [name, undefined]),
  );
}

/** src/main.ts in development, dist/main.js in the image and in the npm package. */
function mainProgram(): string {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  return fileURLToPath(new URL(`../../main.${extension}`, import.meta.url));
}

export function gatewayPid(node: NodeLayout): number | undefined {
  return livingPid(node.gatewayPidFile, node.configFile);
}

/** Starts the gateway; it is not online yet (waitUntilOnline). */
export async function startGatewayProcess(
  node: NodeLayout,
  environment: Readonly<Record<string, string | undefined>> = {},
): Promise<RunningProcess> {
  const running = gatewayPid(node);
  if (running !== undefined) {
    throw new GatewayError(
      'launcher-failed',
      `the gateway of node ${node.node} already runs (pid ${running})`,
    );
  }
  if (!existsSync(node.configFile)) {
    throw new GatewayError('launcher-failed', `${node.configFile} does not exist`);
  }
  return spawnLogged({
    title: `gateway of node ${node.node}`,
    command: process.execPath,
    args: [smallNewSpace, mainProgram(), 'serve', '--config', node.configFile],
    logFile: node.gatewayLog,
    pidFile: node.gatewayPidFile,
    account: undefined,
    // Compiled code, and TypeScript without its types, is kept: a start takes less time and the process a
    // quarter less memory.
    environment: { NODE_COMPILE_CACHE: compileCache, ...withoutDecided(process.env), ...environment },
  });
}

/** Orderly stop; killed when it does not stop. False: it did not run. */
export async function stopGatewayProcess(node: NodeLayout): Promise<boolean> {
  return stopByPidFile({
    title: `gateway of node ${node.node}`,
    pidFile: node.gatewayPidFile,
    mark: node.configFile,
    signals: ['SIGTERM', 'SIGKILL'],
    limitMs: stopLimitMs,
  });
}

/** What `GET /ready` says. */
export interface GatewayReport {
  readonly ready: boolean;
  readonly writable: boolean;
  readonly status: string;
  readonly reason: string;
}

/** Undefined: nobody answers. */
export async function gatewayReport(node: NodeLayout): Promise<GatewayReport | undefined> {
  try {
    const answer = await fetch(`http://${embeddedHost}:${node.httpPort}/ready`, {
      signal: AbortSignal.timeout(probeLimitMs),
    });
    return (await answer.json()) as GatewayReport;
  } catch {
    return undefined; // Not listening, or too slow: not online is the answer to the question, not a failure.
  }
}

/** The node takes part in the cluster; with `writable`, also that every member can be reached. */
export async function isOnline(node: NodeLayout, writable = false): Promise<boolean> {
  const report = await gatewayReport(node);
  return report?.ready === true && (!writable || report.writable);
}

/** Waits for the gateway; throws launcher-failed with the end of its log when it ends or takes too long. */
export async function waitUntilOnline(
  node: NodeLayout,
  gateway: RunningProcess,
  limitMs: number,
  signal?: AbortSignal,
): Promise<void> {
  let end: string | undefined;
  void gateway.ended.then((reason) => (end = reason));
  const settled = async () => signal?.aborted === true || end !== undefined || (await isOnline(node));
  const online = await waitUntil(settled, limitMs);
  if (end === undefined) signal?.throwIfAborted();
  if (online && end === undefined) return;
  if (end !== undefined) rmSync(node.gatewayPidFile, { force: true });
  throw endedEarly(gateway, end ?? `is not online after ${limitMs / 1000} s`);
}
