/**
 * Who depends on whom. An edge a → b says that a comes before b:
 *   ww  b has appended behind a       wr  b has read what a appended
 *   rw  a has read the version that b changed next       rt  a was acknowledged and had written before b was begun
 * Rule: built once, then only read; nodes are the indices of the operations.
 */
import type { Operation } from './operation.ts';
import type { VersionOrder } from './version-order.ts';

export type EdgeKind = 'ww' | 'wr' | 'rw' | 'rt';

export interface Edge {
  readonly from: number;
  readonly to: number;
  readonly kind: EdgeKind;
  /** Undefined: rt. */
  readonly key: number | undefined;
}

/** Successors of each operation. */
export class DependencyGraph {
  readonly size: number;
  readonly edges: readonly Edge[];
  readonly #start: Int32Array;
  readonly #order: Int32Array;

  constructor(size: number, edges: readonly Edge[]) {
    this.size = size;
    this.edges = edges;
    this.#start = new Int32Array(size + 1);
    for (const { from } of edges) this.#start[from + 1] = (this.#start[from + 1] ?? 0) + 1;
    for (let node = 0; node < size; node++) {
      this.#start[node + 1] = (this.#start[node + 1] ?? 0) + (this.#start[node] ?? 0);
    }
    const next = this.#start.slice();
    this.#order = new Int32Array(edges.length);
    for (const [index, { from }] of edges.entries()) {
      const place = next[from] ?? 0;
      this.#order[place] = index;
      next[from] = place + 1;
    }
  }

  outDegree(node: number): number {
    return (this.#start[node + 1] ?? 0) - (this.#start[node] ?? 0);
  }

  /** The edge number `index` (from 0) that leaves `node`. */
  edgeFrom(node: number, index: number): Edge {
    return this.edges[this.#order[(this.#start[node] ?? 0) + index] ?? 0] as Edge;
  }
}

function writerOf(versions: VersionOrder, key: number, value: number | undefined): number | undefined {
  return value === undefined ? undefined : versions.writers.get(key)?.get(value)?.operation;
}

/** ww and wr. */
export function orderingEdges(versions: VersionOrder): Edge[] {
  const edges: Edge[] = [];
  for (const [key, order] of versions.orders) {
    for (let index = 1; index < order.length; index++) {
      const from = writerOf(versions, key, order[index - 1]);
      const to = writerOf(versions, key, order[index]);
      if (from !== undefined && to !== undefined && from !== to) edges.push({ from, to, kind: 'ww', key });
    }
  }
  for (const { operation, key, values, external } of versions.reads) {
    const from = writerOf(versions, key, values.at(-1));
    if (external && from !== undefined && from !== operation)
      edges.push({ from, to: operation, kind: 'wr', key });
  }
  return edges;
}

/** rw. */
export function antiDependencies(versions: VersionOrder): Edge[] {
  const edges: Edge[] = [];
  for (const { operation, key, values, external } of versions.reads) {
    const to = external ? writerOf(versions, key, versions.orders.get(key)?.[values.length]) : undefined;
    if (to !== undefined && to !== operation) edges.push({ from: operation, to, kind: 'rw', key });
  }
  return edges;
}

function hasWritten({ outcome, micro }: Operation): boolean {
  return outcome === 'ok' && micro.some(({ kind }) => kind === 'append');
}

/**
 * rt, as few as say everything: what an acknowledged write has followed need not be said again by what follows the write.
 * A read that was answered promises nothing about other nodes, so only writes have such edges.
 */
export function realTimeEdges(operations: readonly Operation[]): Edge[] {
  const edges: Edge[] = [];
  const byInvocation = [...operations.keys()].sort((a, b) => timeOf(a).invokedMs - timeOf(b).invokedMs);
  const writers = [...operations.keys()].filter((index) => hasWritten(timeOf(index)));
  const byEnd = writers.sort((a, b) => timeOf(a).endedMs - timeOf(b).endedMs);
  /** Acknowledged writes that no later acknowledged write has followed. */
  const front = new Set<number>();
  const before = new Map<number, number[]>();
  let ended = 0;
  for (const to of byInvocation) {
    for (; ended < byEnd.length; ended++) {
      const writer = byEnd[ended] as number;
      if (timeOf(writer).endedMs >= timeOf(to).invokedMs) break;
      for (const earlier of before.get(writer) ?? []) front.delete(earlier);
      front.add(writer);
    }
    const predecessors = [...front];
    if (hasWritten(timeOf(to))) before.set(to, predecessors);
    for (const from of predecessors) edges.push({ from, to, kind: 'rt', key: undefined });
  }
  return edges;

  function timeOf(index: number): Operation {
    return operations[index] as Operation;
  }
}
