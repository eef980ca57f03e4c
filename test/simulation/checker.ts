/**
 * The checker outside: it sees every server and every answer at once and knows nothing of the machines'
 * states. Each rule throws a Violation at the moment it is broken. Invariant numbers are those of
 * src/README.md. A node is known to it by its place: ids are given again.
 */
import { blockingSize } from '../../src/core/generation/quorum.ts';
import type { GenerationRecord } from '../../src/core/generation/record.ts';
import { parseGid } from '../../src/core/identity.ts';
import type { Gid } from '../../src/core/identity.ts';
import type { PeerMessage } from '../../src/core/peer/message.ts';
import type { NodeEffect } from '../../src/core/node/node-event.ts';
import { Chain } from './chain.ts';
import type { Change, Identity } from './server-record.ts';
import type { Server } from './server.ts';
import { Violation } from './world.ts';

interface Record {
  readonly gid: Gid;
  readonly home: number;
  readonly generation: number;
  /** How much of the home's history its statements may have seen. */
  readonly seen: number;
  readonly committedOn: Set<number>;
  /** Committed somewhere, durably or not, at some time. */
  everCommitted: boolean;
  answer: 'committed' | 'aborted' | 'unknown' | undefined;
  /** Nothing but a header: no other node hears of it. */
  empty: boolean;
}

export class Checker {
  readonly chain: Chain;
  readonly #servers = new Map<number, Server>();
  readonly #waitPeerCommits: boolean;
  /** One of two nodes may go on alone with what it holds: a blocking set is everybody. */
  readonly #referee: boolean;
  readonly #records = new Map<Gid, Record>();
  /** By generation: the record that is chosen. */
  readonly #generations = new Map<number, GenerationRecord>();
  /** `node gid`: the node said that it will never prepare it. */
  readonly #promised = new Set<string>();
  /** `node incarnation ballot`: votes that were told. */
  readonly #votes = new Set<string>();
  readonly #committed = new Map<number, Set<Gid>>();
  /** Acknowledged commits, in order. */
  readonly acknowledged: Gid[] = [];
  /** How many of the acknowledged are known to be on a node. */
  readonly #acknowledgedOn = new Map<number, number>();
  /** By reader and home: the length of the home's history that is wholly on the reader. */
  readonly #prefix = new Map<string, number>();
  readonly counts = {
    committed: 0,
    aborted: 0,
    unknown: 0,
    reads: 0,
    refusedReads: 0,
    generations: 0,
    recovered: 0,
  };

  constructor(waitPeerCommits: boolean, referee = false) {
    this.#waitPeerCommits = waitPeerCommits;
    this.#referee = referee;
    this.chain = new Chain(referee);
  }

  addServer(server: Server): void {
    this.#servers.set(server.identity.place, server);
    this.#committed.set(server.identity.place, new Set());
    this.chain.add(server.identity);
  }

  /** The server is a copy of the other's: it holds what that one's durable history has committed. */
  copied(place: number, source: number): void {
    const { history, flushed } = this.#servers.get(source)!;
    const held = new Set(this.#committed.get(source));
    for (const entry of history.slice(flushed)) if (entry.kind === 'commit') held.delete(entry.gid);
    this.#committed.set(place, held);
    for (const gid of held) this.#record(gid).committedOn.add(place);
  }

  /** It is durable there that the record was accepted. */
  accepted(identity: Identity, record: GenerationRecord): void {
    this.chain.accepted(identity, record);
  }

  /** The places of the members, in the generation of that number. */
  #membersOf(generation: number): readonly number[] {
    const record = this.#generations.get(generation);
    return record === undefined ? [] : this.chain.placesOf(record, record.members);
  }

  #record(gid: Gid): Record {
    const record = this.#records.get(gid);
    if (record === undefined) throw new Violation(`${gid} was never prepared at its home`);
    return record;
  }

  isCommitted(gid: Gid): boolean {
    return this.#records.get(gid)?.everCommitted ?? false;
  }

  committedOn(node: number, gid: Gid): boolean {
    return this.#committed.get(node)!.has(gid);
  }

  /** A node holds this record to be chosen. */
  chosen(record: GenerationRecord): void {
    this.chain.noted(record);
    const known = this.#generations.get(record.number);
    if (known === undefined) {
      this.#generations.set(record.number, record);
      this.counts.generations += 1;
    } else if (JSON.stringify(known) !== JSON.stringify(record)) {
      throw new Violation(`generation ${record.number} was chosen twice: ${story(known)} ${story(record)}`);
    }
  }

  prepared(node: number, gid: Gid, atHome: boolean, seen: number): void {
    if (atHome) {
      const empty = this.#servers.get(node)!.prepared.get(gid)!.changes.length === 0;
      const generation = parseGid(gid)!.generation;
      const committedOn = new Set<number>();
      this.#records.set(gid, {
        gid,
        home: node,
        generation,
        seen,
        committedOn,
        everCommitted: false,
        answer: undefined,
        empty,
      });
    }
    const record = this.#record(gid);
    if (this.#promised.has(`${node} ${gid}`)) {
      throw new Violation(`node ${node} prepared ${gid} after it had promised never to (invariant 7)`);
    }
    if (record.committedOn.has(node))
      throw new Violation(`node ${node} prepared ${gid} again after its commit`);
  }

  /** It can commit at its home, and nowhere else so far. */
  heldOpen(node: number, gid: Gid, seen: number, empty: boolean): void {
    const { generation } = parseGid(gid)!;
    const counted = { committedOn: new Set<number>(), everCommitted: false, answer: undefined };
    this.#records.set(gid, { gid, home: node, generation, seen, ...counted, empty });
  }

  /** The commit is on the node: by COMMIT PREPARED (`inTwoPhases`), or from a donor. */
  committed(node: number, gid: Gid, changes: readonly Change[], inTwoPhases: boolean): void {
    const record = this.#record(gid);
    if (record.committedOn.has(node)) throw new Violation(`${gid} is committed twice on ${node}`);
    if (inTwoPhases && !record.empty) this.#decided(node, record);
    record.committedOn.add(node);
    record.everCommitted = true;
    if (record.answer === 'aborted')
      throw new Violation(`${gid} is committed, and its client was told that it is aborted`);
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

  /** A crash took what was not durable. */
  uncommitted(node: number, gid: Gid): void {
    this.#record(gid).committedOn.delete(node);
    this.#committed.get(node)!.delete(gid);
    this.#acknowledgedOn.delete(node);
    for (const home of this.#servers.keys()) this.#prefix.delete(`${node} ${home}`);
  }

  /** All members of its generation have it, or the record of a higher one says so (invariant 3). */
  #decided(node: number, { gid, generation, committedOn }: Record): void {
    const members = this.#membersOf(generation);
    const without = members.filter((member) => {
      return member !== node && !this.#servers.get(member)!.prepared.has(gid) && !committedOn.has(member);
    });
    if (members.length > 0 && without.length === 0) return;
    for (const record of this.#generations.values()) {
      if (record.number > generation && record.commits.includes(gid)) return;
    }
    throw new Violation(`${gid} is committed on ${node} and not prepared on ${without} (invariant 3)`);
  }

  /** Everything that the transaction could see at home is committed on this node before it (invariant 6). */
  #ordered(node: number, record: Record): void {
    if (record.home === node) return;
    const { history } = this.#servers.get(record.home)!;
    const here = this.#committed.get(node)!;
    const key = `${node} ${record.home}`;
    let length = this.#prefix.get(key) ?? 0;
    for (; length < record.seen; length += 1) {
      const entry = history[length]!;
      if (entry.kind !== 'commit' || this.#record(entry.gid).empty) continue;
      if (!here.has(entry.gid))
        throw new Violation(
          `${record.gid} is committed on ${node} before ${entry.gid}, which it saw (invariant 6)`,
        );
    }
    this.#prefix.set(key, length);
  }

  /** What a machine orders: promises and votes must be true when they are given. */
  effect(node: number, effect: NodeEffect): void {
    if (effect.kind === 'alarm')
      throw new Violation(`node ${node} raised an alarm about ${effect.gid}: ${effect.text}`);
    if (effect.kind !== 'send') return;
    const { message } = effect;
    if (message.kind === 'vote') {
      if (message.refusal !== undefined) this.#promise(node, message.gid, 'voted NO on');
      else this.#holds(node, message.gid, 'voted YES on');
    } else if (message.kind === 'rolled-back') {
      this.#promise(node, message.gid, 'confirmed the rollback of');
    } else if (message.kind === 'election-vote') {
      this.#toldInElection(node, message);
    }
  }

  /** True when it is told; it is repeated as it was. */
  #toldInElection(node: number, vote: Extract<PeerMessage, { kind: 'election-vote' }>): void {
    const { ballot, incarnation, prepared } = vote;
    const key = `${node} ${incarnation} ${ballot.generation} ${ballot.proposer}`;
    if (this.#votes.has(key)) return;
    this.#votes.add(key);
    for (const gid of prepared) this.#holds(node, gid, 'told in an election that it holds');
  }

  #promise(node: number, gid: Gid, said: string): void {
    if (this.#holding(node, gid))
      throw new Violation(`node ${node} ${said} ${gid} while it holds it prepared`);
    this.#promised.add(`${node} ${gid}`);
  }

  #holds(node: number, gid: Gid, said: string): void {
    if (!this.#holding(node, gid))
      throw new Violation(`node ${node} ${said} ${gid} without having it prepared (invariant 3)`);
  }

  #holding(node: number, gid: Gid): boolean {
    return this.#servers.get(node)!.prepared.has(gid) || this.committedOn(node, gid);
  }

  answered(node: number, gid: Gid, answer: 'committed' | 'aborted' | 'unknown'): void {
    const record = this.#records.get(gid);
    this.counts[answer] += 1;
    if (record === undefined) {
      if (answer === 'committed') throw new Violation(`${gid} was answered as committed and never prepared`);
      return;
    }
    if (record.answer !== undefined) throw new Violation(`${gid} was answered twice (invariant 5)`);
    record.answer = answer;
    if (answer === 'committed') {
      if (!record.committedOn.has(node))
        throw new Violation(`${gid} was acknowledged before its commit at home`);
      this.acknowledged.push(gid);
    } else if (answer === 'aborted') {
      this.#aborted(record);
    }
  }

  /** A blocking set lacks it for good, or the record of a higher generation is silent about it (invariant 4). */
  #aborted({ gid, generation, everCommitted }: Record): void {
    if (everCommitted) throw new Violation(`${gid} is committed, and its client is told that it is aborted`);
    const own = this.#generations.get(generation);
    const members = this.#membersOf(generation);
    const without = members.filter((member) => !this.#servers.get(member)!.prepared.has(gid)).length;
    const blocking = this.#referee ? members.length : blockingSize(own?.configured.length ?? 1);
    if (own !== undefined && without >= blocking) return;
    const later = [...this.#generations.values()].filter((record) => record.number > generation);
    if (later.length > 0 && later.every(({ commits }) => !commits.includes(gid))) return;
    throw new Violation(
      `${gid} was announced as aborted while only ${without} members lack it (invariant 4)`,
    );
  }

  /**
   * To be called when a snapshot is taken: a commit that was acknowledged before the statement began
   * (`acknowledged` of them) and that it misses. That is a violation only if the node then serves the result.
   */
  missing(node: number, acknowledged: number): Gid | undefined {
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

  served(node: number, missing: Gid | undefined): void {
    this.counts.reads += 1;
    if (missing === undefined) return;
    throw new Violation(`a read on node ${node} misses ${missing}, acknowledged before it began`);
  }

  /** What a node says has become of a transaction (mtm.transaction_outcome) is true, though it may be forgotten. */
  outcomes(node: number, outcomeOf: (gid: Gid) => string): void {
    for (const { gid, empty, everCommitted, committedOn } of this.#records.values()) {
      const outcome = outcomeOf(gid);
      const here = everCommitted && (!empty || committedOn.has(node));
      const right = here ? ['committed', 'forgotten'] : ['aborted', 'forgotten', 'unknown'];
      if (!right.includes(outcome))
        throw new Violation(`node ${node} says "${outcome}" of ${gid}, committed on ${[...committedOn]}`);
    }
  }

  /** After phase 2: nothing is left over and all nodes are equal. */
  final(places: readonly number[]): void {
    let first: string | undefined;
    for (const node of places) {
      const server = this.#servers.get(node)!;
      if (server.prepared.size > 0) {
        throw new Violation(
          `node ${node} still holds ${[...server.prepared.keys()].join(' ')} prepared (liveness)`,
        );
      }
      if (server.busy > 0)
        throw new Violation(`node ${node} still has ${server.busy} open transactions (liveness)`);
      const rows = [...server.rows].map(([key, { value, by }]) => JSON.stringify([key, value, by]));
      const table = rows.sort((a, b) => (a < b ? -1 : 1)).join();
      first ??= table;
      if (table !== first)
        throw new Violation(`node ${node} differs from node ${places[0]}:\n${table}\n${first}`);
    }
    for (const { gid, empty, everCommitted, committedOn, answer } of this.#records.values()) {
      if (answer === 'committed' && !everCommitted) throw new Violation(`acknowledged ${gid} is lost`);
      if (everCommitted && !empty && !places.every((place) => committedOn.has(place)))
        throw new Violation(`${gid} was committed, and now it is on ${[...committedOn]} only`);
    }
  }
}

function story(record: GenerationRecord): string {
  return JSON.stringify(record);
}
