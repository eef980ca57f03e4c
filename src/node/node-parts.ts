/** What a node is made of, once the server is checked and taken over. Made in gateway.ts. */
import type { Logger } from 'pino';
import type { GatewayConfig } from '../config/schema.ts';
import type { Classifier } from '../core/statement/classifier.ts';
import type { Gid, NodeId } from '../core/identity.ts';
import type { Control, TakeOver } from '../io/postgres/control.ts';
import type { SharedPort } from '../io/peers/peer-listener.ts';
import type { NodeStore } from '../io/store/node-store.ts';
import type { PauseFlags } from './pause-switch.ts';
import type { Seed } from '../io/store/seed.ts';
import type { NodeTelemetry } from '../telemetry/node-telemetry.ts';
import type { RetainedSlot } from '../io/store/retained-slot.ts';
import type { DepartureDesk } from './departure-desk.ts';
import type { RememberedPosition, ServerPosition } from '../io/store/server-position.ts';

export interface NodeParts {
  readonly config: GatewayConfig;
  readonly log: Logger;
  readonly telemetry: NodeTelemetry;
  /** Undefined when the node has the peer port for itself. */
  readonly peerPort: SharedPort | undefined;
  readonly control: Control;
  /** For looks at the lock table: nothing urgent waits behind them. */
  readonly observer: Control;
  /** For the question whether the server answers: nothing waits behind it, and it behind nothing. */
  readonly probe: Control;
  readonly takeOver: TakeOver;
  readonly store: NodeStore;
  /** Undefined when the server did not begin as a copy of another node's. */
  readonly seed: Seed | undefined;
  readonly slot: RetainedSlot;
  /** What the retained slot shows as committed; in `empty` what changed nothing. */
  readonly committed: readonly Gid[];
  readonly empty: readonly Gid[];
  /** Where the servers of the peers were when they told it last. */
  readonly peerPositions: Map<NodeId, RememberedPosition>;
  /** Where the own server was before this gateway touched it. */
  readonly positionAtStart: ServerPosition;
  /** The servers that this node had before this one. */
  readonly predecessors: readonly ServerPosition[];
  /** The node takes part in nothing more: it leaves its server. */
  readonly departure: DepartureDesk | undefined;
  readonly classifier: Classifier;
  readonly announceKey: Uint8Array;
  readonly shownSettings: ReadonlyMap<string, string>;
  readonly pauses: PauseFlags;
}

/** A server that hangs does not keep a gateway from ending, ms. */
const closeLimitMs = 2000;

/** What the node is made of closes, once `before` has come. One of them may be what has failed. */
export async function closeConnections(parts: NodeParts, before: Promise<void>): Promise<void> {
  const { control, observer, probe, store } = parts;
  const connections = [control, observer, probe, store];
  const closed = Promise.allSettled([before, ...connections.map((each) => each.close())]);
  await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, closeLimitMs).unref())]);
}
