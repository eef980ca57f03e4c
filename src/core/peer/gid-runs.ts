/**
 * A set of gids as runs of counters: a vote may tell of hundreds of thousands, which come nearly without
 * gaps. Rule: what is expanded has a limit, for a run costs a few bytes whatever it claims.
 */
import { assert } from '../../lib/assert.ts';
import { formatGid, parseGid, type Gid, type NodeId } from '../identity.ts';

/** The gids of one origin process in one generation with counters from `first` on. */
export interface GidRun {
  readonly node: NodeId;
  readonly generation: number;
  readonly incarnation: number;
  readonly first: number;
  readonly length: number;
}

/** Gids in all runs of one list. */
export const maxGidsInRuns = 8_000_000;

/** The runs that contain exactly these gids; their order and doubles are lost. */
export function runsOf(gids: readonly Gid[]): GidRun[] {
  const origins = new Map<string, number[]>();
  for (const gid of gids) {
    const end = gid.lastIndexOf(':');
    const origin = gid.slice(0, end);
    const counters = origins.get(origin);
    if (counters === undefined) origins.set(origin, [Number(gid.slice(end + 1))]);
    else counters.push(Number(gid.slice(end + 1)));
  }
  const runs: GidRun[] = [];
  for (const [origin, counters] of origins) {
    const parts = parseGid(`${origin}:0`);
    assert(parts !== undefined, `${origin} begins no gid of ours`);
    const { node, generation, incarnation } = parts;
    counters.sort((a, b) => a - b);
    let first = counters[0]!;
    let next = first;
    for (const counter of [...counters, NaN]) {
      if (counter === next) next += 1;
      else if (counter !== next - 1) {
        runs.push({ node, generation, incarnation, first, length: next - first });
        first = counter;
        next = counter + 1;
      }
    }
  }
  return runs;
}

/** The gids of the runs; undefined when they are not `total` ones, or more than a list may have. */
export function gidsOf(runs: readonly GidRun[], total: number): Gid[] | undefined {
  if (total > maxGidsInRuns || runs.reduce((sum, { length }) => sum + length, 0) !== total) return undefined;
  const gids: Gid[] = [];
  for (const { first, length, ...parts } of runs) {
    for (let counter = first; counter < first + length; counter += 1)
      gids.push(formatGid({ ...parts, counter }));
  }
  return gids;
}
