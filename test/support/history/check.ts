/**
 * The judge of a list-append history, after Adya's phenomena and the way Elle finds them: versions from lists, dependencies
 * from versions, anomalies from cycles. Its rule is in anomaly.ts. It is not exact in one direction only: what it reports has
 * happened; what no read has shown it cannot know.
 */
import { AnomalyList, type Anomaly, type AnomalyKind } from './anomaly.ts';
import { knots, ranks, WaySearch } from './cycle-search.ts';
import {
  antiDependencies,
  DependencyGraph,
  orderingEdges,
  realTimeEdges,
  type Edge,
} from './dependency-graph.ts';
import { lookInside } from './internal-consistency.ts';
import { operationText, type Operation } from './operation.ts';
import { inferVersionOrder, type FinalState, type VersionOrder } from './version-order.ts';

export interface CheckOptions {
  /** Also judge by real time: a commit is answered when it is visible on all nodes (wait_peer_commits). */
  readonly realTime?: boolean;
  /** All lists after the end, the same on every node. Without it nothing can be called lost. */
  readonly final?: FinalState;
}

export interface Verdict {
  /** What must never appear, at most a few of each kind. */
  readonly anomalies: readonly Anomaly[];
  readonly counts: ReadonlyMap<AnomalyKind, number>;
  /** What is allowed below SERIALIZABLE and was there. */
  readonly allowed: {
    /** Read skew of READ COMMITTED transactions. */
    readonly gSingle: number;
    /** Knots of transactions with several anti-dependencies. */
    readonly g2: number;
    readonly g2Example: string | undefined;
  };
  readonly statistics: {
    readonly ok: number;
    readonly fail: number;
    readonly info: number;
    readonly edges: number;
  };
}

interface Case {
  readonly versions: VersionOrder;
  readonly operations: readonly Operation[];
  readonly anomalies: AnomalyList;
}

function edgeText({ kind, key }: Edge): string {
  return key === undefined ? kind : `${kind} on key ${key}`;
}

function cycleText(operations: readonly Operation[], cycle: readonly Edge[]): string {
  const lines = cycle.flatMap((edge) => [
    operationText(operations[edge.from] as Operation),
    `    ── ${edgeText(edge)} ─▶`,
  ]);
  return [...lines, operationText(operations[cycle[0]?.from ?? 0] as Operation)].join('\n  ');
}

/** A short cycle through some node of the knot. */
function cycleIn(search: WaySearch, knot: readonly number[]): Edge[] {
  const inside = new Set(knot);
  const start = knot[0] ?? 0;
  return search.find({ from: start, to: start, enters: (node) => inside.has(node) }) ?? [];
}

/** Cycles of `graph` that were not there without its edges of the kind `added`. */
function reportKnots(given: Case, graph: DependencyGraph, added: Edge['kind'], kind: AnomalyKind): boolean {
  const search = new WaySearch(graph);
  let found = false;
  for (const knot of knots(graph)) {
    const inside = new Set(knot);
    const edges = graph.edges.filter(
      (edge) => edge.kind === added && inside.has(edge.from) && inside.has(edge.to),
    );
    if (edges.length === 0) continue;
    found = true;
    const [edge] = edges;
    given.anomalies.add(kind, () => {
      const enters = (node: number): boolean => inside.has(node);
      const cycle =
        edge === undefined
          ? cycleIn(search, knot)
          : [edge, ...(search.find({ from: edge.to, to: edge.from, enters }) ?? [])];
      return cycleText(given.operations, cycle);
    });
  }
  return found;
}

/** G0 and G1c, and the same with real time. */
function reportOrdering(given: Case, ordering: readonly Edge[], realTime: readonly Edge[]): void {
  const size = given.operations.length;
  const writes = ordering.filter(({ kind }) => kind === 'ww');
  const broken = [
    reportKnots(given, new DependencyGraph(size, writes), 'ww', 'G0'),
    reportKnots(given, new DependencyGraph(size, ordering), 'wr', 'G1c'),
  ];
  if (realTime.length === 0 || broken.includes(true)) return;
  const first = reportKnots(given, new DependencyGraph(size, [...writes, ...realTime]), 'rt', 'G0-realtime');
  if (!first) reportKnots(given, new DependencyGraph(size, [...ordering, ...realTime]), 'rt', 'G1c-realtime');
}

/** Searches that no rank bounds: only in a history that is broken already, so not each of them matters. */
const unboundedSearches = 500;

/**
 * Every anti-dependency a → b with a way back from b to a. A way back never climbs in rank, so most need no search.
 * Without a rank (on a cycle that was reported already, or behind it) the search is not bounded by ranks.
 */
function closedBack(
  graph: DependencyGraph,
  candidates: readonly Edge[],
  arrives: (reader: number, last: Edge) => boolean,
): Edge[][] {
  const rank = ranks(graph);
  const search = new WaySearch(graph);
  const cycles: Edge[][] = [];
  let unbounded = 0;
  for (const edge of candidates) {
    const limit = rank[edge.from] as number;
    const bounded = limit >= 0;
    if (!bounded && ++unbounded > unboundedSearches) continue;
    const mayLie = (node: number): boolean => {
      const place = rank[node] as number;
      return !bounded || (place >= 0 && place <= limit);
    };
    if (!mayLie(edge.to)) continue;
    const way = search.find({
      from: edge.to,
      to: edge.from,
      enters: mayLie,
      arrives: (last) => arrives(edge.from, last),
    });
    if (way !== undefined) cycles.push([edge, ...way]);
  }
  return cycles;
}

/** The number of those that are allowed. */
function reportSingle(given: Case, ordering: readonly Edge[], anti: readonly Edge[]): number {
  const graph = new DependencyGraph(given.operations.length, ordering);
  let allowed = 0;
  for (const cycle of closedBack(graph, anti, () => true)) {
    const reader = given.operations[cycle[0]?.from ?? 0] as Operation;
    if (reader.level === 'read committed') allowed += 1;
    else given.anomalies.add('G-single', () => cycleText(given.operations, cycle));
  }
  return allowed;
}

/** Cycles with one rw that exist only in real time. */
function reportStale(
  given: Case,
  ordering: readonly Edge[],
  anti: readonly Edge[],
  realTime: readonly Edge[],
): void {
  const graph = new DependencyGraph(given.operations.length, [...ordering, ...realTime]);
  const arrives = (reader: number, last: Edge): boolean =>
    given.operations[reader]?.level === 'repeatable read' || last.kind === 'rt';
  for (const cycle of closedBack(graph, anti, arrives)) {
    if (cycle.some(({ kind }) => kind === 'rt')) {
      given.anomalies.add('stale-read', () => cycleText(given.operations, cycle));
    }
  }
}

/** Two that have read the same version and both append: the later one has overwritten unseen. */
function reportLostUpdates(given: Case): void {
  const { versions, operations, anomalies } = given;
  const readers = new Map<string, { operation: number; key: number; position: number }[]>();
  for (const { operation, key, values, external } of versions.reads) {
    if (!external || versions.effective[operation] !== true) continue;
    const order = versions.orders.get(key) ?? [];
    const own = order.findIndex((value) => versions.writers.get(key)?.get(value)?.operation === operation);
    if (own < 0) continue;
    const version = `${key} ${values.length}`;
    const group = readers.get(version) ?? [];
    if (!group.some((other) => other.operation === operation)) group.push({ operation, key, position: own });
    readers.set(version, group);
  }
  for (const group of readers.values()) {
    const [first, ...later] = group.sort((a, b) => a.position - b.position);
    if (first === undefined) continue;
    for (const { operation, key } of later) {
      const loser = operations[operation] as Operation;
      if (loser.level === 'read committed') continue;
      const winner = operationText(operations[first.operation] as Operation);
      anomalies.add('lost-update', () => `key ${key}: ${operationText(loser)}\n  did not see ${winner}`);
    }
  }
}

/** Only transactions that read at REPEATABLE READ: at READ COMMITTED such a cycle says nothing. */
function allowedKnots(given: Case, ordering: readonly Edge[], anti: readonly Edge[]) {
  const strict = anti.filter(({ from }) => given.operations[from]?.level === 'repeatable read');
  const graph = new DependencyGraph(given.operations.length, [...ordering, ...strict]);
  const found = knots(graph);
  const [first] = found;
  const cycle = first === undefined ? undefined : cycleIn(new WaySearch(graph), first);
  return {
    g2: found.length,
    g2Example: cycle === undefined ? undefined : cycleText(given.operations, cycle),
  };
}

/** Judges the history. Throws when it is not one: the same append twice. */
export function checkHistory(history: readonly Operation[], options: CheckOptions = {}): Verdict {
  const operations = history.toSorted((a, b) => a.invokedMs - b.invokedMs);
  const anomalies = new AnomalyList();
  lookInside(operations, anomalies);
  const versions = inferVersionOrder(operations, options.final, anomalies);
  const given: Case = { versions, operations, anomalies };
  const ordering = orderingEdges(versions);
  const anti = antiDependencies(versions);
  const realTime = options.realTime === true ? realTimeEdges(operations) : [];
  reportOrdering(given, ordering, realTime);
  const gSingle = reportSingle(given, ordering, anti);
  if (realTime.length > 0) reportStale(given, ordering, anti, realTime);
  reportLostUpdates(given);
  const count = (outcome: Operation['outcome']): number =>
    operations.filter((operation) => operation.outcome === outcome).length;
  return {
    anomalies: anomalies.found,
    counts: anomalies.counts,
    allowed: { gSingle, ...allowedKnots(given, ordering, anti) },
    statistics: {
      ok: count('ok'),
      fail: count('fail'),
      info: count('info'),
      edges: ordering.length + anti.length + realTime.length,
    },
  };
}
