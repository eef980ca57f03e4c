/**
 * What writers of two-row transactions have done to the table `ledger (id, side, node)`, and what must be
 * true of it once the cluster is whole.
 */
import { expect } from 'vitest';
import type { Cluster } from './cluster.ts';
import { equalRows, noPrepared } from './convergence.ts';

export interface LedgerEntry {
  readonly id: string;
  readonly outcome: 'acknowledged' | 'refused' | 'unknown';
}

/** Nothing is left prepared, lost, half applied or there in spite of a refusal; the ids that are there. */
export async function ledgerHolds(
  cluster: Cluster,
  entries: readonly LedgerEntry[],
  node: number,
): Promise<ReadonlySet<string>> {
  await noPrepared(cluster);
  await equalRows(cluster);
  const rows = await cluster.directly<{ id: string; n: number }>(
    node,
    'SELECT id, count(*)::int AS n FROM ledger GROUP BY id',
  );
  expect(
    rows.filter(({ n }) => n !== 2),
    'half applied',
  ).toEqual([]);
  const there = new Set(rows.map(({ id }) => id));
  const kinds = Map.groupBy(entries, ({ outcome }) => outcome);
  expect(
    (kinds.get('acknowledged') ?? []).filter(({ id }) => !there.has(id)),
    'acknowledged and lost',
  ).toEqual([]);
  expect(
    (kinds.get('refused') ?? []).filter(({ id }) => there.has(id)),
    'refused and there',
  ).toEqual([]);
  return there;
}
