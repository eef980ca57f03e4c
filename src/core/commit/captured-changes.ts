/**
 * The changes of one transaction as they come out of the slot, kept for a member whose link breaks on the
 * way.
 * Rule: the same transaction is always decoded to the same bytes, so an offset names a place in it for good.
 */
export interface Piece {
  /** Bytes before this piece. */
  readonly offset: number;
  readonly data: Uint8Array;
}

export class CapturedChanges {
  readonly #retainBytes: number;
  #pieces: Piece[] | undefined = [];
  #length = 0;
  /** Bytes that the slot shows again after a reconnect. */
  #known = 0;
  /** The members have been told of the transaction. */
  announced = false;
  /** The Prepare message has come: nothing follows. */
  complete = false;

  /** `retainBytes`: beyond this nothing is kept. */
  constructor(retainBytes: number) {
    this.#retainBytes = retainBytes;
  }

  get length(): number {
    return this.#length;
  }

  /** What can be repeated, in order; undefined when it grew too large to be kept. */
  get pieces(): readonly Piece[] | undefined {
    return this.#pieces;
  }

  /** The slot begins again before this transaction; what it showed already is dropped by `append`. */
  captureRestarted(): void {
    if (!this.complete) this.#known = this.#length;
  }

  /** The new part of `data`, undefined when there is none. */
  append(data: Uint8Array): Piece | undefined {
    const skipped = Math.min(this.#known, data.length);
    this.#known -= skipped;
    const fresh = data.subarray(skipped);
    if (fresh.length === 0) return undefined;
    const piece = { offset: this.#length, data: fresh };
    this.#length += fresh.length;
    if (this.#length > this.#retainBytes) this.#pieces = undefined;
    this.#pieces?.push(piece);
    return piece;
  }

  /** Nobody will need a repeat: it is decided. */
  discard(): void {
    this.#pieces = undefined;
  }
}
