/**
 * Many idle sessions at one gateway, each with a server process behind it: what they cost it, and what eight clients that read
 * meanwhile feel of them.
 */
import { once } from 'node:events';
import { join } from 'node:path';
import { connect, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { serialize } from 'pg-protocol';
import { openClusterFolder } from '../../src/io/launcher/cluster-folder.ts';
import { startGateways, startServers, stopCluster } from '../../src/io/launcher/embedded-cluster.ts';
import { gatewayPid } from '../../src/io/launcher/gateway-process.ts';
import { embeddedDatabase, type NodeLayout } from '../../src/io/launcher/node-layout.ts';
import type { PostgresMajor } from '../../src/io/launcher/server-binaries.ts';
import { percentile } from './percentile.ts';
import { residentMegabytes } from './process-figures.ts';
import { query } from './server-group.ts';

export const establishedClients = 8;
export const watchMs = 5000;
const restMs = 3000;
/** A session that is let in says so: ReadyForQuery, outside of a transaction. */
const ready = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);

/** Resolves with whether it was let in. */
export async function login(target: number): Promise<{ socket: Socket; served: boolean }> {
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

/** Of the answers of some seconds, in ms. */
export interface Answers {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly longest: number;
}

/** Clients that read all the time, in a thread of their own. */
export class Established {
  readonly #worker: Worker;

  constructor(target: number) {
    const workerData = { port: target, database: embeddedDatabase, clients: establishedClients };
    this.#worker = new Worker(new URL('established.ts', import.meta.url), { workerData });
  }

  async begin(): Promise<void> {
    await once(this.#worker, 'message');
    await this.look();
  }

  /** Of the answers since it was asked last. */
  async look(): Promise<Answers> {
    this.#worker.postMessage('look');
    const [times] = (await once(this.#worker, 'message')) as [number[]];
    const sorted = times.toSorted((one, other) => one - other);
    return {
      count: sorted.length,
      p50: percentile(sorted, 0.5) ?? 0,
      p99: percentile(sorted, 0.99) ?? sorted.at(-1) ?? 0,
      longest: sorted.at(-1) ?? 0,
    };
  }

  async watch(): Promise<Answers> {
    await this.look();
    await pause(watchMs);
    return this.look();
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }
}

export interface IdleSessions {
  readonly sessions: number;
  /** Of the gateway, 10⁶ bytes; 0 without /proc. */
  readonly megabytes: { readonly before: number; readonly during: number; readonly after: number };
  /** Of the clients that read: alone, beside the idle ones, and when those are gone. */
  readonly answers: { readonly before: Answers; readonly during: Answers; readonly after: Answers };
}

export type IdleSessionsOutcome = IdleSessions | { readonly failure: string };

/** At a gateway that lets in so many. */
export async function measureIdleSessions(node: NodeLayout, sessions: number): Promise<IdleSessions> {
  const memory = (): number => residentMegabytes(gatewayPid(node) ?? 0) ?? 0;
  const established = new Established(node.gatewayPort);
  try {
    await established.begin();
    await pause(restMs);
    const before = { memory: memory(), answers: await established.watch() };
    const sockets = await crowd(node.gatewayPort, sessions);
    await pause(restMs);
    const during = { memory: memory(), answers: await established.watch() };
    for (const socket of sockets) socket.destroy();
    await pause(2 * restMs);
    const after = { memory: memory(), answers: await established.watch() };
    return {
      sessions,
      megabytes: { before: before.memory, during: during.memory, after: after.memory },
      answers: { before: before.answers, during: during.answers, after: after.answers },
    };
  } finally {
    await established.end();
  }
}

/** One node whose server and gateway let in so many clients; stopped when `stack` is disposed. */
export async function startSpaciousNode(
  stack: AsyncDisposableStack,
  folder: string,
  major: PostgresMajor,
  port: number,
  serverSessions: number,
  gatewaySessions: number,
): Promise<NodeLayout> {
  const cluster = openClusterFolder({ folder: join(folder, 'data'), nodes: 1, pg: [major], port });
  stack.defer(async () => void (await stopCluster(cluster.nodes)));
  await startServers(cluster);
  const [node] = cluster.nodes;
  if (node === undefined) throw new Error('the cluster has no node');
  const server = { port: node.postgresPort, database: embeddedDatabase };
  await query(server, `ALTER SYSTEM SET max_connections = ${serverSessions}`);
  await query(server, `ALTER SYSTEM SET shared_buffers = '32MB'`);
  await stopCluster(cluster.nodes);
  await startServers(cluster);
  await startGateways(cluster, { settings: { max_connections: gatewaySessions }, onlineLimitMs: 60_000 });
  return node;
}
