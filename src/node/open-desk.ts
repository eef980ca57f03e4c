/**
 * Transactions that stay open at home until the others have decided them: reading their changes, and
 * looking up what became of one whose session is gone. Rule: what became of it is told only when it is
 * certain: its backend has said so, or is gone.
 */
import type { Finish } from '../core/commit/event.ts';
import type { GidEvent } from '../core/node/node-event.ts';
import type { Gid, Refusal } from '../core/identity.ts';
import type { OpenCaptureEnd } from '../core/pgoutput/open-capture.ts';
import { OpenStream } from '../io/postgres/open-stream.ts';
import { slotNames } from '../io/postgres/slot-names.ts';
import { QueryError } from '../io/postgres/simple-query.ts';
import { headerVerifier } from './header-proof.ts';
import type { NodeParts } from './node-parts.ts';

export interface OpenDeskHandler {
  event(event: GidEvent): void;
  /** The transaction carries definitions. */
  definitionsChange(gid: Gid): void;
  /** Tells the session in this backend to end it. */
  order(backendPid: number, gid: Gid, finish: Finish): void;
  /** It has ended in the server. */
  finished(gid: Gid, finish: Finish): void;
  lost(reason: string): void;
}

interface OpenTransaction {
  readonly xid: string;
  readonly backendPid: number;
  ordered: Finish | undefined;
}

const nothing = new Uint8Array(0);

export class OpenDesk {
  readonly #parts: NodeParts;
  readonly #stream: OpenStream;
  readonly #handler: OpenDeskHandler;
  readonly #open = new Map<Gid, OpenTransaction>();

  constructor(parts: NodeParts, handler: OpenDeskHandler) {
    const { postgres: login, clusterSecret } = parts.config;
    const slot = slotNames(login).live;
    const verifyHeader = headerVerifier(clusterSecret);
    this.#parts = parts;
    this.#handler = handler;
    this.#stream = new OpenStream({ login, slot, publication: 'mtm', verifyHeader });
  }

  /** For back-pressure. */
  get source(): Pick<OpenStream, 'pause' | 'resume'> {
    return this.#stream;
  }

  holds(gid: Gid): boolean {
    return this.#open.has(gid);
  }

  /** The transaction that the backend holds open while the others decide about it. */
  heldOpenBy(backendPid: number): Gid | undefined {
    for (const [gid, open] of this.#open) if (open.backendPid === backendPid) return gid;
    return undefined;
  }

  /** Its header is in the WAL: the others hear of its changes. */
  heldOpen(gid: Gid, xid: string, backendPid: number): void {
    this.#open.set(gid, { xid, backendPid, ordered: undefined });
    this.#handler.event({ kind: 'held-open', gid });
    void this.#capture(gid, xid);
  }

  async #capture(gid: Gid, xid: string): Promise<void> {
    let refusal: Refusal | undefined;
    try {
      const end = await this.#stream.read({
        gid,
        xid,
        piece: ({ ddl, data }) => {
          if (ddl) this.#handler.definitionsChange(gid);
          this.#handler.event({ kind: 'captured', gid, ddl, data, last: false });
        },
      });
      refusal = end.kind === 'complete' ? undefined : refusalOf(end);
    } catch (error) {
      refusal = unreadable(error as Error);
      this.#parts.log.warn({ gid, reason: (error as Error).message }, 'an open transaction cannot be read');
    }
    if (refusal !== undefined) this.#handler.event({ kind: 'capture-failed', gid, refusal });
    else this.#handler.event({ kind: 'captured', gid, ddl: false, data: nothing, last: true });
  }

  /** The order to its session. */
  finish(gid: Gid, finish: Finish): void {
    const open = this.#open.get(gid);
    if (open === undefined) return; // it was lost meanwhile, and its end is on its way
    open.ordered = finish;
    this.#handler.order(open.backendPid, gid, finish);
  }

  /** What was ordered was executed. */
  ended(gid: Gid, finish: Finish): void {
    this.#open.delete(gid);
    this.#handler.finished(gid, finish);
  }

  /** COMMIT has failed. */
  async failed(gid: Gid): Promise<void> {
    const open = this.#open.get(gid);
    if (open !== undefined) await this.#lookUp(gid, open, commitFailed);
  }

  /** Its session is gone. */
  async sessionLost(gid: Gid): Promise<void> {
    const open = this.#open.get(gid);
    if (open !== undefined) await this.#lookUp(gid, open, connectionLost, open.backendPid);
  }

  /** Only when its backend is gone, or has said so, is its end final. */
  async #lookUp(gid: Gid, open: OpenTransaction, refusal: Refusal, backendPid?: number): Promise<void> {
    const { control } = this.#parts;
    try {
      if (backendPid !== undefined) await control.endBackend(backendPid);
      // An order that was given meanwhile found no session.
      const committed = open.ordered === 'commit' && (await control.hasCommitted(open.xid));
      if (committed) return this.ended(gid, 'commit');
      this.#open.delete(gid);
      this.#handler.event({ kind: 'open-lost', gid, refusal });
    } catch (error) {
      this.#handler.lost(`what became of ${gid} is not known: ${(error as Error).message}`);
    }
    return undefined;
  }

  close(): void {
    this.#stream.close();
  }
}

const connectionLost: Refusal = {
  sqlstate: '40001',
  message: '[multimaster] the connection to the server was lost before the commit',
  node: 0,
  retryable: true,
};
const commitFailed: Refusal = {
  ...connectionLost,
  message: '[multimaster] the commit failed',
  retryable: false,
};

const hint = 'Do the work with temporary objects in a transaction of its own.';

function refused(sqlstate: string, message: string, retryable = false): Refusal {
  return { sqlstate, message: `[multimaster] ${message}`, hint, node: 0, retryable };
}

function refusalOf(end: OpenCaptureEnd): Refusal {
  switch (end.kind) {
    case 'too-large':
      return refused(
        '54000',
        'a transaction that cannot be prepared, with savepoints or exception handlers, is limited to 64 MB',
      );
    case 'definitions-rolled-back':
      return refused(
        '0A000',
        'definitions were rolled back to a savepoint in a large transaction that cannot be prepared',
      );
    case 'malformed':
      return refused('XX000', `the changes of the transaction cannot be read: ${end.reason}`);
    case 'forged':
    case 'incomplete':
    case 'complete':
      return refused('40001', 'the changes of the transaction could not be read', true);
  }
}

function unreadable(error: Error): Refusal {
  // 55P03: decoding waits for a lock that the transaction holds itself.
  const own = error instanceof QueryError && error.sqlstate === '55P03';
  return own
    ? refused('0A000', 'the transaction locks what its own decoding needs, and cannot be prepared')
    : refused('40001', `the changes of the transaction could not be read: ${error.message}`, true);
}
