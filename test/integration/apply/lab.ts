/**
 * Two real servers of different versions, each with its stream, applier and finisher: a transaction is
 * prepared on one, captured, applied to the other, and finished on both. What a gateway does, without a
 * gateway.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import type {
  CapturedPiece,
  PreparedTransaction,
  UnsupervisedWrite,
} from '../../../src/core/pgoutput/capture-handler.ts';
import { Applier } from '../../../src/io/postgres/applier.ts';
import type { ApplyHandle, ApplyResult } from '../../../src/io/postgres/applier.ts';
import { Finisher } from '../../../src/io/postgres/finisher.ts';
import type { FinishResult } from '../../../src/io/postgres/finisher.ts';
import type { ServerLogin } from '../../../src/io/postgres/raw-connection.ts';
import { ReplicationStream } from '../../../src/io/postgres/replication-stream.ts';
import { clusterLayout, embeddedDatabase, embeddedHost } from '../../../src/io/launcher/node-layout.ts';
import type { NodeLayout } from '../../../src/io/launcher/node-layout.ts';
import { createDatabases, startServer, stopServer } from '../../../src/io/launcher/postgres-server.ts';
import type { PostgresMajor } from '../../../src/io/launcher/server-binaries.ts';
import { freeBasePort } from '../../support/free-port.ts';
import { makeServer } from '../../support/server-template.ts';

const applySql = readFileSync(
  fileURLToPath(new URL('../../../src/io/postgres/sql/apply.sql', import.meta.url)),
  'utf8',
);

/** Of the whole schema the applier asks for these; no table is local here. */
const whatFactsAsk = `CREATE TABLE mtm.local_table (relid oid);
  CREATE TABLE mtm.node (ignore_tables_without_pk boolean)`;

export class Site {
  readonly node: number;
  readonly login: ServerLogin;
  readonly admin: pg.Client;
  readonly applier: Applier;
  readonly finisher: Finisher;
  readonly pieces = new Map<string, CapturedPiece[]>();
  readonly prepared = new Map<string, PreparedTransaction>();
  readonly outcomes = new Map<string, string>();
  readonly unsupervised: UnsupervisedWrite[] = [];
  closed = '';
  stream: ReplicationStream | undefined;
  #wakers: (() => void)[] = [];
  #late = false;
  /** A piece of a live transaction goes here instead of into `pieces`. */
  onPiece: ((gid: string, piece: CapturedPiece) => void) | undefined;

  constructor(node: number, login: ServerLogin, maxWorkers = 8) {
    this.node = node;
    this.login = login;
    this.admin = this.client();
    this.applier = new Applier({ login, node, maxWorkers });
    this.finisher = new Finisher({ login, connections: 2 });
  }

  client(): pg.Client {
    const { host, port, user, database } = this.login;
    return new pg.Client({ host, port, user, database, ssl: false });
  }

  async open(): Promise<void> {
    await this.admin.connect();
    await this.admin.query(
      `CREATE SCHEMA mtm; ${whatFactsAsk}; ${applySql}; CREATE PUBLICATION mtm FOR ALL TABLES`,
    );
    await this.admin.query(`SELECT pg_create_logical_replication_slot('mtm_live', 'pgoutput', false, true)`);
    await this.finisher.start();
    await this.listen();
  }

  async listen(): Promise<void> {
    const options = {
      login: this.login,
      node: this.node,
      slot: 'mtm_live',
      publication: 'mtm',
      statusIntervalMs: 200,
    };
    this.stream = await ReplicationStream.open(options, {
      verifyHeader: (_, hmac) => hmac === 'good',
      began: (gid) => void (this.onPiece === undefined && this.pieces.set(gid, [])),
      piece: (gid, piece) =>
        this.onPiece ? this.onPiece(gid, piece) : void this.pieces.get(gid)?.push(piece),
      prepared: (transaction) => {
        this.prepared.set(transaction.gid, transaction);
        this.#wake();
      },
      finished: (gid, outcome) => {
        this.outcomes.set(gid, outcome);
        this.#wake();
      },
      committedPlainly: (gid) => {
        this.outcomes.set(gid, 'committed plainly');
        this.#wake();
      },
      unsupervised: (write) => {
        this.unsupervised.push(write);
        this.#wake();
      },
      closed: (reason) => {
        this.closed = reason;
        this.#wake();
      },
    });
  }

  #wake(): void {
    for (const waker of this.#wakers.splice(0)) waker();
  }

  /** Waits until the stream has brought what `ready` looks for. A minute is far beyond any of the tests'. */
  async until(ready: () => boolean): Promise<void> {
    const limit = setTimeout(() => {
      this.#late = true;
      this.#wake();
    }, 60_000);
    while (!ready() && !this.#late) await new Promise<void>((resolve) => this.#wakers.push(resolve));
    clearTimeout(limit);
    const state = this.closed === '' ? 'is open' : `was closed: ${this.closed}`;
    if (!ready()) throw new Error(`not brought within a minute; the stream of node ${this.node} ${state}`);
  }

  async close(): Promise<void> {
    this.stream?.close();
    this.applier.stop();
    this.finisher.stop();
    await this.admin.end();
  }

  finish(gid: string, outcome: 'commit' | 'rollback'): Promise<FinishResult> {
    return new Promise((resolve) => this.finisher.finish(gid, outcome, resolve));
  }

  async rows(sql: string): Promise<unknown[][]> {
    return (await this.admin.query({ text: sql, rowMode: 'array' })).rows as unknown[][];
  }
}

export function applied(handle: ApplyHandle): Promise<ApplyResult> {
  return new Promise((resolve) => (handle.onDone = resolve));
}

export class Lab {
  readonly sites: readonly [Site, Site];
  readonly #layout: readonly NodeLayout[];
  readonly #folder: string;
  #counter = 0;

  private constructor(folder: string, layout: readonly NodeLayout[], sites: readonly [Site, Site]) {
    this.#folder = folder;
    this.#layout = layout;
    this.sites = sites;
  }

  static async start(majors: readonly [PostgresMajor, PostgresMajor]): Promise<Lab> {
    const folder = mkdtempSync(join(tmpdir(), 'mtm-apply-'));
    const layout = clusterLayout(folder, await freeBasePort(majors), majors);
    const { chmodSync } = await import('node:fs');
    chmodSync(folder, 0o755);
    await Promise.all(layout.map((node) => makeServer(node)));
    await Promise.all(layout.map((node) => startServer(node)));
    await Promise.all(layout.map((node) => createDatabases(node, [embeddedDatabase])));
    const sites = layout.map((node) => {
      const port = node.postgresPort;
      const login = {
        host: embeddedHost,
        port,
        user: 'postgres',
        password: undefined,
        database: embeddedDatabase,
      };
      return new Site(node.node, login);
    });
    await Promise.all(sites.map((site) => site.open()));
    return new Lab(folder, layout, [sites[0]!, sites[1]!]);
  }

  async stop(): Promise<void> {
    await Promise.all(this.sites.map((site) => site.close()));
    await Promise.all(this.#layout.map((node) => stopServer(node)));
    rmSync(this.#folder, { recursive: true, force: true });
  }

  gid(site: Site): string {
    return `mtm:${site.node}:1:1:${++this.#counter}`;
  }

  /** The same on both, unseen by the other: schema for a test. */
  async everywhere(sql: string): Promise<void> {
    for (const site of this.sites) {
      await site.admin.query(sql);
      site.applier.invalidate();
    }
  }

  /** Runs and prepares a transaction; resolves with its gid when it was captured. */
  async prepare(origin: Site, statements: readonly string[], hmac = 'good'): Promise<string> {
    const gid = this.gid(origin);
    await origin.admin.query('BEGIN');
    for (const statement of statements) await origin.admin.query(statement);
    await emitHeader(origin.admin, gid, hmac);
    await origin.admin.query(`PREPARE TRANSACTION '${gid}'`);
    await origin.until(() => origin.prepared.has(gid));
    return gid;
  }

  async apply(origin: Site, target: Site, gid: string): Promise<ApplyResult> {
    const handle = target.applier.open(gid, 'good');
    const result = applied(handle);
    for (const piece of origin.pieces.get(gid) ?? []) handle.push(piece.data);
    handle.end();
    return result;
  }

  /** Prepares, applies, and finishes on both by the result. */
  async carry(origin: Site, target: Site, statements: readonly string[]): Promise<ApplyResult> {
    const gid = await this.prepare(origin, statements);
    const result = await this.apply(origin, target, gid);
    const outcome = result.kind === 'prepared' ? 'commit' : 'rollback';
    if (result.kind === 'prepared') await target.finish(gid, outcome);
    await origin.finish(gid, outcome);
    return result;
  }
}

export async function emitHeader(client: pg.Client, gid: string, hmac: string): Promise<void> {
  await client.query(`SELECT pg_logical_emit_message(true, 'mtm', $1)`, [JSON.stringify({ gid, hmac })]);
}
