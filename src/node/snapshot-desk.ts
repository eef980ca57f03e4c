/**
 * Compares all nodes at the same logical point (mtm.check_query), and gives their snapshots to whoever wants
 * to look for himself (mtm.get_snapshots).
 * Rule: the point is where nothing is in flight: every member holds its commits back, waits until what it had
 * begun is finished everywhere, and only then do all take their snapshots. It lasts for a moment only; when
 * the transactions under way do not end in it, commits go on and it is tried again.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { NodeId } from '../core/identity.ts';
import type { Answerer, PeerQuestions } from './peer-questions.ts';
import { RequestError, type Asker } from './request-desk.ts';
import type { Chunk, SnapshotHands } from './snapshot-hands.ts';
import type { VerbNode } from './verbs.ts';

const verbs = {
  hold: 'snapshot-hold',
  release: 'snapshot-release',
  take: 'snapshot-take',
  declare: 'snapshot-declare',
  fetch: 'snapshot-fetch',
  touch: 'snapshot-touch',
  free: 'snapshot-free',
} as const;

const momentMs = 5000;
const attempts = 20;
const pauseMs = 50;
const queryLimitMs = 24 * 3_600_000;
const rowsAtOnce = 100;

interface Call {
  readonly token: string;
  readonly query?: string;
  readonly searchPath?: string;
  readonly count?: number;
  readonly unusedMs?: number;
}

/** Snapshots of one logical point. */
export interface Point {
  readonly token: string;
  readonly members: readonly NodeId[];
}

type Verb = (typeof verbs)[keyof typeof verbs];

export class SnapshotDesk {
  readonly #node: VerbNode;
  readonly #peers: PeerQuestions;
  readonly #hands: SnapshotHands;
  /** Of mtm.get_snapshots(), by backend. */
  readonly #kept = new Map<number, Point>();
  #counter = 0;

  constructor(node: VerbNode, peers: PeerQuestions, hands: SnapshotHands) {
    this.#node = node;
    this.#peers = peers;
    this.#hands = hands;
  }

  /** For mtm.check_query(). */
  async check(args: unknown): Promise<object> {
    const { query, searchPath } = args as { readonly query: string; readonly searchPath: string };
    const members = this.#members();
    const [first] = members;
    if (first === undefined || members.length < 2)
      throw new RequestError('55000', '[multimaster] only one node is online: no nodes to compare with');
    const token = this.#token();
    await this.#take(token, members);
    try {
      await this.#each(members, verbs.declare, { token, query, searchPath }, queryLimitMs);
      const difference = await this.#difference(token, members);
      const warnings = this.away(members).map((node) => `node ${node} is away and was not compared`);
      if (difference !== undefined) warnings.push(difference);
      return { equal: difference === undefined, warnings };
    } finally {
      await this.#free(token, members);
    }
  }

  /** For mtm.get_snapshots(): one for each backend that asks. */
  async get(_args: unknown, { backendPid }: Asker): Promise<object> {
    await this.release({}, { backendPid });
    const members = this.#members();
    const token = this.#token();
    const names = await this.#take(token, members);
    this.#kept.set(backendPid, { token, members });
    void this.#freeWithSession(backendPid, token);
    return { snapshots: members.map((node, index) => ({ node, snapshot: names[index] })) };
  }

  /** For mtm.free_snapshots(). */
  async release(_args: unknown, { backendPid }: Asker): Promise<object> {
    const kept = this.#kept.get(backendPid);
    this.#kept.delete(backendPid);
    if (kept !== undefined) await this.#free(kept.token, kept.members);
    return { freed: kept !== undefined };
  }

  /** For a longer look (comparison-desk.ts): whoever asks touches it in time, and frees it. */
  async point(unusedMs: number): Promise<Point> {
    const members = this.#members();
    const token = this.#token();
    await this.#take(token, members, unusedMs);
    return { token, members };
  }

  /**
   * It goes on to be needed on these nodes. Where it cannot be said the snapshot is lost, and its next use
   * fails.
   */
  async touch(token: string, members: readonly NodeId[]): Promise<void> {
    await this.#each(members, verbs.touch, { token }, momentMs).catch(() => undefined);
  }

  async freePoint({ token, members }: Point): Promise<void> {
    await this.#free(token, members);
  }

  /** Configured nodes that take no part. */
  away(members: readonly NodeId[]): NodeId[] {
    return this.#node.machine.configuration.configured.filter((node) => !members.includes(node));
  }

  async #freeWithSession(backendPid: number, token: string): Promise<void> {
    const { client } = this.#node.parts.observer;
    while (this.#kept.get(backendPid)?.token === token) {
      await pause(momentMs, undefined, { ref: false });
      try {
        const text = 'SELECT 1 FROM pg_catalog.pg_stat_activity WHERE pid = $1';
        if ((await client.query(text, [backendPid])).rows.length === 0)
          await this.release({}, { backendPid });
      } catch {
        return; // the server is lost, and the sessions with it
      }
    }
  }

  #token(): string {
    const { config, takeOver } = this.#node.parts;
    return `${config.nodeId}:${takeOver.incarnation}:${++this.#counter}`;
  }

  #members(): readonly NodeId[] {
    const { generation, liveness } = this.#node.machine;
    if (generation !== undefined && liveness.onlineIn === generation.number) return generation.members;
    throw new RequestError('57P03', '[multimaster] this node is not online');
  }

  // ---- the moment

  /** The names of the snapshots, in the order of the members. */
  async #take(token: string, members: readonly NodeId[], unusedMs?: number): Promise<string[]> {
    for (let attempt = 1; ; attempt++) {
      const names = await this.#attempt(token, members, unusedMs);
      if (names !== undefined) return names;
      if (attempt === attempts) break;
      await pause(pauseMs * attempt);
    }
    throw new RequestError(
      '40001',
      '[multimaster] there was no moment without transactions under way on all nodes',
      'Repeat it when fewer transactions wait for locks.',
    );
  }

  async #attempt(
    token: string,
    members: readonly NodeId[],
    unusedMs: number | undefined,
  ): Promise<string[] | undefined> {
    const call = unusedMs === undefined ? { token } : { token, unusedMs };
    let names: string[] | undefined;
    try {
      const quiet = await this.#each(members, verbs.hold, { token }, momentMs);
      if (quiet.every((each) => each === true)) {
        const taken = await this.#each(members, verbs.take, call, momentMs);
        if (taken.every((name) => typeof name === 'string')) names = taken;
      }
    } finally {
      // Where it cannot be asked for, it ends by itself.
      const released = this.#each(members, verbs.release, { token }, momentMs).catch(() => undefined);
      // Also when one node has failed: the snapshots of the others would keep their rows from VACUUM. One
      // that is taken only afterwards is given up for want of the hold.
      if (names === undefined) await this.#free(token, members);
      await released;
    }
    return names;
  }

  async #free(token: string, members: readonly NodeId[]): Promise<void> {
    // Who cannot be asked frees it by itself.
    await this.#each(members, verbs.free, { token }, momentMs).catch(() => undefined);
  }

  #each(members: readonly NodeId[], verb: Verb, call: Call, limitMs: number): Promise<unknown[]> {
    const self = this.#node.parts.config.nodeId;
    return Promise.all(
      members.map(async (member) =>
        member === self ? answer(this.#hands, verb, call) : this.#peers.ask(member, verb, call, limitMs),
      ),
    );
  }

  // ---- the comparison

  /** The first difference between the first node and another, as a sentence. */
  async #difference(token: string, members: readonly NodeId[]): Promise<string | undefined> {
    for (let row = 0; ; row += rowsAtOnce) {
      const call = { token, count: rowsAtOnce };
      const chunks = (await this.#each(members, verbs.fetch, call, queryLimitMs)) as Chunk[];
      for (let index = 1; index < members.length; index++) {
        const names = [`node ${members[0]}`, `node ${members[index]}`] as const;
        const found = differenceOf(chunks[0]!, chunks[index]!, row, names);
        if (found !== undefined) return found;
      }
      if (chunks[0]!.rows.length < rowsAtOnce) return undefined;
    }
  }
}

/** `start`: rows before these. */
export function differenceOf(
  one: Chunk,
  other: Chunk,
  start: number,
  [first, second]: readonly [string, string],
): string | undefined {
  if (one.columns.length !== other.columns.length) {
    const counts = `${one.columns.length} columns on ${first}, ${other.columns.length} on ${second}`;
    return `query results mismatch: ${counts}`;
  }
  for (const [index, row] of one.rows.entries()) {
    const there = other.rows[index];
    if (there === undefined) break;
    const column = row.findIndex((value, at) => value !== there[at]);
    if (column < 0) continue;
    const values = `${shown(row[column])} on ${first}, ${shown(there[column])} on ${second}`;
    return `mismatch in column '${one.columns[column]}' of row ${start + index}: ${values}`;
  }
  if (one.rows.length === other.rows.length) return undefined;
  const [fewer, more] = one.rows.length < other.rows.length ? [first, second] : [second, first];
  const rows = start + Math.min(one.rows.length, other.rows.length);
  return `query results mismatch: ${rows} rows on ${fewer}, more on ${more}`;
}

function shown(value: string | null | undefined): string {
  return value ?? '(null)';
}

/** What a node does when it is asked, by itself or by another. */
async function answer(hands: SnapshotHands, verb: Verb, call: Call): Promise<unknown> {
  switch (verb) {
    case verbs.hold:
      return hands.hold(call.token);
    case verbs.release:
      return hands.release(call.token);
    case verbs.take:
      return hands.take(call.token, call.unusedMs);
    case verbs.declare:
      return hands.declare(call.token, call.query ?? '', call.searchPath ?? '');
    case verbs.fetch:
      return hands.fetch(call.token, call.count ?? 1);
    case verbs.touch:
      return hands.nameOf(call.token);
    default:
      return hands.free(call.token);
  }
}

/** For other gateways. */
export function snapshotAnswerers(hands: SnapshotHands): Record<string, Answerer> {
  const list = Object.values(verbs);
  return Object.fromEntries(list.map((verb) => [verb, (args: unknown) => answer(hands, verb, args as Call)]));
}
