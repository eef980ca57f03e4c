/**
 * The statements that run one replicated command as the user whose it is, and come back.
 *
 * Why not simply SET SESSION AUTHORIZATION: the apply connection was authenticated as a superuser, so code
 * that the command calls (a function in a DEFAULT, in an index expression) could set it back and would be
 * superuser. Inside a SECURITY DEFINER function PostgreSQL refuses to change `role` and
 * `session_authorization`, also in what it calls. So a command runs inside such a function, owned by the
 * effective role, that lives only within this transaction; only what a superuser runs under no other role
 * needs none.
 * Rules: one statement per text (extended protocol); after an error the transaction is rolled back, which
 * undoes all of it. Whoever sends them restores the session's settings, which the command may have changed,
 * and does not trust what is prepared in it any more (StatementPipeline).
 */
import type { DdlMessage } from './ddl-message.ts';
import { quoteLiteral, quoteName } from './quoting.ts';

/** What the worker needs to know of the user, asked on the apply connection: see `ddlUserQuery`. */
export interface DdlUser {
  readonly superuser: boolean;
}

export type DdlPlan =
  | { readonly kind: 'statements'; readonly statements: readonly string[] }
  | { readonly kind: 'refused'; readonly reason: string };

/** They decide who one is or whether triggers fire: a message must not carry them. */
const forbidden = new Set(['role', 'session_authorization', 'is_superuser', 'session_replication_role']);

/** Pinned on the apply connection for the sake of row changes; bad for commands that run queries. */
const relaxed: Readonly<Record<string, string>> = { enable_seqscan: 'on', plan_cache_mode: 'auto' };

/** The origin has checked the body; it may name temporary objects of the session there. */
const unchecked: Readonly<Record<string, string>> = { check_function_bodies: 'off' };

/** `unique` tells apart functions of transactions that are not finished. */
export function planDdl(message: DdlMessage, user: DdlUser, unique: string): DdlPlan {
  const bad = Object.keys(message.settings).find((name) => forbidden.has(name.toLowerCase()));
  if (bad !== undefined)
    return { kind: 'refused', reason: `a replicated command must not carry the setting ${bad}` };
  const asRole = message.role !== 'none' && message.role !== '';
  const settings = { ...relaxed, ...message.settings, ...unchecked };
  const enter = [
    `SET LOCAL SESSION AUTHORIZATION ${quoteName(message.sessionUser)}`,
    ...(asRole ? [`SET LOCAL ROLE ${quoteName(message.role)}`] : []),
    ...Object.entries(settings).map(
      ([name, value]) => `SELECT pg_catalog.set_config(${quoteLiteral(name)}, ${quoteLiteral(value)}, true)`,
    ),
  ];
  const leave = ['SET LOCAL ROLE NONE', 'SET LOCAL SESSION AUTHORIZATION DEFAULT'];
  if (user.superuser && !asRole)
    return { kind: 'statements', statements: [...enter, message.command, ...leave] };
  const wrapper = `mtm.${quoteName(`run ${unique}`)}`;
  const owner = quoteName(asRole ? message.role : message.sessionUser);
  const statements = [
    `CREATE FUNCTION ${wrapper}(command text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER ` +
      `AS 'BEGIN EXECUTE command; END'`,
    `ALTER FUNCTION ${wrapper}(text) OWNER TO ${owner}`,
    `REVOKE ALL ON FUNCTION ${wrapper}(text) FROM PUBLIC`,
    ...enter,
    `SELECT ${wrapper}(${quoteLiteral(message.command)})`,
    ...leave,
    `DROP FUNCTION IF EXISTS ${wrapper}(text)`,
  ];
  return { kind: 'statements', statements };
}

export const ddlUserMark = 'mtm-user:';

/**
 * $1: session user. Always one row; behind the mark `true`, `false`, or nothing when there is no such role
 * here.
 */
export const ddlUserQuery =
  `SELECT '${ddlUserMark}' || COALESCE((SELECT rolsuper::pg_catalog.text FROM pg_catalog.pg_roles ` +
  `WHERE rolname = $1::pg_catalog.name), '')`;

/**
 * $1: the content of a message. Event triggers are silent where it is applied, and that node may have to give
 * its history to others.
 */
export const keepCommandSql = "SELECT pg_catalog.pg_logical_emit_message(true, 'mtm-ddl', $1)";

/** $1: the content of a message `mtm-follow` (sql/rewrite.sql). */
export const followSql = 'SELECT mtm.follow($1)';

/** Reads the JSON of a message; undefined when it is not one. */
export function readDdlMessage(content: Uint8Array): DdlMessage | undefined {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { ignoreBOM: true }).decode(content));
  } catch {
    return undefined; // refused by the caller, with the gid
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { command, tag, sessionUser, role, settings } = value as Partial<DdlMessage>;
  const texts = [command, tag, sessionUser, role].every((text) => typeof text === 'string');
  if (!texts || typeof settings !== 'object' || settings === null) return undefined;
  if (!Object.values(settings).every((setting) => typeof setting === 'string')) return undefined;
  return value as DdlMessage;
}
