/**
 * This node's part of looking at all nodes at the same logical point: holds its own commits back for a
 * moment, takes a snapshot while nothing is in flight, and reads in it.
 * Rule: a hold ends by itself, whatever becomes of whoever asked for it; so does a snapshot that nobody uses.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type pg from 'pg';
import { openOwnClient } from '../io/postgres/own-client.ts';
import { pinnedFormats } from '../io/postgres/pinned-settings.ts';
import type { CommitHolds } from './commit-holds.ts';
import { RequestError } from './request-desk.ts';
import type { VerbNode } from './verbs.ts';

/** Whoever asks must be done within it, ms. */
const holdMs = 3000;
const quietMs = 400;
const patientMs = 600_000;
const looksMs = 5;

interface Taken {
  readonly client: pg.Client;
  readonly name: string;
  timer: NodeJS.Timeout;
}

export interface Chunk {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | null)[])[];
}

export class SnapshotHands {
  readonly #node: VerbNode;
  readonly #holds: CommitHolds;
  readonly #taken = new Map<string, Taken>();
  #freed: (token: string) => void = () => undefined;

  constructor(node: VerbNode, holds: CommitHolds) {
    this.#node = node;
    this.#holds = holds;
  }

  /** Told when a snapshot is no longer there. */
  onFree(freed: (token: string) => void): void {
    this.#freed = freed;
  }

  /** Resolves when none of this node's own transactions is in flight; false: they did not end in time. */
  async hold(token: string): Promise<boolean> {
    this.#holds.hold(token, holdMs);
    return this.#until(() => this.#node.machine.openTransactions.own === 0);
  }

  release(token: string): void {
    this.#holds.release(token);
  }

  /** While all nodes hold: nothing of others is in flight here any more; false: it did not end in time. */
  async quiet(token: string): Promise<boolean> {
    const { machine } = this.#node;
    return (await this.#until(() => machine.openTransactions.foreign === 0)) && this.#holds.isHeldFor(token);
  }

  async #until(condition: () => boolean): Promise<boolean> {
    const until = performance.now() + quietMs;
    while (!condition()) {
      if (performance.now() > until) return false;
      await pause(looksMs);
    }
    return true;
  }

  /**
   * While all nodes hold. The exported name of the snapshot; undefined: something was still in flight. It is
   * kept for `unusedMs` after its last use.
   */
  async take(token: string, unusedMs = patientMs): Promise<string | undefined> {
    if (!(await this.quiet(token))) return undefined;
    const client = await openOwnClient(this.#node.parts.config.postgres, 'mtm_snapshot', pinnedFormats);
    client.on('error', () => void this.free(token));
    const name = await exported(client);
    const timer = setTimeout(() => void this.free(token), unusedMs);
    timer.unref();
    this.#taken.set(token, { client, name, timer });
    if (this.#holds.isHeldFor(token)) return name;
    await this.free(token);
    return undefined;
  }

  /** The exported name; throws when it is no longer there. That somebody asks keeps the snapshot. */
  nameOf(token: string): string {
    return this.#of(token).name;
  }

  /** A query whose rows are then fetched. One statement: it is sent as a prepared one. */
  async declare(token: string, query: string, searchPath: string): Promise<void> {
    const { client } = this.#of(token);
    try {
      await client.query({
        text: "SELECT pg_catalog.set_config('search_path', $1, true)",
        values: [searchPath],
      });
      await client.query({
        name: 'check',
        text: `DECLARE mtm_check NO SCROLL CURSOR FOR ${query}`,
        values: [],
      });
    } catch (error) {
      const node = this.#node.parts.config.nodeId;
      const { sqlstate, message } = RequestError.fields(error);
      throw new RequestError(sqlstate, `[multimaster] failed to run the query on node ${node}: ${message}`);
    }
  }

  async fetch(token: string, count: number): Promise<Chunk> {
    const { client } = this.#of(token);
    const result = await client.query({
      text: `FETCH ${count} FROM mtm_check`,
      rowMode: 'array',
      types: { getTypeParser: () => (value: string) => value },
    });
    return { columns: result.fields.map(({ name }) => name), rows: result.rows as (string | null)[][] };
  }

  #of(token: string): Taken {
    const taken = this.#taken.get(token);
    if (taken === undefined) throw new RequestError('22023', '[multimaster] the snapshot is no longer there');
    taken.timer.refresh();
    return taken;
  }

  async free(token: string): Promise<void> {
    const taken = this.#taken.get(token);
    if (taken === undefined) return;
    this.#taken.delete(token);
    this.#freed(token);
    clearTimeout(taken.timer);
    await taken.client.end().catch(() => undefined); // it may be what has failed
  }
}

/** A snapshot that lasts as long as the client; without one the client ends. */
async function exported(client: pg.Client): Promise<string> {
  try {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    const { rows } = await client.query<{ name: string }>('SELECT pg_catalog.pg_export_snapshot() AS name');
    return rows[0]!.name;
  } catch (error) {
    await client.end().catch(() => undefined); // it may be what has failed
    throw error;
  }
}
