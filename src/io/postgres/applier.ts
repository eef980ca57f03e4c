/**
 * The pool of apply connections: transactions of peers wait here for a worker.
 *
 * Rules: at most `maxWorkers` connections, opened as needed; each has its own replication origin, because an
 * origin serves one session at a time (55006). A transaction is begun in the order of `open`; its end has no
 * order. The owner sees to it that what a transaction depends on is finished before it is opened.
 */
import type { Gid, NodeId, Refusal } from '../../core/identity.ts';
import type { Notifications } from '../../core/pgoutput/notification.ts';
import type { ClientBranch } from '../../core/apply/client-branch.ts';
import { quoteLiteral } from '../../core/apply/quoting.ts';
import { ApplyWorker } from './apply-worker.ts';
import type { ApplyJob, ApplyResult } from './apply-worker.ts';
import { noTransactionTimeout } from '../../core/apply/statement-pipeline.ts';
import { applySettings } from './pinned-settings.ts';
import { RawConnection } from './raw-connection.ts';
import type { ServerLogin } from './raw-connection.ts';
import { CatalogEpoch, RelationCatalog } from './relation-catalog.ts';
import { QueryError, simpleQuery } from './simple-query.ts';

export type { ApplyResult } from './apply-worker.ts';

export interface ApplyHandle {
  readonly gid: Gid;
  /** Whole framed messages (core/pgoutput/piece-writer.ts). The bytes must not change afterwards. */
  push(data: Uint8Array): void;
  /** No more data: check, PREPARE. */
  end(): void;
  /**
   * Gives up with this refusal; `onDone` comes when the gid is certainly not prepared here. Too late after
   * `onDone`.
   */
  cancel(reason: Refusal): void;
  /** Backend that applies it; undefined while it is queued and after it is done. */
  readonly pid: number | undefined;
  /** Bytes pushed and not yet handed to the server. */
  readonly buffered: number;
  /** A command was seen: call `invalidate` of the applier when the transaction has committed here. */
  readonly ddl: boolean;
  /** What the transaction notifies, when it is done. */
  readonly notifications: Notifications | undefined;
  /** The client's branch that it brings: prepared here before it, and rolled back with it by its owner. */
  readonly client: ClientBranch | undefined;
  /** It says what becomes of clients' branches. */
  readonly concernsClients: boolean;
  /** Called once. */
  onDone: (result: ApplyResult) => void;
}

export interface ApplierOptions {
  readonly login: ServerLogin;
  /** Stands in the refusals. */
  readonly node: NodeId;
  readonly maxWorkers: number;
  /**
   * Resolves when the signal is sent; a CancelRequest on a connection of its own when absent, or when it
   * fails.
   */
  readonly cancelBackend?: (pid: number) => Promise<void>;
}

const settings = { ...applySettings, synchronous_commit: 'on' };

/** How many numbers are tried for an origin that is free. */
const originTries = 300;

export class Applier {
  readonly #options: ApplierOptions;
  readonly #epoch = new CatalogEpoch();
  readonly #idle: ApplyWorker[] = [];
  readonly #workers = new Set<ApplyWorker>();
  readonly #queue: Handle[] = [];
  readonly #running = new Map<ApplyWorker, Handle>();
  #opening = 0;
  #nextOrigin = 1;
  #stopped = false;

  constructor(options: ApplierOptions) {
    this.#options = options;
  }

  /** Transactions that are being applied or wait for a worker. */
  get busy(): number {
    return this.#running.size + this.#queue.length;
  }

  /** To the server, at work or not. */
  get connections(): number {
    return this.#workers.size;
  }

  /** A transaction with DDL finished on this node: what is remembered of the catalog is stale. */
  invalidate(): void {
    this.#epoch.invalidate();
  }

  open(gid: Gid, hmac: string): ApplyHandle {
    return this.#begin(new Handle(gid, hmac, undefined, (cancelled) => this.#drop(cancelled)));
  }

  /** Prepares a client's branch from what is kept of it. */
  openBranch(branch: ClientBranch): ApplyHandle {
    const handle = new Handle(branch.gid, '', branch, (cancelled) => this.#drop(cancelled));
    handle.end();
    return this.#begin(handle);
  }

  #begin(handle: Handle): ApplyHandle {
    if (this.#stopped) {
      queueMicrotask(() =>
        handle.done({ kind: 'refused', refusal: this.#refusal('57P01', 'the applier is stopped') }),
      );
      return handle;
    }
    this.#queue.push(handle);
    this.#assign();
    return handle;
  }

  /** Ends all connections; what runs is reported as lost, what waits as refused. */
  stop(): void {
    this.#stopped = true;
    const refusal = this.#refusal('57P01', 'the applier is stopped');
    for (const handle of this.#queue.splice(0)) handle.done({ kind: 'refused', refusal });
    for (const worker of [...this.#workers]) worker.close();
  }

  #refusal(sqlstate: string, message: string): Refusal {
    return { sqlstate, message, node: this.#options.node, retryable: true };
  }

  /** A queued transaction is cancelled. */
  #drop(handle: Handle): void {
    const at = this.#queue.indexOf(handle);
    if (at >= 0) this.#queue.splice(at, 1);
  }

  #assign(): void {
    while (this.#queue.length > 0) {
      const worker = this.#idle.pop();
      if (worker === undefined) break;
      const handle = this.#queue.shift()!;
      this.#running.set(worker, handle);
      handle.attach(worker);
    }
    const wanted =
      Math.min(this.#queue.length, this.#options.maxWorkers - this.#workers.size) - this.#opening;
    for (let count = 0; count < wanted; count++) void this.#openWorker();
  }

  #released(worker: ApplyWorker): void {
    this.#running.delete(worker);
    if (worker.closed) this.#workers.delete(worker);
    else this.#idle.push(worker);
    const at = worker.closed ? this.#idle.indexOf(worker) : -1;
    if (at >= 0) this.#idle.splice(at, 1);
    if (!this.#stopped) this.#assign();
  }

  async #openWorker(): Promise<void> {
    this.#opening++;
    try {
      const worker = await this.#connect();
      this.#opening--;
      if (this.#stopped) return worker.close();
      this.#workers.add(worker);
      this.#idle.push(worker);
      this.#assign();
    } catch (error) {
      this.#opening--;
      this.#failed(error instanceof Error ? error.message : String(error));
    }
  }

  /** Without any worker nobody would ever serve the queue: it is refused, and the next `open` tries again. */
  #failed(reason: string): void {
    if (this.#workers.size > 0 || this.#opening > 0) return;
    const refusal = this.#refusal('57P03', `cannot open an apply connection: ${reason}`);
    for (const handle of this.#queue.splice(0)) handle.done({ kind: 'refused', refusal });
  }

  async #connect(): Promise<ApplyWorker> {
    const { login, node } = this.#options;
    const connection = await RawConnection.open({ login, applicationName: 'mtm_apply', settings });
    try {
      await simpleQuery(connection, noTransactionTimeout);
      await this.#takeOrigin(connection);
    } catch (error) {
      connection.destroy();
      throw error;
    }
    const catalog = new RelationCatalog(this.#epoch);
    return new ApplyWorker(
      connection,
      catalog,
      node,
      (worker) => this.#released(worker),
      this.#options.cancelBackend,
    );
  }

  /** Makes the first free origin the session's own. A former gateway's session may still hold some. */
  async #takeOrigin(connection: RawConnection): Promise<void> {
    for (let tries = 0; tries < originTries; tries++) {
      const name = `mtm_apply_${this.#nextOrigin}`;
      this.#nextOrigin = (this.#nextOrigin % originTries) + 1;
      if (await takeOrigin(connection, name)) return;
    }
    throw new Error(`no replication origin is free (mtm_apply_1 to mtm_apply_${originTries})`);
  }
}

/** False when another session has it. */
async function takeOrigin(connection: RawConnection, name: string): Promise<boolean> {
  const literal = quoteLiteral(name);
  try {
    await simpleQuery(
      connection,
      `SELECT pg_replication_origin_create(${literal}) WHERE pg_replication_origin_oid(${literal}) IS NULL`,
    );
  } catch (error) {
    // 23505, 42710: another connection made it at the same moment.
    if (!(error instanceof QueryError) || !['23505', '42710'].includes(error.sqlstate)) throw error;
  }
  try {
    await simpleQuery(connection, `SELECT pg_replication_origin_session_setup(${literal})`);
    return true;
  } catch (error) {
    if (error instanceof QueryError && error.sqlstate === '55006') return false;
    throw error;
  }
}

class Handle implements ApplyHandle, ApplyJob {
  readonly gid: Gid;
  readonly hmac: string;
  readonly branch: ClientBranch | undefined;
  onDone: (result: ApplyResult) => void = () => undefined;
  readonly #dropped: (handle: Handle) => void;
  #worker: ApplyWorker | undefined;
  #pieces: Uint8Array[] = [];
  #pieceBytes = 0;
  #ended = false;
  #finished = false;
  #scheduled = false;
  #ddl = false;
  notifications: Notifications | undefined;
  #client: ClientBranch | undefined;
  #concernsClients = false;

  constructor(gid: Gid, hmac: string, branch: ClientBranch | undefined, dropped: (handle: Handle) => void) {
    this.gid = gid;
    this.hmac = hmac;
    this.branch = branch;
    this.#dropped = dropped;
  }

  get pid(): number | undefined {
    return this.#worker?.pid;
  }

  get buffered(): number {
    return this.#pieceBytes + (this.#worker?.bufferedBytes ?? 0);
  }

  get ddl(): boolean {
    return this.#ddl || this.#worker?.ddl === true;
  }

  get client(): ClientBranch | undefined {
    return this.#client ?? this.#worker?.client;
  }

  get concernsClients(): boolean {
    return this.#concernsClients || this.#worker?.concernsClients === true;
  }

  get ended(): boolean {
    return this.#ended;
  }

  push(data: Uint8Array): void {
    if (this.#finished) return;
    this.#pieces.push(data);
    this.#pieceBytes += data.length;
    this.#schedule();
  }

  end(): void {
    this.#ended = true;
    this.#schedule();
  }

  cancel(reason: Refusal): void {
    if (this.#finished) return;
    if (this.#worker !== undefined) return this.#worker.cancel(reason);
    this.#dropped(this);
    queueMicrotask(() => this.done({ kind: 'refused', refusal: reason }));
  }

  takePieces(): readonly Uint8Array[] {
    const pieces = this.#pieces;
    this.#pieces = [];
    this.#pieceBytes = 0;
    return pieces;
  }

  attach(worker: ApplyWorker): void {
    this.#worker = worker;
    worker.start(this);
    this.#schedule();
  }

  /** What the owner does in one turn (data, end) leaves in one packet. */
  #schedule(): void {
    if (this.#scheduled || this.#worker === undefined) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#worker?.pump();
    });
  }

  done(result: ApplyResult): void {
    if (this.#finished) return;
    this.#finished = true;
    this.#ddl = this.ddl;
    this.notifications = this.#worker?.notifications;
    this.#client = this.client;
    this.#concernsClients = this.concernsClients;
    this.#worker = undefined;
    this.takePieces();
    this.onDone(result);
  }
}
