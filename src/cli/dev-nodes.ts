/** Which nodes the commands of `mtm-gateway dev` are about. */
import type { ClusterFolder } from '../io/launcher/cluster-folder.ts';
import type { NodeLayout } from '../io/launcher/node-layout.ts';
import { GatewayError } from '../lib/gateway-error.ts';

/** Those that are being added are of interest, too. */
export function allNodes({ nodes, joining }: ClusterFolder): NodeLayout[] {
  return joining === undefined ? [...nodes] : [...nodes, joining.layout];
}

/** Throws config-invalid when there is none of this number. */
export function nodeOf(cluster: ClusterFolder, number: number): NodeLayout {
  const nodes = allNodes(cluster);
  const node = nodes.find((candidate) => candidate.node === number);
  if (node !== undefined) return node;
  const numbers = nodes.map((one) => one.node).join(', ');
  throw new GatewayError('config-invalid', `--node ${number}: the cluster has the nodes ${numbers}`);
}
