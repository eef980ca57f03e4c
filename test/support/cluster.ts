/**
 * A real cluster for one test file: servers and gateways as processes of their own, free ports, data in a temporary
 * folder. Rule: whatever it opened, `stop` closes; MTM_TEST_KEEP=1 leaves the folder with the logs.
 */
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, type ClientConfig, type QueryResultRow } from 'pg';
import {
  existingClusterFolder,
  openClusterFolder,
  type ClusterFolder,
} from '../../src/io/launcher/cluster-folder.ts';
import {
  startGateways,
  startNode,
  startServers,
  stopCluster,
} from '../../src/io/launcher/embedded-cluster.ts';
import {
  gatewayPid,
  isOnline,
  startGatewayProcess,
  stopGatewayProcess,
  type ExtraSettings,
} from '../../src/io/launcher/gateway-process.ts';
import {
  clusterLayout,
  embeddedDatabase,
  embeddedHost,
  type NodeLayout,
} from '../../src/io/launcher/node-layout.ts';
import { waitUntilGone } from '../../src/io/launcher/process-control.ts';
import { postgresPid } from '../../src/io/launcher/postgres-server.ts';
import type { PostgresMajor } from '../../src/io/launcher/server-binaries.ts';
import { GatewayError } from '../../src/lib/gateway-error.ts';
import { abandonNodes, everyNode, forgetCluster, registerCluster } from './abandoned.ts';
import { expectAgreement, type Difference } from './agreement.ts';
import { freeBasePort } from './free-port.ts';
import { eventually } from './polling.ts';
import { makeServer } from './server-template.ts';

export interface ClusterWishes {
  /** One version for each node; three times 18 when absent. */
  readonly majors?: readonly PostgresMajor[];
  /** Databases beside app. */
  readonly databases?: readonly string[];
  /** More lines of gateway.yaml, the same on all nodes. */
  readonly settings?: ExtraSettings;
  /** All nodes must be online and equal when the cluster stops, but for this. */
  readonly unequal?: readonly Difference[];
}

/** What a test sees when a statement fails: SQLSTATE and the fields that PostgreSQL sends. */
export interface SqlFailure {
  readonly code: string;
  readonly message: string;
  readonly detail: string | undefined;
  readonly hint: string | undefined;
  readonly severity: string | undefined;
  readonly constraint: string | undefined;
  readonly position: string | undefined;
}

type Kind = 'client' | 'direct';

export class Cluster {
  #folder: ClusterFolder;
  readonly #temporary: string;
  readonly #settings: ExtraSettings;
  readonly #unequal: readonly Difference[];
  #started = false;
  readonly #clients = new Set<Client>();
  readonly #shared = new Map<string, Promise<Client>>();
  /** The end of what was asked last in a shared session: one statement at a time. */
  readonly #turns = new Map<string, Promise<unknown>>();

  /** A worker that ends in the middle must not leave servers behind. */
  readonly #abandon = (): void => abandonNodes(this.#everyNode());

  constructor(folder: ClusterFolder, temporary: string, wishes: ClusterWishes) {
    this.#folder = folder;
    this.#temporary = temporary;
    this.#settings = { log_level: 'info', ...wishes.settings };
    this.#unequal = wishes.unequal ?? [];
    process.once('exit', this.#abandon);
    registerCluster(temporary);
  }

  get folder(): ClusterFolder {
    return this.#folder;
  }

  /** Nodes were added or dropped: these are there now. */
  refresh(): void {
    this.#folder = existingClusterFolder(this.#folder.folder);
  }

  /** Those of this object, and what the folder says now. */
  #everyNode(): readonly NodeLayout[] {
    const now = everyNode(this.#folder.folder);
    return [...now, ...this.nodes.filter(({ node }) => !now.some((one) => one.node === node))];
  }

  get nodes(): readonly NodeLayout[] {
    return this.#folder.nodes;
  }

  /** 1, 2, 3. */
  get numbers(): readonly number[] {
    return this.nodes.map(({ node }) => node);
  }

  node(number: number): NodeLayout {
    const node = this.nodes.find((one) => one.node === number);
    if (node === undefined) throw new Error(`the cluster has no node ${number}`);
    return node;
  }

  // ---- connections

  /** A session of its own through the gateway. */
  client(number: number, more: ClientConfig = {}): Promise<Client> {
    return this.#open(this.node(number).gatewayPort, more);
  }

  /** A session of its own with the server, past the gateway: for looking, not for writing. */
  direct(number: number, more: ClientConfig = {}): Promise<Client> {
    return this.#open(this.node(number).postgresPort, more);
  }

  async #open(port: number, more: ClientConfig): Promise<Client> {
    const client = new Client({
      ssl: false,
      host: embeddedHost,
      port,
      user: 'postgres',
      database: embeddedDatabase,
      ...more,
    });
    client.on('error', () => undefined); // A broken connection fails the next query; that is where a test looks.
    await client.connect();
    this.#clients.add(client);
    client.once('end', () => this.#clients.delete(client));
    return client;
  }

  #sharedClient(kind: Kind, number: number): Promise<Client> {
    const key = `${kind} ${number}`;
    const known = this.#shared.get(key);
    if (known !== undefined) return known;
    const opening = this[kind](number);
    this.#shared.set(key, opening);
    const forget = (): void => {
      if (this.#shared.get(key) === opening) this.#shared.delete(key);
    };
    opening.then((open) => open.once('error', forget).once('end', forget), forget);
    return opening;
  }

  /** In the shared session, behind what was asked there before, however that ended. */
  async #ask<R extends QueryResultRow>(
    kind: Kind,
    number: number,
    text: string,
    values?: unknown[],
  ): Promise<R[]> {
    const key = `${kind} ${number}`;
    const work = async (): Promise<R[]> =>
      (await (await this.#sharedClient(kind, number)).query<R>(text, values)).rows;
    const asked = (this.#turns.get(key) ?? Promise.resolve()).then(work, work);
    this.#turns.set(key, asked);
    return asked;
  }

  /** What is killed answers nobody: the next statement opens a session of its own. */
  async #forgetShared(...keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      const opening = this.#shared.get(key);
      this.#shared.delete(key);
      this.#turns.delete(key);
      const client = await opening?.catch(() => undefined);
      client?.end().catch(() => undefined);
    }
  }

  /** One statement through the gateway of a node, in a session that the tests of the file share; the rows. */
  query<R extends QueryResultRow>(number: number, text: string, values?: unknown[]): Promise<R[]> {
    return this.#ask<R>('client', number, text, values);
  }

  /** One statement straight to the server of a node; the rows. */
  directly<R extends QueryResultRow>(number: number, text: string, values?: unknown[]): Promise<R[]> {
    return this.#ask<R>('direct', number, text, values);
  }

  /** The answer of every server to the same question. */
  onAllServers<R extends QueryResultRow>(text: string, values?: unknown[]): Promise<R[][]> {
    return Promise.all(this.numbers.map((number) => this.directly<R>(number, text, values)));
  }

  // ---- processes

  gatewayPid(number: number): number {
    const pid = gatewayPid(this.node(number));
    if (pid === undefined) throw new Error(`the gateway of node ${number} does not run`);
    return pid;
  }

  /** kill -9; resolves when the process is gone. */
  async killGateway(number: number): Promise<void> {
    const pid = this.gatewayPid(number);
    process.kill(pid, 'SIGKILL');
    if (!(await waitUntilGone(pid, 10_000)))
      throw new Error(`gateway ${number} (pid ${pid}) survives SIGKILL`);
    await this.#forgetShared(`client ${number}`);
  }

  /** Resolves when the node is online. */
  async startGateway(number: number): Promise<void> {
    await startNode(this.node(number), ['gateway']);
  }

  /** In good order, and with this environment; it is not online yet. */
  async restartGateway(number: number, environment: Readonly<Record<string, string>>): Promise<void> {
    await stopGatewayProcess(this.node(number));
    await startGatewayProcess(this.node(number), environment);
  }

  /** kill -9 of the postmaster. */
  async killServer(number: number): Promise<void> {
    const pid = postgresPid(this.node(number));
    if (pid === undefined) throw new Error(`the server of node ${number} does not run`);
    process.kill(pid, 'SIGKILL');
    if (!(await waitUntilGone(pid, 10_000)))
      throw new Error(`server ${number} (pid ${pid}) survives SIGKILL`);
    await this.#forgetShared(`client ${number}`, `direct ${number}`);
  }

  async startServer(number: number): Promise<void> {
    await startNode(this.node(number), ['postgres']);
  }

  isOnline(number: number): Promise<boolean> {
    return isOnline(this.node(number));
  }

  /** Resident memory of the gateway, bytes. */
  gatewayMemory(number: number): number {
    const status = readFileSync(`/proc/${this.gatewayPid(number)}/status`, 'utf8');
    const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1];
    if (kilobytes === undefined) throw new Error('no VmRSS');
    return Number(kilobytes) * 1024;
  }

  gatewayLog(number: number): string {
    return readFileSync(this.node(number).gatewayLog, 'utf8');
  }

  /** Resolves when every node takes reads and writes. */
  async start(): Promise<void> {
    await startServers(this.folder);
    await startGateways(this.folder, { settings: this.#settings, onlineLimitMs: 60_000 });
    await this.whole();
  }

  /** Resolves when every node sees every other one: its report, and the gateway of now by its HTTP port. */
  async whole(limitMs = 60_000): Promise<void> {
    const count = this.nodes.length;
    const text = `SELECT cardinality(gen_members_online) = ${count} AND status = 'online' AS whole FROM mtm.status()`;
    const probe = async (): Promise<boolean> => {
      try {
        const gateways = await Promise.all(this.nodes.map((node) => isOnline(node, true)));
        if (!gateways.every(Boolean)) return false;
        return (await this.onAllServers<{ whole: boolean }>(text)).every(([row]) => row?.whole === true);
      } catch {
        return false; // A gateway that takes its server over ends all sessions there, this one too.
      }
    };
    await eventually('every node online with all members', probe, limitMs);
    this.#started = true;
  }

  /** Everything ends in good order; the data stay. */
  async halt(): Promise<void> {
    const ended = Promise.allSettled([...this.#clients].map((client) => client.end()));
    this.#shared.clear();
    this.#turns.clear();
    await stopCluster(this.#everyNode());
    await ended;
  }

  /** The end: processes, connections and data. Before it all nodes must be online and equal (ClusterWishes.unequal). */
  async stop(): Promise<void> {
    try {
      if (this.#started) await this.#agree();
    } finally {
      await this.halt();
      process.off('exit', this.#abandon);
      forgetCluster(this.#temporary);
      if (process.env['MTM_TEST_KEEP'] === undefined)
        rmSync(this.#temporary, { recursive: true, force: true });
      else process.stdout.write(`kept: ${this.#temporary}\n`);
    }
  }

  async #agree(): Promise<void> {
    this.refresh();
    const except = this.#unequal;
    const away = new Set(except.flatMap((one) => one.away ?? []));
    const nodes = this.nodes.filter(({ node }) => !away.has(node));
    if (nodes.length < 2) return;
    const online = async (): Promise<boolean> =>
      (await Promise.all(nodes.map((node) => isOnline(node, true)))).every(Boolean);
    await (away.size === 0 ? this.whole(60_000) : eventually('the other nodes online', online, 60_000));
    const databases = [embeddedDatabase, ...this.folder.moreDatabases];
    await expectAgreement(nodes, { databases, except });
  }
}

/** The servers' data only: they run, and the gateways, from `start` on. */
export async function makeCluster(wishes: ClusterWishes = {}): Promise<Cluster> {
  const majors = wishes.majors ?? [18, 18, 18];
  const temporary = mkdtempSync(join(tmpdir(), 'mtm-cluster-'));
  chmodSync(temporary, 0o755); // as root the servers run as another user
  const data = join(temporary, 'data');
  await Promise.all(clusterLayout(data, 1, majors).map(makeServer));
  const port = await freeBasePort(majors); // Last: what is free now may be taken soon.
  const folder = openClusterFolder({
    folder: data,
    nodes: majors.length,
    pg: majors,
    port,
    databases: wishes.databases,
  });
  return new Cluster(folder, temporary, wishes);
}

/** All nodes online. Tests of somebody else on this machine may take a port first: then again, at other ones. */
export async function startCluster(wishes: ClusterWishes = {}, attempts = 3): Promise<Cluster> {
  const cluster = await makeCluster(wishes);
  try {
    await cluster.start();
    return cluster;
  } catch (error) {
    await cluster.stop();
    if (!(error instanceof GatewayError) || error.code !== 'address-in-use' || attempts <= 1) throw error;
    return startCluster(wishes, attempts - 1);
  }
}

/** The error that `work` ends with; it must end with one. `what` is named when it does not. */
export async function failureOf(work: Promise<unknown>, what = 'it'): Promise<SqlFailure> {
  try {
    await work;
  } catch (error) {
    return error as SqlFailure;
  }
  throw new Error(`${what} succeeded and should have failed`);
}
