/**
 * Collects ranges of bytes for one socket and hands them over in one write: neighbouring ranges of the same chunk, which is what
 * relaying mostly produces, become a single piece again.
 * Measured on a forwarder (architecture §7): one write per message costs 72 µs of CPU per transaction, one per chunk 29 µs.
 */
import type { Socket } from 'node:net';

export class ByteOutput {
  readonly #socket: Socket;
  #pieces: Uint8Array[] = [];
  #buffer: Uint8Array | undefined;
  #start = 0;
  #end = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  add(buffer: Uint8Array, start: number, end: number): void {
    if (this.#buffer === buffer && this.#end === start) {
      this.#end = end;
      return;
    }
    this.#cut();
    this.#buffer = buffer;
    this.#start = start;
    this.#end = end;
  }

  #cut(): void {
    if (this.#buffer === undefined) return;
    const whole = this.#start === 0 && this.#end === this.#buffer.length;
    this.#pieces.push(whole ? this.#buffer : this.#buffer.subarray(this.#start, this.#end));
    this.#buffer = undefined;
  }

  get empty(): boolean {
    return this.#buffer === undefined && this.#pieces.length === 0;
  }

  /** Writes what was added. */
  flush(): void {
    this.#cut();
    const pieces = this.#pieces;
    if (pieces.length === 0) return;
    this.#pieces = [];
    if (this.#socket.destroyed) return;
    if (pieces.length === 1) {
      this.#socket.write(pieces[0]!);
      return;
    }
    this.#socket.cork();
    for (const piece of pieces) this.#socket.write(piece);
    this.#socket.uncork();
  }
}
