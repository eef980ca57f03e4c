/**
 * Reads numbers and texts out of one frame's body.
 * Rule: a read beyond the end or of nonsense marks the reader as failed and gives a harmless value; the
 * caller looks at `failed` once, at the end. Nothing is thrown and nothing is allocated from a claimed
 * length.
 */

// The byte order mark is a character like any other here.
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #offset = 0;
  #failed = false;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get failed(): boolean {
    return this.#failed;
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }

  /** Marks what was read so far as nonsense. */
  fail(): void {
    this.#failed = true;
  }

  u8(): number {
    return this.#advance(1) ? this.#view.getUint8(this.#offset - 1) : 0;
  }

  u16(): number {
    return this.#advance(2) ? this.#view.getUint16(this.#offset - 2) : 0;
  }

  u32(): number {
    return this.#advance(4) ? this.#view.getUint32(this.#offset - 4) : 0;
  }

  u53(): number {
    const value = this.u32() * 0x1_0000_0000 + this.u32();
    if (Number.isSafeInteger(value)) return value;
    this.#failed = true;
    return 0;
  }

  /** A finite number that is not negative: all our times and clocks are. */
  f64(): number {
    const value = this.#advance(8) ? this.#view.getFloat64(this.#offset - 8) : 0;
    if (Number.isFinite(value) && value >= 0) return value;
    this.#failed = true;
    return 0;
  }

  bool(): boolean {
    const value = this.u8();
    if (value > 1) this.#failed = true;
    return value === 1;
  }

  text(maxBytes: number): string {
    const length = this.u32();
    if (length > maxBytes || !this.#advance(length)) {
      this.#failed = true;
      return '';
    }
    try {
      return decoder.decode(this.#bytes.subarray(this.#offset - length, this.#offset));
    } catch {
      // The decoder throws for exactly one cause: not UTF-8. The failure is a value here.
      this.#failed = true;
      return '';
    }
  }

  /** All that is left, as a view of the same memory. */
  rest(): Uint8Array {
    const start = this.#offset;
    this.#offset = this.#bytes.length;
    return new Uint8Array(this.#bytes.buffer, this.#bytes.byteOffset + start, this.#bytes.length - start);
  }

  /** Items until `count` of them are read or the reader fails, so a false count costs nothing. */
  list<Item>(count: number, read: () => Item): Item[] {
    const items: Item[] = [];
    for (let index = 0; index < count && !this.#failed; index += 1) items.push(read());
    return items;
  }

  #advance(bytes: number): boolean {
    if (this.#failed || bytes > this.remaining) {
      this.#failed = true;
      return false;
    }
    this.#offset += bytes;
    return true;
  }
}
