/** What stands in a piece of a transaction, message by message. */
import { frameEnd } from '../../../../src/core/pgoutput/piece-writer.ts';

type PieceVisitor = (buffer: Uint8Array, start: number, end: number) => void;

/** Calls `visit` for each framed message of `data`; false when the frames do not fit the bytes. */
export function visitPiece(data: Uint8Array, visit: PieceVisitor): boolean {
  let at = 0;
  while (at < data.length) {
    const end = frameEnd(data, at);
    if (end === 0) return false;
    visit(data, at + 4, end);
    at = end;
  }
  return true;
}
