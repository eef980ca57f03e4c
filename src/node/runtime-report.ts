/** What mtm.status() and mtm.nodes() show (surface.md, SQL), made from what the node knows now. */
import type { Liveness } from '../core/generation/liveness.ts';
import type { PeerLinks } from '../io/peers/peer-links.ts';
import type { GatewayConfig } from '../config/schema.ts';
import type { NodeParts } from './node-parts.ts';

/** An unchanged state is written anew this often, so that what it says of times is of now, ms. */
const renewMs = 2000;

export interface RuntimeSource {
  links(): PeerLinks;
  unsupervised(): number;
  workers(): number;
  lost(reason: string): void;
}

/**
 * Keeps mtm.runtime up to date. Rule: nothing waits for it; a failure to write is a failure of the server.
 */
export class RuntimeReport {
  readonly #parts: NodeParts;
  readonly #liveness: Liveness;
  readonly #source: RuntimeSource;
  #dirty = true;
  #writtenAt = -Infinity;

  constructor(parts: NodeParts, liveness: Liveness, source: RuntimeSource) {
    this.#parts = parts;
    this.#liveness = liveness;
    this.#source = source;
  }

  changed(): void {
    this.#dirty = true;
  }

  async write(): Promise<void> {
    const now = performance.now();
    if (!this.#dirty && now - this.#writtenAt < renewMs) return;
    this.#dirty = false;
    this.#writtenAt = now;
    const counts = { unsupervised: this.#source.unsupervised(), workers: this.#source.workers() };
    const state = runtimeState(this.#parts.config, this.#liveness, this.#source.links(), now, counts);
    try {
      await this.#parts.control.writeRuntime(state);
    } catch (error) {
      this.#source.lost(`mtm.runtime could not be written: ${(error as Error).message}`);
    }
  }
}

interface RuntimeCounts {
  readonly unsupervised: number;
  /** Transactions of other nodes that are being applied. */
  readonly workers: number;
}

function runtimeState(
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
