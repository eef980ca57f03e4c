/** A copy of a member's server for the commands that add a node, with its progress on standard output. */
import type { GatewayConfig } from '../config/schema.ts';
import type { NodeId } from '../core/identity.ts';
import { dialCopy } from '../io/peers/peer-stream.ts';
import { receiveCopy, type CopyFacts, type FinishedCopy } from '../io/recovery/base-backup-receiver.ts';
import { requireUsable, type FileOwner } from '../io/recovery/copy-folder.ts';
import { GatewayError } from '../lib/gateway-error.ts';
import { CopyProgressLine } from './copy-progress.ts';

export interface CopyOrder {
  /** Of the new node: its id, its cluster and its secret. */
  readonly config: GatewayConfig;
  /** The peer address of the member. */
  readonly from: { readonly host: string; readonly port: number };
  readonly folder: string;
  readonly owner: FileOwner | undefined;
  /** Throws when the copy would be of no use. */
  readonly accept?: (facts: CopyFacts) => void;
  readonly signal?: AbortSignal;
}

/** Resolves when the copy is on the disk. Rejects with a GatewayError. */
export async function copyServer(order: CopyOrder): Promise<FinishedCopy> {
  const { config, from, signal } = order;
  requireUsable(order.folder);
  const line = new CopyProgressLine(process.stdout);
  try {
    const copy = await receiveCopy({
      stream: await dial(config, from),
      folder: order.folder,
      owner: order.owner,
      progressed: (progress) => line.show(progress),
      ...(order.accept === undefined ? {} : { accept: order.accept }),
      ...(signal === undefined ? {} : { signal }),
    });
    line.done(copy.bytes);
    return copy;
  } finally {
    line.clear();
  }
}

async function dial(config: GatewayConfig, from: CopyOrder['from']) {
  const { clusterName, clusterSecret: secret, peerTls: tls, nodeId } = config;
  const caller = { clusterName, secret, tls, nodeId: nodeId as NodeId };
  try {
    return await dialCopy(caller, from, config.connectTimeoutMs);
  } catch (cause) {
    const hint =
      'it must be the peer address (peer_listen) of a member that is online; add the node first with ' +
      'mtm-gateway add-node, and give it the cluster_name and cluster_secret of the others';
    throw new GatewayError('copy-failed', `there is no copy to be had: ${(cause as Error).message}`, {
      cause,
      hint,
    });
  }
}
