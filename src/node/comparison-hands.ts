/**
 * This node's part of a comparison: reads its rows and definitions inside the snapshot of the point
 * (snapshot-hands.ts), for its own gateway or another one.
 *
 * Rules: each query is a transaction of its own with the exported snapshot, so no lock stays longer than
 * one piece of a table. Bears to be asked twice. Its sessions end with the snapshot, and nobody's code runs
 * in them (core/comparison/row-sql.ts).
 */
import { createHash } from 'node:crypto';
import pg from 'pg';
import { quoteLiteral, quoteQualified } from '../core/apply/quoting.ts';
import { commonLines } from '../core/comparison/definition-lines.ts';
import type { ComparedTable, Relation } from '../core/comparison/relation.ts';
import { bucketsSql, digestsSql, rowsSql, sumsSql, type BlockRange } from '../core/comparison/row-sql.ts';
import type { Question } from '../core/comparison/row-search.ts';
import type { NodeId } from '../core/identity.ts';
import { openOwnClient } from '../io/postgres/own-client.ts';
import { pinnedFormats } from '../io/postgres/pinned-settings.ts';
import { RequestError } from './request-desk.ts';
import type { SnapshotHands } from './snapshot-hands.ts';
import type { VerbNode } from './verbs.ts';

const settings = {
  ...pinnedFormats,
  row_security: 'off',
  jit: 'off',
  enable_tidscan: 'on',
  max_parallel_workers_per_gather: '0',
  default_transaction_isolation: 'repeatable read',
  // Whoever has asked may be gone.
  client_connection_check_interval: '1s',
};
const relationsAtOnce = 20;
const linesAtOnce = 10_000;
const shownLine = 2000;
/** A server hashes its own way when its bytes have another order. */
const knownText = 'mtm-gateway';

export type Texts = readonly (readonly (string | null)[])[];

/** What it can be asked; `token`: of the point. */
export type ComparisonCall =
  | { readonly what: 'about'; readonly token: string }
  | { readonly what: 'relations'; readonly token: string; readonly after: readonly [string, string] }
  | { readonly what: 'definitions'; readonly token: string; readonly common: boolean; readonly from: number }
  | {
      readonly what: 'definition-texts';
      readonly token: string;
      readonly common: boolean;
      readonly digests: readonly string[];
    }
  | { readonly what: 'sequences'; readonly token: string }
  | { readonly what: 'size'; readonly token: string; readonly table: ComparedTable }
  | {
      readonly what: 'sums';
      readonly token: string;
      readonly table: ComparedTable;
      readonly range: BlockRange | undefined;
    }
  | {
      readonly what: 'search';
      readonly token: string;
      readonly table: ComparedTable;
      readonly question: Question;
    }
  | {
      readonly what: 'digests';
      readonly token: string;
      readonly table: ComparedTable;
      readonly hashes: readonly string[];
    };

export interface About {
  readonly major: number;
  readonly hash: string;
}

export interface DefinitionPage {
  readonly digests: readonly string[];
  readonly total: number;
}

interface Pool {
  readonly idle: pg.Client[];
  readonly all: Set<pg.Client>;
}

export class ComparisonHands {
  readonly #node: VerbNode;
  readonly #snapshots: SnapshotHands;
  readonly #pools = new Map<string, Pool>();

  constructor(node: VerbNode, snapshots: SnapshotHands) {
    this.#node = node;
    this.#snapshots = snapshots;
    snapshots.onFree((token) => this.#end(token));
  }

  /** Rejects with a RequestError that names the node. */
  async answer(call: ComparisonCall): Promise<unknown> {
    try {
      return await this.#answer(call);
    } catch (error) {
      throw namedFailure(this.#node.parts.config.nodeId, error);
    }
  }

  async #answer(call: ComparisonCall): Promise<unknown> {
    const { token } = call;
    switch (call.what) {
      case 'about': {
        const text =
          `SELECT current_setting('server_version_num')::integer / 10000 AS major, ` +
          `hashtextextended(${quoteLiteral(knownText)}, 0)::text AS hash`;
        const [major, hash] = (await this.#query(token, text))[0]!;
        return { major: Number(major), hash: hash! } satisfies About;
      }
      case 'relations': {
        const [schema, name] = call.after;
        const names = `${quoteLiteral(schema)}, ${quoteLiteral(name)}`;
        const text = `SELECT mtm.compared_relations(${names}, ${relationsAtOnce})::text`;
        return (await this.#query(token, text)).map(([json]) => JSON.parse(json!) as Relation);
      }
      case 'definitions': {
        const lines = await this.#definitions(token, call.common);
        const digests = lines.slice(call.from, call.from + linesAtOnce).map(digestOf);
        return { digests, total: lines.length } satisfies DefinitionPage;
      }
      case 'definition-texts': {
        const wanted = new Set(call.digests);
        const lines = await this.#definitions(token, call.common);
        return lines.filter((line) => wanted.has(digestOf(line))).map((line) => line.slice(0, shownLine));
      }
      case 'sequences':
        return (await this.#query(token, 'SELECT mtm.sequence_lines()', undefined, false)).flat();
      case 'size': {
        const name = quoteLiteral(nameOf(call.table));
        return Number((await this.#query(token, `SELECT pg_relation_size(${name}::regclass)`))[0]![0]);
      }
      case 'sums':
        return (await this.#query(token, sumsSql(call.table, call.range), call.table))[0]!;
      case 'search':
        return this.#query(token, searchSql(call.table, call.question), call.table);
      case 'digests':
        return this.#query(token, digestsSql(call.table, call.hashes), call.table);
    }
  }

  /** As the server has them now: catalogs do not tell of former times. */
  async #definitions(token: string, common: boolean): Promise<readonly string[]> {
    const rows = await this.#query(token, 'SELECT mtm.definition_lines()', undefined, false);
    const lines = rows.map(([line]) => line!);
    return common ? commonLines(lines) : lines;
  }

  // ---- sessions

  /**
   * In the snapshot, or (`inside` false) in one of now. Rejects when `table` was rewritten since the
   * snapshot.
   */
  async #query(token: string, text: string, table?: ComparedTable, inside = true): Promise<Texts> {
    const name = this.#snapshots.nameOf(token);
    const pool = this.#pools.get(token) ?? { idle: [], all: new Set<pg.Client>() };
    this.#pools.set(token, pool);
    const client = pool.idle.pop() ?? (await this.#open(pool));
    const begin = `BEGIN READ ONLY${inside ? `; SET TRANSACTION SNAPSHOT ${quoteLiteral(name)}` : ''}`;
    try {
      await client.query(begin);
      const result = await client.query({
        text,
        rowMode: 'array',
        types: { getTypeParser: () => (value: string) => value },
      });
      // What it was read from is locked until now: a rewrite would have been seen, or waits.
      if (table !== undefined)
        await client.query(`SELECT mtm.require_unmoved(${quoteLiteral(nameOf(table))})`);
      await client.query('COMMIT');
      if (this.#pools.get(token) === pool) pool.idle.push(client);
      else await client.end();
      return result.rows as Texts;
    } catch (error) {
      pool.all.delete(client);
      await client.end().catch(() => undefined); // it may be what has failed
      throw error;
    }
  }

  async #open(pool: Pool): Promise<pg.Client> {
    const client = await openOwnClient(this.#node.parts.config.postgres, 'mtm_compare', settings);
    client.on('error', () => undefined); // its query fails with it
    pool.all.add(client);
    return client;
  }

  #end(token: string): void {
    const pool = this.#pools.get(token);
    if (pool === undefined) return;
    this.#pools.delete(token);
    for (const client of pool.all) client.end().catch(() => undefined);
  }
}

/** What the asker hears: the server's error with the node's name; 57P03 when the server was lost. */
export function namedFailure(node: NodeId, error: unknown): RequestError {
  const told = error instanceof pg.DatabaseError || error instanceof RequestError;
  if (!told) return new RequestError('57P03', `[multimaster] node ${node} lost its server: ${String(error)}`);
  const { sqlstate, message, hint } = RequestError.fields(error);
  const named = message.startsWith('[multimaster] ') ? message : `[multimaster] node ${node}: ${message}`;
  return new RequestError(sqlstate, named, hint);
}

function nameOf({ schema, name }: ComparedTable): string {
  return quoteQualified(schema, name);
}

function searchSql(table: ComparedTable, question: Question): string {
  return question.kind === 'rows'
    ? rowsSql(table, question.within, question.most)
    : bucketsSql(table, question.bits, question.within);
}

function digestOf(line: string): string {
  return createHash('md5').update(line).digest('hex');
}
