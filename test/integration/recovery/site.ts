/**
 * A server as a gateway sets it up, with what recovery needs around it: store, retained slot, links, a donor and
 * a receiver. Transactions are made as a gateway makes them, without one.
 */
import { createHmac } from 'node:crypto';
import pg from 'pg';
import type { Gid } from '../../../src/core/identity.ts';
import { PeerLinks } from '../../../src/io/peers/peer-links.ts';
import { ensureSlots, installSchema } from '../../../src/io/postgres/schema-installer.ts';
import type { ServerLogin } from '../../../src/io/postgres/raw-connection.ts';
import { RecoveryDonor } from '../../../src/io/recovery/donor.ts';
import { Recovery } from '../../../src/io/recovery/recovery.ts';
import type { RecoveryFailure, RecoveryProgress } from '../../../src/io/recovery/recovery.ts';
import { NodeStore } from '../../../src/io/store/node-store.ts';
import { readHistory } from '../../../src/io/store/history-reader.ts';
import { RetainedSlot } from '../../../src/io/store/retained-slot.ts';
import { slotNames } from '../../../src/io/postgres/slot-names.ts';

export const proof = (gid: Gid): string => createHmac('sha256', 'secret').update(gid).digest('hex');
export const verify = (gid: Gid, hmac: string): boolean => hmac === proof(gid);

const quiet = { info: () => undefined, warn: () => undefined };

/** One recovery, and what it said. */
class Watched {
  readonly replayed: Gid[] = [];
  readonly progress: RecoveryProgress[] = [];
  recovery: Recovery | undefined;
  /** `reached 3`, or the cause and the reason of the failure. */
  readonly ended: Promise<string>;
  /** Called with each report. */
  onProgress: (progress: RecoveryProgress) => void = () => undefined;
  end: (text: string) => void = () => undefined;

  constructor() {
    this.ended = new Promise((resolve) => (this.end = resolve));
  }
}

export class RecoverySite {
  readonly node: number;
  readonly login: ServerLogin;
  readonly admin: pg.Client;
  readonly links: PeerLinks;
  readonly donor: RecoveryDonor;
  store: NodeStore;
  retained: RetainedSlot;
  /** Committed here: what a gateway's memory of outcomes holds. */
  known = new Set<Gid>();
  unfit: string | undefined;
  /** The newest one. */
  recovery: Recovery | undefined;
  #counter = 0;

  private constructor(
    node: number,
    login: ServerLogin,
    admin: pg.Client,
    store: NodeStore,
    retained: RetainedSlot,
    peers: readonly { readonly id: number; readonly port: number }[],
    port: number,
    holdBytes: number | undefined,
  ) {
    this.node = node;
    this.login = login;
    this.admin = admin;
    this.store = store;
    this.retained = retained;
    this.donor = new RecoveryDonor({
      login,
      verifyHeader: verify,
      lost: () => this.retained.lost,
      unfit: () => this.unfit,
      walEnd: () => this.retained.walEnd(),
      log: quiet,
      ...(holdBytes === undefined ? {} : { holdBytes }),
    });
    this.links = new PeerLinks({
      clusterName: 'c',
      secret: 'peer secret',
      nodeId: node,
      incarnation: 1,
      listen: { host: '127.0.0.1', port },
      peers: peers.map((peer) => ({ ...peer, since: 0, host: '127.0.0.1' })),
      log: quiet,
      random: () => 0.5,
      now: () => performance.now(),
      handler: {
        onMessage: () => undefined,
        onLinkUp: () => undefined,
        onLinkDown: () => undefined,
        onPeerIncarnation: () => undefined,
        onPeerStopped: () => undefined,
        onDrained: () => undefined,
        onStream: (from, stream) => this.donor.serve(from, stream),
      },
    });
  }

  static async open(
    node: number,
    login: ServerLogin,
    port: number,
    peers: readonly { readonly id: number; readonly port: number }[],
    highestNode: number,
    holdBytes?: number,
  ): Promise<RecoverySite> {
    const admin = client(login);
    admin.on('error', () => undefined); // the server is killed by some tests
    await admin.connect();
    await installSchema(admin, {
      myId: node,
      highestNode,
      clusterName: 'c',
      timeline: 1,
      become: () => Promise.reject(new Error('this server is no copy')),
    });
    await ensureSlots(admin, slotNames({}));
    const store = await NodeStore.open(login, () => undefined);
    const retained = await RetainedSlot.load(() => admin, slotNames({}).retained);
    const site = new RecoverySite(node, login, admin, store, retained, peers, port, holdBytes);
    await site.links.start();
    return site;
  }

  async close(): Promise<void> {
    this.donor.stop();
    await this.links.stop();
    await this.store.close();
    await this.admin.end();
  }

  gid(generation = 1): Gid {
    return `mtm:${this.node}:${generation}:1:${++this.#counter}`;
  }

  get counter(): number {
    return this.#counter;
  }

  skipTo(counter: number): void {
    this.#counter = counter;
  }

  /** Goes online in a generation: the mark. */
  async goOnline(generation: number): Promise<void> {
    await this.store.persist({ lastOnline: generation });
  }

  /** One transaction in two phases, with its header. */
  async commit(statements: string, connection = this.admin, gid = this.gid()): Promise<Gid> {
    await this.prepare(statements, connection, gid);
    await connection.query(`COMMIT PREPARED '${gid}'`);
    this.known.add(gid);
    return gid;
  }

  async prepare(statements: string, connection: pg.Client, gid: Gid): Promise<void> {
    // One by one, because of a string with several commands the text of each could not be told.
    const commands = /\b(CREATE|ALTER|DROP|GRANT)\b/.test(statements);
    if (commands) for (const one of ['BEGIN', ...statements.split(';')]) await connection.query(one);
    await connection.query(
      `${commands ? '' : `BEGIN; ${statements};`} SELECT mtm.header('${gid}', '${proof(gid)}'); PREPARE TRANSACTION '${gid}'`,
    );
  }

  /** `count` transactions from several connections at the same time; resolves with how many a second. */
  async load(count: number, statement: (index: number) => string, connections = 8): Promise<number> {
    const clients = Array.from({ length: connections }, () => client(this.login));
    await Promise.all(clients.map((one) => one.connect()));
    const began = performance.now();
    let next = 0;
    await Promise.all(
      clients.map(async (one) => {
        while (next < count) await this.commit(statement(next++), one);
        await one.end();
      }),
    );
    return Math.round(count / ((performance.now() - began) / 1000));
  }

  /** Catches up from the donor, to the mark of `target` or for ever. */
  async recover(donor: number, target?: number): Promise<Watched> {
    const watched = new Watched();
    const { rest, socket } = await this.links.openStream(donor);
    watched.recovery = await Recovery.start(
      {
        donor,
        stream: { socket, rest },
        login: this.login,
        lastOnline: this.store.state.lastOnline,
        copyEnd: 0n,
        isKnown: (gid) => this.known.has(gid),
        proof,
        reportMs: 100,
        handler: {
          replayed: (gids) => {
            for (const gid of gids) this.known.add(gid);
            watched.replayed.push(...gids);
          },
          progressed: (progress) => {
            watched.progress.push(progress);
            watched.onProgress(progress);
          },
          seeded: () => watched.end('seeded, and is no copy'),
          reached: (generation) => watched.end(`reached ${generation}`),
          failed: (cause: RecoveryFailure, reason) => watched.end(`${cause}: ${reason}`),
        },
      },
      target,
    );
    this.recovery = watched.recovery;
    return watched;
  }

  /** What a gateway that starts here would remember. */
  async outcomes(): Promise<Gid[]> {
    const gids: Gid[] = [];
    await readHistory(this.login, verify, (gid, empty) => gids.push(empty ? `${gid} empty` : gid));
    return gids;
  }

  async rows(sql: string): Promise<unknown[][]> {
    return (await this.admin.query({ text: sql, rowMode: 'array' })).rows as unknown[][];
  }
}

function client({ host, port, user, database }: ServerLogin): pg.Client {
  return new pg.Client({ host, port, user, database, ssl: false });
}

/** Contents of a table as one value. */
export function fingerprint(table: string): string {
  return `SELECT count(*)::int, md5(string_agg(t::text, ',' ORDER BY t::text)) FROM ${table} t`;
}
