/**
 * The referee in a PostgreSQL that is no node of the cluster: a table in a schema of its own.
 * Rule: each call is one statement that commits by itself with synchronous_commit=on. A transaction of
 * several statements would keep the row locked while its gateway stands still, just when the other needs it.
 * A warning means that the commit may not be where it has to be: that is no answer.
 */
import { readFileSync } from 'node:fs';
import pg from 'pg';
import { judgeGrant } from '../../core/generation/referee-record.ts';
import type { RefereeRecord } from '../../core/generation/referee-record.ts';
import type { RefereeAnswer } from '../../core/generation/referee.ts';
import { GatewayError } from '../../lib/gateway-error.ts';
import { startupOptions } from '../postgres/raw-connection.ts';
import { postgresObjection, postgresQuestion, type RefereeFacts } from './postgres-suitability.ts';
import { addressText, recordOf, type RefereeSession, type SessionOptions } from './session.ts';

const definition = readFileSync(new URL('sql/referee.sql', import.meta.url), 'utf8');
const fields = 'winner, generation, online_low, online_high, revision';

const grantStatement = `UPDATE mtm_referee.decision
  SET winner = $2, generation = greatest(generation, $3::bigint), revision = revision + 1
  WHERE cluster = $1 AND $3::bigint > cleared_up_to
    AND CASE WHEN generation > cleared_up_to THEN winner = $2
             ELSE $4::bigint > 0 AND $4::bigint <= cleared_up_to END
  RETURNING ${fields}`;

const givesBack = 'd.winner = $2 AND d.generation > $3::bigint AND d.revision = $4::bigint';
const reportStatement = `INSERT INTO mtm_referee.decision AS d
    (cluster, winner, generation, online_low, online_high, revision)
  VALUES ($1, 0, 0, CASE WHEN $5 THEN $3::bigint ELSE 0 END, CASE WHEN $5 THEN 0 ELSE $3::bigint END, 1)
  ON CONFLICT (cluster) DO UPDATE
  SET generation = CASE WHEN ${givesBack} THEN $3::bigint ELSE d.generation END,
    online_low = greatest(d.online_low, excluded.online_low),
    online_high = greatest(d.online_high, excluded.online_high),
    revision = d.revision + 1
  WHERE d.online_low < excluded.online_low OR d.online_high < excluded.online_high OR (${givesBack})
  RETURNING ${fields}`;

const lookStatement = `SELECT ${fields} FROM mtm_referee.decision WHERE cluster = $1`;

/** SQLSTATEs with which a server says: not you, or not here. */
const refusals = new Set(['28000', '28P01', '3D000', '42501']);

/** Rejects with GatewayError (referee-unsuitable), or with the reason why it was not reached. */
export async function openPostgresSession(options: SessionOptions): Promise<RefereeSession> {
  const session = new PostgresSession(options);
  try {
    await session.open();
  } catch (error) {
    session.close();
    throw explained(error, options);
  }
  return session;
}

function explained(error: unknown, { address }: SessionOptions): unknown {
  if (!(error instanceof pg.DatabaseError) || !refusals.has(error.code ?? '')) return error;
  const help = error.code === '42501' ? ' (it has to create or use the schema mtm_referee)' : '';
  const sentence = `${addressText(address)} refuses the gateway: ${error.message}${help}`;
  return new GatewayError('referee-unsuitable', sentence, { cause: error });
}

class PostgresSession implements RefereeSession {
  readonly #options: SessionOptions;
  readonly #client: pg.Client;
  #opened = false;
  #over = false;
  #warning: string | undefined;

  constructor(options: SessionOptions) {
    const { address, tls, timeoutMs } = options;
    this.#options = options;
    this.#client = new pg.Client({
      host: address.host,
      port: address.port,
      user: address.user,
      password: address.password,
      database: address.database,
      ssl: tls ?? false,
      application_name: 'mtm_referee',
      connectionTimeoutMillis: timeoutMs,
      query_timeout: timeoutMs,
      keepAlive: true,
      options: startupOptions({
        synchronous_commit: 'on',
        default_transaction_read_only: 'off',
        default_transaction_isolation: 'read committed',
        search_path: 'pg_catalog',
        // So that a call that nobody waits for any more does not wait for a lock either.
        statement_timeout: String(timeoutMs),
      }),
    });
    this.#client.on('error', (error: Error) => this.#lost(error.message));
    this.#client.on('end', () => this.#lost('it closed the connection'));
    this.#client.on('notice', (notice) => {
      if (notice.severity === 'WARNING') this.#warning = notice.message ?? 'a warning';
    });
  }

  #lost(reason: string): void {
    if (this.#over || !this.#opened) return;
    this.#over = true;
    this.#options.onLost(reason);
  }

  async open(): Promise<void> {
    await this.#client.connect();
    await this.#judge();
    await this.#define();
    this.#opened = true;
  }

  async #judge(): Promise<void> {
    const { rows } = await this.#client.query<RefereeFacts>(postgresQuestion);
    const objection = postgresObjection(rows[0]!);
    if (objection === undefined) return;
    throw new GatewayError('referee-unsuitable', `${addressText(this.#options.address)} ${objection}`);
  }

  /** The table may have been made for us by somebody who may. */
  async #define(): Promise<void> {
    const { rows } = await this.#client.query<{ there: boolean }>(
      "SELECT to_regclass('mtm_referee.decision') IS NOT NULL AS there",
    );
    if (rows[0]!.there) return;
    // Both gateways may come at the same time: IF NOT EXISTS alone fails then.
    await this.#client.query(
      `SELECT pg_advisory_xact_lock(hashtextextended('mtm_referee', 0)); ${definition}`,
    );
  }

  async #row(text: string, values: readonly unknown[]): Promise<RefereeRecord | undefined> {
    this.#warning = undefined;
    const { rows } = await this.#client.query<(string | number)[]>({
      text,
      values: [...values],
      rowMode: 'array',
    });
    // "The transaction has already committed locally, but might not have been replicated": not an answer.
    if (this.#warning !== undefined) throw new Error(this.#warning);
    return rows[0] === undefined ? undefined : recordOf(rows[0]);
  }

  async requestGrant(generation: number, since: number): Promise<RefereeAnswer> {
    await this.#judge();
    const { key, self } = this.#options.client;
    const granted = await this.#row(grantStatement, [key, self, generation, since]);
    if (granted !== undefined) return { kind: 'granted', record: granted };
    const record = await this.#row(lookStatement, [key]);
    const verdict = judgeGrant(record, { node: self, generation, since });
    // The other node was faster, or has just told that it is online: it is asked again later.
    if (verdict.kind === 'granted')
      return { kind: 'failed', reason: 'its record changed during the question' };
    return verdict;
  }

  async reportOnline(generation: number, revision: number): Promise<RefereeAnswer> {
    const { key, self, pair } = this.#options.client;
    const values = [key, self, generation, revision, self === pair.low];
    const record = (await this.#row(reportStatement, values)) ?? (await this.#row(lookStatement, [key]));
    if (record === undefined) throw new Error('its record has vanished');
    return { kind: 'reported', record };
  }

  close(): void {
    this.#over = true;
    // end() would wait for a statement that is under way.
    (this.#client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
  }
}
