/**
 * Consecutive inserts into one relation within a piece: found by their headers, written as the data of one
 * COPY.
 * Rule: the run ends where another message stands, so the order of the stream is kept.
 */
import { decodePgoutput } from '../pgoutput/decoder.ts';
import type { Tuple } from '../pgoutput/messages.ts';
import { peekOid, pgoutputType } from '../pgoutput/peek.ts';
import { frameEnd } from '../pgoutput/piece-writer.ts';
import { CopyText } from './copy-text.ts';
import type { RelationPlan } from './relation-plan.ts';

/** End of the run that begins with the insert at `at`; undefined when it has fewer than `least` rows. */
export function insertRun(piece: Uint8Array, at: number, least: number): number | undefined {
  const oid = peekOid(piece, at + 4, frameEnd(piece, at));
  let end = at;
  let count = 0;
  while (end < piece.length) {
    const next = frameEnd(piece, end);
    if (next === 0 || piece[end + 4] !== pgoutputType.insert || peekOid(piece, end + 4, next) !== oid) break;
    end = next;
    count++;
  }
  return count < least ? undefined : end;
}

/** The rows of the run, and their COPY text; undefined when one of them is malformed. */
export function runToCopy(
  piece: Uint8Array,
  start: number,
  end: number,
  plan: RelationPlan,
): { readonly text: Uint8Array; readonly rows: readonly Tuple[] } | undefined {
  const text = new CopyText();
  const rows: Tuple[] = [];
  for (let at = start; at < end; at = frameEnd(piece, at)) {
    const message = decodePgoutput(piece, at + 4, frameEnd(piece, at));
    if (message.kind !== 'insert' || !text.row(message.row, plan.copyColumns)) return undefined;
    if (plan.asChild.length > 0) rows.push(message.row);
  }
  return { text: text.take(), rows };
}
