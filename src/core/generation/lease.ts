/**
 * The right to answer clients: it runs for the term from the *sending* of a heartbeat that a majority of the
 * configured nodes, this one included, answered (architecture §4, Leases).
 * Rule: only an answer to a heartbeat that this process sent and that claimed the right counts, so neither an
 * answer to a former process nor one that waited out a stall in a socket's buffer can prolong anything.
 * Whoever ceases to claim drops the lease first: the others rely on it (exclusion.ts).
 */
import { assert } from '../../lib/assert.ts';
import type { NodeId } from '../identity.ts';
import { majoritySize } from './quorum.ts';

/** More heartbeats than this within one term come only from a flapping link; the oldest are forgotten. */
const maxRemembered = 256;

export class Lease {
  readonly #termMs: number;
  #answersNeeded = 0;
  /** By peer: when the latest heartbeat that it answered was sent. */
  readonly #answered = new Map<NodeId, number>();
  #sent: number[] = [];
  #until = -Infinity;

  /** `peers`: the configured nodes without this one. */
  constructor(peers: readonly NodeId[], termMs: number) {
    this.#termMs = termMs;
    this.replacePeers(peers);
  }

  /** Other configured nodes: the lease is given up, and lives from their answers from now on. */
  replacePeers(peers: readonly NodeId[]): void {
    this.#answersNeeded = majoritySize(peers.length + 1) - 1;
    this.#answered.clear();
    for (const peer of peers) this.#answered.set(peer, -Infinity);
    this.#sent = [];
    this.#until = this.#answersNeeded === 0 ? Infinity : -Infinity;
  }

  /** The lease holds before this monotonic time, ms. Infinity for a single node. */
  get until(): number {
    return this.#until;
  }

  /** When the latest heartbeat that `peer` answered was sent; -Infinity when there is none. */
  answeredAt(peer: NodeId): number {
    return this.#answered.get(peer) ?? -Infinity;
  }

  /** A heartbeat that claims the lease leaves now. */
  claimSent(at: number): void {
    if (this.#sent.at(-1) === at) return;
    assert(at > (this.#sent.at(-1) ?? -Infinity), 'the monotonic clock went back');
    this.#sent = this.#sent.filter((sentAt) => sentAt > at - this.#termMs).slice(1 - maxRemembered);
    this.#sent.push(at);
  }

  /** Counts only when it answers a heartbeat of ours that is not too old to matter. */
  answerReceived(from: NodeId, sentAt: number): void {
    const before = this.#answered.get(from);
    if (before === undefined || sentAt <= before || !this.#sent.includes(sentAt)) return;
    this.#answered.set(from, sentAt);
    this.#renew();
  }

  /** Gives the lease up; only answers to heartbeats that are sent from now on bring it back. */
  drop(): void {
    this.#sent = [];
    for (const peer of this.#answered.keys()) this.#answered.set(peer, -Infinity);
    if (this.#answersNeeded > 0) this.#until = -Infinity;
  }

  /** `answersNeeded` peers answered something sent at or after the n-th latest of their times. */
  #renew(): void {
    if (this.#answersNeeded === 0) return;
    const latestFirst = [...this.#answered.values()].sort((a, b) => b - a);
    const base = latestFirst[this.#answersNeeded - 1] ?? -Infinity;
    this.#until = Math.max(this.#until, base + this.#termMs);
  }
}
