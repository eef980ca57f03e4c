/**
 * Memory of one size that is used again instead of being left to the garbage collector: V8 marks the whole
 * heap for every 16 MB outside of it, which was a third of the CPU time of a gateway that applies a COPY.
 *
 * Rule: only the one owner of the bytes gives them back, and only when nobody can read them any more. What
 * the pool has not lent, or has got back already, it does not take. Who keeps bytes never gives them back.
 */
export class BytePool {
  readonly #size: number;
  readonly #most: number;
  readonly #free: ArrayBuffer[] = [];
  readonly #lent = new WeakSet<ArrayBufferLike>();

  /** Keeps at most `most` pieces of memory of `size` bytes each while nobody uses them. */
  constructor(size: number, most: number) {
    this.#size = size;
    this.#most = most;
  }

  /** At least `bytes` bytes, of no meaning yet. Much less or more than the size is not lent. */
  room(bytes: number): Uint8Array {
    if (bytes > this.#size || bytes * 2 <= this.#size) return new Uint8Array(bytes);
    const memory = this.#free.pop() ?? new ArrayBuffer(this.#size);
    this.#lent.add(memory);
    return new Uint8Array(memory);
  }

  /** `bytes`, or any part of what `room` gave. */
  giveBack({ buffer }: Uint8Array<ArrayBufferLike>): void {
    if (!this.#lent.delete(buffer) || this.#free.length >= this.#most) return;
    this.#free.push(buffer as ArrayBuffer);
  }
}

/** Pieces of peer data: read from a link, given back when they are applied. */
export const pieceMemory = new BytePool(81_920, 48);
