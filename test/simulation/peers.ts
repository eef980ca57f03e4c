/** Whom a gateway takes for its peers, as src/node/peer-addresses.ts. */
import { nodesOf } from '../../src/core/generation/configuration.ts';
import type { Configuration } from '../../src/core/generation/record.ts';
import type { NodeId } from '../../src/core/identity.ts';
import type { Peer } from './network.ts';

export function peersOf(self: NodeId, configuration: Configuration): ReadonlyMap<NodeId, Peer> {
  const peers = new Map<NodeId, Peer>();
  for (const id of nodesOf(configuration)) {
    if (id === self) continue;
    const added = configuration.added.find((node) => node.id === id);
    peers.set(id, added ? { since: added.since, address: added.host } : { since: 0, address: `h${id}` });
  }
  return peers;
}

/** The configuration file of a new node lists the first ones, and itself. */
export function nodesInFile(first: readonly NodeId[], self: NodeId): readonly NodeId[] {
  return first.includes(self) ? first : [...first, self].sort((a, b) => a - b);
}
