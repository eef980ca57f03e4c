/**
 * Peer data on its way into the statements of one transaction: pieces as they came, read frame by frame.
 * Rules: a message that is longer than its piece (a large value) is joined once, when all of it has come. A
 * piece that nobody else has is used again for others as soon as it is left behind, unless somebody keeps
 * values of it (`keep`).
 */
import { pieceMemory } from '../../lib/byte-pool.ts';
import { missingBytes } from '../pgoutput/piece-writer.ts';

export class PieceQueue {
  #pieces: Uint8Array[] = [];
  /** Those that are used again. */
  readonly #reusable = new Set<Uint8Array>();
  #bytes = 0;
  /** Where the reader is in the first piece. */
  at = 0;

  /** Bytes pushed and not left behind yet. */
  get bytes(): number {
    return this.#bytes;
  }

  get empty(): boolean {
    return this.#pieces.length === 0;
  }

  /** `reusable`: nobody else has the piece. */
  push(data: Uint8Array, reusable = false): void {
    this.#pieces.push(data);
    if (reusable) this.#reusable.add(data);
    this.#bytes += data.length;
  }

  /** The piece in which a whole frame begins at `at`; undefined when more must come first. */
  current(): Uint8Array | undefined {
    for (;;) {
      const piece = this.#pieces[0];
      if (piece === undefined) return undefined;
      if (this.at < piece.length) {
        const missing = missingBytes(piece, this.at);
        if (missing === 0) return piece;
        if (!this.#join(piece, missing)) return undefined;
      } else {
        this.#pieces.shift();
        this.#leave(piece);
        this.#bytes -= piece.length;
        this.at = 0;
      }
    }
  }

  /** What was read of the current piece is kept beyond it. */
  keep(): void {
    const [piece] = this.#pieces;
    if (piece !== undefined) this.#reusable.delete(piece);
  }

  /** `data` comes before what is left. */
  insert(data: Uint8Array): void {
    this.keep();
    const piece = this.#pieces.shift();
    const rest = piece?.subarray(this.at) ?? data.subarray(data.length);
    this.#pieces.unshift(data, rest);
    this.#bytes += data.length - this.at;
    this.at = 0;
  }

  #leave(piece: Uint8Array): void {
    if (this.#reusable.delete(piece)) pieceMemory.giveBack(piece);
  }

  /** False when the missing bytes are not there yet. */
  #join(piece: Uint8Array, missing: number): boolean {
    let count = 1;
    for (let more = 0; more < missing; count++) {
      const next = this.#pieces[count];
      if (next === undefined) return false;
      more += next.length;
    }
    const parts = [piece.subarray(this.at), ...this.#pieces.slice(1, count)];
    const joined = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
    let end = 0;
    for (const part of parts) {
      joined.set(part, end);
      end += part.length;
    }
    for (const piece of this.#pieces.splice(0, count, joined)) this.#leave(piece);
    this.#bytes -= this.at;
    this.at = 0;
    return true;
  }
}
