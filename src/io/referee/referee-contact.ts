/**
 * Makes the link to the referee that the configuration names, and carries the machine's orders to it.
 * Rule: whatever happens, the machine hears of it as one of its events; this decides nothing.
 */
import type { RefereeAddress } from '../../config/referee-address.ts';
import type { RefereePair } from '../../core/generation/referee-record.ts';
import type { RefereeAnswer } from '../../core/generation/referee.ts';
import type { NodeId } from '../../core/identity.ts';
import { openPostgresSession } from './postgres-session.ts';
import { recordKey, type ClusterIdentity } from './record-key.ts';
import { openRedisSession } from './redis-session.ts';
import { RefereeLink, type RefereeCall } from './referee-link.ts';
import { tlsOptions } from '../wire/tls-options.ts';

export interface RefereeContactOptions {
  readonly address: RefereeAddress;
  readonly cluster: ClusterIdentity;
  readonly self: NodeId;
  readonly other: NodeId;
  /** For opening, and for each call, ms; heartbeat_recv_timeout is a good one. */
  readonly timeoutMs: number;
  readonly onConnected: () => void;
  /** A clause without a full stop and without secrets. */
  readonly onLost: (reason: string) => void;
  readonly onAnswer: (token: number, answer: RefereeAnswer) => void;
}

const waitMs = { first: 100, longest: 2000 };

export class RefereeContact {
  readonly #options: RefereeContactOptions;
  readonly #link: RefereeLink;

  /** Throws GatewayError (file-unreadable) when a certificate cannot be read. */
  constructor(options: RefereeContactOptions) {
    const { address, self, other, timeoutMs } = options;
    this.#options = options;
    const pair: RefereePair = { low: Math.min(self, other), high: Math.max(self, other) };
    const client = { self, pair, key: recordKey(options.cluster, pair) };
    const tls = tlsOptions(address.tls);
    const open = address.kind === 'redis' ? openRedisSession : openPostgresSession;
    this.#link = new RefereeLink({
      open: (onLost) => open({ address, tls, client, timeoutMs, onLost }),
      timeoutMs,
      waitMs,
      onConnected: options.onConnected,
      onLost: options.onLost,
    });
  }

  /**
   * Resolves when the referee is suitable or cannot be reached for now; rejects with GatewayError
   * (referee-unsuitable) and one sentence when the gateway must not start with it.
   */
  async start(): Promise<void> {
    await this.#link.start();
  }

  /** Carries out 'request-grant' or 'report-online'; exactly one onAnswer follows. */
  carryOut(call: RefereeCall): void {
    void this.#link.call(call).then((answer) => this.#options.onAnswer(call.token, answer));
  }

  stop(): void {
    this.#link.stop();
  }
}
