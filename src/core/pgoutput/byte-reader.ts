/**
 * Reads the fields of one message, big endian, never beyond its end.
 * Rule: a read past the end yields zero or empty and sets `failed`; the decoder looks at it once, when it is
 * through.
 */
import { cstringAt, cstringEnd } from '../wire/messages.ts';

const empty = new Uint8Array(0);

export class ByteReader {
  readonly #buffer: Uint8Array;
  readonly #end: number;
  #at: number;
  #failed = false;

  constructor(buffer: Uint8Array, start: number, end: number) {
    this.#buffer = buffer;
    this.#at = start;
    this.#end = end;
  }

  get failed(): boolean {
    return this.#failed;
  }

  get left(): number {
    return this.#end - this.#at;
  }

  #take(bytes: number): number {
    const at = this.#at;
    if (bytes < 0 || at + bytes > this.#end) {
      this.#failed = true;
      this.#at = this.#end;
      return -1;
    }
    this.#at = at + bytes;
    return at;
  }

  uint8(): number {
    const at = this.#take(1);
    return at < 0 ? 0 : this.#buffer[at]!;
  }

  uint16(): number {
    const at = this.#take(2);
    return at < 0 ? 0 : (this.#buffer[at]! << 8) | this.#buffer[at + 1]!;
  }

  int32(): number {
    const at = this.#take(4);
    if (at < 0) return 0;
    const buffer = this.#buffer;
    return (buffer[at]! << 24) | (buffer[at + 1]! << 16) | (buffer[at + 2]! << 8) | buffer[at + 3]!;
  }

  uint32(): number {
    return this.int32() >>> 0;
  }

  uint64(): bigint {
    const high = this.uint32();
    return (BigInt(high) << 32n) | BigInt(this.uint32());
  }

  int64(): bigint {
    return BigInt.asIntN(64, this.uint64());
  }

  /** Text up to the zero byte, which is consumed. */
  string(): string {
    const stop = cstringEnd(this.#buffer, this.#at, this.#end);
    if (stop >= this.#end) {
      this.#failed = true;
      this.#at = this.#end;
      return '';
    }
    const text = cstringAt(this.#buffer, this.#at, this.#end);
    this.#at = stop + 1;
    return text;
  }

  /** A range of the input, not a copy. */
  bytes(length: number): Uint8Array {
    const at = this.#take(length);
    return at < 0 ? empty : this.#buffer.subarray(at, at + length);
  }
}
