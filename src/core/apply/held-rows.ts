/**
 * Rows that came before the command that makes their table: CREATE TABLE AS and SELECT INTO are replicated as
 * rows, and the table's definition is known only at the end of the command (architecture §10).
 * Rule: bounded; what does not fit is refused by the owner.
 */
import { PieceWriter } from '../pgoutput/piece-writer.ts';

export const heldBytesLimit = 67_108_864;

export class HeldRows {
  readonly #writer = new PieceWriter();
  readonly #names = new Set<string>();

  /** Names of the relations that are waited for. */
  get names(): readonly string[] {
    return [...this.#names];
  }

  /** Keeps one message; false when there is no more room. */
  add(name: string, buffer: Uint8Array, start: number, end: number): boolean {
    this.#names.add(name);
    if (this.#writer.size + end - start > heldBytesLimit) return false;
    this.#writer.message(buffer, start, end);
    return true;
  }

  /** Everything held, framed, to be tried again. */
  take(): Uint8Array {
    this.#names.clear();
    return this.#writer.take();
  }
}
