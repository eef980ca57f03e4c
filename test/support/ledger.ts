/**
 * What writers of two-row transactions have done to the table `ledger (id, side, node)`, and what must be
 * true of it once the cluster is whole.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as hold } from 'node:timers/promises';
import type { Client } from 'pg';
import { expect } from 'vitest';
import { isSqlstate } from '../../src/lib/sqlstate.ts';
import type { Cluster, SqlFailure } from './cluster.ts';
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

/** What a client was told, also with the transaction's gid when it was told one. */
export interface ToldEntry extends LedgerEntry {
  readonly gid: string | undefined;
}

/** Two rows in a transaction, again and again, through whatever sessions of the node it takes. */
export async function writeLedger(
  cluster: Cluster,
  number: number,
  insert: (client: Client, id: string) => Promise<unknown>,
  goOn: () => boolean,
): Promise<ToldEntry[]> {
  const entries: ToldEntry[] = [];
  while (goOn()) {
    const client = await cluster.client(number).catch(() => undefined);
    if (client === undefined) await hold(50);
    for (let usable = client !== undefined; usable && goOn();) {
      const id = randomUUID();
      try {
        await insert(client!, id);
        entries.push({ id, outcome: 'acknowledged', gid: undefined });
      } catch (error) {
        const { code, detail } = error as SqlFailure;
        const told = isSqlstate(code) && code !== '08007';
        const gid = /mtm(?::\d+){4}/.exec(detail ?? '')?.[0];
        entries.push({ id, outcome: told ? 'refused' : 'unknown', gid });
        usable = told && code !== '57P01';
        // Of several statements in one string an open transaction may be left.
        if (usable) await client!.query('ROLLBACK').catch(() => undefined);
        await hold(20);
      }
    }
    await client?.end().catch(() => undefined);
  }
  return entries;
}

/** How many rows there are on a node, past its gateway. */
export async function ledgerRows(cluster: Cluster, number: number): Promise<number> {
  const [row] = await cluster.directly<{ n: number }>(number, 'SELECT count(*)::int AS n FROM ledger');
  return row?.n ?? 0;
}

/** As ledgerHolds, and mtm.transaction_outcome says so of all that clients were told a gid of. */
export async function outcomesHold(
  cluster: Cluster,
  entries: readonly ToldEntry[],
  nodes: readonly number[],
): Promise<void> {
  const there = await ledgerHolds(cluster, entries, 2);
  for (const { id, gid } of entries) {
    if (gid === undefined) continue;
    for (const number of nodes) {
      const [said] = await cluster.query<{ o: string }>(
        number,
        `SELECT CASE WHEN mtm.is_forgotten('${gid}') AND o = 'unknown' THEN 'forgotten' ELSE o END AS o
         FROM mtm.transaction_outcome('${gid}') AS o`,
      );
      const right = there.has(id) ? ['committed', 'forgotten'] : ['aborted', 'forgotten'];
      expect(right, `outcome of ${gid} on node ${number}`).toContain(said?.o);
    }
  }
}
