/**
 * The gateway's control connection: takes the server over at start, keeps mtm.runtime up to date, answers
 * questions of the node.
 * Rule: one query at a time, in order (pg queues them); when it breaks the node is unhealthy until it is
 * back.
 */
import type pg from 'pg';
import type { Gid } from '../../core/identity.ts';
import { parseGid } from '../../core/identity.ts';
import type { Suspicions } from '../../core/statement/context.ts';
import { builtInWriters } from '../../core/statement/built-in-writers.ts';
import { suspicionQuery } from '../../core/statement/suspicion-query.ts';
import type { ServerLogin } from './raw-connection.ts';
import { openOwnClient } from './own-client.ts';
import { GatewayError } from '../../lib/gateway-error.ts';

export interface TakeOver {
  readonly incarnation: number;
  readonly serverVersion: number;
  readonly prepared: readonly Gid[];
}

/** A process's hold on its server. */
export interface Holding {
  /** Which process it is. */
  readonly holder: string;
  /** What it has raised the incarnation to; undefined before it did. */
  incarnation: number | undefined;
}

/** Without reply and error the question is only taken. */
export interface Reply {
  readonly id: string;
  readonly incarnation: number;
  readonly reply: object | undefined;
  readonly error: object | undefined;
}

/** How long a backend that was told to end may take, ms. */
const endLimitMs = 15_000;

export class Control {
  readonly #client: pg.Client;
  #closed = false;

  private constructor(client: pg.Client, onLost: (reason: string) => void) {
    this.#client = client;
    const lost = (reason: string): void => {
      if (!this.#closed) onLost(reason);
    };
    client.on('error', (error: Error) => lost(error.message));
    client.on('end', () => lost('the control connection ended'));
  }

  /** Rejects with what the server or the socket said. */
  static async open(login: ServerLogin, onLost: (reason: string) => void): Promise<Control> {
    const client = await openOwnClient(login, 'mtm_control', {
      default_transaction_isolation: 'read committed',
    });
    return new Control(client, onLost);
  }

  get client(): pg.Client {
    return this.#client;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#client.end();
  }

  /**
   * The first half of the takeover, before anybody's session is ended: whoever held the server can know then
   * that it has lost it. False when another process has taken over since this one did. A server without our
   * schema has no gateway.
   */
  async claim(holding: Holding): Promise<boolean> {
    const { rows } = await this.#client.query<{ known: boolean }>(
      "SELECT to_regprocedure('mtm.take_over(text, bigint)') IS NOT NULL AS known",
    );
    return rows[0]?.known !== true || (await this.#raise(holding)) !== undefined;
  }

  async #raise(holding: Holding): Promise<number | undefined> {
    const { rows } = await this.#client.query<{ incarnation: string | null }>(
      'SELECT mtm.take_over($1, $2) AS incarnation',
      [holding.holder, holding.incarnation ?? null],
    );
    const raised = rows[0]?.incarnation ?? undefined;
    if (raised === undefined) return undefined;
    holding.incarnation = Number(raised);
    return holding.incarnation;
  }

  /**
   * Makes this process the only gateway of the server (architecture §3, Takeover): the incarnation is raised
   * durably, every session of the database that a former gateway may have left is ended, and only then is
   * looked at what is prepared. Undefined when another process has taken over since this one did.
   */
  async takeOver(holding: Holding, adminRole: string): Promise<TakeOver | undefined> {
    const incarnation = await this.#raise(holding);
    if (incarnation === undefined) return undefined;
    const version = await this.#client.query<{ v: string }>(
      "SELECT current_setting('server_version_num') AS v",
    );
    await this.endSessions(adminRole);
    const prepared = await this.preparedGids();
    return {
      incarnation,
      serverVersion: Number(version.rows[0]!.v),
      prepared,
    };
  }

  /**
   * Ends all other sessions of the database but administrators' (mtm_admin), and waits until their processes
   * are gone. Whoever connects meanwhile, past the gateways, is not waited for. The name alone spares nobody:
   * any session of the former gateway may have taken it by SET.
   */
  async endSessions(adminRole: string): Promise<void> {
    const { rows } = await this.#client.query<{ pid: number; begun: string }>(
      `SELECT pid, backend_start::text AS begun, pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE datname = current_database() AND pid <> pg_backend_pid()
         AND backend_type IN ('client backend', 'walsender')
         AND NOT (application_name = 'mtm_admin' AND EXISTS (SELECT FROM pg_roles r
           WHERE r.oid = usesysid AND ${mayBypass('$1')}))`,
      [adminRole],
    );
    await this.#untilGone(
      `SELECT count(*)::int AS left FROM pg_stat_activity
       WHERE (pid, backend_start) IN (SELECT * FROM unnest($1::int[], $2::timestamptz[]))`,
      [rows.map(({ pid }) => pid), rows.map(({ begun }) => begun)],
    );
  }

  async #untilGone(sql: string, values: unknown[]): Promise<void> {
    for (let waitedMs = 0; ; waitedMs += 20) {
      const { rows } = await this.#client.query<{ left: number }>(sql, values);
      if (rows[0]!.left === 0) return;
      if (waitedMs > endLimitMs)
        throw new GatewayError(
          'server-lost',
          `${rows[0]!.left} server processes did not end when they were told to`,
        );
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Ends one backend; resolves when its process is gone, so that what it did or did not prepare is final. */
  async endBackend(pid: number): Promise<void> {
    await this.#client.query('SELECT pg_terminate_backend($1::int)', [pid]);
    await this.#untilGone('SELECT count(*)::int AS left FROM pg_stat_activity WHERE pid = $1::int', [pid]);
  }

  /** Cancels what the backend runs, as a CancelRequest does, but without a connection of its own. */
  async cancelBackend(pid: number): Promise<void> {
    await this.#client.query({
      name: 'mtm_cancel',
      text: 'SELECT pg_cancel_backend($1::int)',
      values: [pid],
    });
  }

  async preparedGids(): Promise<Gid[]> {
    const { rows } = await this.#client.query<{ gid: string }>(
      'SELECT gid FROM pg_prepared_xacts WHERE database = current_database()',
    );
    return rows.map(({ gid }) => gid).filter((gid) => parseGid(gid) !== undefined);
  }

  /** Makes something durable: what a vote needs of the server. Resolves when it has. */
  async writeProbe(): Promise<void> {
    await this.#client.query({
      name: 'mtm_probe',
      text: "SELECT pg_catalog.pg_logical_emit_message(true, 'mtm-probe', '')",
    });
  }

  /** Whether a transaction whose session is gone has committed. */
  async hasCommitted(xid: string): Promise<boolean> {
    const { rows } = await this.#client.query<{ status: string | null }>(
      'SELECT pg_xact_status($1::xid8) AS status',
      [xid],
    );
    return rows[0]?.status === 'committed';
  }

  async mayBypass(user: string, adminRole: string): Promise<boolean> {
    const { rows } = await this.#client.query<{ allowed: boolean }>(
      `SELECT ${mayBypass('$2')} AS allowed FROM pg_roles r WHERE r.rolname = $1`,
      [user, adminRole],
    );
    return rows[0]?.allowed === true;
  }

  /** `look`: he may see what the statistics of the server show. Undefined: neither. */
  async consoleRights(user: string, adminRole: string): Promise<'all' | 'look' | undefined> {
    const { rows } = await this.#client.query<{ all: boolean; look: boolean }>(
      `SELECT ${mayBypass('$2')} AS all, pg_has_role(r.oid, 'pg_monitor', 'USAGE') AS look
       FROM pg_roles r WHERE r.rolname = $1`,
      [user, adminRole],
    );
    if (rows[0]?.all === true) return 'all';
    return rows[0]?.look === true ? 'look' : undefined;
  }

  /** Undefined: there is no such user, or he has no password. */
  async scramVerifier(user: string): Promise<string | undefined> {
    const { rows } = await this.#client.query<{ rolpassword: string | null }>(
      'SELECT rolpassword FROM pg_authid WHERE rolname = $1',
      [user],
    );
    return rows[0]?.rolpassword ?? undefined;
  }

  async writeRuntime(state: object): Promise<void> {
    await this.#client.query({
      name: 'mtm_runtime',
      text: 'SELECT mtm.set_runtime($1::jsonb)',
      values: [JSON.stringify(state)],
    });
  }

  /** The answer to a question of a function in the server (sql/requests.sql). */
  async noteReply({ id, incarnation, reply, error }: Reply): Promise<void> {
    await this.#client.query({
      name: 'mtm_reply',
      text: 'SELECT mtm.note_reply($1::uuid, $2::bigint, $3::jsonb, $4::jsonb)',
      values: [id, incarnation, reply && JSON.stringify(reply), error && JSON.stringify(error)],
    });
  }

  /** The names whose use may reach a user's code. */
  async suspicions(): Promise<Suspicions> {
    const { rows } = await this.#client.query<Suspicions>(suspicionQuery, [[...builtInWriters]]);
    return rows[0]!;
  }

  /** The key with which the gateway proves to mtm.announce that it speaks. */
  async announceKey(): Promise<Uint8Array> {
    const { rows } = await this.#client.query<{ key: Buffer }>('SELECT announce_key AS key FROM mtm.secret');
    return rows[0]!.key;
  }
}

/** SQL about the role `r`; `adminRole`: a parameter. */
function mayBypass(adminRole: string): string {
  return `(r.rolsuper OR EXISTS (SELECT FROM pg_roles a WHERE a.rolname = ${adminRole}
    AND pg_has_role(r.oid, a.oid, 'MEMBER')))`;
}
