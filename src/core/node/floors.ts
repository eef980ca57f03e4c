/**
 * When the retained slot may move (architecture §3, Outcome memory): a syncpoint is a position in the WAL
 * together with what had been seen of each origin when it was taken. It is passed when every origin says that
 * all of that is finished everywhere.
 *
 * Rule: what an origin has not said is not finished. Counters are announced out of order, so only the origin
 * itself knows which of its lower ones are still to come.
 */
import { parseGid, type Gid, type NodeId } from '../identity.ts';

/** Taken with a position in the WAL of this node. */
export interface Syncpoint {
  readonly generation: number;
  /** By origin: the highest counter that was seen. */
  readonly counters: ReadonlyMap<NodeId, number>;
}

/** The floors of one generation. */
export class Floors {
  readonly generation: number;
  readonly #highest = new Map<NodeId, number>();
  readonly #floors = new Map<NodeId, number>();

  constructor(generation: number) {
    this.generation = generation;
  }

  /** A transaction of this generation begins here or is announced by its origin. */
  seen(gid: Gid): void {
    const parts = parseGid(gid);
    if (parts === undefined || parts.generation !== this.generation) return;
    const { node, counter } = parts;
    if (counter > (this.#highest.get(node) ?? -1)) this.#highest.set(node, counter);
  }

  /** The lowest counter of the origin that is not finished everywhere. */
  told(origin: NodeId, generation: number, floor: number): void {
    if (generation !== this.generation) return;
    if (floor > (this.#floors.get(origin) ?? 0)) this.#floors.set(origin, floor);
  }

  /** `open`: this node's own transactions that are not finished everywhere. */
  ownFloor(self: NodeId, open: Iterable<Gid>): void {
    let floor = (this.#highest.get(self) ?? -1) + 1;
    for (const gid of open) {
      const parts = parseGid(gid);
      if (parts !== undefined && parts.node === self) floor = Math.min(floor, parts.counter);
    }
    this.told(self, this.generation, floor);
  }

  take(): Syncpoint {
    return { generation: this.generation, counters: new Map(this.#highest) };
  }

  /** By origin the lowest counter that is not below the floor, when the syncpoint is passed. */
  passed(syncpoint: Syncpoint): ReadonlyMap<NodeId, number> | undefined {
    if (syncpoint.generation !== this.generation) return undefined;
    for (const [origin, counter] of syncpoint.counters) {
      if ((this.#floors.get(origin) ?? 0) <= counter) return undefined;
    }
    return new Map(this.#floors);
  }
}
