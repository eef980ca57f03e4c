/**
 * Money that moves between accounts on all nodes. Rule: the sum is the same in every read on every node; each transfer leaves
 * a row of its own, so that afterwards every balance can be told from the rows.
 */
import { expect } from 'vitest';
import type { Prng } from '../../../src/lib/prng.ts';
import type { Attempt, GatewaySession, Refused } from './gateway-session.ts';
import type { Work } from './load.ts';
import { ask, type Site } from './site.ts';

const accounts = 12;
const opening = 1000;
const total = accounts * opening;

interface Transfer {
  readonly id: string;
  readonly node: number;
  readonly attempt: Attempt<unknown>;
}

interface Sum {
  readonly sum: number;
  readonly count: number;
}

const sumQuery = 'SELECT coalesce(sum(balance), 0)::int AS sum, count(*)::int AS count FROM account';

export class Bank {
  readonly #random: Prng;
  readonly #transfers: Transfer[] = [];
  readonly #wrongReads: string[] = [];
  #reads = 0;

  constructor(random: Prng) {
    this.#random = random;
  }

  static async create(site: Site): Promise<void> {
    const define = (text: string): Promise<unknown> => ask(site, 1, 'gateway', text);
    await define('CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL)');
    await define('CREATE TABLE transfer (id text PRIMARY KEY, source int, target int, amount int)');
    await define(`INSERT INTO account SELECT g, ${opening} FROM generate_series(1, ${accounts}) AS g`);
  }

  /** The reads of totals so far, all of them right. */
  get reads(): number {
    return this.#reads;
  }

  transfers(node: number): Work {
    return async (session) => {
      const random = this.#random;
      const [source, target] = random.shuffled(Array.from({ length: accounts }, (_, index) => index + 1));
      const amount = 1 + random.below(20);
      const id = `${node}-${this.#transfers.length}-${random.below(1e9)}`;
      const begin = random.chance(0.5) ? 'BEGIN' : 'BEGIN ISOLATION LEVEL REPEATABLE READ';
      const attempt = await session.transaction(begin, async (query) => {
        await query('UPDATE account SET balance = balance - $1 WHERE id = $2', [amount, source]);
        await query('INSERT INTO transfer VALUES ($1, $2, $3, $4)', [id, source, target, amount]);
        await query('UPDATE account SET balance = balance + $1 WHERE id = $2', [amount, target]);
      });
      this.#transfers.push({ id, node, attempt });
      return attempt;
    };
  }

  /** One statement at READ COMMITTED. */
  totals(node: number): Work {
    return async (session) => {
      const attempt = await session.alone<Sum>(sumQuery);
      if (attempt.outcome === 'ok') this.#saw(node, 'READ COMMITTED', attempt.value);
      return attempt;
    };
  }

  /** Several statements on one snapshot: the halves add up to the whole. */
  snapshots(node: number): Work {
    return async (session: GatewaySession) => {
      const attempt = await session.transaction('BEGIN ISOLATION LEVEL REPEATABLE READ', async (query) => {
        const even = await query<Sum>(`${sumQuery} WHERE id % 2 = 0`);
        const odd = await query<Sum>(`${sumQuery} WHERE id % 2 = 1`);
        return { halves: [...even, ...odd], whole: await query<Sum>(sumQuery) };
      });
      if (attempt.outcome === 'ok') {
        this.#saw(node, 'REPEATABLE READ, halves', attempt.value.halves);
        this.#saw(node, 'REPEATABLE READ', attempt.value.whole);
      }
      return attempt;
    };
  }

  #saw(node: number, how: string, parts: readonly Sum[]): void {
    this.#reads += 1;
    const sum = parts.reduce((all, part) => all + part.sum, 0);
    const count = parts.reduce((all, part) => all + part.count, 0);
    if (sum === total && count === accounts) return;
    this.#wrongReads.push(
      `node ${node}, ${how}: ${sum} on ${count} accounts instead of ${total} on ${accounts}`,
    );
  }

  /** The transfers that nobody has said anything about. */
  unknown(): { readonly id: string; readonly refused: Refused }[] {
    return this.#transfers.flatMap(({ id, attempt }) =>
      attempt.outcome === 'info' ? [{ id, refused: attempt }] : [],
    );
  }

  /** Which transfers have left their row. Asked past the gateway; the nodes are equal by now. */
  static async rows(site: Site): Promise<Set<string>> {
    const rows = await ask<{ id: string }>(site, 1, 'postgres', 'SELECT id FROM transfer');
    return new Set(rows.map(({ id }) => id));
  }

  /** Nothing acknowledged is lost, nothing refused is there, every balance is what the rows say. */
  async judge(site: Site): Promise<void> {
    expect(this.#wrongReads.slice(0, 5), 'totals that were read').toEqual([]);
    const there = await Bank.rows(site);
    const wrong = this.#transfers.filter(({ id, attempt }) =>
      attempt.outcome === 'ok' ? !there.has(id) : attempt.outcome === 'fail' && there.has(id),
    );
    expect(wrong.slice(0, 5), 'transfers that were acknowledged and lost, or refused and done').toEqual([]);
    const mismatch = await ask(
      site,
      1,
      'postgres',
      `SELECT a.id, a.balance, ${opening} + coalesce(sum(CASE a.id WHEN t.target THEN t.amount ELSE -t.amount END), 0) AS due
       FROM account a LEFT JOIN transfer t ON a.id IN (t.source, t.target)
       GROUP BY a.id, a.balance
       HAVING a.balance <> ${opening} + coalesce(sum(CASE a.id WHEN t.target THEN t.amount ELSE -t.amount END), 0)`,
    );
    expect(mismatch, 'balances that their transfers do not explain').toEqual([]);
  }
}
