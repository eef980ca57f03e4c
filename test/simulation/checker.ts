/**
 * The checker outside: it sees every server and every answer at once and knows nothing of the machine's
 * states. Each rule throws a Violation at the moment it is broken. Invariant numbers are those of
 * src/README.md.
 */
import { parseGid } from '../../src/core/identity.ts';
import type { Gid, NodeId } from '../../src/core/identity.ts';
import type { CommitEffect } from '../../src/core/commit/event.ts';
import type { Change, Server } from './server.ts';
import { Violation } from './world.ts';

interface Record {
  readonly gid: Gid;
  readonly home: NodeId;
  /** How much of the home's commit log its statements may have seen. */
  readonly seen: number;
  readonly committedOn: Set<NodeId>;
  readonly rolledBackOn: Set<NodeId>;
  answer: 'committed' | 'aborted' | 'unknown' | undefined;
  /** Nothing but a header: no other node hears of it. */
  empty: boolean;
}

export class Checker {
  readonly #servers = new Map<NodeId, Server>();
  readonly #blockingSize: number;
  readonly #waitPeerCommits: boolean;
  readonly #records = new Map<Gid, Record>();
  /** `node gid`: the node said that it will never prepare it. */
  readonly #promised = new Set<string>();
  readonly #committed = new Map<NodeId, Set<Gid>>();
  /** Acknowledged commits, in order. */
  readonly acknowledged: Gid[] = [];
  /** How many of the acknowledged are known to be on a node. */
  readonly #acknowledgedOn = new Map<NodeId, number>();
  /** By reader and home: the length of the home's commit log that is wholly on the reader. */
  readonly #prefix = new Map<string, number>();
  readonly counts = { committed: 0, aborted: 0, unknown: 0, reads: 0, refusedReads: 0 };

  constructor(blockingSize: number, waitPeerCommits: boolean) {
    this.#blockingSize = blockingSize;
    this.#waitPeerCommits = waitPeerCommits;
  }

  addServer(node: NodeId, server: Server): void {
    this.#servers.set(node, server);
    this.#committed.set(node, new Set());
  }

  #record(gid: Gid): Record {
    const record = this.#records.get(gid);
    if (record === undefined) throw new Violation(`${gid} was never prepared at its home`);
    return record;
  }

  isCommitted(gid: Gid): boolean {
    return (this.#records.get(gid)?.committedOn.size ?? 0) > 0;
  }

  committedOn(node: NodeId, gid: Gid): boolean {
    return this.#committed.get(node)!.has(gid);
  }

  prepared(node: NodeId, gid: Gid, atHome: boolean, seen: number): void {
    if (atHome) {
      const empty = this.#servers.get(node)!.prepared.get(gid)!.changes.length === 0;
      this.#records.set(gid, {
        gid,
        home: node,
        seen,
        committedOn: new Set(),
        rolledBackOn: new Set(),
        answer: undefined,
        empty,
      });
    }
    const record = this.#record(gid);
    if (this.#promised.has(`${node} ${gid}`)) {
      throw new Violation(`node ${node} prepared ${gid} after it had promised never to (invariant 7)`);
    }
    if (record.rolledBackOn.has(node))
      throw new Violation(`node ${node} prepared ${gid} again after a rollback`);
    if (record.committedOn.has(node))
      throw new Violation(`node ${node} prepared ${gid} again after its commit`);
  }

  rolledBack(node: NodeId, gid: Gid): void {
    const record = this.#record(gid);
    record.rolledBackOn.add(node);
    this.#agree(record);
  }

  #agree(record: Record): void {
    const { gid, committedOn, rolledBackOn } = record;
    if (committedOn.size > 0 && rolledBackOn.size > 0) {
      throw new Violation(`${gid}: committed on ${[...committedOn]}, rolled back on ${[...rolledBackOn]}`);
    }
    if (committedOn.size > 0 && record.answer === 'aborted') {
      throw new Violation(`${gid} is committed, and its client was told that it is aborted`);
    }
  }

  committed(node: NodeId, gid: Gid, changes: readonly Change[]): void {
    const record = this.#record(gid);
    record.committedOn.add(node);
    this.#agree(record);
    for (const [member, server] of this.#servers) {
      if (record.empty) break;
      if (!server.prepared.has(gid) && !record.committedOn.has(member)) {
        throw new Violation(`${gid} is committed on ${node} and not prepared on ${member} (invariant 3)`);
      }
    }
    this.#ordered(node, record);
    const { rows } = this.#servers.get(node)!;
    for (const { key, base } of changes) {
      const current = rows.get(key)?.by;
      if (current !== base) {
        throw new Violation(
          `${gid} on ${node} writes ${key} over the version of ${current}, at home over that of ${base}`,
        );
      }
    }
    this.#committed.get(node)!.add(gid);
  }

  /** Everything that the transaction could see at home is committed on this node before it (invariant 6). */
  #ordered(node: NodeId, record: Record): void {
    if (record.home === node) return;
    const log = this.#servers.get(record.home)!.commitLog;
    const here = this.#committed.get(node)!;
    const key = `${node} ${record.home}`;
    let length = this.#prefix.get(key) ?? 0;
    for (; length < record.seen; length += 1) {
      const gid = log[length]!;
      if (this.#record(gid).empty) continue;
      if (!here.has(gid))
        throw new Violation(
          `${record.gid} is committed on ${node} before ${gid}, which it saw (invariant 6)`,
        );
    }
    this.#prefix.set(key, length);
  }

  /** What a machine orders: promises and votes must be true when they are given. */
  effect(node: NodeId, effect: CommitEffect): void {
    if (effect.kind === 'alarm')
      throw new Violation(`node ${node} raised an alarm about ${effect.gid}: ${effect.text}`);
    if (effect.kind !== 'send') return;
    const { message } = effect;
    if (message.kind === 'vote') {
      if (message.refusal !== undefined) this.#promise(node, message.gid, 'voted NO on');
      else this.#holds(node, message.gid, 'voted YES on');
    } else if (message.kind === 'rolled-back') {
      this.#promise(node, message.gid, 'confirmed the rollback of');
    } else if (message.kind === 'fate-answer') {
      for (const { gid, fate } of message.fates) {
        if (fate === 'never') this.#promise(node, gid, 'said "never" of');
        if (fate === 'prepared' && parseGid(gid)?.node !== node) this.#holds(node, gid, 'said "prepared" of');
      }
    }
  }

  #promise(node: NodeId, gid: Gid, said: string): void {
    if (this.#holding(node, gid))
      throw new Violation(`node ${node} ${said} ${gid} while it holds it prepared`);
    this.#promised.add(`${node} ${gid}`);
  }

  #holds(node: NodeId, gid: Gid, said: string): void {
    if (!this.#holding(node, gid))
      throw new Violation(`node ${node} ${said} ${gid} without having it prepared (invariant 3)`);
  }

  #holding(node: NodeId, gid: Gid): boolean {
    return this.#servers.get(node)!.prepared.has(gid) || this.committedOn(node, gid);
  }

  answered(node: NodeId, gid: Gid, answer: 'committed' | 'aborted' | 'unknown'): void {
    const record = this.#records.get(gid);
    this.counts[answer] += 1;
    if (record === undefined) {
      if (answer === 'committed') throw new Violation(`${gid} was answered as committed and never prepared`);
      return;
    }
    if (record.answer !== undefined) throw new Violation(`${gid} was answered twice (invariant 5)`);
    record.answer = answer;
    this.#agree(record);
    if (answer === 'committed') {
      if (!record.committedOn.has(node))
        throw new Violation(`${gid} was acknowledged before its commit at home`);
      this.acknowledged.push(gid);
    } else if (answer === 'aborted') {
      const without = [...this.#servers.values()].filter((server) => !server.prepared.has(gid)).length;
      if (without < this.#blockingSize) {
        throw new Violation(
          `${gid} was announced as aborted while only ${without} nodes lack it (invariant 4)`,
        );
      }
    }
  }

  /**
   * To be called when a snapshot is taken: a commit that was acknowledged before the statement began
   * (`acknowledged` of them) and that it misses. That is a violation only if the node then serves the result.
   */
  missing(node: NodeId, acknowledged: number): Gid | undefined {
    const here = this.#committed.get(node)!;
    let length = this.#acknowledgedOn.get(node) ?? 0;
    for (; length < acknowledged; length += 1) {
      const gid = this.acknowledged[length]!;
      const { home, empty } = this.#record(gid);
      if (home !== node && (empty || !this.#waitPeerCommits)) continue;
      if (!here.has(gid)) return gid;
      this.#acknowledgedOn.set(node, length + 1);
    }
    return undefined;
  }

  served(node: NodeId, missing: Gid | undefined): void {
    this.counts.reads += 1;
    if (missing === undefined) return;
    throw new Violation(`a read on node ${node} misses ${missing}, acknowledged before it began`);
  }

  /** After phase 2: nothing is left over and all nodes are equal. */
  final(): void {
    let first: string | undefined;
    for (const [node, server] of this.#servers) {
      if (server.prepared.size > 0) {
        throw new Violation(
          `node ${node} still holds ${[...server.prepared.keys()].join(' ')} prepared (liveness)`,
        );
      }
      if (server.running > 0)
        throw new Violation(`node ${node} still has ${server.running} open transactions (liveness)`);
      const rows = [...server.rows].map(([key, { value, by }]) => JSON.stringify([key, value, by]));
      const table = rows.sort((a, b) => (a < b ? -1 : 1)).join();
      first ??= table;
      if (table !== first) throw new Violation(`node ${node} differs from node 1:\n${table}\n${first}`);
    }
    for (const gid of this.acknowledged) {
      const record = this.#record(gid);
      const expected = record.empty ? 1 : this.#servers.size;
      if (record.committedOn.size !== expected) throw new Violation(`acknowledged ${gid} is lost`);
    }
  }
}
