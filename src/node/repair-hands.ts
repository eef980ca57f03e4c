/**
 * This node's part of a repair (repair-desk.ts): reads its rows, or writes those of another node, in one
 * transaction that stays open until it is told to commit.
 *
 * Rules: what it writes is nobody's change but this node's: the session is a replica's with a replication
 * origin of its own, so neither the stream nor the event triggers see it. It writes nothing that would run
 * anybody's code. A transaction of which nothing is heard is rolled back. It commits only in the generation
 * in which the rows were read, and says in the log what it did.
 */
import type pg from 'pg';
import { factsQuery, factsMark, readFacts, type RelationFacts } from '../core/apply/facts.ts';
import { shownName, type ComparedTable } from '../core/comparison/relation.ts';
import {
  RepairSql,
  sameState,
  type ItemState,
  type RepairItem,
  type Values,
} from '../core/comparison/repair-sql.ts';
import type { NodeId } from '../core/identity.ts';
import { openOwnClient } from '../io/postgres/own-client.ts';
import { pinnedFormats } from '../io/postgres/pinned-settings.ts';
import { namedFailure } from './comparison-hands.ts';
import { repairStep } from './fail-point.ts';
import { RequestError } from './request-desk.ts';
import type { SnapshotHands } from './snapshot-hands.ts';
import type { VerbNode } from './verbs.ts';

export type RepairCall =
  | {
      readonly what: 'hold' | 'quiet' | 'release' | 'commit' | 'rollback';
      readonly token: string;
      readonly generation: number;
    }
  /** `generation`: it must be that of now, before and behind; absent: only to show. */
  | {
      readonly what: 'look';
      readonly table: ComparedTable;
      readonly items: readonly RepairItem[];
      readonly generation?: number;
    }
  | {
      readonly what: 'write';
      readonly token: string;
      readonly generation: number;
      readonly from: NodeId;
      readonly table: ComparedTable;
      readonly items: readonly RepairItem[];
      readonly wanted: readonly ItemState[];
    };

export interface Written {
  /** Items whose rows were not those that were wanted. */
  readonly changed: number;
  readonly deleted: number;
  readonly inserted: number;
}

interface Open {
  readonly client: pg.Client;
  readonly timer: NodeJS.Timeout;
  readonly note: object;
}

const settings = {
  ...pinnedFormats,
  row_security: 'off',
  jit: 'off',
  session_replication_role: 'replica',
  default_transaction_isolation: 'read committed',
};
const originName = 'mtm_repair';
/** What is in the way of a moment must not make it longer. */
const lockMs = 500;
const statementMs = 1500;
const unheardMs = 5000;
/** Rows with the same text, of a table without key. */
const mostAlike = 1000;

export class RepairHands {
  readonly #node: VerbNode;
  readonly #snapshots: SnapshotHands;
  readonly #open = new Map<string, Open>();

  constructor(node: VerbNode, snapshots: SnapshotHands) {
    this.#node = node;
    this.#snapshots = snapshots;
  }

  /** Rejects with a RequestError that names the node. */
  async answer(call: RepairCall): Promise<unknown> {
    try {
      return await this.#answer(call);
    } catch (error) {
      const failure = namedFailure(this.#node.parts.config.nodeId, error);
      if (failure.sqlstate !== '57014') throw failure;
      const text = `[multimaster] node ${this.#node.parts.config.nodeId} cannot do it within a moment`;
      throw new RequestError(
        '57014',
        text,
        'Repeat it with less load; a large table without key needs a join.',
      );
    }
  }

  async #answer(call: RepairCall): Promise<unknown> {
    switch (call.what) {
      case 'hold':
        return this.#isIn(call.generation) && (await this.#snapshots.hold(call.token));
      case 'quiet':
        return (await this.#snapshots.quiet(call.token)) && this.#isIn(call.generation);
      case 'release':
        return this.#snapshots.release(call.token);
      case 'look':
        return this.#look(call);
      case 'write':
        return this.#write(call);
      case 'commit':
        return this.#commit(call);
      case 'rollback':
        return this.#rollback(call.token);
    }
  }

  #isIn(generation: number): boolean {
    return this.#node.machine.liveness.onlineIn === generation;
  }

  #require(generation: number | undefined): void {
    if (generation === undefined || this.#isIn(generation)) return;
    throw new RequestError(
      '40001',
      `[multimaster] node ${this.#node.parts.config.nodeId} is in another generation now`,
    );
  }

  // ---- reading

  async #look({ table, items, generation }: Extract<RepairCall, { what: 'look' }>): Promise<ItemState[]> {
    this.#require(generation);
    const client = await this.#session('mtm_repair_look');
    try {
      await client.query(
        `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = ${statementMs}`,
      );
      const facts = await factsOf(client, table);
      await requireHarmless(client, facts, table);
      const sql = new RepairSql(table, facts);
      const states: ItemState[] = [];
      for (const item of items) states.push(await stateOf(client, sql, item, true));
      await client.query('COMMIT');
      this.#require(generation);
      return states;
    } finally {
      await client.end().catch(() => undefined); // it may be what has failed
    }
  }

  // ---- writing

  async #write(call: Extract<RepairCall, { what: 'write' }>): Promise<Written> {
    const { token, table, items, wanted, generation, from } = call;
    this.#require(generation);
    const client = await this.#session('mtm_repair');
    try {
      await takeOrigin(client);
      await client.query(
        `BEGIN; SET LOCAL lock_timeout = ${lockMs}; SET LOCAL statement_timeout = ${statementMs}; ` +
          `SET LOCAL idle_in_transaction_session_timeout = ${unheardMs}`,
      );
      const facts = await factsOf(client, table);
      await requireHarmless(client, facts, table);
      const written = await writeItems(client, new RepairSql(table, facts), items, wanted);
      const note = { table: shownName(table), from, keys: items.map(({ key }) => key), ...written };
      const timer = setTimeout(() => void this.#rollback(token), unheardMs);
      this.#open.set(token, { client, timer, note });
      return written;
    } catch (error) {
      await endSession(client);
      throw error;
    }
  }

  async #commit({
    token,
    generation,
  }: {
    readonly token: string;
    readonly generation: number;
  }): Promise<void> {
    const open = this.#open.get(token);
    if (open === undefined)
      throw new RequestError('40001', '[multimaster] the repair was rolled back: it took too long');
    const { nodeId } = this.#node.parts.config;
    try {
      this.#require(generation);
      repairStep('committing');
      await open.client.query('COMMIT');
    } catch (error) {
      await this.#rollback(token);
      throw error;
    }
    this.#open.delete(token);
    clearTimeout(open.timer);
    this.#node.parts.log.warn({ node: nodeId, ...open.note }, 'rows of this node were repaired');
    await endSession(open.client);
  }

  async #rollback(token: string): Promise<void> {
    const open = this.#open.get(token);
    if (open === undefined) return;
    this.#open.delete(token);
    clearTimeout(open.timer);
    await endSession(open.client);
  }

  async #session(name: string): Promise<pg.Client> {
    const client = await openOwnClient(this.#node.parts.config.postgres, name, settings);
    client.on('error', () => undefined); // its query fails with it
    return client;
  }
}

/** One repair at a time on a server: an origin serves one session. */
async function takeOrigin(client: pg.Client): Promise<void> {
  await client.query('SELECT pg_replication_origin_create($1) WHERE pg_replication_origin_oid($1) IS NULL', [
    originName,
  ]);
  await client.query('SELECT pg_replication_origin_session_setup($1)', [originName]);
}

/** Whatever is open in it is rolled back; a server has room for few origins. */
async function endSession(client: pg.Client): Promise<void> {
  try {
    await client.query('ROLLBACK');
    await client.query(
      'SELECT pg_replication_origin_session_reset() WHERE pg_replication_origin_session_is_setup()',
    );
    await client.query('SELECT pg_replication_origin_drop($1)', [originName]);
  } catch {
    // Another repair holds it, or the session is lost: whoever takes it next finds it there.
  }
  await client.end().catch(() => undefined); // it may be what has failed
}

async function factsOf(client: pg.Client, { schema, name }: ComparedTable): Promise<RelationFacts> {
  const { rows } = await client.query<[string]>({
    text: factsQuery,
    values: [schema, name],
    rowMode: 'array',
  });
  const json = rows[0]![0].slice(factsMark.length);
  if (json === '')
    throw new RequestError('42P01', `[multimaster] there is no table ${schema}.${name} any more`);
  return readFacts(json);
}

/** Rejects where writing a row would run code, or where rows are nobody's to be the same. */
async function requireHarmless(client: pg.Client, facts: RelationFacts, table: ComparedTable): Promise<void> {
  const name = shownName(table);
  const refuse = (why: string): never => {
    throw new RequestError(
      '0A000',
      `[multimaster] ${name} cannot be repaired: ${why}`,
      'Change the rows in a session with application_name=mtm_admin at that node, or join the node anew.',
    );
  };
  if (facts.kind !== 'r') refuse('it is no table with rows of its own');
  if (facts.local) refuse("its rows are each node's own");
  if (facts.foreignCode) refuse('code of its owner runs when its rows are written');
  const text =
    'SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal ' +
    `AND tgenabled IN ('A', 'R')) OR EXISTS (SELECT FROM pg_rewrite ` +
    `WHERE ev_class = $1 AND ev_enabled IN ('A', 'R')) AS fires`;
  const { rows } = await client.query<{ fires: boolean }>(text, [facts.oid]);
  if (rows[0]!.fires) refuse('it has triggers or rules that fire always');
}

async function writeItems(
  client: pg.Client,
  sql: RepairSql,
  items: readonly RepairItem[],
  wanted: readonly ItemState[],
): Promise<Written> {
  const written = { changed: 0, deleted: 0, inserted: 0 };
  const different: number[] = [];
  // All are deleted before one is inserted: a value of another unique index may have moved between them.
  for (const [index, item] of items.entries()) {
    const before = await stateOf(client, sql, item, false);
    if (sameState(before, wanted[index]!)) continue;
    different.push(index);
    written.changed++;
    written.deleted += (await client.query(sql.delete, sql.parameters(item))).rowCount ?? 0;
  }
  for (const index of different) {
    for (const row of wanted[index]!.values) {
      await client.query(sql.insert, [...row]);
      written.inserted++;
    }
  }
  for (const index of different) {
    const after = await stateOf(client, sql, items[index]!, false);
    if (!sameState(after, wanted[index]!))
      throw new RequestError(
        '55000',
        '[multimaster] the rows would not be the same even then: compare the definitions of the table',
      );
  }
  return written;
}

async function stateOf(
  client: pg.Client,
  sql: RepairSql,
  item: RepairItem,
  withValues: boolean,
): Promise<ItemState> {
  const values = sql.parameters(item);
  const raw = { rowMode: 'array' as const, types: { getTypeParser: () => (value: string) => value } };
  const counted = await client.query({ text: sql.state, values, ...raw });
  const [rows, first, second] = counted.rows[0] as [string, string, string];
  if (!withValues) return { rows, first, second, values: [] };
  if (Number(rows) > mostAlike)
    throw new RequestError(
      '54000',
      `[multimaster] ${rows} rows are the same: more than ${mostAlike} are not repaired one by one`,
    );
  const read = await client.query({ text: sql.values, values, ...raw });
  return { rows, first, second, values: read.rows as Values[] };
}
