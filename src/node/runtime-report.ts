/** What mtm.status() and mtm.nodes() show (surface.md, SQL), made from what the node knows now. */
import type { NodeMachine } from '../core/node/node-machine.ts';
import type { Members } from './members.ts';
import type { GatewayConfig } from '../config/schema.ts';
import type { NodeParts } from './node-parts.ts';

/** An unchanged state is written anew this often, so that what it says of times is of now, ms. */
const renewMs = 2000;

export interface RuntimeSource {
  members(): Members;
  unsupervised(): number;
  workers(): number;
  lost(reason: string): void;
}

/**
 * Keeps mtm.runtime up to date. Rule: nothing waits for it; a failure to write is a failure of the server.
 */
export class RuntimeReport {
  readonly #parts: NodeParts;
  readonly #machine: NodeMachine;
  readonly #source: RuntimeSource;
  #dirty = true;
  #writtenAt = -Infinity;
  /** WAL that the server keeps for others, as it was last asked. */
  retainedBytes = 0;

  constructor(parts: NodeParts, machine: NodeMachine, source: RuntimeSource) {
    this.#parts = parts;
    this.#machine = machine;
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
    try {
      this.retainedBytes = await this.#parts.slot.retainedBytes();
      const counts = {
        unsupervised: this.#source.unsupervised(),
        workers: this.#source.workers(),
        retainedBytes: this.retainedBytes,
      };
      await this.#parts.control.writeRuntime(this.#state(now, counts));
    } catch (error) {
      this.#source.lost(`mtm.runtime could not be written: ${(error as Error).message}`);
    }
  }

  #state(now: number, counts: RuntimeCounts): object {
    const { config } = this.#parts;
    const machine = this.#machine;
    const { liveness, generation } = machine;
    const { status, reason } = machine.status(now);
    const members = generation?.members ?? [];
    const unreachable = liveness.unreachableMembers(now);
    const troubled = new Set(unreachable.map(({ node }) => node));
    const { replay } = machine;
    return {
      status: {
        status,
        connected: liveness.connected(now),
        gen_num: generation?.number ?? 0,
        gen_members: members,
        gen_members_online: liveness.onlineIn === 0 ? [] : members.filter((member) => !troubled.has(member)),
        gen_configured: machine.configuration.configured,
        reason,
        retained_wal_bytes: counts.retainedBytes,
        unsupervised_writes: counts.unsupervised,
      },
      nodes: nodesOf(config, this.#source.members(), counts.workers, {
        receiving: replay?.donor,
        lag: replay?.lagBytes ?? null,
        members,
      }),
    };
  }
}

interface RuntimeCounts {
  readonly unsupervised: number;
  /** Transactions of other nodes that are being applied. */
  readonly workers: number;
  readonly retainedBytes: number;
}

interface Replaying {
  readonly receiving: number | undefined;
  readonly lag: number | null;
  readonly members: readonly number[];
}

function nodesOf(
  config: GatewayConfig,
  { links, peers: known }: Members,
  workers: number,
  { receiving, lag, members }: Replaying,
): object[] {
  const address = `host=${config.listen.host} port=${config.listen.port} dbname=${config.postgres.database}`;
  const self = {
    id: config.nodeId,
    conninfo: address,
    is_self: true,
    enabled: members.includes(config.nodeId),
    connected: true,
    sender_pid: process.pid,
    receiver_pid: process.pid,
    n_workers: workers,
    receiver_mode: receiving === undefined ? 'normal' : 'recovery',
    lag,
    last_heartbeat: null,
  };
  const peers = links.linkStatus().map((link) => {
    const peer = known.find(({ id }) => id === link.node);
    const mode = link.node === receiving ? 'recovery' : link.connected ? 'normal' : 'disabled';
    return {
      ...self,
      id: link.node,
      conninfo: peer?.conninfo || `host=${peer?.host} port=${peer?.port}`,
      is_self: false,
      enabled: members.includes(link.node),
      connected: link.connected,
      receiver_mode: mode,
      lag: link.node === receiving ? lag : null,
      last_heartbeat:
        link.lastHeardMs === undefined ? null : new Date(Date.now() - link.lastHeardMs).toISOString(),
    };
  });
  return [self, ...peers];
}
