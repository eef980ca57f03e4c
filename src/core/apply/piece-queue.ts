/** The peer data of one transaction that is not written yet, and the place in its first piece. */
export class PieceQueue {
  #pieces: Uint8Array[] = [];
  #bytes = 0;
  /** In the first piece. */
  at = 0;

  /** Bytes of the pieces that are not used up. */
  get bytes(): number {
    return this.#bytes;
  }

  get empty(): boolean {
    return this.#pieces.length === 0;
  }

  push(data: Uint8Array): void {
    this.#pieces.push(data);
    this.#bytes += data.length;
  }

  /** The piece that has more, with the place in `at`; undefined when all is used up. */
  current(): Uint8Array | undefined {
    for (;;) {
      const piece = this.#pieces[0];
      if (piece === undefined || this.at < piece.length) return piece;
      this.#pieces.shift();
      this.#bytes -= piece.length;
      this.at = 0;
    }
  }

  /** `frames` come before the rest of the present piece. */
  insert(frames: Uint8Array): void {
    const [piece = frames] = this.#pieces;
    this.#pieces.splice(0, 1, frames, piece.subarray(this.at));
    this.#bytes += frames.length - this.at;
    this.at = 0;
  }
}
