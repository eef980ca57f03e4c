/**
 * Who can be a generation together: members must hear each other, both ways (architecture §4, Partial
 * splits). Rule: everybody with the same view picks the same clique: the largest, of several the one that
 * comes first when they are compared member by member.
 */
import type { NodeId } from '../identity.ts';

/**
 * A view with so many broken links that the search takes longer is answered with the best found until then.
 */
const maxSteps = 100_000;

/** The best clique of `nodes` (ascending) under the symmetric relation `linked`; ascending. */
export function bestClique(
  nodes: readonly NodeId[],
  linked: (a: NodeId, b: NodeId) => boolean,
): readonly NodeId[] {
  let best: readonly NodeId[] = [];
  let steps = 0;
  // Candidates are tried in ascending order, so the first clique of a size is the smallest of that size.
  const extend = (chosen: readonly NodeId[], candidates: readonly NodeId[]): void => {
    if (chosen.length > best.length) best = chosen;
    for (const [index, node] of candidates.entries()) {
      steps += 1;
      if (chosen.length + candidates.length - index <= best.length || steps > maxSteps) return;
      const left = candidates.slice(index + 1).filter((other) => linked(node, other));
      extend([...chosen, node], left);
    }
  };
  extend([], nodes);
  return best;
}
