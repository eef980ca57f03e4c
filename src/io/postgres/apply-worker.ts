/**
 * One apply connection: runs one transaction of a peer at a time, as one pipeline that ends with PREPARE
 * TRANSACTION.
 *
 * States: *idle* → `start` → *running* (data flows; after its end one Sync is out) → prepared → *idle*; from
 * *running* an error or `cancel` → *failing* (Sync is out or sent now; then ROLLBACK, if PREPARE won the race
 * ROLLBACK PREPARED, then one empty round trip so that no late cancel can hit what follows) → refused →
 * *idle*; from anywhere the end of the connection → *closed*: the transaction is lost, and the worker with
 * it.
 * Rule: a refusal is reported only when the gid is certainly not prepared here, nor the client's branch that
 * the transaction brings.
 */
import { assert } from '../../lib/assert.ts';
import type { NodeId, Refusal } from '../../core/identity.ts';
import type { Notifications } from '../../core/pgoutput/notification.ts';
import type { ClientBranch } from '../../core/apply/client-branch.ts';
import { quoteLiteral } from '../../core/apply/quoting.ts';
import { StatementPipeline } from '../../core/apply/statement-pipeline.ts';
import { TransactionWriter } from '../../core/apply/transaction-writer.ts';
import type { Step } from '../../core/apply/writer-step.ts';
import { backend, status } from '../../core/wire/codes.ts';
import { errorFields } from '../../core/wire/messages.ts';
import { readRefusal, readRow, readTag } from './backend-message.ts';
import type { RawConnection } from './raw-connection.ts';
import type { RelationCatalog } from './relation-catalog.ts';

export type ApplyResult =
  | { readonly kind: 'prepared' }
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  /** The connection died: whether the gid is prepared is unknown. */
  | { readonly kind: 'lost'; readonly reason: string };

/** What a worker works on; the applier's handle. */
export interface ApplyJob {
  readonly gid: string;
  readonly hmac: string;
  /** It is to be prepared under its client's name, the gid; it brings its data itself. */
  readonly branch: ClientBranch | undefined;
  /** Data pushed before the worker had it, and later. */
  takePieces(): readonly Uint8Array[];
  readonly ended: boolean;
  done(result: ApplyResult): void;
}

type Phase = 'idle' | 'running' | 'failing' | 'closed';

const unsentLimit = 1_048_576;
const cancelRepeatMs = 50;
const emptyPieces: readonly Uint8Array[] = [];

export class ApplyWorker {
  readonly #connection: RawConnection;
  readonly #catalog: RelationCatalog;
  readonly #node: NodeId;
  readonly #pipeline = new StatementPipeline();
  readonly #released: (worker: ApplyWorker) => void;
  #phase: Phase = 'idle';
  #job: ApplyJob | undefined;
  #writer: TransactionWriter | undefined;
  /** Requests out that end with a ReadyForQuery. */
  #expected = 0;
  /** The Sync behind PREPARE is out. */
  #complete = false;
  #prepared = false;
  /** So is the client's branch that the transaction brings. */
  #branchPrepared = false;
  #refusal: Refusal | undefined;
  #cancelled = false;
  #cancelsOut = 0;
  #cancelTimer: NodeJS.Timeout | undefined;
  #settled = true;
  #status: number = status.idle;
  #draining = false;

  readonly #cancelBackend: ((pid: number) => Promise<void>) | undefined;

  /** `released` is called when the worker is idle again or closed. */
  constructor(
    connection: RawConnection,
    catalog: RelationCatalog,
    node: NodeId,
    released: (worker: ApplyWorker) => void,
    cancelBackend?: (pid: number) => Promise<void>,
  ) {
    this.#connection = connection;
    this.#catalog = catalog;
    this.#node = node;
    this.#released = released;
    this.#cancelBackend = cancelBackend;
    connection.handle({
      message: (type, buffer, start, end) => this.#message(type, buffer, start, end),
      closed: (reason) => this.#closed(reason),
    });
    if (connection.closed) this.#phase = 'closed';
  }

  get pid(): number {
    return this.#connection.pid;
  }

  get closed(): boolean {
    return this.#phase === 'closed';
  }

  /** Bytes of the current transaction that the kernel has not taken yet. */
  get bufferedBytes(): number {
    return (this.#writer?.queuedBytes ?? 0) + this.#pipeline.size + this.#connection.unsentBytes;
  }

  get ddl(): boolean {
    return this.#writer?.ddl === true;
  }

  get notifications(): Notifications | undefined {
    return this.#writer?.notifications;
  }

  /** The client's branch that the current transaction brings. */
  get client(): ClientBranch | undefined {
    return this.#writer?.client;
  }

  get concernsClients(): boolean {
    return this.#writer?.concernsClients === true;
  }

  /** The job calls `pump` when it has data. */
  start(job: ApplyJob): void {
    assert(this.#phase === 'idle', 'an apply worker runs one transaction at a time');
    this.#phase = 'running';
    this.#job = job;
    this.#complete = false;
    this.#prepared = false;
    this.#branchPrepared = false;
    this.#refusal = undefined;
    this.#cancelled = false;
    this.#settled = true;
    const { gid, hmac, branch } = job;
    this.#pipeline.clean();
    this.#writer = new TransactionWriter(this.#pipeline, this.#catalog, gid, hmac, this.pid, branch);
  }

  /** New data or its end has come. */
  pump(): void {
    const writer = this.#writer;
    if (this.#phase !== 'running' || this.#complete || this.#draining || writer === undefined) return;
    for (const piece of this.#job?.takePieces() ?? emptyPieces) writer.push(piece, true);
    for (;;) {
      let step: Step = writer.step();
      if (step.kind === 'hungry' && this.#job?.ended === true) step = writer.finish();
      if (step.kind === 'refused') {
        return this.#fail({
          sqlstate: step.sqlstate,
          message: step.reason,
          node: this.#node,
          retryable: false,
        });
      }
      if (step.kind === 'complete') {
        this.#complete = true;
        this.#sync();
        return;
      }
      this.#send();
      if (step.kind === 'waiting' || this.#drain() || step.kind === 'hungry') return;
    }
  }

  /** True when the kernel has not taken enough yet: `pump` goes on when it has. */
  #drain(): boolean {
    if (this.#connection.unsentBytes <= unsentLimit) return false;
    this.#draining = true;
    this.#connection.onceDrained(() => {
      this.#draining = false;
      this.pump();
    });
    return true;
  }

  #send(): void {
    if (this.#pipeline.size === 0) return;
    const bytes = this.#pipeline.take();
    this.#connection.send(bytes, () => this.#pipeline.giveBack(bytes));
  }

  #sync(): void {
    this.#pipeline.sync();
    this.#expected++;
    this.#send();
  }

  #simple(sql: string): void {
    this.#pipeline.simple(sql);
    this.#expected++;
    this.#send();
  }

  /** Ends the transaction with this refusal, even if PREPARE has been sent. */
  cancel(refusal: Refusal): void {
    if (this.#phase !== 'running' || this.#cancelled) return;
    this.#cancelled = true;
    this.#fail(refusal);
    this.#settled = false;
    this.#requestCancel();
    // A request that arrives before the statement begins is lost, and the statement may wait for a lock for
    // ever.
    this.#cancelTimer = setInterval(() => this.#requestCancel(), cancelRepeatMs);
  }

  #requestCancel(): void {
    this.#cancelsOut++;
    const request =
      this.#cancelBackend?.(this.pid).catch(() => this.#connection.cancel()) ?? this.#connection.cancel();
    void request.then(() => {
      this.#cancelsOut--;
      if (this.#expected === 0 && this.#phase === 'failing') this.#cleanUp();
    });
  }

  #fail(refusal: Refusal): void {
    assert(this.#phase === 'running', 'only a running transaction fails');
    this.#phase = 'failing';
    this.#refusal = refusal;
    if (this.#complete) return;
    this.#sync();
  }

  #message(type: number, buffer: Uint8Array, start: number, end: number): void {
    switch (type) {
      case backend.dataRow:
        if (this.#phase !== 'running' || this.#writer === undefined) return;
        this.#writer.answer(readRow(buffer, start));
        this.pump();
        return;
      case backend.errorResponse:
        this.#error(buffer, start, end);
        return;
      case backend.commandComplete:
        if (this.#complete || this.#phase === 'failing' || this.client !== undefined)
          this.#completed(readTag(buffer, start, end));
        return;
      case backend.readyForQuery:
        this.#status = buffer[start + 5] ?? 0;
        this.#expected--;
        if (this.#expected === 0) this.#synced();
        return;
      default: // ParseComplete and the like carry nothing that we need.
    }
  }

  #error(buffer: Uint8Array, start: number, end: number): void {
    if (this.#phase === 'running') this.#fail(readRefusal(this.#node, buffer, start, end));
    // 42704: ROLLBACK PREPARED found nothing, so the gid is not prepared.
    else if (errorFields(buffer, start, end).get('C') === '42704') this.#isRolledBack();
  }

  #completed(tag: string): void {
    if (tag === 'ROLLBACK PREPARED') return this.#isRolledBack();
    if (tag !== 'PREPARE TRANSACTION') return;
    // The branch comes first.
    if (this.client !== undefined && !this.#branchPrepared) this.#branchPrepared = true;
    else this.#prepared = true;
  }

  /** What #cleanUp has ordered, in its order. */
  #isRolledBack(): void {
    if (this.#prepared) this.#prepared = false;
    else this.#branchPrepared = false;
  }

  #synced(): void {
    if (this.#phase === 'running') {
      if (this.#prepared) return this.#finish({ kind: 'prepared' });
      const message = 'PREPARE TRANSACTION was not executed';
      this.#refusal = { sqlstate: 'XX000', message, node: this.#node, retryable: false };
      this.#phase = 'failing';
    }
    clearInterval(this.#cancelTimer);
    if (this.#cancelsOut === 0) this.#cleanUp();
  }

  /**
   * Everything sent is answered and no cancel request is on its way. One step each time, until nothing is
   * left.
   */
  #cleanUp(): void {
    if (this.#status !== status.idle) return this.#simple('ROLLBACK');
    if (this.#prepared) return this.#rollBack(this.#job?.gid ?? '');
    if (this.#branchPrepared) return this.#rollBack(this.client?.gid ?? '');
    if (!this.#settled) {
      this.#settled = true;
      return this.#sync();
    }
    const refusal = this.#refusal;
    assert(refusal !== undefined, 'a transaction fails for a reason');
    this.#finish({ kind: 'refused', refusal });
  }

  #rollBack(gid: string): void {
    this.#simple(`ROLLBACK PREPARED ${quoteLiteral(gid)}`);
  }

  #finish(result: ApplyResult): void {
    const job = this.#job;
    if (result.kind === 'prepared') this.#pipeline.confirm();
    else this.#pipeline.forget();
    this.#phase = 'idle';
    // Whoever is told asks what the writer has seen.
    job?.done(result);
    this.#job = undefined;
    this.#writer = undefined;
    this.#released(this);
  }

  #closed(reason: string): void {
    if (this.#phase === 'closed') return;
    clearInterval(this.#cancelTimer);
    const job = this.#job;
    this.#phase = 'closed';
    job?.done({ kind: 'lost', reason });
    this.#job = undefined;
    this.#writer = undefined;
    this.#released(this);
  }

  /** Ends the connection; a transaction that runs is lost. */
  close(): void {
    this.#connection.destroy();
  }
}
