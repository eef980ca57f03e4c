/**
 * Who should be the next generation, and whether one is needed, as one node sees it (architecture §4).
 * Rule: pure functions of what the heartbeats say; nothing is remembered here.
 */
import type { NodeId } from '../identity.ts';
import { bestClique } from './clique.ts';
import type { Contact } from './liveness-event.ts';
import { isAlone, isMajority } from './quorum.ts';
import type { Configuration, GenerationRecord } from './record.ts';

/**
 * The best members for a generation: a clique of healthy nodes that contains a majority. Undefined when there
 * is none with this node in it. Nodes that are behind are in it when they are nearly level, or when there is
 * no majority without them: then everybody has to wait for them anyway. `referee`: one of two nodes may be
 * enough, this one when the other is out of reach or behind while this one works alone. A joining node comes
 * in when it is nearly level and fits with all the others: one at a time, and never in place of another.
 * `former`: of these a majority is needed as well.
 */
export function candidates(
  self: NodeId,
  contacts: readonly Contact[],
  configuration: Configuration,
  chosen: GenerationRecord | undefined,
  referee = false,
  former: readonly NodeId[] = configuration.configured,
): readonly NodeId[] | undefined {
  const { configured, joining } = configuration;
  const healthy = contacts.filter(({ healthy, node }) => healthy && configured.includes(node));
  const maxOnline = Math.max(0, ...healthy.map(({ lastOnline }) => lastOnline));
  // A donor of the latest generation was complete when it voted; its news of being online may be on its way.
  const fit = healthy.filter(
    ({ node, level, lastOnline }) =>
      level || lastOnline === maxOnline || chosen?.donors.includes(node) === true,
  );
  const alone = referee
    ? healthy.find((contact) => worksAlone(contact, self, configured, chosen))
    : undefined;
  // The record is on its way, and says whether this node is a member.
  if (alone !== undefined && alone.generation !== chosen?.number) return undefined;
  // Whoever works alone goes on until the other is nearly level.
  for (const group of alone === undefined ? [fit, healthy] : [fit]) {
    const clique = cliqueOf(group);
    if (!isMajority(clique, configured) || !isMajority(clique, former)) continue;
    const members = withJoining(clique, contacts, joining);
    return members.includes(self) ? members : undefined;
  }
  if (!referee || (alone !== undefined && alone.node !== self)) return undefined;
  return healthy.some(({ node }) => node === self) ? [self] : undefined;
}

function withJoining(
  clique: readonly NodeId[],
  contacts: readonly Contact[],
  joining: readonly NodeId[],
): readonly NodeId[] {
  for (const joiner of contacts) {
    if (!joiner.healthy || !joiner.level || !joining.includes(joiner.node)) continue;
    const together = cliqueOf([joiner, ...contacts.filter(({ node }) => clique.includes(node))]);
    if (together.length > clique.length) return together;
  }
  return clique;
}

/** It takes part in a generation of its own; of one that is not known here yet that is the likely reason. */
function worksAlone(
  { node, generation }: Contact,
  self: NodeId,
  configured: readonly NodeId[],
  chosen: GenerationRecord | undefined,
): boolean {
  if (generation === 0) return false;
  if (generation !== chosen?.number) return node !== self && generation > (chosen?.number ?? 0);
  return isAlone(chosen.members, configured) && chosen.members.includes(node);
}

function cliqueOf(contacts: readonly Contact[]): readonly NodeId[] {
  const heard = new Map(contacts.map(({ node, connected }) => [node, new Set(connected)]));
  const nodes = [...heard.keys()].sort((a, b) => a - b);
  return bestClique(nodes, (a, b) => heard.get(a)?.has(b) === true && heard.get(b)?.has(a) === true);
}

/**
 * Why the present generation does not do, as a clause; undefined when it does. `taking`: this node takes part
 * in it. `settled`: it was chosen long enough ago for its members' news of it to have arrived.
 */
export function electionReason(
  clique: readonly NodeId[],
  contacts: readonly Contact[],
  chosen: GenerationRecord | undefined,
  taking: boolean,
  settled: boolean,
): string | undefined {
  if (chosen === undefined) return 'there is no generation yet';
  if (!taking) return 'this node is in no generation';
  const healthy = new Set(contacts.filter((contact) => contact.healthy).map(({ node }) => node));
  const lost = chosen.members.filter((node) => !healthy.has(node));
  if (lost.length > 0) return `generation ${chosen.number} has lost node ${lost.join(', ')}`;
  if (!settled) return undefined;
  if (clique.join() !== chosen.members.join()) return `the nodes ${clique.join(', ')} fit together`;
  const apart = contacts.filter(
    ({ node, generation }) => clique.includes(node) && generation !== chosen.number,
  );
  if (apart.length === 0) return undefined;
  return `node ${apart.map(({ node }) => node).join(', ')} is not in generation ${chosen.number}`;
}
