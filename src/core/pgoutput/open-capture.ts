/**
 * The changes of a transaction that is still open, from a stream of transactions in progress (pgoutput from
 * version 2 on, `streaming`): in each block (`S` … `E`) every change carries the id of its subtransaction,
 * and `A` says that one was rolled back, perhaps after its changes came.
 *
 * Rules: what belongs to the whole transaction is handed on at once; from the first change of a
 * subtransaction on everything is kept back until the end, because only then nothing of it can be taken
 * back. The end is the gateway's own message behind the header; without it nothing is complete.
 */
import type { Gid } from '../identity.ts';
import { Capture } from './capture.ts';
import type { CapturedPiece } from './capture-handler.ts';
import { peekPrefix, pgoutputType as type } from './peek.ts';

export interface OpenCaptureHandler {
  verifyHeader(gid: Gid, hmac: string): boolean;
  piece(piece: CapturedPiece): void;
}

/** How it ended, or why it cannot be used. */
export type OpenCaptureEnd =
  | { readonly kind: 'complete' }
  | { readonly kind: 'too-large' | 'forged' | 'incomplete' }
  /** Rolled back definitions change what the stream says about later rows. */
  | { readonly kind: 'definitions-rolled-back' }
  | { readonly kind: 'malformed'; readonly reason: string };

interface Kept {
  readonly xid: number;
  /** As it came, without the id of the subtransaction. */
  readonly message: Uint8Array;
}

const streamStart = 0x53; // S
const streamStop = 0x45; // E
const streamAbort = 0x41; // A
/** Bytes that are kept back of a transaction with subtransactions. */
const keptLimit = 64 * 1024 * 1024;
const endPrefix = 'mtm-open';
const ddlPrefix = 'mtm-ddl';

export class OpenCapture {
  readonly #xid: number;
  readonly #keptLimit: number;
  readonly #capture: Capture;
  readonly #aborted = new Set<number>();
  #kept: Kept[] = [];
  #keptBytes = 0;
  #problem: OpenCaptureEnd | undefined;
  #ended = false;
  #header: 'verified' | 'forged' | 'missing' = 'missing';

  /** `xid`: of the whole transaction. */
  constructor(gid: Gid, xid: number, handler: OpenCaptureHandler, limit: number = keptLimit) {
    this.#xid = xid;
    this.#keptLimit = limit;
    const ignore = (): void => undefined;
    this.#capture = new Capture(0, {
      verifyHeader: (named, hmac) => handler.verifyHeader(named, hmac),
      began: ignore,
      piece: (_gid, piece) => handler.piece(piece),
      prepared: ({ header }) => (this.#header = header),
      finished: ignore,
      committedPlainly: ignore,
      unsupervised: ignore,
    });
    this.#capture.beginOpen(gid);
  }

  /** One message of the transaction's blocks, valid during the call only; its bytes may be changed. */
  message(buffer: Uint8Array, start: number, end: number): void {
    if (this.#ended || this.#problem !== undefined) return;
    const kind = buffer[start]!;
    if (kind === streamStart || kind === streamStop) return;
    if (kind === streamAbort) return this.#abort(buffer, start, end);
    if (end - start < 5) return this.#malformed('a message is cut short');
    const xid = uint32At(buffer, start + 1);
    // The id stands behind the type: without it the message is as in any other stream.
    buffer[start + 4] = kind;
    this.#change(xid, buffer, start + 4, end);
  }

  #change(xid: number, buffer: Uint8Array, start: number, end: number): void {
    if (isEnd(buffer, start, end)) {
      this.#ended = true;
      return;
    }
    if (xid === this.#xid && this.#kept.length === 0) return this.#take(buffer, start, end);
    this.#keptBytes += end - start;
    if (this.#keptBytes > this.#keptLimit) {
      this.#problem = { kind: 'too-large' };
      this.#kept = [];
      return;
    }
    this.#kept.push({ xid, message: buffer.slice(start, end) });
  }

  #take(buffer: Uint8Array, start: number, end: number): void {
    const problem = this.#capture.message(buffer, start, end);
    if (problem !== undefined) this.#malformed(problem);
  }

  /** A: Int32 transaction, Int32 subtransaction (and more, in later versions). */
  #abort(buffer: Uint8Array, start: number, end: number): void {
    if (end - start < 9) return this.#malformed('an abort message is cut short');
    const xid = uint32At(buffer, start + 5);
    if (xid === this.#xid) {
      this.#problem = { kind: 'incomplete' };
      return;
    }
    this.#aborted.add(xid);
    const ofIt = this.#kept.filter((kept) => kept.xid === xid);
    if (ofIt.some(({ message }) => peekPrefix(message, 0, message.length) === ddlPrefix))
      this.#problem = { kind: 'definitions-rolled-back' };
  }

  #malformed(reason: string): void {
    this.#problem ??= { kind: 'malformed', reason };
  }

  /** Everything has come: hands on what was kept back. */
  end(): OpenCaptureEnd {
    for (const { xid, message } of this.#kept) {
      // A relation is described once, wherever it is used first.
      const describes = message[0] === type.relation || message[0] === type.type;
      if (describes || !this.#aborted.has(xid)) this.#take(message, 0, message.length);
    }
    this.#kept = [];
    if (this.#problem !== undefined) return this.#problem;
    if (!this.#ended) return { kind: 'incomplete' };
    this.#capture.endOpen();
    if (this.#header === 'forged') return { kind: 'forged' };
    return { kind: this.#header === 'verified' ? 'complete' : 'incomplete' };
  }
}

/** The message behind the header, which only the gateway's function can write. */
function isEnd(buffer: Uint8Array, start: number, end: number): boolean {
  return buffer[start] === type.message && peekPrefix(buffer, start, end) === endPrefix;
}

function uint32At(buffer: Uint8Array, at: number): number {
  return ((buffer[at]! << 24) | (buffer[at + 1]! << 16) | (buffer[at + 2]! << 8) | buffer[at + 3]!) >>> 0;
}
