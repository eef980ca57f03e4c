/**
 * Who takes part, and whom this node can count on at the moment. Rule: facts from the failure detector only.
 */
import { assert } from '../../lib/assert.ts';
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
  readonly #membership: Membership;
  /** At first nobody has been heard. */
  readonly #lost: Set<NodeId>;
  /** Lost for so long that they know it and serve nobody. */
  readonly #silenced = new Set<NodeId>();

  constructor(membership: Membership) {
    this.#membership = membership;
    this.others = membership.members.filter((member) => member !== membership.self);
    this.#lost = new Set(this.others);
  }

  get lost(): Iterable<NodeId> {
    return this.#lost;
  }

  memberLost(node: NodeId): void {
    this.#lost.add(node);
  }

  memberSilenced(node: NodeId): void {
    assert(this.#lost.has(node), `node ${node} is silenced only while it is lost`);
    this.#silenced.add(node);
  }

  memberBack(node: NodeId): void {
    this.#lost.delete(node);
    this.#silenced.delete(node);
  }

  isSilenced(node: NodeId): boolean {
    return this.#silenced.has(node);
  }

  /** Every other member has executed the commit, or serves nobody who could miss it. */
  allHaveOrSilent(finished: ReadonlySet<NodeId>): boolean {
    return this.others.every((member) => finished.has(member) || this.#silenced.has(member));
  }

  /** False when too few members are left to say that they can never prepare it; `gone` have said so. */
  canBlock(gone: ReadonlySet<NodeId>): boolean {
    const { members, blockingSize } = this.#membership;
    return members.filter((member) => !this.#lost.has(member) || gone.has(member)).length >= blockingSize;
  }
}
