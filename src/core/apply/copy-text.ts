/**
 * Rows for COPY … FROM STDIN in text format, straight from the bytes of Insert messages.
 * Grammar (manual, COPY, "Text Format"): columns end with a tab, the row with a newline, NULL is \N;
 * backslash, tab, newline and carriage return inside a value are escaped with a backslash.
 * Rule: works on bytes; the client encoding is UTF-8, where these four never are part of another character.
 */
import type { Tuple } from '../pgoutput/messages.ts';

export class CopyText {
  #buffer = new Uint8Array(8192);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Appends one row of the given columns. False when a value is in binary format or missing. */
  row(row: Tuple, columns: readonly number[]): boolean {
    if (row.binary !== undefined) return false;
    for (let index = 0; index < columns.length; index++) {
      const value = row.values[columns[index]!];
      if (value === undefined) return false;
      if (index > 0) this.#byte(0x09);
      if (value === null) {
        this.#byte(0x5c);
        this.#byte(0x4e);
      } else this.#value(value);
    }
    this.#byte(0x0a);
    return true;
  }

  /** Hands over the bytes; the object starts anew. */
  take(): Uint8Array {
    const taken = this.#buffer.subarray(0, this.#size);
    this.#buffer = new Uint8Array(8192);
    this.#size = 0;
    return taken;
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

  #value(value: Uint8Array): void {
    this.#room(value.length * 2);
    const target = this.#buffer;
    let at = this.#size;
    for (let index = 0; index < value.length; index++) {
      const byte = value[index]!;
      if (byte === 0x5c || byte === 0x09 || byte === 0x0a || byte === 0x0d) {
        target[at++] = 0x5c;
        target[at++] = byte === 0x5c ? 0x5c : byte === 0x09 ? 0x74 : byte === 0x0a ? 0x6e : 0x72;
      } else target[at++] = byte;
    }
    this.#size = at;
  }
}
