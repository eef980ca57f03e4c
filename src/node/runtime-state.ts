/** What mtm.status() and mtm.nodes() show (surface.md, SQL), made from what the node knows now. */
import type { Liveness } from '../core/generation/liveness.ts';
import type { PeerLinks } from '../io/peers/peer-links.ts';
import type { GatewayConfig } from '../config/schema.ts';

export interface RuntimeCounts {
  readonly unsupervised: number;
  /** Transactions of other nodes that are being applied. */
  readonly workers: number;
}

export function runtimeState(
  config: GatewayConfig,
  liveness: Liveness,
  links: PeerLinks,
  now: number,
  counts: RuntimeCounts,
): object {
  const { status, reason } = liveness.status(now);
  const { number: genNum, members, configured } = liveness.generation;
  const unreachable = liveness.unreachableMembers(now);
  const troubled = new Set(unreachable.map(({ node }) => node));
  const trouble = unreachable.map(({ node, text }) => `node ${node}: ${text}`).join('; ');
  const connected = liveness.connected(now);
  const address = `host=${config.listen.host} port=${config.listen.port} dbname=${config.postgres.database}`;
  const self = {
    id: config.nodeId,
    conninfo: address,
    is_self: true,
    enabled: true,
    connected: true,
    sender_pid: process.pid,
    receiver_pid: process.pid,
    n_workers: counts.workers,
    receiver_mode: 'normal',
    lag: null,
    last_heartbeat: null,
  };
  const peers = links.linkStatus().map((link) => {
    const peer = config.peers.find(({ id }) => id === link.node);
    return {
      ...self,
      id: link.node,
      conninfo: peer?.conninfo ?? `host=${peer?.host} port=${peer?.port}`,
      is_self: false,
      connected: link.connected,
      receiver_mode: link.connected ? 'normal' : 'disabled',
      last_heartbeat:
        link.lastHeardMs === undefined ? null : new Date(Date.now() - link.lastHeardMs).toISOString(),
    };
  });
  return {
    status: {
      status,
      connected,
      gen_num: genNum,
      gen_members: members,
      gen_members_online: members.filter((member) => !troubled.has(member) || member === config.nodeId),
      gen_configured: configured,
      reason: [reason, trouble].filter((text) => text !== '').join('; '),
      retained_wal_bytes: null,
      unsupervised_writes: counts.unsupervised,
    },
    nodes: [self, ...peers],
  };
}
