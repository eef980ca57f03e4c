/**
 * Cuts a byte stream of protocol messages (type byte, length, body) at message borders, for any split of the
 * stream.
 *
 * Rule: the data path is the exception to copying. A message that lies whole in a chunk is handed out as a
 * range of that chunk; a message of a streamed type that does not is handed out in parts as its bytes arrive,
 * so a row of 1 GB never sits in memory. Only a message that somebody must read whole and that straddles
 * chunks is collected, and never more is allocated than has arrived. It must never trust a claimed length
 * beyond the limit that the owner gives.
 *
 * Grammar (PostgreSQL manual, "Message Formats"): Byte1 type, Int32 length including itself, body.
 */
import { assert } from '../../lib/assert.ts';

export interface FrameHandler {
  /**
   * The largest length (field value) that a message of this type may claim; a larger one is a protocol
   * violation. Undefined: there is no such type; its header is handed out as a message, and nothing is read
   * behind it.
   */
  limit(type: number): number | undefined;
  /**
   * True: the body of a message of this type and length (field value) need not be read; it may be handed out
   * in parts.
   */
  streams(type: number, length: number): boolean;
  /** One whole message: buffer[start…end), type byte at `start`. Valid during the call only. */
  message(type: number, buffer: Uint8Array, start: number, end: number): void;
  /**
   * A part of a streamed message. `first`: the part begins with the type byte; `last`: it ends the message.
   */
  part(type: number, buffer: Uint8Array, start: number, end: number, first: boolean, last: boolean): void;
}

export type ScanResult = { readonly kind: 'ok' } | { readonly kind: 'violation'; readonly reason: string };

const ok: ScanResult = { kind: 'ok' };
const headerBytes = 5;

export class FrameScanner {
  readonly #handler: FrameHandler;
  /** Bytes of an unfinished message that must be handed out whole, or of an unfinished header. */
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  /** Bytes that must be there before what is pending is looked at again. */
  #need = headerBytes;
  /** Set while a streamed message is under way. */
  #streamType = 0;
  #streamLeft = 0;
  #halted = false;

  constructor(handler: FrameHandler) {
    this.#handler = handler;
  }

  /** True between messages: nothing is half received. */
  get idle(): boolean {
    return this.#pendingBytes === 0 && this.#streamLeft === 0;
  }

  /** Bytes held back because a message is incomplete. */
  get heldBytes(): number {
    return this.#pendingBytes;
  }

  /** Stops handing out: what is left of the current chunk is dropped (the connection is being closed). */
  halt(): void {
    this.#halted = true;
    this.#pending = [];
    this.#pendingBytes = 0;
  }

  push(chunk: Uint8Array): ScanResult {
    if (this.#halted || chunk.length === 0) return ok;
    let at = 0;
    while (this.#pendingBytes > 0) {
      const bytes = Math.min(this.#need - this.#pendingBytes, chunk.length - at);
      const joined = this.#join(chunk, at, at + bytes);
      if (joined === undefined) return ok;
      at += bytes;
      const result = this.#scan(joined, 0);
      if (result.kind === 'violation' || this.#halted) return result;
    }
    return this.#scan(chunk, at);
  }

  /**
   * Takes what the message that is waiting still needs, and no more: the rest of the chunk stays where it
   * is. Joins only when the message becomes complete: collecting stays linear in its size.
   */
  #join(chunk: Uint8Array, start: number, end: number): Uint8Array | undefined {
    this.#pendingBytes += end - start;
    if (this.#pendingBytes < this.#need) {
      this.#pending.push(chunk.slice(start, end));
      return undefined;
    }
    const joined = new Uint8Array(this.#pendingBytes);
    let at = 0;
    for (const piece of this.#pending) {
      joined.set(piece, at);
      at += piece.length;
    }
    joined.set(chunk.subarray(start, end), at);
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#need = headerBytes;
    return joined;
  }

  #scan(buffer: Uint8Array, from: number): ScanResult {
    let at = from;
    const size = buffer.length;
    const handler = this.#handler;
    while (at < size) {
      if (this.#halted) return ok;
      if (this.#streamLeft > 0) {
        const end = Math.min(size, at + this.#streamLeft);
        this.#streamLeft -= end - at;
        handler.part(this.#streamType, buffer, at, end, false, this.#streamLeft === 0);
        at = end;
        continue;
      }
      if (size - at < headerBytes) {
        this.#keep(buffer, at, headerBytes);
        return ok;
      }
      const type = buffer[at]!;
      const length =
        ((buffer[at + 1]! << 24) | (buffer[at + 2]! << 16) | (buffer[at + 3]! << 8) | buffer[at + 4]!) >>> 0;
      const limit = handler.limit(type);
      if (limit === undefined) {
        handler.message(type, buffer, at, at + headerBytes);
        this.halt();
        return ok;
      }
      if (length < 4 || length > limit) {
        return { kind: 'violation', reason: `invalid message length ${length} of message type ${type}` };
      }
      const end = at + 1 + length;
      if (end <= size) {
        handler.message(type, buffer, at, end);
        at = end;
      } else if (handler.streams(type, length)) {
        this.#streamType = type;
        this.#streamLeft = end - size;
        handler.part(type, buffer, at, size, true, false);
        at = size;
      } else {
        this.#keep(buffer, at, end - at);
        return ok;
      }
    }
    return ok;
  }

  #keep(buffer: Uint8Array, from: number, need: number): void {
    assert(this.#pendingBytes === 0, 'a new message begins only after the former one was handed out');
    // Copied: the chunk belongs to the socket's reader.
    this.#pending = [buffer.slice(from)];
    this.#pendingBytes = buffer.length - from;
    this.#need = need;
  }
}
