/**
 * The contact of this gateway with the referee.
 *
 *   opening    connecting and judging, under one deadline. Ends: up, or waiting with the reason.
 *   up         calls are made. Ends: the connection breaks, a call takes too long or breaks → waiting.
 *   waiting    until the next attempt; the wait doubles up to a limit.
 *   stopped    for good.
 *
 * Rule: a call is answered within its time limit, whatever the referee does; one that failed ends the
 * session, so that no late answer can be taken for that of another call. A referee that turns out to be
 * unsuitable later is treated as lost, with the reason, until it is suitable again.
 * It must never: repeat a call, or put a password into a reason.
 */
import type { RefereeAnswer, RefereeEffect } from '../../core/generation/referee.ts';
import { GatewayError } from '../../lib/gateway-error.ts';
import type { RefereeSession } from './session.ts';

export type RefereeCall = Extract<RefereeEffect, { kind: 'request-grant' | 'report-online' }>;

export interface RefereeLinkOptions {
  /** Opens a session that tells when it is lost. */
  readonly open: (onLost: (reason: string) => void) => Promise<RefereeSession>;
  /** For opening, and for each call, ms. */
  readonly timeoutMs: number;
  /** First and longest wait between two attempts, ms. */
  readonly waitMs: { readonly first: number; readonly longest: number };
  readonly onConnected: () => void;
  /** Also when the reason why there is no contact has changed. */
  readonly onLost: (reason: string) => void;
}

type State =
  | { readonly kind: 'opening' }
  | { readonly kind: 'up'; readonly session: RefereeSession }
  | { readonly kind: 'waiting'; readonly timer: NodeJS.Timeout }
  | { readonly kind: 'stopped' };

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // One attempt for each address of a name: the error around them has no words of its own.
  if (error.message === '' && error instanceof AggregateError) return reasonOf(error.errors[0]);
  const code = (error as NodeJS.ErrnoException).code;
  return error.message === '' ? (code ?? error.name) : error.message;
}

export class RefereeLink {
  readonly #options: RefereeLinkOptions;
  #state: State = { kind: 'stopped' };
  #attempts = 0;

  constructor(options: RefereeLinkOptions) {
    this.#options = options;
  }

  /**
   * The first attempt. Resolves when the referee is suitable, and also when it cannot be reached: then it is
   * tried again. Rejects with GatewayError (referee-unsuitable), after which the link is stopped.
   */
  async start(): Promise<void> {
    const failure = await this.#attempt();
    if (failure instanceof GatewayError) {
      this.stop();
      throw failure;
    }
  }

  stop(): void {
    const state = this.#state;
    this.#state = { kind: 'stopped' };
    if (state.kind === 'waiting') clearTimeout(state.timer);
    if (state.kind === 'up') state.session.close();
  }

  /** Never rejects; `failed` when there is no session, or no answer in time. */
  async call(order: RefereeCall): Promise<RefereeAnswer> {
    const state = this.#state;
    if (state.kind !== 'up') return { kind: 'failed', reason: 'there is no contact' };
    const { session } = state;
    const work =
      order.kind === 'request-grant'
        ? session.requestGrant(order.generation, order.since)
        : session.reportOnline(order.generation, order.revision);
    try {
      return await this.#inTime(work, 'no answer');
    } catch (error) {
      const reason = reasonOf(error);
      this.#lost(session, reason);
      return { kind: 'failed', reason };
    }
  }

  async #inTime<T>(work: Promise<T>, what: string): Promise<T> {
    const { timeoutMs } = this.#options;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`${what} within ${timeoutMs} ms`)), timeoutMs);
    });
    try {
      return await Promise.race([work, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Resolves with what went wrong, or undefined. */
  async #attempt(): Promise<unknown> {
    const opening: State = { kind: 'opening' };
    this.#state = opening;
    let session: RefereeSession | undefined;
    const work = this.#options.open((reason) => {
      if (session !== undefined) this.#lost(session, reason);
    });
    try {
      session = await this.#inTime(work, 'no contact');
    } catch (error) {
      // If it opens all the same after its time, nobody wants it any more.
      work.then(
        (unwanted) => unwanted.close(),
        () => undefined,
      );
      if (this.#state === opening) this.#wait(reasonOf(error));
      return error;
    }
    if (this.#state !== opening) {
      session.close();
      return undefined;
    }
    this.#attempts = 0;
    this.#state = { kind: 'up', session };
    this.#options.onConnected();
    return undefined;
  }

  #lost(session: RefereeSession, reason: string): void {
    const state = this.#state;
    if (state.kind !== 'up' || state.session !== session) return;
    session.close();
    this.#wait(reason);
  }

  #wait(reason: string): void {
    const { first, longest } = this.#options.waitMs;
    const waitMs = Math.min(longest, first * 2 ** this.#attempts);
    this.#attempts = Math.min(this.#attempts + 1, 16);
    this.#state = { kind: 'waiting', timer: setTimeout(() => void this.#attempt(), waitMs) };
    this.#options.onLost(reason);
  }
}
