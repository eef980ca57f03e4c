/**
 * Tells the server what the gateway knows of outcomes, so that mtm.transaction_outcome can answer: the ranges
 * of counters, because they come nearly without gaps.
 */
import type pg from 'pg';
import { parseGid } from '../../core/identity.ts';
import type { Gid } from '../../core/identity.ts';

export interface KnownOutcomes {
  readonly committed: Iterable<Gid>;
  /** Only what was announced or elected as aborted. */
  readonly aborted?: Iterable<Gid>;
  /**
   * The generation that this node is online in: then everything older that committed is in `committed`, was
   * told before, or is below the floor. 0 when that cannot be said.
   */
  readonly completeBelow: number;
}

interface Origin {
  readonly node: number;
  readonly generation: number;
  readonly incarnation: number;
  readonly committed: number[];
  readonly aborted: number[];
}

/** Adds to what was told before. */
export async function noteOutcomes(client: pg.Client, outcomes: KnownOutcomes): Promise<void> {
  const origins = new Map<string, Origin>();
  collect(origins, outcomes.committed, 'committed');
  collect(origins, outcomes.aborted ?? [], 'aborted');
  const rows = [...origins.values()].map(({ committed, aborted, ...origin }) => ({
    ...origin,
    committed: multirange(committed),
    aborted: multirange(aborted),
  }));
  await client.query({
    name: 'mtm_note_outcomes',
    text: 'SELECT mtm.note_outcomes($1::jsonb, $2::bigint)',
    values: [JSON.stringify(rows), outcomes.completeBelow],
  });
}

function collect(origins: Map<string, Origin>, gids: Iterable<Gid>, kind: 'committed' | 'aborted'): void {
  for (const gid of gids) {
    const parts = parseGid(gid);
    if (parts === undefined) continue;
    const { node, generation, incarnation, counter } = parts;
    const key = `${node}:${generation}:${incarnation}`;
    let origin = origins.get(key);
    if (origin === undefined) {
      origin = { node, generation, incarnation, committed: [], aborted: [] };
      origins.set(key, origin);
    }
    origin[kind].push(counter);
  }
}

/** Text of an int8multirange that holds exactly these numbers. */
export function multirange(counters: readonly number[]): string {
  const sorted = [...counters].sort((a, b) => a - b);
  const ranges: string[] = [];
  for (let at = 0; at < sorted.length;) {
    const from = sorted[at]!;
    let to = from + 1;
    while (at < sorted.length && sorted[at]! <= to) to = sorted[at++]! + 1;
    ranges.push(`[${from},${to})`);
  }
  return `{${ranges.join(',')}}`;
}
