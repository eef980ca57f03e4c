/**
 * What the console tells of a gateway: plain values of the moment at which they are asked for.
 * Rule: no secret is among them; times are milliseconds since 1970, or lengths in milliseconds.
 */
import type { SessionCounts } from '../session/session-statistics.ts';

export type ClientState =
  | 'login'
  | 'idle'
  | 'active'
  | 'waiting'
  | 'idle in transaction'
  /** What it does is not looked at. */
  | 'unsupervised';

export interface ClientFacts extends SessionCounts {
  /** For KILL_CLIENT; of this process, never used twice. */
  readonly id: number;
  readonly user: string;
  readonly database: string;
  /** As the client called itself when it connected. */
  readonly application: string;
  readonly state: ClientState;
  readonly address: string;
  readonly port: number;
  readonly encrypted: boolean;
  readonly connectedAt: number;
  /** Of the process of the server that works for it; 0 until the server has told. */
  readonly serverPid: number;
  /** False: it works unsupervised (application_name=mtm_admin). */
  readonly supervised: boolean;
}

export interface DatabaseFacts {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** As mtm.status(). */
  readonly status: string;
  readonly reason: string;
  /** 0: none. */
  readonly generation: number;
  readonly members: readonly number[];
  readonly clients: number;
  readonly maxConnections: number;
  readonly paused: boolean;
  /** Of all sessions since the gateway was started, also of those that have ended. */
  readonly totals: SessionCounts | undefined;
  readonly clientMemoryBytes: number;
}

export interface NodeFacts {
  readonly database: string;
  readonly id: number;
  readonly address: string;
  readonly isSelf: boolean;
  readonly isMember: boolean;
  readonly connected: boolean;
  /** Since something was heard of it; null: nothing yet, or it is this node. */
  readonly heardMs: number | null;
}

export interface SettingFacts {
  readonly name: string;
  readonly value: string;
  readonly usual: string;
  readonly live: boolean;
}

/** Asked when a SHOW wants it. */
export interface ConsoleFacts {
  clients(): readonly ClientFacts[];
  databases(): readonly DatabaseFacts[];
  nodes(): readonly NodeFacts[];
  settings(): readonly SettingFacts[];
  /** Names and bytes. */
  memory(): readonly (readonly [string, number])[];
  /** Names and values: the gateway as a whole. */
  state(): readonly (readonly [string, string])[];
  readonly version: string;
}
