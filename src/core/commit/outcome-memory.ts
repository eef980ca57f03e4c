/**
 * Which transactions are committed on this node, since the floor: built at the start from the retained slot,
 * added to by every commit, whether it came by COMMIT PREPARED or from a donor.
 *
 * The *floor* is a generation and, by origin, a counter: a gid is below it when it is stamped with an older
 * generation, or with this one and a counter below that of its origin (which has one incarnation in a
 * generation). Everything below is finished here and forgotten.
 * Rule: absence means nothing by itself. Only of an ended generation, once this node is online in a higher
 * one, is what is not committed aborted. And below the floor the answer is "forgotten", never an outcome.
 */
import { assert } from '../../lib/assert.ts';
import { parseGid } from '../identity.ts';
import type { Gid, NodeId } from '../identity.ts';

export interface Floor {
  readonly generation: number;
  /** By origin: the lowest counter that is not below. An origin that is absent has none below. */
  readonly counters: ReadonlyMap<NodeId, number>;
}

/** Nothing is forgotten. */
export const lowestFloor: Floor = { generation: 0, counters: new Map() };

export type Outcome = 'committed' | 'aborted' | 'unknown' | 'forgotten';

/** The gids of one origin in one generation: counters in the order in which they were committed. */
interface Bucket {
  readonly generation: number;
  readonly node: NodeId;
  readonly counters: Set<number>;
}

export class OutcomeMemory {
  /** By gid without its counter. */
  readonly #buckets = new Map<string, Bucket>();
  #floor: Floor;

  constructor(floor: Floor = lowestFloor, committed: Iterable<Gid> = []) {
    this.#floor = floor;
    for (const gid of committed) this.committed(gid);
  }

  get floor(): Floor {
    return this.#floor;
  }

  /** The gid is committed here. */
  committed(gid: Gid): void {
    const end = gid.lastIndexOf(':');
    const key = gid.slice(0, end);
    const counter = Number(gid.slice(end + 1));
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      const parts = parseGid(gid);
      assert(parts !== undefined, `gid ${gid} is ours`);
      bucket = { generation: parts.generation, node: parts.node, counters: new Set() };
      this.#buckets.set(key, bucket);
    }
    if (counter >= this.#lowestKept(bucket)) bucket.counters.add(counter);
  }

  /** Certainly committed here; false also for what is forgotten. */
  isCommitted(gid: Gid): boolean {
    const end = gid.lastIndexOf(':');
    return this.#buckets.get(gid.slice(0, end))?.counters.has(Number(gid.slice(end + 1))) === true;
  }

  isBelowFloor(gid: Gid): boolean {
    const parts = parseGid(gid);
    return parts !== undefined && parts.counter < this.#lowestKept(parts);
  }

  /** Its effects, if it has any, are in this node's rows: what a donor sends of it again is dropped. */
  isKnown(gid: Gid): boolean {
    return this.isCommitted(gid) || this.isBelowFloor(gid);
  }

  #lowestKept({ generation, node }: { readonly generation: number; readonly node: NodeId }): number {
    const { generation: current, counters } = this.#floor;
    if (generation !== current) return generation < current ? Infinity : 0;
    return counters.get(node) ?? 0;
  }

  /** `onlineIn`: the generation that this node is online in, 0 for none: all older ones are settled here. */
  outcomeOf(gid: Gid, onlineIn: number): Outcome {
    const parts = parseGid(gid);
    if (parts === undefined) return 'unknown';
    if (this.isCommitted(gid)) return 'committed';
    if (parts.counter < this.#lowestKept(parts)) return 'forgotten';
    return parts.generation < onlineIn ? 'aborted' : 'unknown';
  }

  /** Everything that is committed here, in the order of the commits of each origin. */
  *gids(): Iterable<Gid> {
    for (const [key, { counters }] of this.#buckets)
      for (const counter of counters) yield `${key}:${counter}`;
  }

  /** Forgets what is below. Costs what it forgets: a straggler stays until the next floor. */
  raise(floor: Floor): void {
    assert(floor.generation >= this.#floor.generation, 'the floor never sinks');
    this.#floor = floor.generation > this.#floor.generation ? floor : higher(this.#floor, floor);
    for (const [key, bucket] of this.#buckets) {
      const lowest = this.#lowestKept(bucket);
      if (lowest === Infinity) this.#buckets.delete(key);
      else this.#forget(bucket.counters, lowest);
    }
  }

  #forget(counters: Set<number>, lowest: number): void {
    for (const counter of counters) {
      if (counter >= lowest) return;
      counters.delete(counter);
    }
  }
}

/** Of two floors of one generation, by origin the higher. */
function higher(a: Floor, b: Floor): Floor {
  const counters = new Map(a.counters);
  for (const [node, counter] of b.counters) counters.set(node, Math.max(counter, counters.get(node) ?? 0));
  return { generation: a.generation, counters };
}
