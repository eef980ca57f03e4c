/**
 * One comparison of all nodes: definitions, sequences, then the rows of every table, sums first; where they
 * differ, which rows. Tells what it finds as it finds it.
 *
 * Rules: whatever could not be compared is told by name, and then the whole is not `whole`. A node that is
 * lost is told once and left out from then on. What a command has rewritten since the point is compared
 * again at a later one. Memory: sums and names of tables only.
 */
import type { NodeId } from '../core/identity.ts';
import type { ComparisonNews, ComparisonProgress } from '../core/comparison/news.ts';
import { matches, type ComparisonOptions } from '../core/comparison/options.ts';
import {
  byName,
  inCommon,
  shownName,
  type ComparedTable,
  type Relation,
} from '../core/comparison/relation.ts';
import { allSame, noRows, plus, readSums, type Sums } from '../core/comparison/sums.ts';
import type { About, ComparisonCall } from './comparison-hands.ts';
import { compareDefinitions, compareSequences } from './definition-comparison.ts';
import { Lanes } from './lanes.ts';
import { RequestError } from './request-desk.ts';
import { tellRows } from './row-comparison.ts';

/** Distributes over unions, where Omit does not. */
type WithoutToken<T> = T extends unknown ? Omit<T, 'token'> : never;
export type Question = WithoutToken<ComparisonCall>;

export interface ComparisonParts {
  readonly options: ComparisonOptions;
  /** Configured nodes that take no part. */
  readonly away: readonly NodeId[];
  readonly members: readonly NodeId[];
  /** Asks a node in its snapshot of the point of now. */
  ask(node: NodeId, question: Question): Promise<unknown>;
  /** A new point for what comes now. */
  renew(): Promise<void>;
  tell(news: ComparisonNews): void;
}

interface Found {
  readonly table: ComparedTable;
  readonly pieces: boolean;
  readonly bytes: ReadonlyMap<NodeId, number>;
}

/** Blocks that are read at once: 64 MB. */
const blocksAtOnce = 8192;
const blockBytes = 8192;
const rounds = 3;
/** It was dropped, renamed or altered, or a column was; rewritten. */
const changedStates = new Set(['42P01', '42703', '55006', '3F000', 'XX000']);

export class ComparisonJob {
  readonly #parts: ComparisonParts;
  readonly #lanes: ReadonlyMap<NodeId, Lanes>;
  readonly #alive: Set<NodeId>;
  #equal = true;
  #whole: boolean;
  #stopped: string | undefined;
  #what = 'definitions';
  #bytes = 0;
  #ofBytes = 0;

  constructor(parts: ComparisonParts) {
    this.#parts = parts;
    this.#alive = new Set(parts.members);
    this.#lanes = new Map(parts.members.map((node) => [node, new Lanes(parts.options.jobs)]));
    this.#whole = parts.away.length === 0;
  }

  get progress(): ComparisonProgress {
    return { what: this.#what, bytes: this.#bytes, ofBytes: this.#ofBytes };
  }

  /** What is not compared yet is not compared any more. */
  stop(reason: string): void {
    this.#stopped ??= reason;
  }

  get stopped(): string | undefined {
    return this.#stopped;
  }

  /** Rejects with a RequestError when there is nothing to compare. */
  async run(): Promise<void> {
    const begun = performance.now();
    const { options, members, away } = this.#parts;
    const common = await this.#sameKind();
    const relations = await this.relations();
    const early: ComparisonNews[] = [];
    const tables = this.#chosen(relations, (news) => void early.push(news));
    if (tables.length === 0 && options.tables.length > 0)
      throw new RequestError('42P01', `[multimaster] no table is called ${options.tables.join(' or ')}`);
    this.tell({ kind: 'begun', members, away, tables: tables.length });
    for (const news of early) this.tell(news);
    for (const node of away) this.notCompared(`node ${node}`, 'it is away');
    this.#ofBytes = tables.reduce(
      (sum, { bytes }) => sum + [...bytes.values()].reduce((a, b) => a + b, 0),
      0,
    );
    if (options.tables.length === 0) {
      await compareDefinitions(this, common);
      await compareSequences(this);
    }
    this.#what = '';
    await this.#rows(tables);
    const ms = Math.round(performance.now() - begun);
    this.tell({ kind: 'end', equal: this.#equal, whole: this.#whole, ms });
  }

  // ---- for its parts

  tell(news: ComparisonNews): void {
    if (news.kind === 'definition' || news.kind === 'sequence') this.#equal = false;
    if (news.kind === 'table' && !news.equal) this.#equal = false;
    this.#parts.tell(news);
  }

  notCompared(what: string, reason: string): void {
    this.#whole = false;
    this.tell({ kind: 'not-compared', what, reason });
  }

  get alive(): readonly NodeId[] {
    return [...this.#alive];
  }

  get details(): number {
    return this.#parts.options.details;
  }

  /** In turn; undefined: the node is lost. Rejects with a RequestError when it cannot do it. */
  async ask<T>(node: NodeId, question: Question): Promise<T | undefined> {
    return this.#lanes.get(node)!.run(async () => {
      if (this.#stopped !== undefined) throw new RequestError('57014', `[multimaster] ${this.#stopped}`);
      if (!this.#alive.has(node)) return undefined;
      try {
        return (await this.#parts.ask(node, question)) as T;
      } catch (error) {
        if (this.#stopped !== undefined) throw new RequestError('57014', `[multimaster] ${this.#stopped}`);
        const { sqlstate, message } = RequestError.fields(error);
        if (!isLost(sqlstate)) throw error;
        this.#lose(node, message);
        return undefined;
      }
    });
  }

  /** By node, of those that are there. */
  async askAll<T>(question: Question): Promise<Map<NodeId, T>> {
    const nodes = this.alive;
    const answers = await Promise.all(nodes.map((node) => this.ask<T>(node, question)));
    const found = nodes.flatMap((node, index) => {
      const answer = answers[index];
      return answer === undefined ? [] : ([[node, answer]] as const);
    });
    return new Map(found);
  }

  #lose(node: NodeId, message: string): void {
    if (!this.#alive.delete(node)) return;
    this.#whole = false;
    this.tell({ kind: 'lost', node, reason: message.replace('[multimaster] ', '') });
    if (this.#alive.size < 2) this.stop('fewer than two nodes are left to compare');
  }

  // ---- what there is

  /** Whether definitions must be told as all versions tell them. */
  async #sameKind(): Promise<boolean> {
    const about = await this.askAll<About>({ what: 'about' });
    const hashes = new Set([...about.values()].map(({ hash }) => hash));
    if (hashes.size > 1) {
      const text = '[multimaster] the servers hash differently: their machines order bytes differently';
      throw new RequestError('0A000', text);
    }
    return new Set([...about.values()].map(({ major }) => major)).size > 1;
  }

  /** By node, of those that are there. */
  async relations(): Promise<Map<NodeId, readonly Relation[]>> {
    const lists = new Map<NodeId, readonly Relation[]>();
    const read = async (node: NodeId): Promise<void> => {
      const all: Relation[] = [];
      for (let after: readonly [string, string] = ['', '']; ;) {
        const page = await this.ask<readonly Relation[]>(node, { what: 'relations', after });
        if (page === undefined) return;
        all.push(...page);
        const last = page.at(-1);
        if (last === undefined) break;
        after = [last.schema, last.name];
      }
      lists.set(node, all);
    };
    await Promise.all(this.alive.map(read));
    return lists;
  }

  /** Those whose rows are to be the same, the largest first; `tell`: what of the others. */
  #chosen(lists: ReadonlyMap<NodeId, readonly Relation[]>, tell: (news: ComparisonNews) => void): Found[] {
    const { options } = this.#parts;
    const chosen: Found[] = [];
    for (const [table, nodes] of byName(lists)) {
      const relations = [...nodes.values()];
      const [first] = relations;
      const wanted = options.tables.length === 0 || options.tables.some((each) => matches(each, first!));
      if (!wanted) continue;
      const apart = relations.find((relation) => relation.apart !== undefined)?.apart;
      const excluded = options.exclude.some((each) => matches(each, first!)) ? 'it was excluded' : undefined;
      const reason = excluded ?? apart;
      const missing = [...lists.keys()].filter((node) => !nodes.has(node));
      if (reason !== undefined) tell({ kind: 'left-out', table, reason });
      else if (missing.length > 0) {
        const text = `${table} is not on node ${missing.join(', ')}: its rows are not compared`;
        tell({ kind: 'definition', nodes: [...nodes.keys()], line: `table ${table}` });
        tell({ kind: 'remark', text });
      } else chosen.push(foundTable(table, nodes, tell));
    }
    const size = ({ bytes }: Found): number => Math.max(...bytes.values());
    return chosen.toSorted((a, b) => size(b) - size(a));
  }

  // ---- rows

  async #rows(tables: readonly Found[]): Promise<void> {
    let left = tables;
    for (let round = 1; left.length > 0; round++) {
      const again: Found[] = [];
      const turns = new Lanes(this.#parts.options.jobs);
      const changed = (found: Found): void => void again.push(found);
      await Promise.all(left.map((found) => turns.run(() => this.#compare(found, round, changed))));
      left = again;
      if (again.length > 0) await this.#parts.renew();
    }
  }

  async #compare(found: Found, round: number, changed: (found: Found) => void): Promise<void> {
    const table = shownName(found.table);
    try {
      const sums = await this.#sums(found);
      if (this.#stopped !== undefined) return this.notCompared(table, this.#stopped);
      const rows = Object.fromEntries([...sums].map(([node, { rows: count }]) => [node, String(count)]));
      const equal = allSame([...sums.values()]);
      this.tell({ kind: 'table', table, equal, rows });
      if (equal || this.details === 0) return;
      this.#what = `the rows of ${table} that differ`;
      await tellRows(this, found.table);
    } catch (error) {
      if (!(error instanceof RequestError)) throw error;
      const reason = error.message.replace('[multimaster] ', '');
      if (this.#stopped === undefined && changedStates.has(error.sqlstate) && round < rounds)
        return changed(found);
      this.notCompared(table, this.#stopped ?? reason);
    }
  }

  async #sums(found: Found): Promise<Map<NodeId, Sums>> {
    const sums = new Map<NodeId, Sums>();
    const read = async (node: NodeId): Promise<void> => {
      const parts = await this.#pieces(node, found);
      if (parts.every((part) => part !== undefined)) sums.set(node, parts.reduce(plus, noRows));
    };
    const ends = await Promise.allSettled(this.alive.map(read));
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
    return sums;
  }

  /** Undefined parts: the node is lost. */
  async #pieces(node: NodeId, { table, pieces, bytes }: Found): Promise<(Sums | undefined)[]> {
    const share = bytes.get(node) ?? 0;
    const size = (await this.ask<number>(node, { what: 'size', table })) ?? 0;
    const count = pieces ? Math.max(1, Math.ceil(size / (blocksAtOnce * blockBytes))) : 1;
    const read = async (index: number): Promise<Sums | undefined> => {
      const to = index + 1 === count ? undefined : (index + 1) * blocksAtOnce;
      const range = count === 1 ? undefined : { from: index * blocksAtOnce, to };
      const texts = await this.ask<readonly string[]>(node, { what: 'sums', table, range });
      this.#bytes += share / count;
      return texts === undefined ? undefined : readSums(texts[0], texts[1], texts[2]);
    };
    const ends = await Promise.allSettled(Array.from({ length: count }, (_, index) => read(index)));
    return ends.map((end) => {
      if (end.status === 'rejected') throw end.reason;
      return end.value;
    });
  }
}

function foundTable(
  table: string,
  nodes: ReadonlyMap<NodeId, Relation>,
  tell: (news: ComparisonNews) => void,
): Found {
  const relations = [...nodes.values()];
  const compared = inCommon(relations);
  const isCompared = (name: string): boolean => compared.columns.some((one) => one.name === name);
  const untold = relations.flatMap(({ columns }) =>
    columns.filter(({ name, told }) => told !== 'computed' && !isCompared(name)).map(({ name }) => name),
  );
  if (untold.length > 0) {
    const reason = `column ${[...new Set(untold)].join(', ')} cannot be compared`;
    tell({ kind: 'left-out', table, reason });
  }
  return {
    table: compared,
    pieces: relations.every(({ pieces }) => pieces),
    bytes: new Map([...nodes].map(([node, { bytes }]) => [node, bytes])),
  };
}

/** The node cannot be asked any more, or its snapshot is gone. */
function isLost(sqlstate: string): boolean {
  return sqlstate.startsWith('57P') || sqlstate.startsWith('08') || sqlstate === '22023';
}
