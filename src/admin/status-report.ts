/**
 * What /status.json says: the page is made of it, and so are the metrics.
 * Rule: no text of a statement, no password, nothing that a client has written; who reads it needs no token.
 * Fields are added, never renamed: scripts read them. Times of the wall clock are ISO texts, durations have
 * their unit in the name.
 */
import type { ChronicleEvent } from '../telemetry/chronicle.ts';
import type { LoopDelay } from '../telemetry/event-loop.ts';
import type { HistoryPoint } from '../telemetry/history.ts';
import type { NodeTelemetry } from '../telemetry/node-telemetry.ts';

/**
 * Of another node as this one sees it. 'away': not in contact. 'getting online': in contact, and on the way;
 * how far it is only that node knows, unless it catches up from this one ('catchup').
 */
export type NodeState =
  'online' | 'catchup' | 'recovery' | 'disabled' | 'isolated' | 'away' | 'getting online' | 'joining';

export interface NodeReport {
  readonly id: number;
  readonly isSelf: boolean;
  readonly state: NodeState;
  /** Why it is so; empty when all is well. */
  readonly reason: string;
  /** Of the generation. */
  readonly isMember: boolean;
  /** It counts for majorities; otherwise it is joining. */
  readonly isConfigured: boolean;
  /** The nodes that it hears, as far as is known here. */
  readonly hears: readonly number[];
  /** Where its gateway listens: for clients this one, for gateways the others. */
  readonly address: string;
  readonly link: LinkReport | null;
  /** Of this node's WAL it has yet to replay so much; null: it does not catch up from this node. */
  readonly lagBytes: number | null;
}

export interface LinkReport {
  readonly outgoing: boolean;
  readonly incoming: boolean;
  /** Why there is no outgoing link; empty when there is. */
  readonly reason: string;
  readonly silenceSeconds: number | null;
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

/** How far this node is with what it missed. */
export interface CatchUpReport {
  readonly donor: number;
  readonly sinceSeconds: number;
  /** Of the donor's WAL; null before it is known. */
  readonly lagBytes: number | null;
  readonly replayedBytes: number;
  readonly transactions: number;
  readonly transactionsPerSecond: number;
  /** By which the lag shrinks, what is written meanwhile included; null before it is known. */
  readonly paceBytesPerSecond: number | null;
  /** At this pace; 'never': it does not shrink; null before it is known. */
  readonly remainingSeconds: number | 'never' | null;
}

/** Sessions by what they do now. */
export interface ClientsReport {
  readonly total: number;
  readonly most: number;
  readonly idle: number;
  readonly active: number;
  readonly inTransaction: number;
  readonly committing: number;
  readonly loggingIn: number;
  readonly unsupervised: number;
}

export interface DatabaseReport {
  readonly database: string;
  readonly status: string;
  readonly reason: string;
  readonly ready: boolean;
  readonly writable: boolean;
  readonly draining: boolean;
  readonly generation: {
    readonly number: number;
    readonly members: readonly number[];
    readonly membersOnline: readonly number[];
    readonly configured: readonly number[];
    readonly joining: readonly number[];
    /** So many configured nodes must be in contact. */
    readonly majority: number;
    readonly inMajority: boolean;
  };
  readonly nodes: readonly NodeReport[];
  readonly catchUp: CatchUpReport | null;
  readonly clients: ClientsReport;
  readonly clientMemoryBytes: number;
  readonly clientMemoryLimitBytes: number;
  readonly open: { readonly own: number; readonly foreign: number };
  readonly apply: {
    readonly transactions: number;
    readonly connections: number;
    readonly unappliedBytes: number;
  };
  readonly retainedWalBytes: number;
  /** 0: no limit. */
  readonly retainedWalLimitBytes: number;
  readonly refusedPeers: Readonly<Record<string, number>>;
  readonly referee: boolean;
}

/** A database with what is counted of it; the node is undefined while it has not begun. */
export interface DatabaseSource {
  readonly database: string;
  readonly telemetry: NodeTelemetry;
  readonly report: DatabaseReport | undefined;
}

export interface GatewaySource {
  readonly node: number;
  readonly cluster: string;
  readonly version: string;
  readonly uptimeSeconds: number;
  readonly loopDelay: LoopDelay;
  readonly refusedClients: Readonly<Record<string, number>>;
  readonly strangers: number;
  readonly databases: readonly DatabaseSource[];
}

export interface Latencies {
  readonly p50: number | null;
  readonly p99: number | null;
}

/** The whole answer. */
export interface StatusReport {
  readonly node: number;
  readonly cluster: string;
  readonly version: string;
  readonly at: string;
  readonly uptimeSeconds: number;
  readonly memoryBytes: number;
  readonly loopDelay: LoopDelay;
  readonly databases: readonly (DatabaseReport & {
    readonly totals: Readonly<Record<string, number>>;
    readonly conflicts: Readonly<Record<string, number>>;
    readonly commitMs: Latencies;
    readonly readMs: Latencies;
    readonly history: readonly HistoryPoint[];
    readonly events: readonly ChronicleEvent[];
  })[];
}

/** Before its node has begun a database says so. */
export function reportBeforeStart(database: string): DatabaseReport {
  const none = { own: 0, foreign: 0 };
  return {
    database,
    status: 'disabled',
    reason: 'the gateway is starting',
    ready: false,
    writable: false,
    draining: false,
    generation: {
      number: 0,
      members: [],
      membersOnline: [],
      configured: [],
      joining: [],
      majority: 0,
      inMajority: false,
    },
    nodes: [],
    catchUp: null,
    clients: {
      total: 0,
      most: 0,
      idle: 0,
      active: 0,
      inTransaction: 0,
      committing: 0,
      loggingIn: 0,
      unsupervised: 0,
    },
    clientMemoryBytes: 0,
    clientMemoryLimitBytes: 0,
    open: none,
    apply: { transactions: 0, connections: 0, unappliedBytes: 0 },
    retainedWalBytes: 0,
    retainedWalLimitBytes: 0,
    refusedPeers: {},
    referee: false,
  };
}

const mostEventsShown = 25;

export function statusReport(source: GatewaySource): StatusReport {
  return {
    node: source.node,
    cluster: source.cluster,
    version: source.version,
    at: new Date().toISOString(),
    uptimeSeconds: Math.round(source.uptimeSeconds),
    memoryBytes: process.memoryUsage.rss(),
    loopDelay: source.loopDelay,
    databases: source.databases.map(({ database, telemetry, report }) => {
      const { tally, history, chronicle } = telemetry;
      return {
        ...(report ?? reportBeforeStart(database)),
        totals: {
          sessions: tally.sessionsStarted,
          reads: tally.session.reads,
          committed: tally.committed,
          aborted: tally.aborted,
          unknown: tally.unknown,
          repeats: tally.session.repeats,
          conflicts: tally.conflictsInAll,
          unsupervisedWrites: tally.unsupervisedWrites,
          alarms: tally.alarms,
        },
        conflicts: tally.conflicts,
        commitMs: { p50: history.commitQuantileMs(0.5), p99: history.commitQuantileMs(0.99) },
        readMs: { p50: history.readQuantileMs(0.5), p99: history.readQuantileMs(0.99) },
        history: history.points,
        events: chronicle.events.slice(0, mostEventsShown),
      };
    }),
  };
}
