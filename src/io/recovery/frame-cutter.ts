/**
 * Cuts a stream of bytes into frames, for any split of it: length:uint32 (of what follows) kind:uint8 body.
 * Rule: a frame's bytes are a range of what came; they are joined once, when all of them are there.
 */

/** Length and kind. */
const headBytes = 5;

export class FrameCutter {
  readonly #maxBytes: number;
  #chunks: Buffer[] = [];
  #size = 0;
  #wanted = 4;

  /** `maxBytes`: of kind and body; a longer claim is no frame. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  push(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
  }

  /** Kind and body of the next whole frame; undefined when more bytes are needed. Throws when it is none. */
  next(): Buffer | undefined {
    if (this.#size < this.#wanted) return undefined;
    const bytes = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks, this.#size);
    this.#chunks = [bytes];
    const length = bytes.readUInt32BE(0);
    if (length === 0 || length > this.#maxBytes) throw new Error(`a frame of ${length} bytes`);
    if (bytes.length < 4 + length) {
      this.#wanted = 4 + length;
      return undefined;
    }
    const rest = bytes.subarray(4 + length);
    this.#chunks = rest.length === 0 ? [] : [rest];
    this.#size = rest.length;
    this.#wanted = 4;
    return bytes.subarray(4, 4 + length);
  }
}

/** A frame, or its beginning when `moreBytes` of its body follow as they are. */
export function frameBytes(kind: number, body: Uint8Array, moreBytes = 0): Buffer {
  const bytes = Buffer.allocUnsafe(headBytes + body.length);
  bytes.writeUInt32BE(1 + body.length + moreBytes, 0);
  bytes.writeUInt8(kind, 4);
  bytes.set(body, headBytes);
  return bytes;
}
