/**
 * Finds the keys whose rows are not the same on all nodes, by bisecting buckets of their hashes.
 *
 * States: all rows in 2^10 buckets → those that differ are cut into smaller ones where they hold many rows →
 * where they hold few, the hashes of these are listed → the rows of the hashes that differ.
 * Rules: pure: it asks (yields) and is told. Each question reads the whole table on each node, so it asks for as
 * much at once as an answer of 1 MB has room for, and for no more than is wanted. It says that there are more
 * keys unless it has seen all.
 */
import { hashBits, type Buckets } from './row-sql.ts';
import { allSame, noRows, readSums, type Sums } from './sums.ts';

/** Of each node, in the same order: the rows of a query, texts. */
export type NodeRows = readonly (readonly (readonly (string | null)[])[])[];

export type Question =
  | { readonly kind: 'buckets'; readonly bits: number; readonly within: Buckets | undefined }
  | { readonly kind: 'rows'; readonly within: Buckets; readonly most: number };

export interface FoundKey {
  readonly hash: string;
  /** A JSON array of the texts of the key's columns; without a key the beginning of the row's text. */
  readonly key: string;
  /** By node: of the rows with this key. */
  readonly sums: readonly Sums[];
}

export interface Found {
  readonly keys: readonly FoundKey[];
  /** There are more than these. */
  readonly more: boolean;
}

const bitsOfLevel = 10;
/** Rows that are told at once, on each node. */
export const rowsAtOnce = 200;
/** Rows whose hashes are listed at once, on each node, and buckets in one answer. */
export const hashesAtOnce = 8000;

interface Pile {
  readonly bits: number;
  readonly value: string;
  /** The most rows that a node has in it. */
  readonly rows: number;
}

/** `most`: keys that are wanted. */
export function* searchRows(most: number): Generator<Question, Found, NodeRows> {
  const hashes: string[] = [];
  let piles = differing(yield { kind: 'buckets', bits: bitsOfLevel, within: undefined }, bitsOfLevel);
  while (piles.length > 0 && hashes.length < most) {
    const batch = nextBatch(piles, most - hashes.length);
    piles = piles.filter((pile) => !batch.piles.includes(pile));
    const within = { bits: batch.piles[0]!.bits, values: batch.piles.map(({ value }) => value) };
    const asked = batch.bits;
    const found = differing(yield { kind: 'buckets', bits: asked, within }, asked);
    if (asked === hashBits) hashes.push(...found.map(({ value }) => value));
    else piles = [...found, ...piles];
  }
  const keys: FoundKey[] = [];
  const wanted = hashes.slice(0, most);
  for (let from = 0; from < wanted.length; from += rowsAtOnce) {
    const values = wanted.slice(from, from + rowsAtOnce);
    keys.push(...listedKeys(yield { kind: 'rows', within: { bits: hashBits, values }, most: rowsAtOnce }));
  }
  return { keys, more: piles.length > 0 || hashes.length > most };
}

/** Buckets that are not the same everywhere, those with the fewest rows first. */
function differing(answers: NodeRows, bits: number): Pile[] {
  const buckets = new Map<string, Sums[]>();
  answers.forEach((rows, node) => {
    for (const [bucket, ...sums] of rows) {
      const known = buckets.get(bucket!) ?? answers.map(() => noRows);
      known[node] = readSums(sums[0], sums[1], sums[2]);
      buckets.set(bucket!, known);
    }
  });
  return [...buckets]
    .filter(([, sums]) => !allSame(sums))
    .map(([value, sums]) => ({ bits, value, rows: Math.max(...sums.map(({ rows }) => Number(rows))) }))
    .toSorted((a, b) => a.rows - b.rows || (BigInt(a.value) < BigInt(b.value) ? -1 : 1));
}

/**
 * As many of the first ones as are wanted, each of which has at least one key that differs; into how small ones
 * they are cut: into hashes, when these can be listed at once.
 */
function nextBatch(
  piles: readonly Pile[],
  wanted: number,
): { readonly piles: readonly Pile[]; readonly bits: number } {
  const first = piles[0]!;
  const alike = piles.filter(({ bits }) => bits === first.bits).slice(0, Math.min(wanted, hashesAtOnce / 2));
  const listed: Pile[] = [];
  let rows = 0;
  for (const pile of alike) {
    if (rows + pile.rows > hashesAtOnce) break;
    listed.push(pile);
    rows += pile.rows;
  }
  // Rows that are the same many times have one hash, however many there are.
  const last = first.bits + bitsOfLevel >= hashBits;
  if (last) return { piles: listed.length === 0 ? [first] : listed, bits: hashBits };
  // A few more questions like this one list all; otherwise all are cut first, once.
  if (listed.length * 2 >= alike.length) return { piles: listed, bits: hashBits };
  const room = Math.floor(Math.log2(hashesAtOnce / alike.length));
  return { piles: alike, bits: first.bits + Math.max(1, Math.min(bitsOfLevel, room)) };
}

function listedKeys(answers: NodeRows): FoundKey[] {
  const keys = new Map<string, { key: string; readonly sums: Sums[] }>();
  answers.forEach((rows, node) => {
    for (const [hash, key, ...sums] of rows) {
      const known = keys.get(hash!) ?? { key: key ?? '', sums: answers.map(() => noRows) };
      known.sums[node] = readSums(sums[0], sums[1], sums[2]);
      keys.set(hash!, known);
    }
  });
  return [...keys].flatMap(([hash, { key, sums }]) => (allSame(sums) ? [] : [{ hash, key, sums }]));
}
