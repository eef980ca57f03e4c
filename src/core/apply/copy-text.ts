/**
 * Rows for COPY … FROM STDIN in text format, straight from the bytes of Insert messages.
 * Grammar (manual, COPY, "Text Format"): columns end with a tab, the row with a newline, NULL is \N;
 * backslash, tab, newline and carriage return inside a value are escaped with a backslash.
 * Rule: works on bytes; the client encoding is UTF-8, where these four never are part of another character.
 */
import { nullValue, unchangedValue } from './row-places.ts';
import type { RowPlaces } from './row-places.ts';

/** A larger buffer is not kept for the next time. */
const mostKept = 1_048_576;

export class CopyText {
  #buffer = new Uint8Array(0);
  #size = 0;

  /** Begins anew; `bytes`: about what it will hold. */
  begin(bytes: number): void {
    this.#size = 0;
    if (bytes > this.#buffer.length || this.#buffer.length > mostKept) this.#buffer = new Uint8Array(bytes);
  }

  /** Appends the given columns of the row at these places. False when one of the values is missing. */
  row(piece: Uint8Array, places: RowPlaces, columns: readonly number[]): boolean {
    for (let index = 0; index < columns.length; index++) {
      const column = columns[index]!;
      const start = places.start(column);
      if (start === unchangedValue) return false;
      if (index > 0) this.#byte(0x09);
      if (start === nullValue) {
        this.#byte(0x5c);
        this.#byte(0x4e);
      } else this.#value(piece, start, places.end(column));
    }
    this.#byte(0x0a);
    return true;
  }

  /** The bytes, until the next `begin`. */
  take(): Uint8Array {
    return this.#buffer.subarray(0, this.#size);
  }

  #room(bytes: number): void {
    const wanted = this.#size + bytes;
    if (wanted <= this.#buffer.length) return;
    const grown = new Uint8Array(Math.max(wanted, this.#buffer.length * 2));
    grown.set(this.#buffer.subarray(0, this.#size));
    this.#buffer = grown;
  }

  #byte(value: number): void {
    this.#room(1);
    this.#buffer[this.#size++] = value;
  }

  #value(piece: Uint8Array, start: number, end: number): void {
    this.#room((end - start) * 2);
    const target = this.#buffer;
    let at = this.#size;
    for (let index = start; index < end; index++) {
      const byte = piece[index]!;
      if (byte > 0x0d && byte !== 0x5c) target[at++] = byte;
      else if (byte === 0x5c || byte === 0x09 || byte === 0x0a || byte === 0x0d) {
        target[at++] = 0x5c;
        target[at++] = byte === 0x5c ? 0x5c : byte === 0x09 ? 0x74 : byte === 0x0a ? 0x6e : 0x72;
      } else target[at++] = byte;
    }
    this.#size = at;
  }
}
