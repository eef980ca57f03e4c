/**
 * Who takes part, and whom this node can count on at the moment. Rule: facts from the failure detector only.
 */
import type { NodeId } from '../identity.ts';

export interface Membership {
  readonly self: NodeId;
  /** M, the members of the generation, self included, ascending. */
  readonly members: readonly NodeId[];
  /** Size of the smallest set of members that no majority of the configured nodes can do without. */
  readonly blockingSize: number;
  /** wait_peer_commits: answer only after the members have committed too. */
  readonly waitPeerCommits: boolean;
  /** Bytes of changes kept for a repeat after a reconnect; a larger transaction is aborted instead. */
  readonly retainBytes: number;
}

export class Reachability {
  readonly others: readonly NodeId[];
  /** At first nobody has been heard. */
  readonly #lost: Set<NodeId>;

  constructor(membership: Membership) {
    this.others = membership.members.filter((member) => member !== membership.self);
    this.#lost = new Set(this.others);
  }

  get lost(): Iterable<NodeId> {
    return this.#lost;
  }

  memberLost(node: NodeId): void {
    if (this.others.includes(node)) this.#lost.add(node);
  }

  memberBack(node: NodeId): void {
    this.#lost.delete(node);
  }

  /** Every other member is in the set. */
  othersIn(nodes: ReadonlySet<NodeId>): boolean {
    for (const member of this.others) if (!nodes.has(member)) return false;
    return true;
  }
}
