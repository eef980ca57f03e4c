/**
 * The processes of the other nodes: which one is known, and whether messages can be sent to it.
 * Rule: the commit machines hear of a link only together with the process that it leads to.
 */
import { nodesOf, sinceOf } from '../generation/configuration.ts';
import type { Configuration } from '../generation/record.ts';
import type { NodeId } from '../identity.ts';

export class Acquaintances {
  readonly #incarnations = new Map<NodeId, number>();
  readonly #linked = new Set<NodeId>();
  #configuration: Configuration = { configured: [], joining: [], added: [] };

  get incarnations(): ReadonlyMap<NodeId, number> {
    return this.#incarnations;
  }

  linkUp(node: NodeId): void {
    this.#linked.add(node);
  }

  linkDown(node: NodeId): void {
    this.#linked.delete(node);
  }

  /** What the introduction tells: a process never seen, one that takes a former one's place, or nothing. */
  introduce(node: NodeId, incarnation: number): 'new' | 'restarted' | 'known' {
    const known = this.#incarnations.get(node);
    if (known === incarnation) return 'known';
    if (known === undefined || incarnation > known) this.#incarnations.set(node, incarnation);
    return known === undefined || incarnation < known ? 'new' : 'restarted';
  }

  /** Those that messages can be sent to, with their processes. */
  *linked(): IterableIterator<{ readonly node: NodeId; readonly incarnation: number }> {
    for (const node of this.#linked) {
      const incarnation = this.#incarnations.get(node);
      if (incarnation !== undefined) yield { node, incarnation };
    }
  }

  linkedTo(node: NodeId): { readonly node: NodeId; readonly incarnation: number } | undefined {
    const incarnation = this.#incarnations.get(node);
    return this.#linked.has(node) && incarnation !== undefined ? { node, incarnation } : undefined;
  }

  /** Nodes that have left the cluster, or whose ids mean others now, are forgotten. */
  configure(configuration: Configuration): void {
    const nodes = nodesOf(configuration);
    for (const node of nodesOf(this.#configuration)) {
      const same = sinceOf(configuration, node) === sinceOf(this.#configuration, node);
      if (nodes.includes(node) && same) continue;
      this.#linked.delete(node);
      this.#incarnations.delete(node);
    }
    this.#configuration = configuration;
  }
}
