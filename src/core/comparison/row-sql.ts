/**
 * The queries that look at the rows of one table: sums of their hashes, of a part of the table or of buckets of
 * keys, and the rows of a bucket.
 *
 * Rules: a row is told by the output functions of its types alone (record_out of an anonymous row, format):
 * casts, operators and functions of users are never called, since a gateway's session is a superuser's. Sums of
 * hashes do not depend on the order of rows nor on where they lie, so each node reads its own file as it likes.
 * A row's two hashes together have 128 bits; sums are exact (numeric).
 */
import { quoteLiteral, quoteName, quoteQualified } from '../apply/quoting.ts';
import type { Column, ComparedTable } from './relation.ts';

/** Values that are longer are told by their digest: a row's text may not be longer than 1 GB. */
const longValue = 8192;
const longestShown = 200;

/** Of keys; other than those of rows. */
const keySeed = 7;

export const hashBits = 64;

/** Blocks from … to before …; undefined: the end of the table. */
export interface BlockRange {
  readonly from: number;
  readonly to: number | undefined;
}

/** Keys (without a key: rows) whose hash ends with one of these `values` in its last `bits`. */
export interface Buckets {
  readonly bits: number;
  readonly values: readonly string[];
}

function told({ name, told: how }: Column): string {
  const column = `t.${quoteName(name)}`;
  if (how === 'bytes')
    return `CASE WHEN octet_length(${column}) > ${longValue} THEN sha256(${column}) ELSE ${column} END`;
  if (how === 'text')
    return `CASE WHEN octet_length(${column}) > ${longValue} THEN md5(${column}) ELSE ${column} END`;
  return column;
}

function recordText(columns: readonly Column[]): string {
  return `textin(record_out(ROW(${columns.map(told).join(', ')})))`;
}

/** The text of a whole row, NULL and empty told apart. */
export function rowText({ columns }: ComparedTable): string {
  return recordText(columns);
}

export function keyColumns({ key, columns }: ComparedTable): Column[] {
  return key.map((name) => columns.find((column) => column.name === name)!);
}

/** The texts of the key's columns as a JSON array. */
function keyJson({ key }: ComparedTable): string {
  return `json_build_array(${key.map((name) => `format('%s', t.${quoteName(name)})`).join(', ')})::text`;
}

export function source({ schema, name }: Pick<ComparedTable, 'schema' | 'name'>): string {
  return `ONLY ${quoteQualified(schema, name)} AS t`;
}

/** One row: the number of rows, and the sums of their two hashes, as text. */
export function sumsSql(table: ComparedTable, range: BlockRange | undefined): string {
  const where =
    range === undefined
      ? ''
      : ` WHERE t.ctid >= '(${range.from},0)'` +
        (range.to === undefined ? '' : ` AND t.ctid < '(${range.to},0)'`);
  return (
    'SELECT count(*)::text, coalesce(sum(hashtextextended(r, 0)), 0)::text, ' +
    'coalesce(sum(hashtextextended(r, 1)), 0)::text ' +
    `FROM (SELECT ${rowText(table)} COLLATE "C" AS r FROM ${source(table)}${where} OFFSET 0) AS q`
  );
}

/** Rows with: r their text, h the hash that puts them into a bucket, and where they are listed j, the key. */
function hashed(table: ComparedTable, within: Buckets | undefined, listed: boolean): string {
  const row = `${rowText(table)} COLLATE "C" AS r`;
  if (table.key.length > 0) {
    // The key alone tells whether the row is wanted: its text is made only then.
    const hash = keyHash(table);
    const where = within === undefined ? '' : ` WHERE ${inBuckets(hash, within)}`;
    return `SELECT ${row}, ${hash} AS h${listed ? `, ${keyJson(table)} AS j` : ''} FROM ${source(table)}${where} OFFSET 0`;
  }
  const rows =
    `SELECT r, hashtextextended(r, ${keySeed}) AS h FROM (SELECT ${row} FROM ${source(table)} OFFSET 0) AS q ` +
    'OFFSET 0';
  return within === undefined ? rows : `SELECT r, h FROM (${rows}) AS w WHERE ${inBuckets('h', within)}`;
}

/** Of the key of a row. */
function keyHash(table: ComparedTable): string {
  return `hashtextextended(${recordText(keyColumns(table))} COLLATE "C", ${keySeed})`;
}

function inBuckets(hash: string, { bits, values }: Buckets): string {
  return `(${hash} & ${maskOf(bits)}) = ANY (${quoteLiteral(`{${values.join(',')}}`)}::int8[])`;
}

function maskOf(bits: number): string {
  return bits >= hashBits ? '(-1)::int8' : `${(1n << BigInt(bits)) - 1n}::int8`;
}

/** One row for each bucket of `bits` that is not empty: bucket, rows, sums. */
export function bucketsSql(table: ComparedTable, bits: number, within: Buckets | undefined): string {
  return (
    `SELECT (h & ${maskOf(bits)})::text, count(*)::text, sum(hashtextextended(r, 0))::text, ` +
    `sum(hashtextextended(r, 1))::text FROM (${hashed(table, within, false)}) AS b GROUP BY h & ${maskOf(bits)}`
  );
}

/** One row for each key (without a key: for each row's text): hash, key, rows, sums; at most `most`. */
export function rowsSql(table: ComparedTable, within: Buckets, most: number): string {
  const shown =
    table.key.length > 0 ? 'min(j COLLATE "C")' : `json_build_array(left(min(r), ${longestShown}))::text`;
  return (
    `SELECT h::text, ${shown}, count(*)::text, sum(hashtextextended(r, 0))::text, ` +
    `sum(hashtextextended(r, 1))::text FROM (${hashed(table, within, true)}) AS b ` +
    `GROUP BY h ORDER BY h LIMIT ${most}`
  );
}

/** One row for each of these keys: its hash, then for each column a digest of its value. */
export function digestsSql(table: ComparedTable, hashes: readonly string[]): string {
  const digests = table.columns.map((column) => `md5(${recordText([column])})`);
  const hash = keyHash(table);
  const where = inBuckets(hash, { bits: hashBits, values: hashes });
  return `SELECT ${hash}::text, ARRAY[${digests.join(', ')}]::text[] FROM ${source(table)} WHERE ${where}`;
}
