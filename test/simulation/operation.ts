/**
 * What clients do: short scripts of statements over a handful of rows, made to collide.
 */
import type { Prng } from '../../src/lib/prng.ts';
import type { RunOptions } from './options.ts';
import type { Row } from './server-record.ts';
import type { Server } from './server.ts';

export interface Statement {
  readonly key: string;
  /** The new value from the old row; 'error' when a constraint forbids it; undefined deletes. */
  readonly write: (row: Row | undefined) => number | 'error' | undefined;
  readonly requires?: string;
}

export interface Operation {
  readonly kind: 'increment' | 'transfer' | 'rewrite' | 'insert' | 'delete' | 'child' | 'snapshot' | 'empty';
  readonly statements: readonly Statement[];
  /** REPEATABLE READ: a row changed since the snapshot is a 40001. */
  readonly repeatableRead: boolean;
}

export const openingBalance = 100;

export function accountKeys(options: RunOptions): string[] {
  return Array.from({ length: options.accounts }, (_, index) => `a${index}`);
}

export const counterKeys = ['c0', 'c1'];

const add =
  (delta: number) =>
  (row: Row | undefined): number | 'error' =>
    row === undefined ? 'error' : row.value + delta;

function increment(key: string): Operation {
  return { kind: 'increment', statements: [{ key, write: add(1) }], repeatableRead: false };
}

export function incrementOf(key: string): Operation {
  return increment(key);
}

/** A row that hangs on the newest one of the chain, which another node may just have written. */
function child(server: Server): Operation {
  let length = 0;
  while (server.rows.has(`k${length}`)) length += 1;
  const write = (row: Row | undefined): number | 'error' => (row === undefined ? length : 'error');
  const requires = length === 0 ? {} : { requires: `k${length - 1}` };
  return { kind: 'child', statements: [{ key: `k${length}`, write, ...requires }], repeatableRead: false };
}

function transfer(random: Prng, keys: readonly string[]): Operation {
  const amount = 1 + random.below(5);
  const [from, to, third] = random.shuffled(keys);
  const statements: Statement[] = [
    { key: from!, write: add(-amount) },
    { key: to!, write: add(amount) },
  ];
  if (third !== undefined && random.chance(0.3)) {
    statements.push({ key: third, write: add(-1) }, { key: from!, write: add(1) });
  }
  return { kind: 'transfer', statements, repeatableRead: random.chance(0.3) };
}

export function randomOperation(random: Prng, options: RunOptions, server: Server): Operation {
  const draw = random.next();
  if (draw < 0.25) return { kind: 'snapshot', statements: [], repeatableRead: true };
  if (draw < 0.45) return increment(random.pick(counterKeys));
  if (draw < 0.7) return transfer(random, accountKeys(options));
  if (draw < 0.75) return { kind: 'empty', statements: [], repeatableRead: false };
  if (draw < 0.85) return child(server);
  const key = `x${random.below(3)}`;
  if (draw < 0.93) {
    const write = (row: Row | undefined): number | 'error' => (row === undefined ? 1 : 'error');
    return { kind: 'insert', statements: [{ key, write }], repeatableRead: false };
  }
  const write = (row: Row | undefined): 'error' | undefined => (row === undefined ? 'error' : undefined);
  return { kind: 'delete', statements: [{ key, write }], repeatableRead: false };
}
