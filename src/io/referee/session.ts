/**
 * One connection to the referee, whatever it is made of: opened and judged, used for calls, lost.
 * Rule: a session is opened only for a referee that has just been found suitable, and it judges again before
 * every grant. It never reconnects and never repeats a call: that is referee-link.ts and the machine.
 */
import type { RefereePair, RefereeRecord } from '../../core/generation/referee-record.ts';
import type { RefereeAnswer } from '../../core/generation/referee.ts';
import type { RefereeAddress } from '../../config/referee-address.ts';
import type { NodeId } from '../../core/identity.ts';
import type { TlsOptions } from '../wire/tls-options.ts';

/** Whose record it is about. */
export interface RefereeClient {
  readonly self: NodeId;
  readonly pair: RefereePair;
  /** From recordKey(). */
  readonly key: string;
}

export interface SessionOptions {
  readonly address: RefereeAddress;
  readonly tls: TlsOptions | undefined;
  readonly client: RefereeClient;
  /** For connecting and for each call. */
  readonly timeoutMs: number;
  /** The session is over; told once, not after close(). A clause without secrets. */
  readonly onLost: (reason: string) => void;
}

export interface RefereeSession {
  /** Rejects with GatewayError (referee-unsuitable), or with whatever broke: then nothing is known. */
  requestGrant(generation: number, since: number): Promise<RefereeAnswer>;
  reportOnline(generation: number, revision: number): Promise<RefereeAnswer>;
  /** At once; calls under way reject. */
  close(): void;
}

export function addressText(address: RefereeAddress): string {
  const name = address.kind === 'redis' ? 'Redis' : 'PostgreSQL';
  return `the ${name} at ${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
}

/** The numbers of a record as both servers send them: as text. */
export function recordOf(fields: readonly (string | number)[]): RefereeRecord {
  const [winner, generation, onlineLow, onlineHigh, revision] = fields.map(Number);
  const record = { winner, generation, onlineLow, onlineHigh, revision };
  for (const [name, value] of Object.entries(record)) {
    if (!Number.isSafeInteger(value)) throw new Error(`the referee's record has no number as its ${name}`);
  }
  return record as RefereeRecord;
}
