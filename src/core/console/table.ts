/**
 * A table of the console and its messages: RowDescription, DataRow in text or binary.
 * Rule: only types whose binary form is simple, so that a driver which asks for binary gets it right.
 */
import { backend } from '../wire/codes.ts';
import { MessageWriter } from '../wire/message-writer.ts';

export type CellType = 'text' | 'int8' | 'bool';
export type Cell = string | number | boolean | null;

export interface Column {
  readonly name: string;
  readonly type: CellType;
}

export interface Table {
  readonly columns: readonly Column[];
  readonly rows: readonly (readonly Cell[])[];
}

/** pg_type: oid and typlen. */
const types = { text: [25, -1], int8: [20, 8], bool: [16, 1] } as const;

/** `formats`: one for each column, 0 text, 1 binary. */
export function rowDescription(columns: readonly Column[], formats: readonly number[]): Uint8Array {
  const writer = new MessageWriter(64 + columns.length * 40).begin(backend.rowDescription);
  writer.int16(columns.length);
  for (const [index, { name, type }] of columns.entries()) {
    const [oid, length] = types[type];
    writer
      .cstring(name)
      .int32(0)
      .int16(0)
      .int32(oid)
      .int16(length)
      .int32(-1)
      .int16(formats[index] ?? 0);
  }
  return writer.end().take();
}

export function addDataRow(
  writer: MessageWriter,
  table: Table,
  row: number,
  formats: readonly number[],
): void {
  writer.begin(backend.dataRow).int16(table.columns.length);
  for (const [index, { type }] of table.columns.entries()) {
    const cell = table.rows[row]?.[index] ?? null;
    if (cell === null) writer.int32(-1);
    else if (formats[index] === 1) addBinary(writer, type, cell);
    else addText(writer, textOf(cell));
  }
  writer.end();
}

function textOf(cell: Exclude<Cell, null>): string {
  if (typeof cell === 'boolean') return cell ? 't' : 'f';
  return typeof cell === 'number' ? String(Math.round(cell)) : cell;
}

const encoder = new TextEncoder();

function addText(writer: MessageWriter, text: string): void {
  const bytes = encoder.encode(text);
  writer.int32(bytes.length).bytes(bytes);
}

function addBinary(writer: MessageWriter, type: CellType, cell: Exclude<Cell, null>): void {
  if (type === 'bool') {
    writer.int32(1).byte(cell === true ? 1 : 0);
  } else if (type === 'int8') {
    const value = BigInt.asUintN(64, BigInt(Math.round(Number(cell))));
    writer
      .int32(8)
      .int32(Number(value >> 32n) | 0)
      .int32(Number(value & 0xffffffffn) | 0);
  } else {
    addText(writer, textOf(cell));
  }
}
