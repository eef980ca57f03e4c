/** Servers that are copied, and the machines that their copies go to: a donor on a real socket, without gateways. */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import type { NodeId } from '../../../src/core/identity.ts';
import { serverAccount } from '../../../src/io/launcher/account.ts';
import { clusterLayout, embeddedDatabase, embeddedHost } from '../../../src/io/launcher/node-layout.ts';
import type { NodeLayout } from '../../../src/io/launcher/node-layout.ts';
import {
  createDatabases,
  postgresPid,
  startServer,
  stopServer,
} from '../../../src/io/launcher/postgres-server.ts';
import type { PostgresMajor } from '../../../src/io/launcher/server-binaries.ts';
import { CopyDonor } from '../../../src/io/recovery/base-backup-donor.ts';
import {
  receiveCopy,
  type FinishedCopy,
  type ReceiveOptions,
} from '../../../src/io/recovery/base-backup-receiver.ts';
import { freeBasePort } from '../../support/free-port.ts';
import { makeServer } from '../../support/server-template.ts';

const noLog = { info: () => undefined, warn: () => undefined };

export class CopyLab {
  readonly source: NodeLayout;
  readonly target: NodeLayout;
  readonly sql: Client;
  readonly donor: CopyDonor;
  readonly #folder: string;
  readonly #door: Server;
  readonly sockets: Socket[] = [];
  /** Why the source is no donor. */
  unfit: string | undefined;

  private constructor(folder: string, layout: readonly NodeLayout[], sql: Client) {
    this.#folder = folder;
    this.source = layout[0]!;
    this.target = layout[1]!;
    this.sql = sql;
    const { postgresPort: port } = this.source;
    const login = {
      host: embeddedHost,
      port,
      user: 'postgres',
      password: undefined,
      database: embeddedDatabase,
    };
    this.donor = new CopyDonor({ node: 1 as NodeId, login, unfit: () => this.unfit, log: noLog });
    this.#door = createServer((socket) => {
      socket.on('error', () => undefined);
      this.sockets.push(socket.pause());
      this.donor.serve(2 as NodeId, { socket, rest: Buffer.alloc(0) });
    });
  }

  static async start(major: PostgresMajor): Promise<CopyLab> {
    const folder = mkdtempSync(join(tmpdir(), 'mtm-copy-'));
    chmodSync(folder, 0o755);
    const majors = [major, major];
    const layout = clusterLayout(folder, await freeBasePort(majors), majors);
    const source = layout[0]!;
    await makeServer(source);
    await startServer(source);
    await createDatabases(source, [embeddedDatabase]);
    const lab = new CopyLab(folder, layout, await connectTo(source));
    await new Promise<void>((resolve) => lab.#door.listen(0, embeddedHost, resolve));
    // As the launcher does: the server's user must reach its data directory, which the copy makes.
    mkdirSync(lab.target.folder, { mode: 0o755 });
    return lab;
  }

  /** The end of a stream that a receiver has. */
  async stream(): Promise<{ readonly socket: Socket; readonly rest: Buffer }> {
    const { port } = this.#door.address() as AddressInfo;
    const socket = connect(port, embeddedHost);
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    socket.removeAllListeners('error').on('error', () => undefined);
    return { socket: socket.pause(), rest: Buffer.alloc(0) };
  }

  async copy(more: Partial<ReceiveOptions> = {}): Promise<FinishedCopy> {
    const stream = await this.stream();
    return receiveCopy({ stream, folder: this.target.dataFolder, owner: serverAccount(), ...more });
  }

  /** Starts the copy; resolves when it is a server of its own. */
  async startCopy(): Promise<Client> {
    await startServer(this.target);
    const client = await connectTo(this.target);
    for (;;) {
      const { rows } = await client.query<{ over: boolean }>('SELECT NOT pg_is_in_recovery() AS over');
      if (rows[0]?.over === true) return client;
    }
  }

  /** The last line of the newest timeline's history: parent timeline, where it was left, why. */
  lastHistoryLine(): readonly string[] {
    const wal = join(this.target.dataFolder, 'pg_wal');
    const newest = readdirSync(wal)
      .filter((name) => name.endsWith('.history'))
      .sort()
      .at(-1);
    const lines = readFileSync(join(wal, newest ?? ''), 'utf8')
      .trim()
      .split('\n');
    return lines.at(-1)!.split('\t');
  }

  /** kill -9 of the whole source server. */
  killSource(): void {
    const pid = postgresPid(this.source);
    if (pid === undefined) throw new Error('the source does not run');
    process.kill(pid, 'SIGKILL');
  }

  async removeTarget(): Promise<void> {
    await stopServer(this.target);
    rmSync(this.target.dataFolder, { recursive: true, force: true });
  }

  async stop(): Promise<void> {
    this.donor.stop();
    for (const socket of this.sockets) socket.destroy();
    this.#door.close();
    await this.sql.end().catch(() => undefined); // its server may be dead
    for (const node of [this.source, this.target]) await stopServer(node);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

export async function connectTo(node: NodeLayout): Promise<Client> {
  const client = new Client({
    ssl: false,
    host: embeddedHost,
    port: node.postgresPort,
    user: 'postgres',
    database: embeddedDatabase,
  });
  client.on('error', () => undefined); // the next query says it
  await client.connect();
  return client;
}
