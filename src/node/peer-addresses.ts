/**
 * Where the other nodes are: those that were added at run time stand in the records of the elections, the
 * first ones in the configuration file.
 * Rule: the record wins; a node of the file that the record does not have is none.
 */
import type { GatewayConfig } from '../config/schema.ts';
import { nodesOf } from '../core/generation/configuration.ts';
import type { Configuration } from '../core/generation/record.ts';
import type { NodeId } from '../core/identity.ts';
import type { PeerAddress } from '../io/peers/outgoing-link.ts';

export interface KnownPeer extends PeerAddress {
  /** How clients reach it, as libpq writes it; '' when that is not known. */
  readonly conninfo: string;
}

export interface PeerAddresses {
  readonly known: readonly KnownPeer[];
  /** Nodes of the cluster that are in neither. */
  readonly unknown: readonly NodeId[];
  /** Nodes of the file that the cluster does not have. */
  readonly strangers: readonly NodeId[];
}

export function peerAddresses(config: GatewayConfig, configuration: Configuration): PeerAddresses {
  const known: KnownPeer[] = [];
  const unknown: NodeId[] = [];
  const nodes = nodesOf(configuration);
  for (const id of nodes) {
    if (id === config.nodeId) continue;
    const added = configuration.added.find((node) => node.id === id);
    const listed = config.peers.find((peer) => peer.id === id);
    if (added !== undefined) known.push(added);
    else if (listed !== undefined) known.push({ ...listed, since: 0, conninfo: listed.conninfo ?? '' });
    else unknown.push(id);
  }
  const strangers = config.peers.map(({ id }) => id).filter((id) => !nodes.includes(id));
  return { known, unknown, strangers };
}
