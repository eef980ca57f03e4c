/**
 * Consecutive changes of one kind to one relation within a piece, written as one statement: inserts as a
 * COPY, updates and deletes by key as one UPDATE or DELETE that joins arrays of values.
 *
 * Rules: a run ends where another message stands, so the order of the stream is kept (a COPY goes on over any
 * number of pieces, until the pipeline writes anything else); no key comes twice in
 * it, because one statement changes a row once; and whether a relation may be changed by many rows at a
 * time is the plan's to say. A row that such a statement does not hit fails inside the server, as with a
 * single one.
 */
import { decodePgoutput } from '../pgoutput/decoder.ts';
import type { PgoutputMessage } from '../pgoutput/messages.ts';
import { peekOid, pgoutputType } from '../pgoutput/peek.ts';
import { frameEnd } from '../pgoutput/piece-writer.ts';
import { ArrayText } from './array-text.ts';
import { CopyText } from './copy-text.ts';
import type { ForeignKeyChecks } from './foreign-key-checks.ts';
import { careful } from './many-rows.ts';
import type { RelationPlan } from './relation-plan.ts';
import { nullValue, RowPlaces, unchangedValue } from './row-places.ts';
import type { StatementPipeline } from './statement-pipeline.ts';

/** From this many rows on a run is worth it: a COPY costs about as much as four inserts. */
const leastRows = 5;
/** Of an UPDATE or DELETE; what a statement holds in the server's memory, and how long one is, has an end. */
const mostRows = 500;
const newRow = 0x4e; // N
const oldKey = 0x4b; // K
const oidOid = 26;
/** Of a framed change: length, type, relation, letter. */
const rowAt = 10;

// Used again and again: what they hold is copied by the pipeline before the next run.
const places = new RowPlaces();
const copyText = new CopyText();
const arrayTexts: ArrayText[] = [];
const encoder = new TextEncoder();

/** Where it was written to: the end of the run; undefined: there is none; 'malformed'. */
export type RunEnd = number | 'malformed' | undefined;

/** Writes the run that begins with the change at `at`, if there is one. */
export function writeRun(
  pipeline: StatementPipeline,
  checks: ForeignKeyChecks | undefined,
  plan: RelationPlan,
  piece: Uint8Array,
  at: number,
): RunEnd {
  switch (piece[at + 4]) {
    case pgoutputType.insert:
      return copyRun(pipeline, checks, plan, piece, at);
    case pgoutputType.update:
      return plan.many.updates ? keyedRun(pipeline, checks, plan, piece, at, newRow) : undefined;
    case pgoutputType.delete:
      return plan.many.deletes ? keyedRun(pipeline, checks, plan, piece, at, oldKey) : undefined;
    default:
      return undefined;
  }
}

/** End of the run of messages of the same type and relation; undefined when it has too few rows. */
function runEnd(
  piece: Uint8Array,
  at: number,
  letter: number,
  most: number,
  least = leastRows,
): number | undefined {
  const type = piece[at + 4];
  const oid = peekOid(piece, at + 4, frameEnd(piece, at));
  let end = at;
  let count = 0;
  while (end < piece.length && count < most) {
    const next = frameEnd(piece, end);
    if (next === 0 || piece[end + 4] !== type || peekOid(piece, end + 4, next) !== oid) break;
    if (piece[end + rowAt - 1] !== letter) break;
    end = next;
    count++;
  }
  return count < least ? undefined : end;
}

function copyRun(
  pipeline: StatementPipeline,
  checks: ForeignKeyChecks | undefined,
  plan: RelationPlan,
  piece: Uint8Array,
  at: number,
): RunEnd {
  if (plan.unreadable) return undefined;
  const least = pipeline.copies(plan.copy) ? 1 : leastRows;
  const end = plan.copyColumns.length === 0 ? undefined : runEnd(piece, at, newRow, Infinity, least);
  if (end === undefined) return undefined;
  copyText.begin(end - at + 1024);
  for (let row = at; row < end; row = frameEnd(piece, row)) {
    const next = frameEnd(piece, row);
    if (places.read(piece, row + rowAt, next) !== next || !copyText.row(piece, places, plan.copyColumns))
      return 'malformed';
  }
  pipeline.copy(plan.copy, copyText.take());
  if (checks === undefined || plan.asChild.length === 0) return end;
  eachMessage(piece, at, end, (message) => {
    if (message.kind === 'insert') checks.inserted(plan, message.row);
  });
  return end;
}

/** For foreign keys the rows of a run are read once more, as objects. */
function eachMessage(
  piece: Uint8Array,
  at: number,
  end: number,
  visit: (message: PgoutputMessage) => void,
): void {
  for (let row = at; row < end; row = frameEnd(piece, row)) {
    visit(decodePgoutput(piece, row + 4, frameEnd(piece, row)));
  }
}

function keyedRun(
  pipeline: StatementPipeline,
  checks: ForeignKeyChecks | undefined,
  plan: RelationPlan,
  piece: Uint8Array,
  at: number,
  letter: number,
): RunEnd {
  const most = runEnd(piece, at, letter, mostRows);
  if (most === undefined) return undefined;
  if (places.read(piece, at + rowAt, frameEnd(piece, at)) !== frameEnd(piece, at)) return 'malformed';
  const { many } = plan;
  const missing = letter === newRow ? many.missing(places) : '';
  const statement = letter === newRow ? many.update(missing) : many.delete();
  if (statement === undefined) return undefined;
  const { columns } = statement;
  const arrays = arraysOf(columns.length);
  const keys = new Set<string>();
  let end = at;
  while (end < most) {
    const next = frameEnd(piece, end);
    if (places.read(piece, end + rowAt, next) !== next) return 'malformed';
    if (letter === newRow && many.missing(places) !== missing) break;
    const key = keyText(piece, many.keyColumns);
    if (keys.has(key)) break;
    keys.add(key);
    for (let index = 0; index < columns.length; index++) add(arrays[index]!, piece, columns[index]!);
    end = next;
  }
  if (keys.size < leastRows) return undefined;
  const values = [...arrays.map((array) => array.take()), encoder.encode(String(keys.size))];
  if (letter === oldKey) noteGone(checks, plan, piece, at, end);
  pipeline.run(careful, [oidOid], [encoder.encode(String(plan.facts.oid))]);
  pipeline.run(statement.sql, [], values);
  if (letter === newRow) noteNew(checks, plan, piece, at, end);
  return end;
}

function arraysOf(count: number): readonly ArrayText[] {
  while (arrayTexts.length < count) arrayTexts.push(new ArrayText());
  const arrays = arrayTexts.slice(0, count);
  for (const array of arrays) array.begin();
  return arrays;
}

function add(array: ArrayText, piece: Uint8Array, column: number): void {
  const start = places.start(column);
  if (start === nullValue || start === unchangedValue) array.null();
  else array.value(piece, start, places.end(column));
}

/**
 * Tells keys apart; two texts of one value count as two keys, which the server's count of rows then finds.
 */
function keyText(piece: Uint8Array, columns: readonly number[]): string {
  let text = '';
  for (const column of columns) {
    const start = places.start(column);
    const end = start < 0 ? start : places.end(column);
    for (let at = start; at < end; at++) text += String.fromCharCode(piece[at]!);
    text += '\0';
  }
  return text;
}

function noteGone(
  checks: ForeignKeyChecks | undefined,
  plan: RelationPlan,
  piece: Uint8Array,
  at: number,
  end: number,
): void {
  if (checks === undefined || plan.asParent.length === 0) return;
  eachMessage(piece, at, end, (message) => {
    if (message.kind === 'delete') checks.parentGoes(plan, message);
  });
}

function noteNew(
  checks: ForeignKeyChecks | undefined,
  plan: RelationPlan,
  piece: Uint8Array,
  at: number,
  end: number,
): void {
  if (checks === undefined || plan.asChild.every(({ inIdentity }) => inIdentity)) return;
  eachMessage(piece, at, end, (message) => {
    if (message.kind === 'update') checks.updated(plan, message);
  });
}
