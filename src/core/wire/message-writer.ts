/**
 * Builds protocol messages into one growing buffer, so that many messages leave in one write.
 * Rule: `take()` hands the bytes over; the writer touches them again only when they are given back.
 */
const encoder = new TextEncoder();

/** A buffer that must grow gets at least this. */
const leastGrowth = 512;
/** Who has just sent more than this probably sends as much again, and gets the room for it at once. */
const muchBytes = 8192;

/** A larger buffer is not kept for the next message. */
const mostKept = 262_144;

/** Most writers build one message: a new buffer is made only by the next message after take(). */
const nothing = new Uint8Array(0);

export class MessageWriter {
  #buffer: Uint8Array;
  #size = 0;
  #lengthAt = -1;
  #least = leastGrowth;
  /** Given back: the next room of this size. */
  #spare: Uint8Array | undefined;

  constructor(capacity = 512) {
    this.#buffer = new Uint8Array(capacity);
  }

  get size(): number {
    return this.#size;
  }

  #room(bytes: number): void {
    const wanted = this.#size + bytes;
    if (wanted <= this.#buffer.length) return;
    const grown = this.#made(Math.max(wanted, this.#buffer.length * 2, this.#least));
    grown.set(this.#buffer.subarray(0, this.#size));
    this.#buffer = grown;
  }

  #made(bytes: number): Uint8Array {
    const spare = this.#spare;
    if (spare === undefined || spare.length < bytes) return new Uint8Array(bytes);
    this.#spare = undefined;
    return spare;
  }

  /** Nobody needs these bytes of `take` any more. Only much is kept, once, and not more than is usual. */
  giveBack(taken: Uint8Array): void {
    if (taken.byteOffset > 0 || taken.length <= muchBytes || taken.buffer.byteLength > mostKept) return;
    this.#spare = new Uint8Array(taken.buffer);
  }

  /** Begins a message; type 0 stands for the startup packets, which have none. */
  begin(type: number): this {
    this.#room(5);
    if (type !== 0) this.#buffer[this.#size++] = type;
    this.#lengthAt = this.#size;
    this.#size += 4;
    return this;
  }

  /** Ends the message that was begun last and writes its length. */
  end(): this {
    const length = this.#size - this.#lengthAt;
    const at = this.#lengthAt;
    this.#buffer[at] = length >>> 24;
    this.#buffer[at + 1] = length >>> 16;
    this.#buffer[at + 2] = length >>> 8;
    this.#buffer[at + 3] = length;
    this.#lengthAt = -1;
    return this;
  }

  byte(value: number): this {
    this.#room(1);
    this.#buffer[this.#size++] = value;
    return this;
  }

  int16(value: number): this {
    this.#room(2);
    this.#buffer[this.#size++] = value >>> 8;
    this.#buffer[this.#size++] = value;
    return this;
  }

  int32(value: number): this {
    this.#room(4);
    const buffer = this.#buffer;
    buffer[this.#size++] = value >>> 24;
    buffer[this.#size++] = value >>> 16;
    buffer[this.#size++] = value >>> 8;
    buffer[this.#size++] = value;
    return this;
  }

  bytes(value: Uint8Array): this {
    this.#room(value.length);
    this.#buffer.set(value, this.#size);
    this.#size += value.length;
    return this;
  }

  /** UTF-8 text without terminator. */
  text(value: string): this {
    this.#room(value.length * 3);
    this.#size += encoder.encodeInto(value, this.#buffer.subarray(this.#size)).written;
    return this;
  }

  /** UTF-8 text with the terminating zero byte. */
  cstring(value: string): this {
    return this.text(value).byte(0);
  }

  take(): Uint8Array {
    const taken = this.#buffer.subarray(0, this.#size);
    // A little more, or the next one, hardly larger, would grow to twice its room just before its end.
    this.#least = this.#size > muchBytes ? this.#size + (this.#size >> 3) : leastGrowth;
    this.#buffer = nothing;
    this.#size = 0;
    return taken;
  }
}
