/**
 * What is known of a set of rows on one node: how many, and the sums of their two hashes.
 * Rule: exact, whatever the order in which parts are added.
 */

export interface Sums {
  readonly rows: bigint;
  readonly first: bigint;
  readonly second: bigint;
}

export const noRows: Sums = { rows: 0n, first: 0n, second: 0n };

/** From the texts of a server's numbers. */
export function readSums(
  rows: string | null | undefined,
  first: string | null | undefined,
  second: string | null | undefined,
): Sums {
  return { rows: BigInt(rows ?? '0'), first: BigInt(first ?? '0'), second: BigInt(second ?? '0') };
}

export function plus(a: Sums, b: Sums): Sums {
  return { rows: a.rows + b.rows, first: a.first + b.first, second: a.second + b.second };
}

export function isSame(a: Sums, b: Sums): boolean {
  return a.rows === b.rows && a.first === b.first && a.second === b.second;
}

export function allSame(sums: readonly Sums[]): boolean {
  return sums.every((each) => isSame(each, sums[0]!));
}
