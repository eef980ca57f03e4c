/**
 * The list-append workload: transactions of appends to and reads of a few hot lists, on all nodes, at both isolation levels.
 * Every append has an element of its own, so what happened can be told from what was read (test/support/history).
 */
import { expect } from 'vitest';
import type { Prng } from '../../../src/lib/prng.ts';
import { checkHistory, type Verdict } from '../../support/history/check.ts';
import type { Level, MicroOperation, Operation } from '../../support/history/operation.ts';
import type { Attempt, GatewaySession } from './gateway-session.ts';
import type { Work } from './load.ts';
import { ask, type Site } from './site.ts';

const hotKeys = 5;
/** Then the key is done with: long lists make slow reads and tell no more. */
const appendsOfAKey = 40;

const append = `INSERT INTO list AS l VALUES ($1, ARRAY[$2::int])
  ON CONFLICT (id) DO UPDATE SET elements = l.elements || excluded.elements`;
const read = 'SELECT elements FROM list WHERE id = $1';

type Step = { readonly kind: 'append' | 'read'; readonly key: number; readonly value: number };

interface Row {
  readonly elements: number[];
}

export class ListAppend {
  readonly #random: Prng;
  readonly #operations: Operation[] = [];
  readonly #keys = Array.from({ length: hotKeys }, (_, index) => ({ key: index + 1, appends: 0 }));
  #nextKey = hotKeys + 1;
  #nextValue = 1;
  #nextProcess = 1;

  constructor(random: Prng) {
    this.#random = random;
  }

  static async create(site: Site): Promise<void> {
    await ask(site, 1, 'gateway', 'CREATE TABLE list (id int PRIMARY KEY, elements int[] NOT NULL)');
  }

  get operations(): readonly Operation[] {
    return this.#operations;
  }

  #step(kind: Step['kind'] = this.#random.chance(0.45) ? 'read' : 'append'): Step {
    const place = this.#random.below(hotKeys);
    const hot = this.#keys[place] as { key: number; appends: number };
    if (kind === 'read') return { kind: 'read', key: hot.key, value: 0 };
    hot.appends += 1;
    if (hot.appends >= appendsOfAKey) this.#keys[place] = { key: this.#nextKey++, appends: 0 };
    return { kind: 'append', key: hot.key, value: this.#nextValue++ };
  }

  /** A client of the node. */
  client(node: number): Work {
    let process = this.#nextProcess++;
    return async (session) => {
      const steps = Array.from({ length: 1 + this.#random.below(4) }, () => this.#step());
      const alone = steps.length === 1 && this.#random.chance(0.5);
      const level: Level = !alone && this.#random.chance(0.6) ? 'repeatable read' : 'read committed';
      const micro: MicroOperation[] = [];
      const invokedMs = performance.now();
      const attempt = alone
        ? await this.#alone(session, steps[0] as Step, micro)
        : await session.transaction(`BEGIN ISOLATION LEVEL ${level}`, async (query) => {
            for (const step of steps) {
              if (step.kind === 'append') {
                micro.push({ kind: 'append', key: step.key, value: step.value });
                await query(append, [step.key, step.value]);
              } else {
                const rows = await query<Row>(read, [step.key]);
                micro.push({ kind: 'read', key: step.key, values: rows[0]?.elements ?? [] });
              }
            }
          });
      const gid = attempt.outcome === 'info' ? attempt.gid : undefined;
      const endedMs = performance.now();
      this.#operations.push({
        process,
        node,
        level,
        invokedMs,
        endedMs,
        outcome: attempt.outcome,
        micro,
        gid,
      });
      if (attempt.outcome === 'info') process = this.#nextProcess++;
      return attempt;
    };
  }

  /**
   * Appends on the node and, as soon as that is acknowledged, reads on another one: the client for which an answer that
   * came too early, or a node that shows what was, is sure to become visible.
   */
  chaser(node: number, others: readonly number[]): Work {
    let process = this.#nextProcess++;
    return async (session, elsewhere) => {
      const other = this.#random.pick(others);
      const reader = await elsewhere(other);
      const written = this.#step('append');
      const attempt = await this.#recorded(process, node, session, written);
      if (attempt.outcome === 'info') process = this.#nextProcess++;
      if (attempt.outcome !== 'ok' || reader === undefined) return attempt;
      await this.#recorded(process, other, reader, { kind: 'read', key: written.key, value: 0 });
      return attempt;
    };
  }

  /** One step that is its own transaction. */
  async #recorded(
    process: number,
    node: number,
    session: GatewaySession,
    step: Step,
  ): Promise<Attempt<unknown>> {
    const micro: MicroOperation[] = [];
    const invokedMs = performance.now();
    const attempt = await this.#alone(session, step, micro);
    const { outcome } = attempt;
    const gid = outcome === 'info' ? attempt.gid : undefined;
    const endedMs = performance.now();
    this.#operations.push({
      process,
      node,
      level: 'read committed',
      invokedMs,
      endedMs,
      outcome,
      micro,
      gid,
    });
    return attempt;
  }

  async #alone(session: GatewaySession, step: Step, micro: MicroOperation[]): Promise<Attempt<unknown>> {
    if (step.kind === 'append') {
      micro.push({ kind: 'append', key: step.key, value: step.value });
      return session.alone(append, [step.key, step.value]);
    }
    const attempt = await session.alone<Row>(read, [step.key]);
    if (attempt.outcome === 'ok') {
      micro.push({ kind: 'read', key: step.key, values: attempt.value[0]?.elements ?? [] });
    }
    return attempt;
  }

  /** `resolved`: what mtm.transaction_outcome says of each gid. */
  async judge(site: Site, resolved: ReadonlyMap<string, string>): Promise<Verdict> {
    const rows = await ask<{ id: number; elements: number[] }>(
      site,
      1,
      'postgres',
      'SELECT id, elements FROM list',
    );
    const final = new Map(rows.map(({ id, elements }) => [id, elements]));
    const history = this.#operations.map((operation): Operation => {
      const said = operation.gid === undefined ? undefined : resolved.get(operation.gid);
      return said === 'committed' || said === 'aborted' ? { ...operation, resolved: said } : operation;
    });
    const verdict = checkHistory(history, { realTime: true, final });
    const told = verdict.anomalies.map(({ kind, text }) => `${kind}: ${text}`).join('\n\n');
    expect([...verdict.counts], told).toEqual([]);
    return verdict;
  }
}
