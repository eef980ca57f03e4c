/** Real servers of their own for recovery, which can be killed and started again. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { clusterLayout, embeddedDatabase, embeddedHost } from '../../../src/io/launcher/node-layout.ts';
import type { NodeLayout } from '../../../src/io/launcher/node-layout.ts';
import {
  createDatabases,
  postgresPid,
  startServer,
  stopServer,
} from '../../../src/io/launcher/postgres-server.ts';
import { pidExists, waitUntil } from '../../../src/io/launcher/process-control.ts';
import type { PostgresMajor } from '../../../src/io/launcher/server-binaries.ts';
import { RecoverySite } from './site.ts';
import { freeBasePort } from '../../support/free-port.ts';
import { makeServer } from '../../support/server-template.ts';

export class RecoveryLab {
  readonly sites: RecoverySite[] = [];
  readonly #layout: readonly NodeLayout[];
  readonly #folder: string;
  readonly #basePort: number;
  readonly #holdBytes: number | undefined;

  private constructor(
    folder: string,
    layout: readonly NodeLayout[],
    basePort: number,
    holdBytes: number | undefined,
  ) {
    this.#folder = folder;
    this.#layout = layout;
    this.#basePort = basePort;
    this.#holdBytes = holdBytes;
  }

  /** `holdBytes`: a smaller one makes more transactions big. */
  static async start(majors: readonly PostgresMajor[], holdBytes?: number): Promise<RecoveryLab> {
    const basePort = await freeBasePort(majors);
    const folder = mkdtempSync(join(tmpdir(), 'mtm-recovery-'));
    chmodSync(folder, 0o755);
    const lab = new RecoveryLab(folder, clusterLayout(folder, basePort, majors), basePort, holdBytes);
    try {
      for (const node of lab.#layout) {
        await makeServer(node);
        await startServer(node);
        await createDatabases(node, [embeddedDatabase]);
        lab.sites.push(await lab.#open(node));
      }
    } catch (error) {
      await lab.stop();
      throw error;
    }
    return lab;
  }

  #open(node: NodeLayout): Promise<RecoverySite> {
    const login = {
      host: embeddedHost,
      port: node.postgresPort,
      user: 'postgres',
      password: undefined,
      database: embeddedDatabase,
    };
    const peers = this.#layout.filter((other) => other.node !== node.node);
    return RecoverySite.open(
      node.node,
      login,
      this.#peerPort(node.node),
      peers.map((peer) => ({ id: peer.node, port: this.#peerPort(peer.node) })),
      this.#layout.length,
      this.#holdBytes,
    );
  }

  #peerPort(node: number): number {
    return this.#basePort + 50 + node;
  }

  /** Kills all processes of the server at once: what was not flushed is gone. */
  async kill(index: number): Promise<void> {
    const pid = postgresPid(this.#layout[index]!);
    if (pid === undefined) throw new Error('the server does not run');
    process.kill(pid, 'SIGKILL');
    await waitUntil(() => !pidExists(pid), 10_000);
  }

  /** Starts it again, with a new gateway's view of it: only what the server tells is known. */
  async restart(index: number): Promise<RecoverySite> {
    const before = this.sites[index]!;
    await before.close().catch(() => undefined); // its connections are dead
    await startServer(this.#layout[index]!);
    const site = await this.#open(this.#layout[index]!);
    for (const gid of await site.outcomes()) site.known.add(gid);
    site.skipTo(before.counter);
    this.sites[index] = site;
    return site;
  }

  async stop(): Promise<void> {
    for (const site of this.sites) await site.close().catch(() => undefined); // one may be dead
    for (const node of this.#layout) await stopServer(node);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
