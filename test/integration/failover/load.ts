/**
 * Clients that work while things break: each has one node, reconnects when it must, rests between two transactions, and stops
 * when told. What they were told is counted.
 */
import { setTimeout as rest } from 'node:timers/promises';
import type { Prng } from '../../../src/lib/prng.ts';
import { within } from '../../support/polling.ts';
import { GatewaySession, type Attempt } from './gateway-session.ts';
import type { Site } from './site.ts';

/** A session of the same client with another node; undefined: it is not possible now. */
export type Elsewhere = (node: number) => Promise<GatewaySession | undefined>;

/** Does one transaction on the session; what became of it. */
export type Work = (session: GatewaySession, elsewhere: Elsewhere) => Promise<Attempt<unknown>>;

/** Between two transactions of a client, ms. */
const restMs = { least: 15, most: 50 };

export interface Tally {
  readonly acknowledged: number;
  readonly refused: number;
  readonly unknown: number;
}

export class Load {
  readonly #site: Site;
  readonly #random: Prng;
  readonly #running: Promise<void>[] = [];
  readonly #codes = new Map<string, number>();
  readonly #acknowledged = new Map<number, number>();
  readonly #written = new Map<number, number>();
  #counts = { ok: 0, fail: 0, info: 0 };
  #goOn = true;

  constructor(site: Site, random: Prng) {
    this.#site = site;
    this.#random = random;
  }

  /** One more client of the node. `writes`: each of its transactions writes. */
  add(node: number, work: Work, writes: boolean): void {
    this.#running.push(this.#client(node, work, writes));
  }

  async #client(node: number, work: Work, writes: boolean): Promise<void> {
    const sessions = new Map<number, GatewaySession>();
    const open: Elsewhere = async (number) => {
      const known = sessions.get(number);
      if (known?.usable === true) return known;
      const session = await GatewaySession.open(this.#site, number);
      if (session === undefined) sessions.delete(number);
      else sessions.set(number, session);
      return session;
    };
    while (this.#goOn) {
      const session = await open(node);
      if (session !== undefined) this.#count(node, writes, await work(session, open));
      await rest(this.#random.between(restMs.least, session === undefined ? 4 * restMs.most : restMs.most));
    }
    for (const session of sessions.values()) session.close();
  }

  #count(node: number, writes: boolean, attempt: Attempt<unknown>): void {
    this.#counts[attempt.outcome] += 1;
    if (attempt.outcome === 'ok') {
      this.#acknowledged.set(node, this.acknowledgedBy(node) + 1);
      if (writes) this.#written.set(node, this.writtenBy(node) + 1);
    } else this.#codes.set(attempt.code, (this.#codes.get(attempt.code) ?? 0) + 1);
  }

  get tally(): Tally {
    const { ok, fail, info } = this.#counts;
    return { acknowledged: ok, refused: fail, unknown: info };
  }

  /** SQLSTATE and the like, with how often. */
  get codes(): ReadonlyMap<string, number> {
    return this.#codes;
  }

  /** Transactions that were acknowledged by the node so far. */
  acknowledgedBy(node: number): number {
    return this.#acknowledged.get(node) ?? 0;
  }

  /** The same of those clients whose every transaction writes. */
  writtenBy(node: number): number {
    return this.#written.get(node) ?? 0;
  }

  /** Resolves when every client has stopped. */
  async stop(): Promise<void> {
    this.#goOn = false;
    await within('the load', 60_000, Promise.all(this.#running));
  }
}
