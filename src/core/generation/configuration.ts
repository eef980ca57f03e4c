/**
 * Which nodes the cluster has, and how that changes: a part of every generation's record (architecture §4,
 * Membership change).
 *
 * A node that is added is *joining* first: it is kept history for and recovers, but counts for no majority.
 * It becomes *configured* together with its first membership. One change at a time, only on top of a record
 * that is known to be chosen, and with majorities of the nodes before and after until the change is chosen
 * itself, also where it is carried on: then any two majorities that could decide have a node in common
 * (test/unit/core/generation/configuration.test.ts enumerates it). Rule: pure values. A node that is dropped
 * is forgotten; its id may be given to another one, which (id, since) tells apart.
 */
import type { NodeId } from '../identity.ts';
import { isMajority } from './quorum.ts';
import type { AddedNode, Configuration } from './record.ts';

/** The highest id that mtm.add_node gives away (manual §F.31.4: at most 16 nodes). */
export const highestAddedId = 16;

/** What a person asks for. */
export type ConfigurationWish =
  | { readonly kind: 'add'; readonly node: Omit<AddedNode, 'since'> }
  | { readonly kind: 'drop'; readonly node: NodeId };

/** The nodes of the configuration files. */
export function initialConfiguration(configured: readonly NodeId[]): Configuration {
  return { configured, joining: [], added: [] };
}

/** Ascending: all that are to be heard of and kept history for. */
export function nodesOf({ configured, joining }: Configuration): NodeId[] {
  return [...configured, ...joining].sort((a, b) => a - b);
}

/** Since when the id means this node. */
export function sinceOf({ added }: Configuration, node: NodeId): number {
  return added.find(({ id }) => id === node)?.since ?? 0;
}

/** Nothing is left to be done for the wish. */
export function isFulfilled(wish: ConfigurationWish, configuration: Configuration): boolean {
  if (wish.kind === 'drop') return !nodesOf(configuration).includes(wish.node);
  const known = configuration.added.find(({ id }) => id === wish.node.id);
  return known?.host === wish.node.host && known.port === wish.node.port;
}

/** Why the wish cannot come true on top of this configuration, as a clause; undefined when it can. */
export function obstacleTo(wish: ConfigurationWish, configuration: Configuration): string | undefined {
  if (wish.kind === 'drop') {
    const last = configuration.configured.length === 1 && configuration.configured.includes(wish.node);
    return last ? `node ${wish.node} is the only one` : undefined;
  }
  return nodesOf(configuration).includes(wish.node.id)
    ? `there is a node ${wish.node.id} already`
    : undefined;
}

/** `generation`: the one whose record will say so. */
export function changed(
  configuration: Configuration,
  wish: ConfigurationWish,
  generation: number,
): Configuration {
  const { configured, joining, added } = configuration;
  if (isFulfilled(wish, configuration) || obstacleTo(wish, configuration) !== undefined) return configuration;
  if (wish.kind === 'add') {
    const node = { ...wish.node, since: generation };
    return {
      configured,
      joining: [...joining, node.id].sort((a, b) => a - b),
      added: [...added, node].sort((a, b) => a.id - b.id),
    };
  }
  const others = (node: NodeId): boolean => node !== wish.node;
  return {
    configured: configured.filter(others),
    joining: joining.filter(others),
    added: added.filter(({ id }) => others(id)),
  };
}

/** With every joining node among the members configured; at most one is ever proposed. */
export function withMembers(configuration: Configuration, members: readonly NodeId[]): Configuration {
  const { configured, joining, added } = configuration;
  const admitted = joining.filter((node) => members.includes(node));
  if (admitted.length === 0) return configuration;
  return {
    configured: [...configured, ...admitted].sort((a, b) => a - b),
    joining: joining.filter((node) => !admitted.includes(node)),
    added,
  };
}

/**
 * The configuration that a generation of `members` brings. One change at a time: beside a wish a joining node
 * waits for the next generation.
 */
export function proposedConfiguration(
  configuration: Configuration,
  {
    wish,
    members,
    generation,
  }: { wish: ConfigurationWish | undefined; members: readonly NodeId[]; generation: number },
): Configuration {
  const wished = wish === undefined ? configuration : changed(configuration, wish, generation);
  return wished === configuration ? withMembers(configuration, members) : wished;
}

/** The smallest id that mtm.add_node can give away; undefined when there is none left. */
export function smallestFreeId(taken: readonly NodeId[]): NodeId | undefined {
  for (let id = 1; id <= highestAddedId; id++) if (!taken.includes(id)) return id;
  return undefined;
}

/**
 * Why no generation of `members`, with votes of `voters`, may lead from one configuration to the other, as a
 * clause; undefined when it may. `known`: the record with the one before is known to be chosen. `former`:
 * that of the change which the record before made, if it is not.
 */
export function transitionFault(
  before: Configuration,
  after: Configuration,
  {
    members,
    voters,
    known,
    former,
  }: {
    members: readonly NodeId[];
    voters: Iterable<NodeId>;
    known: boolean;
    former?: readonly NodeId[] | undefined;
  },
): string | undefined {
  const counted = [...voters];
  const stranger = members.find((node) => !after.configured.includes(node));
  if (stranger !== undefined) return `node ${stranger} is not configured`;
  if (before === after) {
    const needed = former === undefined ? [before.configured] : [before.configured, former];
    return needed.every((nodes) => isMajority(counted, nodes) && isMajority(members, nodes))
      ? undefined
      : 'its votes are no majority';
  }
  if (!known) return 'the nodes of the cluster change, and the record before is not known to be chosen';
  const moved = symmetricDifference(before.configured, after.configured);
  if (moved > 1) return 'one node at a time is added or removed';
  for (const { configured } of [before, after]) {
    if (!isMajority(counted, configured) || !isMajority(members, configured))
      return 'its votes are no majority of the nodes before and after the change';
  }
  return undefined;
}

function symmetricDifference(a: readonly NodeId[], b: readonly NodeId[]): number {
  return a.filter((node) => !b.includes(node)).length + b.filter((node) => !a.includes(node)).length;
}
