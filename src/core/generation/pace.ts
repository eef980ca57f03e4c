/**
 * How long the rounds of an election may take, and how long a node that has voted leaves the field to the
 * proposer.
 *
 * Promises and acceptances are written to disk one after the other, and a vote waits for the PREPAREs under
 * way: nobody knows beforehand how long that takes. So each round gets as long as all before it have taken in
 * vain, which every node measures by itself.
 */
import type { NodeId } from '../identity.ts';
import type { Contact } from './liveness-event.ts';

export interface PaceOptions {
  readonly sendTimeoutMs: number;
  readonly recvTimeoutMs: number;
}

/** The time for a round, in heartbeat_recv_timeout. */
const longestRound = 16;

export class Pace {
  readonly #options: PaceOptions;
  /** When the first round began since there was nothing to elect, of this node or another. */
  #begunAt: number | undefined;
  /** Another node's round is under way: no rival before, as long as that node is heard. */
  #patience: { readonly with: NodeId; readonly until: number } | undefined;
  #settledAt = -Infinity;

  constructor(options: PaceOptions) {
    this.#options = options;
  }

  /** For one that begins now. */
  roundMs(now: number): number {
    this.#begunAt ??= now;
    return Math.max(this.#electionMs(now), this.#options.recvTimeoutMs);
  }

  #electionMs(now: number): number {
    return Math.min(now - (this.#begunAt ?? now), longestRound * this.#options.recvTimeoutMs);
  }

  /** This node has voted for its ballot. `random`: 0 to 1, so that the voters do not all rise at once. */
  waitFor(proposer: NodeId, now: number, random: number): void {
    this.#patience = { with: proposer, until: now + this.roundMs(now) * (1 + random) };
  }

  /** Whether another node's round may still come to its end. */
  isPatient(contacts: readonly Contact[], now: number): boolean {
    const patience = this.#patience;
    if (patience === undefined) return false;
    const heard = contacts.some(({ node, healthy }) => healthy && node === patience.with);
    if (heard && now < patience.until) return true;
    this.#patience = undefined;
    return false;
  }

  /** What its former process has begun is over. */
  restarted(node: NodeId): void {
    if (this.#patience?.with === node) this.#patience = undefined;
  }

  /** There is nothing to elect. */
  rest(contacts: readonly Contact[], now: number): void {
    if (!this.isPatient(contacts, now)) this.#begunAt = undefined;
  }

  /** A generation was chosen: its members write that down as well, and their news have to come. */
  chosen(now: number): void {
    this.#settledAt = now + Math.max(this.#electionMs(now), 2 * this.#options.sendTimeoutMs);
    this.#begunAt = undefined;
    this.#patience = undefined;
  }

  /** All members have had the time to take part in the chosen generation. */
  isSettled(now: number): boolean {
    return now > this.#settledAt;
  }
}
