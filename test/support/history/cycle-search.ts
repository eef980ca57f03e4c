/** Cycles in a dependency graph: components (Tarjan), an order of what has none, and the shortest way between two. */
import type { DependencyGraph, Edge } from './dependency-graph.ts';

/** The strongly connected components of more than one node. */
export function knots(graph: DependencyGraph): number[][] {
  const unseen = -1;
  const number = new Int32Array(graph.size).fill(unseen);
  const low = new Int32Array(graph.size);
  const onStack = new Uint8Array(graph.size);
  const position = new Int32Array(graph.size);
  const stack: number[] = [];
  const found: number[][] = [];
  let counter = 0;
  const enter = (node: number, path: number[]): void => {
    number[node] = low[node] = counter++;
    stack.push(node);
    onStack[node] = 1;
    path.push(node);
  };
  const leave = (node: number, path: number[]): void => {
    path.pop();
    const parent = path.at(-1);
    if (parent !== undefined) low[parent] = Math.min(low[parent] as number, low[node] as number);
    if (low[node] !== number[node]) return;
    const component = stack.splice(stack.lastIndexOf(node));
    for (const member of component) onStack[member] = 0;
    if (component.length > 1) found.push(component);
  };
  for (let root = 0; root < graph.size; root++) {
    if (number[root] !== unseen) continue;
    const path: number[] = [];
    enter(root, path);
    for (let node = path.at(-1); node !== undefined; node = path.at(-1)) {
      const next = position[node] as number;
      if (next >= graph.outDegree(node)) {
        leave(node, path);
        continue;
      }
      position[node] = next + 1;
      const { to } = graph.edgeFrom(node, next);
      if (number[to] === unseen) enter(to, path);
      else if (onStack[to] === 1) low[node] = Math.min(low[node] as number, number[to] as number);
    }
  }
  return found;
}

/** A binary heap of small integers, the smallest first. */
class Heap {
  readonly #items: number[] = [];

  push(item: number): void {
    const items = this.#items;
    let place = items.push(item) - 1;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if ((items[parent] as number) <= item) break;
      items[place] = items[parent] as number;
      place = parent;
    }
    items[place] = item;
  }

  pop(): number | undefined {
    const items = this.#items;
    const first = items[0];
    const last = items.pop();
    if (first === undefined || last === undefined || items.length === 0) return first;
    let place = 0;
    for (;;) {
      let child = 2 * place + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && (items[child + 1] as number) < (items[child] as number)) child += 1;
      if ((items[child] as number) >= last) break;
      items[place] = items[child] as number;
      place = child;
    }
    items[place] = last;
    return first;
  }
}

/**
 * The rank of each node in an order that agrees with every edge, as near to the order of the indices as possible. Nodes that
 * lie on a cycle or behind one have none (-1).
 */
export function ranks(graph: DependencyGraph): Int32Array {
  const incoming = new Int32Array(graph.size);
  for (const { to } of graph.edges) incoming[to] = (incoming[to] as number) + 1;
  const ready = new Heap();
  for (let node = 0; node < graph.size; node++) if (incoming[node] === 0) ready.push(node);
  const rank = new Int32Array(graph.size).fill(-1);
  let next = 0;
  for (let node = ready.pop(); node !== undefined; node = ready.pop()) {
    rank[node] = next++;
    for (let index = 0; index < graph.outDegree(node); index++) {
      const { to } = graph.edgeFrom(node, index);
      incoming[to] = (incoming[to] as number) - 1;
      if (incoming[to] === 0) ready.push(to);
    }
  }
  return rank;
}

export interface Way {
  readonly from: number;
  readonly to: number;
  /** Nodes for which it does not hold are not entered. */
  readonly enters?: (node: number) => boolean;
  /** Which edges may be the last one. */
  readonly arrives?: (edge: Edge) => boolean;
}

/** Shortest ways in one graph, again and again. */
export class WaySearch {
  readonly #graph: DependencyGraph;
  readonly #stamp: Int32Array;
  #search = 0;

  constructor(graph: DependencyGraph) {
    this.#graph = graph;
    this.#stamp = new Int32Array(graph.size);
  }

  /** The edges from `from` to `to`, at least one; undefined: there is no way. */
  find({ from, to, enters = () => true, arrives = () => true }: Way): Edge[] | undefined {
    const search = ++this.#search;
    const came = new Map<number, Edge>();
    const queue = [from];
    this.#stamp[from] = search;
    for (const node of queue) {
      for (let index = 0; index < this.#graph.outDegree(node); index++) {
        const edge = this.#graph.edgeFrom(node, index);
        if (edge.to === to && arrives(edge)) return [...this.#back(came, node, from), edge];
        if (this.#stamp[edge.to] === search || edge.to === to || !enters(edge.to)) continue;
        this.#stamp[edge.to] = search;
        came.set(edge.to, edge);
        queue.push(edge.to);
      }
    }
    return undefined;
  }

  #back(came: ReadonlyMap<number, Edge>, end: number, from: number): Edge[] {
    const edges: Edge[] = [];
    for (let node = end; node !== from;) {
      const edge = came.get(node) as Edge;
      edges.unshift(edge);
      node = edge.from;
    }
    return edges;
  }
}
