/**
 * Which members can take part in a write, as it was told last. Rule: told once for each change.
 */
import type { NodeId } from '../identity.ts';
import type { LivenessEffect, MemberTrouble } from './liveness-event.ts';

export class MemberNews {
  #reachable = new Set<NodeId>();

  /** The members last told to be back. */
  get reachable(): ReadonlySet<NodeId> {
    return this.#reachable;
  }

  /** Another generation: nothing has been told of its members. */
  forget(): void {
    this.#reachable = new Set();
  }

  /** `trouble`: why the member cannot take part now; undefined when it can. */
  look(node: NodeId, trouble: MemberTrouble | undefined): LivenessEffect | undefined {
    const reachable = trouble === undefined;
    if (reachable === this.#reachable.has(node)) return undefined;
    if (trouble === undefined) {
      this.#reachable.add(node);
      return { kind: 'member-back', node };
    }
    this.#reachable.delete(node);
    return { kind: 'member-lost', node, reason: trouble.text };
  }
}
