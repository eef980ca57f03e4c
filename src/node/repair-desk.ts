/**
 * Makes rows of one table on other nodes those of a chosen node, for whoever asked (mtm.repair_rows).
 *
 * A batch of keys: all members hold their commits → nothing is in flight anywhere → the chosen node's rows
 * are read → each other node writes what differs, in a transaction of its own that nobody else hears of →
 * only if all of that was done while every hold lasted, each commits → commits go on.
 * Rules: never by itself, and never more than it was asked for. Whoever writes a row that is being repaired
 * waits for it, or is waited for, for less than a second: then the batch begins again. What is not done in
 * a moment is not done at all. The reasons are in src/README.md.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { comparisonDefaults, matches } from '../core/comparison/options.ts';
import {
  mostItems,
  type NodeRepair,
  type RepairOptions,
  type RepairReport,
} from '../core/comparison/repair.ts';
import { inCommon, shownName, type ComparedTable, type Relation } from '../core/comparison/relation.ts';
import {
  sameState,
  shownStatements,
  type ItemState,
  type RepairItem,
} from '../core/comparison/repair-sql.ts';
import type { NodeId } from '../core/identity.ts';
import type { ComparisonCall, ComparisonHands } from './comparison-hands.ts';
import { askComparison } from './comparison-desk.ts';
import { ComparisonJob } from './comparison-job.ts';
import { repairStep } from './fail-point.ts';
import type { Answerer, PeerQuestions } from './peer-questions.ts';
import type { RepairCall, RepairHands, Written } from './repair-hands.ts';
import { RequestError } from './request-desk.ts';
import { findRows } from './row-comparison.ts';
import type { SnapshotDesk } from './snapshot-desk.ts';
import type { VerbNode } from './verbs.ts';

const verb = 'repair';
const unusedMs = 120_000;
const answerMs = 10_000;
/** Holds last 3 s from when they are asked for: what was written by then was written while all held. */
const momentMs = 2500;
const attempts = 20;
const pauseMs = 100;
const itemsAtOnce = 25;
interface Work {
  readonly table: ComparedTable;
  readonly from: NodeId;
  readonly targets: readonly NodeId[];
  readonly done: Map<NodeId, NodeRepair>;
}

/** A lock, the time, the generation, another repair: another moment may be better. */
const passing = new Set(['55P03', '57014', '40001', '40P01', '55006']);

export class RepairDesk {
  readonly #node: VerbNode;
  readonly #peers: PeerQuestions;
  readonly #snapshots: SnapshotDesk;
  readonly #comparing: ComparisonHands;
  readonly #hands: RepairHands;
  #counter = 0;

  constructor(
    node: VerbNode,
    peers: PeerQuestions,
    snapshots: SnapshotDesk,
    comparing: ComparisonHands,
    hands: RepairHands,
  ) {
    this.#node = node;
    this.#peers = peers;
    this.#snapshots = snapshots;
    this.#comparing = comparing;
    this.#hands = hands;
  }

  /** For mtm.repair_rows(). Done twice it finds nothing more to do. */
  async repair(args: unknown): Promise<object> {
    const wishes = args as RepairOptions;
    const { members } = this.#generation();
    const targets = members.filter((node) => node !== wishes.from && wishes.nodes?.includes(node) !== false);
    const strangers = [wishes.from, ...(wishes.nodes ?? [])].filter((node) => !members.includes(node));
    if (strangers.length > 0)
      throw new RequestError('55000', `[multimaster] node ${strangers.join(', ')} is not online`);
    if (targets.length === 0)
      throw new RequestError('22023', '[multimaster] there is no other node to repair');
    const { table, items, more } = await this.#find(wishes, targets);
    const name = shownName(table);
    const empty: RepairReport = { table: name, nodes: [], statements: [], more };
    if (items.length === 0) return empty;
    if (!wishes.apply) return { ...empty, statements: await this.#shown(table, items, wishes.from, targets) };
    const work: Work = { table, from: wishes.from, targets, done: new Map() };
    for (let at = 0; at < items.length; at += itemsAtOnce)
      await this.#batch(work, items.slice(at, at + itemsAtOnce));
    const nodes = [...work.done.values()].toSorted((a, b) => a.node - b.node);
    this.#node.parts.log.warn({ table: name, from: wishes.from, nodes }, 'rows were repaired');
    return { ...empty, nodes };
  }

  #generation(): { readonly number: number; readonly members: readonly NodeId[] } {
    const { generation, liveness } = this.#node.machine;
    if (generation !== undefined && liveness.onlineIn === generation.number) return generation;
    throw new RequestError('57P03', '[multimaster] this node is not online');
  }

  // ---- what is to be done

  async #find(
    wishes: RepairOptions,
    targets: readonly NodeId[],
  ): Promise<{ table: ComparedTable; items: readonly RepairItem[]; more: boolean }> {
    const point = await this.#snapshots.point(unusedMs);
    try {
      const ask = askComparison(this.#node, this.#peers, this.#comparing);
      const job = new ComparisonJob({
        options: comparisonDefaults,
        members: [wishes.from, ...targets],
        away: [],
        ask: (node, question) => ask(node, { ...question, token: point.token } as ComparisonCall),
        renew: () => Promise.resolve(),
        tell: () => undefined,
      });
      const table = tableOf(wishes.table, await job.relations(), [wishes.from, ...targets]);
      if (wishes.keys !== undefined) return { table, items: itemsOf(table, wishes.keys), more: false };
      const found = await findRows(job, table, mostItems);
      if (found === undefined) throw new RequestError('57P03', '[multimaster] a node was lost meanwhile');
      const items = found.keys.map(({ hash, key }) => ({ hash, key: JSON.parse(key) as string[] }));
      return { table, items, more: found.more };
    } finally {
      await this.#snapshots.freePoint(point);
    }
  }

  async #shown(
    table: ComparedTable,
    items: readonly RepairItem[],
    from: NodeId,
    targets: readonly NodeId[],
  ): Promise<RepairReport['statements']> {
    const statements: { readonly node: NodeId; readonly sql: string }[] = [];
    for (let start = 0; start < items.length; start += itemsAtOnce) {
      const some = items.slice(start, start + itemsAtOnce);
      const look = { what: 'look', table, items: some } as const;
      const [wanted, ...has] = (await this.#each([from, ...targets], look)) as ItemState[][];
      for (const [at, node] of targets.entries())
        for (const [index, item] of some.entries()) {
          const [there, here] = [has[at]![index]!, wanted![index]!];
          if (sameState(there, here)) continue;
          statements.push(...shownStatements(table, item, there, here).map((sql) => ({ node, sql })));
        }
    }
    return statements;
  }

  // ---- a moment for each batch

  async #batch(work: Work, items: readonly RepairItem[]): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      let trouble = new RequestError(
        '40001',
        '[multimaster] there was no moment without transactions under way on all nodes',
        'Repeat it when fewer transactions wait for locks.',
      );
      try {
        if (await this.#moment(work, items)) return;
      } catch (error) {
        if (!(error instanceof RequestError)) throw error;
        if (error.sqlstate === '54000' && items.length > 1) {
          const half = Math.ceil(items.length / 2);
          await this.#batch(work, items.slice(0, half));
          return this.#batch(work, items.slice(half));
        }
        if (!passing.has(error.sqlstate)) throw error;
        trouble = error;
      }
      if (attempt === attempts) throw trouble;
      await pause(pauseMs * attempt);
    }
  }

  /**
   * False: something was in flight. Rejects when something was in the way; nodes that did not commit are as
   * before.
   */
  async #moment({ table, from, targets, done }: Work, items: readonly RepairItem[]): Promise<boolean> {
    const { number: generation, members } = this.#generation();
    if (![from, ...targets].every((node) => members.includes(node)))
      throw new RequestError('57P03', '[multimaster] a node was lost meanwhile');
    const begun = performance.now();
    const call = { token: this.#token(), generation } as const;
    try {
      for (const what of ['hold', 'quiet'] as const)
        if (!(await this.#each(members, { what, ...call })).every((each) => each === true)) return false;
      const [wanted] = (await this.#each([from], {
        what: 'look',
        table,
        items,
        generation,
      })) as ItemState[][];
      const order = { what: 'write', ...call, from, table, items, wanted: wanted! } as const;
      const written = (await this.#each(targets, order)) as Written[];
      // From here on every row is locked where it is repaired: what comes later finds it right.
      if (performance.now() - begun > momentMs)
        throw new RequestError('57014', '[multimaster] the rows could not be repaired within a moment');
      repairStep('written');
      const ends = await Promise.allSettled(
        targets.map(async (node, at) => {
          await this.#ask(node, { what: 'commit', ...call });
          add(done, node, written[at]!);
        }),
      );
      for (const end of ends) if (end.status === 'rejected') throw end.reason;
      return true;
    } finally {
      // Who cannot be asked does both by itself.
      await this.#each(members, { what: 'release', ...call }).catch(() => undefined);
      await this.#each(targets, { what: 'rollback', ...call }).catch(() => undefined);
    }
  }

  #token(): string {
    const { config, takeOver } = this.#node.parts;
    return `repair:${config.nodeId}:${takeOver.incarnation}:${++this.#counter}`;
  }

  /** All have ended before it rejects. */
  async #each(nodes: readonly NodeId[], call: RepairCall): Promise<unknown[]> {
    const ends = await Promise.allSettled(nodes.map((node) => this.#ask(node, call)));
    return ends.map((end) => {
      if (end.status === 'rejected') throw end.reason;
      return end.value;
    });
  }

  #ask(node: NodeId, call: RepairCall): Promise<unknown> {
    const self = this.#node.parts.config.nodeId;
    return node === self ? this.#hands.answer(call) : this.#peers.ask(node, verb, call, answerMs);
  }
}

function add(done: Map<NodeId, NodeRepair>, node: NodeId, { changed, deleted, inserted }: Written): void {
  const former = done.get(node) ?? { node, rows: 0, deleted: 0, inserted: 0 };
  done.set(node, {
    node,
    rows: former.rows + changed,
    deleted: former.deleted + deleted,
    inserted: former.inserted + inserted,
  });
}

/** Throws when it is not one table that all of these nodes define in the same way. */
function tableOf(
  pattern: string,
  lists: ReadonlyMap<NodeId, readonly Relation[]>,
  nodes: readonly NodeId[],
): ComparedTable {
  const found = nodes.map((node) => (lists.get(node) ?? []).filter((each) => matches(pattern, each)));
  const [first] = found;
  if (first === undefined || first.length !== 1 || found.some((list) => list.length !== 1)) {
    const text =
      first !== undefined && first.length > 1 ? 'are several tables' : 'is no table of all these nodes';
    throw new RequestError('42P01', `[multimaster] ${pattern} ${text}`);
  }
  const relations = found.map(([relation]) => relation!);
  const form = ({ schema, name, kind, columns, key }: Relation): string =>
    JSON.stringify([schema, name, kind, columns.toSorted((a, b) => (a.name < b.name ? -1 : 1)), key]);
  const [one] = relations;
  const name = shownName(one!);
  const refuse = (why: string, hint: string): never => {
    throw new RequestError('55000', `[multimaster] ${name} cannot be repaired: ${why}`, hint);
  };
  if (!relations.every((each) => form(each) === form(one!)))
    refuse('its definition is not the same on these nodes', 'mtm-gateway compare shows how it differs.');
  if (one!.kind === 'm') refuse('it is a materialized view', 'REFRESH MATERIALIZED VIEW through a gateway.');
  const apart = relations.find((each) => each.apart !== undefined)?.apart;
  if (apart !== undefined) refuse(apart, "Its rows are each node's own.");
  if (one!.columns.some(({ told }) => told === 'untellable'))
    refuse('it has a column that cannot be compared', 'Join the node anew.');
  return inCommon(relations);
}

function itemsOf(table: ComparedTable, keys: readonly (readonly string[])[]): RepairItem[] {
  if (table.key.length === 0)
    throw new RequestError(
      '22023',
      `[multimaster] ${shownName(table)} has no primary key: repair all its differences`,
    );
  if (keys.length > mostItems)
    throw new RequestError('54000', `[multimaster] more than ${mostItems} keys at once`);
  const wrong = keys.find((key) => key.length !== table.key.length);
  if (wrong !== undefined)
    throw new RequestError(
      '22023',
      `[multimaster] the key of ${shownName(table)} is (${table.key.join(', ')})`,
    );
  return keys.map((key) => ({ hash: '', key }));
}

/** For other gateways. */
export function repairAnswerers(hands: RepairHands): Record<string, Answerer> {
  return { [verb]: (args) => hands.answer(args as RepairCall) };
}
