/**
 * Where the values of one row stand in a piece of peer data, without an object for each: rows by the
 * hundred thousand are turned into text for the server straight from these places.
 * Rule: nothing outside of the given range is looked at; what breaks the grammar (decoder.ts) has no places.
 */
export class RowPlaces {
  /** Columns of the row that was read last. */
  count = 0;
  #starts = new Int32Array(64);
  #ends = new Int32Array(64);

  /** Reads the TupleData at `at`: its end, or -1 when it is broken or has a value in binary format. */
  read(buffer: Uint8Array, at: number, end: number): number {
    if (end - at < 2) return -1;
    const count = (buffer[at]! << 8) | buffer[at + 1]!;
    if (count > this.#starts.length) this.#grow(count);
    let next = at + 2;
    for (let column = 0; column < count; column++) {
      if (next >= end) return -1;
      const kind = buffer[next++]!;
      if (kind === 0x74) {
        if (end - next < 4) return -1;
        const length =
          (buffer[next]! << 24) | (buffer[next + 1]! << 16) | (buffer[next + 2]! << 8) | buffer[next + 3]!;
        next += 4;
        if (length < 0 || length > end - next) return -1;
        this.#starts[column] = next;
        next += length;
        this.#ends[column] = next;
      } else if (kind === 0x6e) this.#starts[column] = nullValue;
      else if (kind === 0x75) this.#starts[column] = unchangedValue;
      else return -1;
    }
    this.count = count;
    return next;
  }

  /** Where the value begins: `nullValue` and `unchangedValue` have no bytes. */
  start(column: number): number {
    return column < this.count ? this.#starts[column]! : unchangedValue;
  }

  end(column: number): number {
    return this.#ends[column]!;
  }

  #grow(count: number): void {
    this.#starts = new Int32Array(count);
    this.#ends = new Int32Array(count);
  }
}

export const nullValue = -1;
/** A TOAST value that the UPDATE left alone: it is not in the message. */
export const unchangedValue = -2;
