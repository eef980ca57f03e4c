/**
 * Who is enough: the arithmetic of majorities and blocking sets (architecture §3, Decision rule).
 * Rule: sets are counted against the configuration, whatever they contain twice or in addition.
 */
import { assert } from '../../lib/assert.ts';
import type { NodeId } from '../identity.ts';

/** The least number of nodes such that any two sets of it have a node in common. */
export function majoritySize(configured: number): number {
  assert(Number.isInteger(configured) && configured >= 1, `a cluster of ${configured} nodes`);
  return Math.floor(configured / 2) + 1;
}

/**
 * The least number of nodes that has a node in common with every majority: when so many members of a
 * generation can never be prepared, no majority can find all its members prepared.
 */
export function blockingSize(configured: number): number {
  return configured - majoritySize(configured) + 1;
}

/** True when `nodes` contain a majority of `configured`. */
export function isMajority(nodes: Iterable<NodeId>, configured: readonly NodeId[]): boolean {
  return countIn(nodes, configured) >= majoritySize(configured.length);
}

/**
 * True for a generation of one of two nodes: such a one is chosen only with the referee's grant, which stands
 * for the other node.
 */
export function isAlone(members: readonly NodeId[], configured: readonly NodeId[]): boolean {
  return configured.length === 2 && members.length === 1;
}

function countIn(nodes: Iterable<NodeId>, known: readonly NodeId[]): number {
  let count = 0;
  for (const node of new Set(nodes)) if (known.includes(node)) count += 1;
  return count;
}
