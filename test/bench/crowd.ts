/**
 * Many clients at one gateway: `node test/bench/crowd.ts [sessions]`. What an idle session costs it, with 4,000 of them
 * (each has a server process behind it), and what those who were there feel of 1,000 that connect at once.
 * Everything is on loopback, in a temporary folder, and ended at the end.
 */
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { serialize } from 'pg-protocol';
import { openClusterFolder } from '../../src/io/launcher/cluster-folder.ts';
import { startGateways, startServers, stopCluster } from '../../src/io/launcher/embedded-cluster.ts';
import { gatewayPid } from '../../src/io/launcher/gateway-process.ts';
import { embeddedDatabase, type NodeLayout } from '../../src/io/launcher/node-layout.ts';
import { residentMegabytes } from './process-figures.ts';
import { query } from './server-group.ts';

const sessions = Number(process.argv[2] ?? 4000);
const port = Number(process.env['MTM_BENCH_PORT'] ?? 24_601);
const atOnce = 1000;
const establishedClients = 8;
const watchMs = 5000;
/** A session that is let in says so: ReadyForQuery, outside of a transaction. */
const ready = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);

const say = (line: string): boolean => process.stdout.write(`${line}\n`);

/** Resolves with whether it was let in. */
async function login(target: number): Promise<{ socket: Socket; served: boolean }> {
  const socket = connect({ host: '127.0.0.1', port: target, noDelay: true });
  socket.on('error', () => undefined);
  socket.write(serialize.startup({ user: 'postgres', database: embeddedDatabase }));
  const served = await new Promise<boolean>((resolve) => {
    let tail = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      tail = Buffer.concat([tail, chunk]).subarray(-ready.length);
      if (tail.equals(ready)) resolve(true);
    });
    socket.on('close', () => resolve(false));
  });
  socket.removeAllListeners('data');
  return { socket, served };
}

/** So many one after the other, a few at a time. */
async function crowd(target: number, count: number): Promise<Socket[]> {
  const sockets: Socket[] = [];
  while (sockets.length < count) {
    const some = Math.min(20, count - sockets.length);
    const all = await Promise.all(Array.from({ length: some }, () => login(target)));
    if (all.some(({ served }) => !served)) throw new Error(`only ${sockets.length} sessions were let in`);
    sockets.push(...all.map(({ socket }) => socket));
  }
  return sockets;
}

class Established {
  readonly #worker: Worker;

  constructor(target: number) {
    const workerData = { port: target, database: embeddedDatabase, clients: establishedClients };
    this.#worker = new Worker(new URL('established.ts', import.meta.url), { workerData });
  }

  async begin(): Promise<void> {
    await once(this.#worker, 'message');
  }

  /** Of the answers since it was asked last: how many, the 99th of 100, the longest. */
  async look(): Promise<{ count: number; p99: number; longest: number }> {
    this.#worker.postMessage('look');
    const [times] = (await once(this.#worker, 'message')) as [number[]];
    const sorted = times.toSorted((one, other) => one - other);
    return {
      count: sorted.length,
      p99: sorted[Math.floor(sorted.length * 0.99)] ?? 0,
      longest: sorted.at(-1) ?? 0,
    };
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }
}

async function idleSessions(node: NodeLayout, pid: number): Promise<void> {
  await pause(3000);
  const before = residentMegabytes(pid) ?? 0;
  const sockets = await crowd(node.gatewayPort, sessions);
  await pause(3000);
  const after = residentMegabytes(pid) ?? 0;
  const each = ((after - before) * 1000) / sessions;
  say(
    `${sessions} idle sessions: the gateway has ${after.toFixed(0)} MB (without them ${before.toFixed(0)}),`,
  );
  say(`  ${each.toFixed(1)} kB for each of them; limit: 250 MB for 4,000`);
  for (const socket of sockets) socket.destroy();
  await pause(5000);
  say(`  when they are gone: ${(residentMegabytes(pid) ?? 0).toFixed(0)} MB`);
}

async function storm(node: NodeLayout, pid: number): Promise<void> {
  const established = new Established(node.gatewayPort);
  await established.begin();
  await established.look();
  await pause(watchMs);
  const before = await established.look();
  const memory = residentMegabytes(pid) ?? 0;
  const begun = performance.now();
  const all = await Promise.all(Array.from({ length: atOnce }, () => login(node.gatewayPort)));
  const ms = performance.now() - begun;
  await pause(Math.max(0, watchMs - ms));
  const during = await established.look();
  const served = all.filter((one) => one.served).length;
  for (const { socket } of all) socket.destroy();
  await established.end();
  say(
    `${atOnce} clients at once, answered in ${(ms / 1000).toFixed(1)} s: ${served} let in, the others 53300;`,
  );
  say(`  memory +${((residentMegabytes(pid) ?? 0) - memory).toFixed(0)} MB`);
  const line = (what: string, { count, p99, longest }: typeof before): string =>
    `  ${establishedClients} established clients, ${watchMs / 1000} s ${what}: ${count} answers, ` +
    `p99 ${p99.toFixed(2)} ms, longest ${longest.toFixed(0)} ms`;
  say(line('before', before));
  say(line('from its beginning', during));
  say(`  p99: ${(during.p99 / before.p99).toFixed(2)} × (limit: 3)`);
}

const folder = mkdtempSync(join(tmpdir(), 'mtm-crowd-'));
chmodSync(folder, 0o755); // as root the servers run as another user
const cluster = openClusterFolder({ folder: join(folder, 'data'), nodes: 1, pg: [18], port });
const end = async (): Promise<void> => {
  await stopCluster(cluster.nodes);
  rmSync(folder, { recursive: true, force: true });
};
for (const name of ['SIGINT', 'SIGTERM'] as const)
  process.once(name, () => void end().then(() => process.exit(1)));
try {
  await startServers(cluster);
  const node = cluster.nodes[0]!;
  const server = { port: node.postgresPort, database: embeddedDatabase };
  await query(server, `ALTER SYSTEM SET max_connections = ${sessions + 300}`);
  await query(server, `ALTER SYSTEM SET shared_buffers = '32MB'`);
  await stopCluster(cluster.nodes);
  await startServers(cluster);
  await startGateways(cluster, { settings: { max_connections: 250 }, onlineLimitMs: 60_000 });
  await storm(node, gatewayPid(node) ?? 0);
  await stopCluster(cluster.nodes);
  await startServers(cluster);
  await startGateways(cluster, { settings: { max_connections: sessions + 50 }, onlineLimitMs: 60_000 });
  await idleSessions(node, gatewayPid(node) ?? 0);
} finally {
  await end();
}
