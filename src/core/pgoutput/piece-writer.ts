/**
 * Collects raw pgoutput messages into pieces of peer data: [uint32 length, big endian][message]…
 * Rule: a message is never cut, so a piece is at least one message and usually between 64 and 128 KB.
 */
const leastBytes = 512;
const nothing = new Uint8Array(0);

export class PieceWriter {
  #buffer: Uint8Array = nothing;
  #size = 0;
  #least = leastBytes;

  /** Bytes collected since the last `take`. */
  get size(): number {
    return this.#size;
  }

  /** Adds buffer[start…end) as one framed message. */
  message(buffer: Uint8Array, start: number, end: number): void {
    const length = end - start;
    this.#room(length + 4);
    const target = this.#buffer;
    let at = this.#size;
    target[at++] = length >>> 24;
    target[at++] = length >>> 16;
    target[at++] = length >>> 8;
    target[at++] = length;
    if (length < 128) for (let index = start; index < end; index++) target[at++] = buffer[index]!;
    else target.set(buffer.subarray(start, end), at);
    this.#size += length + 4;
  }

  /** Adds bytes that are framed already. */
  framed(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#buffer.set(bytes, this.#size);
    this.#size += bytes.length;
  }

  /**
   * Hands over what was collected; the writer does not touch these bytes again. `more`: as much again is
   * likely to follow, so its room is made at once.
   */
  take(more = false): Uint8Array {
    const taken = this.#buffer.subarray(0, this.#size);
    this.#least = more ? this.#size + leastBytes : leastBytes;
    this.#buffer = nothing;
    this.#size = 0;
    return taken;
  }

  #room(bytes: number): void {
    const wanted = this.#size + bytes;
    if (wanted <= this.#buffer.length) return;
    const grown = new Uint8Array(Math.max(wanted, this.#buffer.length * 2, this.#least));
    grown.set(this.#buffer.subarray(0, this.#size));
    this.#buffer = grown;
  }
}

/**
 * End of the frame that begins at `at`; 0 when it does not fit into the piece. The message begins at `at +
 * 4`.
 */
export function frameEnd(piece: Uint8Array, at: number): number {
  if (piece.length - at < 5) return 0;
  const length = ((piece[at]! << 24) | (piece[at + 1]! << 16) | (piece[at + 2]! << 8) | piece[at + 3]!) >>> 0;
  const end = at + 4 + length;
  return length === 0 || end > piece.length ? 0 : end;
}

/**
 * Bytes that the frame at `at` lacks in this piece; as long as its length is cut off, those of its length.
 */
export function missingBytes(piece: Uint8Array, at: number): number {
  if (piece.length - at < 4) return 4 - (piece.length - at);
  const length = ((piece[at]! << 24) | (piece[at + 1]! << 16) | (piece[at + 2]! << 8) | piece[at + 3]!) >>> 0;
  return Math.max(0, at + 4 + length - piece.length);
}
