/**
 * Where the faults happen: a cluster whose processes can be killed, stopped and started one by one, on loopback or with each
 * node on a host of its own. Rule: starting a process does not wait for the node to come online, because it may not be able to.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Client, type ClientConfig } from 'pg';
import { serverAccount } from '../../../src/io/launcher/account.ts';
import { startServers, stopCluster } from '../../../src/io/launcher/embedded-cluster.ts';
import {
  gatewayPid,
  startGatewayProcess,
  writeGatewayConfig,
  type ExtraSettings,
} from '../../../src/io/launcher/gateway-process.ts';
import { embeddedDatabase, embeddedHost, type NodeLayout } from '../../../src/io/launcher/node-layout.ts';
import { postgresPid, startServer } from '../../../src/io/launcher/postgres-server.ts';
import { lastLines, spawnLogged } from '../../../src/io/launcher/process-control.ts';
import { serverBinaries } from '../../../src/io/launcher/server-binaries.ts';
import { expectAgreement } from '../../support/agreement.ts';
import { makeCluster, startCluster, type Cluster, type ClusterWishes } from '../../support/cluster.ts';
import { NetworkLab } from '../../support/network-lab.ts';
import { resumeProcesses } from './process-faults.ts';

export type Part = 'gateway' | 'postgres';

export interface Site {
  readonly nodes: readonly NodeLayout[];
  /** 1, 2, 3 … */
  readonly numbers: readonly number[];
  /** Only when each node has a host of its own. */
  readonly network: NetworkLab | undefined;
  node(number: number): NodeLayout;
  address(number: number, part: Part): { readonly host: string; readonly port: number };
  /** Nodes were added or dropped: these are there now. */
  refresh(): void;
  /** Resolves when the process runs. */
  startGateway(number: number): Promise<void>;
  /** Resolves when the server accepts connections. */
  startServer(number: number): Promise<void>;
  stop(): Promise<void>;
}

/** A session; the caller ends it. Through the gateway or, for looking only, straight to the server. */
export async function connect(
  site: Site,
  number: number,
  part: Part,
  more: ClientConfig = {},
): Promise<Client> {
  const client = new Client({
    ssl: false,
    ...site.address(number, part),
    user: 'postgres',
    database: embeddedDatabase,
    connectionTimeoutMillis: 5000,
    ...more,
  });
  client.on('error', () => undefined); // A broken connection fails the next query; that is where the caller looks.
  await client.connect();
  return client;
}

/** Breaks the connection without a word to the other side, which may not answer. */
export function hangUp(client: Client): void {
  (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
}

/** One statement in a session of its own. */
export async function ask<Row extends object>(
  site: Site,
  number: number,
  part: Part,
  text: string,
  values: unknown[] = [],
  limitMs = 10_000,
): Promise<Row[]> {
  const client = await connect(site, number, part, { query_timeout: limitMs });
  try {
    return (await client.query<Row & Record<string, unknown>>(text, values)).rows;
  } finally {
    hangUp(client);
  }
}

const wholeQuery = `SELECT status, gen_members_online AS members, reason FROM mtm.status()`;

interface SeenStatus {
  readonly status: string;
  readonly members: readonly number[];
  readonly reason: string;
}

/** A gateway that nobody has stopped and that does not run has died of a bug. */
export function requireRunning(site: Site): void {
  for (const node of site.nodes) {
    if (gatewayPid(node) !== undefined) continue;
    throw new Error(
      `the gateway of node ${node.node} has ended by itself:\n${lastLines(node.gatewayLog, 30)}`,
    );
  }
}

/** Resolves when every node is online and says that all others are; the time it took, ms. */
export async function wholeAgain(site: Site, limitMs = 90_000): Promise<number> {
  const begin = performance.now();
  const trouble = new Map<number, string>();
  const probe = async (number: number): Promise<boolean> => {
    try {
      // An ordinary read: it is answered only by a node that is online.
      const [row] = await ask<SeenStatus>(site, number, 'gateway', wholeQuery, [], 3000);
      trouble.set(number, JSON.stringify(row));
      return row?.status === 'online' && row.members.length === site.nodes.length;
    } catch (error) {
      trouble.set(number, (error as Error).message);
      return false;
    }
  };
  for (;;) {
    requireRunning(site);
    const online = await Promise.all(site.numbers.map(probe));
    if (online.every(Boolean)) return performance.now() - begin;
    if (performance.now() - begin > limitMs) {
      const said = [...trouble].map(([number, text]) => `node ${number}: ${text}`).join('\n');
      throw new Error(`after ${limitMs} ms not every node is online with all others:\n${said}`);
    }
    await pause(100);
  }
}

// ---- on loopback

class LoopbackSite implements Site {
  readonly network = undefined;
  readonly #cluster: Cluster;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  get nodes(): readonly NodeLayout[] {
    return this.#cluster.nodes;
  }

  refresh(): void {
    this.#cluster.refresh();
  }

  get numbers(): readonly number[] {
    return this.#cluster.numbers;
  }

  node(number: number): NodeLayout {
    return this.#cluster.node(number);
  }

  address(number: number, part: Part): { host: string; port: number } {
    const { gatewayPort, postgresPort } = this.node(number);
    return { host: embeddedHost, port: part === 'gateway' ? gatewayPort : postgresPort };
  }

  async startGateway(number: number): Promise<void> {
    await startGatewayProcess(this.node(number));
  }

  async startServer(number: number): Promise<void> {
    await startServer(this.node(number));
  }

  async stop(): Promise<void> {
    resumeProcesses(this.nodes);
    await this.#cluster.stop();
  }
}

/** A cluster on loopback, whoever starts it. */
export function siteOf(cluster: Cluster): Site {
  return new LoopbackSite(cluster);
}

/** All nodes online. */
export async function loopbackSite(wishes: ClusterWishes = {}): Promise<Site> {
  return siteOf(await startCluster(wishes));
}

// ---- on hosts of their own

const relayProgram = fileURLToPath(new URL('unix-relay.ts', import.meta.url));

/**
 * The server and the gateway of node k run on host k; the server listens on that host's loopback. Tests reach both through
 * Unix sockets that a relay on the host serves, so a client is always on the host of its node, also when that is cut off.
 */
class LabSite implements Site {
  readonly network: NetworkLab;
  readonly #cluster: Cluster;
  readonly #sockets: string;
  readonly #relays: ChildProcess[] = [];
  #started = false;

  constructor(cluster: Cluster, network: NetworkLab) {
    this.#cluster = cluster;
    this.network = network;
    this.#sockets = cluster.folder.folder;
  }

  get nodes(): readonly NodeLayout[] {
    return this.#cluster.nodes;
  }

  refresh(): void {
    this.#cluster.refresh();
  }

  get numbers(): readonly number[] {
    return this.#cluster.numbers;
  }

  node(number: number): NodeLayout {
    return this.#cluster.node(number);
  }

  /** pg takes a folder for the place of a socket .s.PGSQL.PORT. */
  address(number: number, part: Part): { host: string; port: number } {
    const { gatewayPort, postgresPort } = this.node(number);
    return { host: this.#sockets, port: part === 'gateway' ? gatewayPort : postgresPort };
  }

  async startGateway(number: number): Promise<void> {
    const node = this.node(number);
    const main = fileURLToPath(new URL('../../../src/main.ts', import.meta.url));
    await spawnLogged({
      title: `gateway of node ${number}`,
      ...this.network.wrapped(number, process.execPath, [main, 'serve', '--config', node.configFile]),
      logFile: node.gatewayLog,
      pidFile: node.gatewayPidFile,
      account: undefined,
      environment: {},
    });
  }

  async startServer(number: number): Promise<void> {
    const node = this.node(number);
    const deadline = performance.now() + 60_000;
    // Of a server that was killed the shared memory and the pid may live a little longer than it.
    for (;;) {
      const server = await this.#spawnServer(node);
      let end: string | undefined;
      void server.ended.then((reason) => (end = reason));
      while (end === undefined && !saysReady(node) && performance.now() < deadline) await pause(50);
      if (end === undefined && saysReady(node)) return;
      rmSync(node.postgresPidFile, { force: true });
      if (performance.now() > deadline) {
        throw new Error(`server ${number}: ${end ?? 'not ready'}\n${lastLines(node.postgresLog, 12)}`);
      }
      await pause(100);
    }
  }

  #spawnServer(node: NodeLayout) {
    const program = join(serverBinaries(node.major), 'postgres');
    const account = serverAccount();
    const asAccount =
      account === undefined ? [] : [`--reuid=${account.uid}`, `--regid=${account.gid}`, '--clear-groups'];
    return spawnLogged({
      title: `PostgreSQL of node ${node.node}`,
      ...this.network.wrapped(node.node, 'setpriv', [...asAccount, program, '-D', node.dataFolder]),
      logFile: node.postgresLog,
      pidFile: node.postgresPidFile,
      account: undefined,
    });
  }

  /** Makes data and configuration, then starts everything where it belongs. */
  async start(settings: ExtraSettings): Promise<void> {
    // Made on loopback, where the launcher can reach it.
    await startServers(this.#cluster.folder);
    await stopCluster(this.nodes);
    for (const node of this.nodes) {
      const place = (port: number) => ({ host: '0.0.0.0', port });
      writeGatewayConfig(
        node,
        { ...this.#cluster.folder, nodes: this.nodes },
        {
          ...settings,
          listen: place(node.gatewayPort),
          peer_listen: place(node.peerPort),
          http: place(node.httpPort),
          peers: this.nodes
            .filter((other) => other !== node)
            .map((other) => ({
              id: other.node,
              host: this.network.address(other.node),
              port: other.peerPort,
              conninfo: `postgresql://postgres@${this.network.address(other.node)}:${other.gatewayPort}/${embeddedDatabase}`,
            })),
        },
      );
    }
    await Promise.all(this.numbers.map((number) => this.#startRelay(number)));
    await Promise.all(this.numbers.map((number) => this.startServer(number)));
    await Promise.all(this.numbers.map((number) => this.startGateway(number)));
    await wholeAgain(this, 60_000);
    this.#started = true;
  }

  async #startRelay(number: number): Promise<void> {
    const { gatewayPort, postgresPort } = this.node(number);
    const { command, args } = this.network.wrapped(number, process.execPath, [
      relayProgram,
      this.#sockets,
      String(gatewayPort),
      String(postgresPort),
    ]);
    const relay = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#relays.push(relay);
    await once(relay.stdout, 'data'); // It says when it listens.
  }

  async stop(): Promise<void> {
    resumeProcesses(this.nodes);
    this.network.heal();
    try {
      if (this.#started) await this.#agree();
    } finally {
      await this.#cluster.stop().finally(() => {
        for (const relay of this.#relays) relay.kill('SIGKILL');
        this.network.close();
      });
    }
  }

  /** What a cluster on loopback asks itself when it stops (support/cluster.ts). */
  async #agree(): Promise<void> {
    await wholeAgain(this, 30_000);
    await expectAgreement(this.nodes, { host: this.#sockets, limitMs: 10_000 });
  }
}

/** The server writes `ready` into the eighth line of its postmaster.pid. */
function saysReady(node: NodeLayout): boolean {
  try {
    const lines = readFileSync(join(node.dataFolder, 'postmaster.pid'), 'utf8').split('\n');
    return Number(lines[0]) === postgresPid(node) && lines[7]?.trim() === 'ready';
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/** All nodes online, each on a host of its own. */
export async function labSite(count = 3, settings: ExtraSettings = {}): Promise<Site> {
  const majors = Array.from({ length: count }, () => 18 as const);
  const network = new NetworkLab(count);
  const cluster = await makeCluster({ majors });
  const site = new LabSite(cluster, network);
  try {
    await site.start({ log_level: 'info', ...settings });
    return site;
  } catch (error) {
    await site.stop();
    throw error;
  }
}
