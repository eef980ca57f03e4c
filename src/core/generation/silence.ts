/**
 * Which lost members can certainly not serve clients: only those may be passed over when a commit is answered
 * (`wait_peer_commits`), because nobody could read there what was overwritten.
 *
 * The argument: a member C serves only while a majority has answered its heartbeats within the term. Let H
 * be this
 * node and the peers whose heartbeats, without a gap, have not named C for longer than a term: none of H has
 * heard C
 * for a term at one common moment, so at that moment C had no answer of any of H left. If H is a majority,
 * every
 * majority that C could have lives in part from H: C's lease has lapsed. A member that finds its lease lapsed
 * doubts everything that it holds prepared, and serves again only when that is settled
 * (core/commit/doubt.ts).
 *
 * Rule: times of this node's monotonic clock only; what is not known counts as heard.
 */
import type { NodeId } from '../identity.ts';
import { majoritySize } from './quorum.ts';

export interface SilenceOptions {
  readonly self: NodeId;
  readonly configured: readonly NodeId[];
  /** heartbeat_recv_timeout: the term of a lease. */
  readonly recvTimeoutMs: number;
  readonly sendTimeoutMs: number;
  /** When this process began: whom its predecessor answered before that is not known. */
  readonly now: number;
}

interface Witness {
  heardAt: number;
  /** By node: since when the heartbeats of this witness have not named it. */
  readonly missingSince: Map<NodeId, number>;
}

export class SilenceWatch {
  readonly #options: SilenceOptions;
  readonly #witnesses = new Map<NodeId, Witness>();
  readonly #answeredAt = new Map<NodeId, number>();

  constructor(options: SilenceOptions) {
    this.#options = options;
    for (const node of options.configured) {
      if (node === options.self) continue;
      this.#witnesses.set(node, { heardAt: -Infinity, missingSince: new Map() });
      this.#answeredAt.set(node, options.now);
    }
  }

  /** A heartbeat of `from` that names the nodes which it hears. */
  heartbeat(from: NodeId, connected: readonly NodeId[], now: number): void {
    const witness = this.#witnesses.get(from);
    if (witness === undefined) return;
    if (now - witness.heardAt > this.#options.recvTimeoutMs) witness.missingSince.clear();
    witness.heardAt = now;
    for (const node of this.#options.configured) {
      if (connected.includes(node)) witness.missingSince.delete(node);
      else if (!witness.missingSince.has(node)) witness.missingSince.set(node, now);
    }
  }

  /** This node has answered a heartbeat of `peer`, which may renew its lease. */
  answered(peer: NodeId, now: number): void {
    this.#answeredAt.set(peer, now);
  }

  /** True when `node` has certainly been without a lease at some moment since it was heard. */
  isSilent(node: NodeId, now: number): boolean {
    const { recvTimeoutMs, sendTimeoutMs, configured } = this.#options;
    // Twice the term: once for the heartbeat that was answered last, once for clocks that drift and packets
    // on their way.
    const enoughMs = 2 * recvTimeoutMs + sendTimeoutMs;
    const answeredAt = this.#answeredAt.get(node);
    if (answeredAt === undefined || now - answeredAt <= enoughMs) return false;
    let silent = 1;
    for (const [peer, { heardAt, missingSince }] of this.#witnesses) {
      if (peer === node || now - heardAt > recvTimeoutMs) continue;
      const since = missingSince.get(node);
      if (since !== undefined && now - since > enoughMs) silent++;
    }
    return silent >= majoritySize(configured.length);
  }
}
