/**
 * Whom this node must not vote to leave out (architecture §4, Leases): a node that it answered may hold a
 * lease that lives in part from that answer, and serve reads until it has run out.
 *
 * The argument: a lease lives from the answers of a majority to heartbeats that claimed it. Every majority
 * that elects without the node has a voter in common with that majority, and that voter has answered no
 * claim for longer than the term (its later answers say that it voted higher and renew nothing). A node that
 * ceases to claim drops its lease first, so its next heartbeat without a claim is proof that no lease lives.
 *
 * Rule: times of this node's monotonic clock only; whom a former process of this node answered is not known,
 * so at its start a gateway counts as having just answered everybody.
 */
import { assert } from '../../lib/assert.ts';
import type { NodeId } from '../identity.ts';

export interface ExclusionOptions {
  /** The configured nodes without this one. */
  readonly peers: readonly NodeId[];
  readonly sendTimeoutMs: number;
  readonly recvTimeoutMs: number;
  readonly now: number;
}

interface Answered {
  /** When the latest claim was answered; -Infinity when no lease can live from an answer of this node. */
  at: number;
  /** That claim's sending time, by the peer's clock: news and claims may overtake each other. */
  sentAt: number;
}

export class Exclusion {
  /** From an answered claim until its lease has certainly ended, also by clocks that drift. */
  readonly termMs: number;
  readonly #answered = new Map<NodeId, Answered>();
  readonly #startedAt: number;
  readonly #withheld = new Map<NodeId, number>();

  constructor(options: ExclusionOptions) {
    this.termMs = options.recvTimeoutMs * 1.05 + options.sendTimeoutMs;
    this.#startedAt = options.now;
    this.replacePeers(options.peers);
  }

  /** The other nodes from now on. One that is new may have been answered by a former process. */
  replacePeers(peers: readonly NodeId[]): void {
    for (const known of [...this.#answered.keys()]) {
      if (peers.includes(known)) continue;
      this.#answered.delete(known);
      this.#withheld.delete(known);
    }
    for (const peer of peers) {
      if (!this.#answered.has(peer)) this.#answered.set(peer, { at: this.#startedAt, sentAt: -1 });
    }
  }

  /** A claim of the peer is answered now. */
  claimAnswered(peer: NodeId, sentAt: number, now: number): void {
    const answered = this.#of(peer);
    answered.at = now;
    answered.sentAt = Math.max(answered.sentAt, sentAt);
  }

  /**
   * A heartbeat without a claim, sent after every claim that was answered: the peer has dropped its lease.
   */
  claimEnded(peer: NodeId, sentAt: number): void {
    const answered = this.#of(peer);
    if (sentAt > answered.sentAt) answered.at = -Infinity;
  }

  /** The process that was answered is gone. */
  processEnded(peer: NodeId): void {
    const answered = this.#of(peer);
    answered.at = -Infinity;
    answered.sentAt = -1;
    this.#withheld.delete(peer);
  }

  /**
   * Which of `excluded` may still serve by an answer of this node, and for how long at most; undefined when
   * none: then this node may vote without them. Nodes that this node does not know were answered nothing.
   */
  blockedBy(
    excluded: Iterable<NodeId>,
    now: number,
  ): { readonly node: NodeId; readonly forMs: number } | undefined {
    let longest: { node: NodeId; forMs: number } | undefined;
    for (const node of excluded) {
      const forMs = (this.#answered.get(node)?.at ?? -Infinity) + this.termMs - now;
      if (forMs > 0 && forMs > (longest?.forMs ?? 0)) longest = { node, forMs };
    }
    return longest;
  }

  /**
   * Claims of the peer are not answered for a term and a half, so that a vote without it becomes possible: it
   * is heard here, but does not fit into the best clique.
   */
  withhold(peer: NodeId, now: number): void {
    if (this.#answered.has(peer) && !this.withholds(peer, now))
      this.#withheld.set(peer, now + 1.5 * this.termMs);
  }

  /** They are members of a generation together with this node: their claims are answered again. */
  admit(members: Iterable<NodeId>): void {
    for (const member of members) this.#withheld.delete(member);
  }

  withholds(peer: NodeId, now: number): boolean {
    return now < (this.#withheld.get(peer) ?? -Infinity);
  }

  #of(peer: NodeId): Answered {
    const answered = this.#answered.get(peer);
    assert(answered !== undefined, `node ${peer} is not a configured peer`);
    return answered;
  }
}
