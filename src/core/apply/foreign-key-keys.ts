/**
 * The keys of one transaction that its foreign keys must be checked for: distinct, as text.
 * Rule: `add` copies what it keeps. NULL in any column means nothing to check (MATCH SIMPLE; MATCH FULL was
 * checked by the origin, which saw the whole row).
 */
import type { Tuple, TupleValue } from '../pgoutput/messages.ts';
import type { ForeignKeyFacts } from './facts.ts';
import type { KeyPlaces } from './relation-plan.ts';

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
const encoder = new TextEncoder();
/** No text value contains it. */
const separator = '\0';

export interface KeyBatch {
  readonly foreignKey: ForeignKeyFacts;
  readonly side: 'child' | 'parent';
  /** One array literal per key column. */
  readonly arrays: readonly Uint8Array[];
}

interface KeySet {
  readonly foreignKey: ForeignKeyFacts;
  readonly child: Set<string>;
  readonly parent: Set<string>;
}

export class ForeignKeyKeys {
  readonly #sets = new Map<number, KeySet>();
  #count = 0;

  /** Distinct keys that wait for their check. */
  get count(): number {
    return this.#count;
  }

  /** The key that `row` has in these columns; an unchanged TOAST value means that the key did not change. */
  add(places: KeyPlaces, side: 'child' | 'parent', row: Tuple): void {
    const parts: string[] = [];
    for (const column of places.columns) {
      const value: TupleValue = row.values[column];
      if (value === null || value === undefined) return;
      parts.push(decoder.decode(value));
    }
    this.addText(places.foreignKey, side, parts);
  }

  addText(foreignKey: ForeignKeyFacts, side: 'child' | 'parent', parts: readonly string[]): void {
    let keys = this.#sets.get(foreignKey.oid);
    if (keys === undefined) {
      keys = { foreignKey, child: new Set(), parent: new Set() };
      this.#sets.set(foreignKey.oid, keys);
    }
    const set = keys[side];
    const before = set.size;
    set.add(parts.join(separator));
    this.#count += set.size - before;
  }

  /** Those that keys are noted for. */
  foreignKeys(): ForeignKeyFacts[] {
    return [...this.#sets.values()].map(({ foreignKey }) => foreignKey);
  }

  clear(): void {
    this.#sets.clear();
    this.#count = 0;
  }

  /** All keys, cut into batches of at most `size`; parents are locked before left children are looked for. */
  *batches(size: number, sides: readonly ('child' | 'parent')[] = ['child', 'parent']): Generator<KeyBatch> {
    for (const side of sides) {
      for (const keys of this.#sets.values()) {
        const all = [...keys[side]];
        for (let at = 0; at < all.length; at += size) {
          const arrays = toArrays(all.slice(at, at + size), keys.foreignKey.columns.length);
          yield { foreignKey: keys.foreignKey, side, arrays };
        }
      }
    }
  }

  /** Forgets the child keys: their parents have been locked. */
  clearChildren(): void {
    for (const keys of this.#sets.values()) {
      this.#count -= keys.child.size;
      keys.child.clear();
    }
  }
}

function toArrays(keys: readonly string[], columns: number): Uint8Array[] {
  const texts: string[][] = Array.from({ length: columns }, () => []);
  for (const key of keys) {
    const parts = key.split(separator);
    for (let column = 0; column < columns; column++) {
      texts[column]!.push(`"${(parts[column] ?? '').replace(/["\\]/g, '\\$&')}"`);
    }
  }
  return texts.map((values) => encoder.encode(`{${values.join(',')}}`));
}

/** True when the columns have the same values in both rows; an unchanged TOAST value is the same. */
export function sameKey(places: KeyPlaces, old: Tuple, row: Tuple): boolean {
  return places.columns.every((column) => {
    const [a, b] = [old.values[column], row.values[column]];
    if (b === undefined || a === b) return true;
    if (a === null || a === undefined || b === null || a.length !== b.length) return false;
    return a.every((byte, index) => byte === b[index]);
  });
}
