/** The node machine's options, from the configuration and from what the takeover of the server found. */
import type { GatewayConfig } from '../config/schema.ts';
import type { HybridClock } from '../core/generation/hybrid-clock.ts';
import type { NodeId } from '../core/identity.ts';
import type { NodeOptions } from '../core/node/node-options.ts';
import type { NodeParts } from './node-parts.ts';
import { RefereeDesk } from './referee-desk.ts';

/** Bytes of a transaction's changes kept for a repeat after a link broke. */
const retainBytes = 8 * 1024 * 1024;

/** Ascending, this node included. */
export function configuredNodes(config: GatewayConfig): NodeId[] {
  return [config.nodeId, ...config.peers.map(({ id }) => id)].sort((a, b) => a - b);
}

/** `now`: monotonic, ms; this process has answered nobody before. */
export function machineOptions(parts: NodeParts, clock: HybridClock, now: number): NodeOptions {
  const { config, takeOver, store, seed, slot, committed, empty } = parts;
  const referee = RefereeDesk.times(config);
  return {
    self: config.nodeId,
    configured: configuredNodes(config),
    source: seed?.done === false ? seed.source : undefined,
    incarnation: takeOver.incarnation,
    sendTimeoutMs: config.heartbeatSendTimeoutMs,
    recvTimeoutMs: config.heartbeatRecvTimeoutMs,
    clock,
    now,
    state: store.state,
    prepared: takeOver.prepared,
    committed,
    empty,
    floor: slot.syncpoint.floor,
    commit: {
      self: config.nodeId,
      waitPeerCommits: config.waitPeerCommits,
      retainBytes,
      deadlockPrevention: config.deadlockPrevention,
      // Asked for each time: it may be changed while the gateway runs.
      get blockerTimeoutMs() {
        return config.blockerTimeoutMs;
      },
    },
    ...(referee === undefined ? {} : { referee }),
  };
}
