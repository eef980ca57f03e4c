/**
 * Finds the keys whose rows are not the same on all nodes, by bisecting buckets of their hashes.
 *
 * States: all rows in 2^10 buckets → those that differ, where they hold few rows their rows are listed, where
 * they hold many they are cut into 2^10 smaller ones → … until `most` keys are found or nothing is left.
 * Rules: pure: it asks (yields) and is told. What it asks for at once is bounded, and so is what it keeps. It
 * says how many keys there are exactly when it has seen all, else that there are more.
 */
import type { Buckets } from './row-sql.ts';
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
const hashBits = 64;
/** Rows that are listed at once, on each node. */
export const rowsAtOnce = 200;
/** Buckets that are cut at once. */
const bucketsAtOnce = 8;

interface Pile {
  readonly bits: number;
  readonly value: string;
  /** The most rows that a node has in it. */
  readonly rows: number;
}

/** `most`: keys that are wanted. */
export function* searchRows(most: number): Generator<Question, Found, NodeRows> {
  const found: FoundKey[] = [];
  let piles = differing(yield { kind: 'buckets', bits: bitsOfLevel, within: undefined }, bitsOfLevel);
  while (piles.length > 0 && found.length < most) {
    const batch = nextBatch(piles);
    piles = piles.filter((pile) => !batch.piles.includes(pile));
    const within = { bits: batch.piles[0]!.bits, values: batch.piles.map(({ value }) => value) };
    if (batch.list) {
      const listed = listedKeys(yield { kind: 'rows', within, most: rowsAtOnce });
      found.push(...listed);
    } else {
      const bits = Math.min(within.bits + bitsOfLevel, hashBits);
      piles = [...differing(yield { kind: 'buckets', bits, within }, bits), ...piles];
    }
  }
  return { keys: found.slice(0, most), more: piles.length > 0 || found.length > most };
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

/** As many of the first ones of the same size as can be listed or cut at once. */
function nextBatch(piles: readonly Pile[]): { readonly piles: readonly Pile[]; readonly list: boolean } {
  const first = piles[0]!;
  // Rows whose hashes are the same cannot be told apart any further.
  if (first.rows > rowsAtOnce && first.bits < hashBits) {
    const alike = piles.filter(({ bits, rows }) => bits === first.bits && rows > rowsAtOnce);
    return { piles: alike.slice(0, bucketsAtOnce), list: false };
  }
  const batch: Pile[] = [];
  let rows = 0;
  for (const pile of piles) {
    if (pile.bits !== first.bits || (batch.length > 0 && rows + pile.rows > rowsAtOnce)) break;
    batch.push(pile);
    rows += pile.rows;
  }
  return { piles: batch, list: true };
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
