/**
 * The values of one column as the text of an array, for a statement that takes many rows at once.
 * Grammar (manual, "Array Input and Output Syntax"): {"…","…",NULL}; in quotes a backslash stands before a
 * quote and a backslash, so every text of every element type whose delimiter is the comma comes through
 * unchanged.
 * Rule: works on bytes; the client encoding is UTF-8, where these never are part of another character.
 */

/** A larger buffer is not kept for the next array. */
const mostKept = 1_048_576;

export class ArrayText {
  #buffer = new Uint8Array(1024);
  #size = 0;

  /** Begins a new array. */
  begin(): void {
    if (this.#buffer.length > mostKept) this.#buffer = new Uint8Array(1024);
    this.#buffer[0] = 0x7b;
    this.#size = 1;
  }

  value(piece: Uint8Array, start: number, end: number): void {
    this.#room((end - start) * 2 + 4);
    const target = this.#buffer;
    let at = this.#size;
    if (at > 1) target[at++] = 0x2c;
    target[at++] = 0x22;
    for (let index = start; index < end; index++) {
      const byte = piece[index]!;
      if (byte === 0x22 || byte === 0x5c) target[at++] = 0x5c;
      target[at++] = byte;
    }
    target[at++] = 0x22;
    this.#size = at;
  }

  null(): void {
    this.#room(6);
    const target = this.#buffer;
    if (this.#size > 1) target[this.#size++] = 0x2c;
    for (const byte of nullWord) target[this.#size++] = byte;
  }

  /** Ends the array: its text, until the next `begin`. */
  take(): Uint8Array {
    this.#room(1);
    this.#buffer[this.#size++] = 0x7d;
    return this.#buffer.subarray(0, this.#size);
  }

  #room(bytes: number): void {
    // Room for the closing brace too.
    const wanted = this.#size + bytes + 1;
    if (wanted <= this.#buffer.length) return;
    const grown = new Uint8Array(Math.max(wanted, this.#buffer.length * 2));
    grown.set(this.#buffer.subarray(0, this.#size));
    this.#buffer = grown;
  }
}

const nullWord = new TextEncoder().encode('NULL');
