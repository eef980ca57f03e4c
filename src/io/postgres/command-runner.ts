/**
 * Runs one command that cannot be part of a transaction, on a connection of its own, as the user whose it is.
 * Rule: nothing of it is captured (the session is a replica's): whoever runs it sees to the other nodes. The
 * code that such commands call runs restricted, as the owner of the table: it cannot become superuser again.
 */
import type pg from 'pg';
import type { ErrorText } from '../../core/wire/messages.ts';
import { quoteName } from '../../core/apply/quoting.ts';
import { isSqlstate } from '../../lib/sqlstate.ts';
import { openOwnClient } from './own-client.ts';
import type { ServerLogin } from './raw-connection.ts';

/** Under whose name and settings. */
export interface CommandFrame {
  readonly sessionUser: string;
  /** `none`, or a role. */
  readonly role: string;
  readonly settings: Readonly<Record<string, string>>;
}

export interface CommandEnd {
  readonly notices: readonly ErrorText[];
  readonly error?: ErrorText;
}

const applicationName = 'mtm_everywhere';

/** They could switch capture off, or tell who one is. */
const forbidden = new Set(['role', 'session_authorization', 'is_superuser', 'session_replication_role']);

/** `begun` hears of the backend. Never rejects: a lost connection is an error like others. */
export async function runCommand(
  login: ServerLogin,
  frame: CommandFrame | undefined,
  text: string,
  begun: (pid: number) => void,
): Promise<CommandEnd> {
  const notices: ErrorText[] = [];
  let client: pg.Client | undefined;
  try {
    client = await openOwnClient(login, applicationName, {
      session_replication_role: 'replica',
      client_connection_check_interval: '1s',
    });
    client.on('notice', (notice) => notices.push(errorText(notice)));
    const { rows } = await client.query<{ pid: number }>('SELECT pg_catalog.pg_backend_pid() AS pid');
    begun(rows[0]!.pid);
    if (frame !== undefined) await enter(client, frame);
    notices.length = 0;
    await client.query(text);
    return { notices };
  } catch (error) {
    return { notices, error: errorText(error) };
  } finally {
    await client?.end().catch(() => undefined); // it may be what has failed
  }
}

async function enter(client: pg.Client, { sessionUser, role, settings }: CommandFrame): Promise<void> {
  const named = Object.entries(settings).filter(([name]) => !forbidden.has(name.toLowerCase()));
  await client.query(
    'SELECT pg_catalog.set_config(s ->> 0, s ->> 1, false) FROM pg_catalog.jsonb_array_elements($1) AS s',
    [JSON.stringify(named)],
  );
  await client.query(`SET SESSION AUTHORIZATION ${quoteName(sessionUser)}`);
  if (role !== 'none' && role !== '') await client.query(`SET ROLE ${quoteName(role)}`);
}

/** The fields of an error or notice as `pg` gives them. */
export function errorText(of: unknown): ErrorText {
  const fields = of as Record<string, unknown>;
  const field = (name: string): string | undefined =>
    typeof fields[name] === 'string' ? fields[name] : undefined;
  const code = field('code') ?? '';
  const severity = field('severity');
  return {
    severity: severity === 'NOTICE' || severity === 'WARNING' ? severity : 'ERROR',
    sqlstate: isSqlstate(code) ? code : '57P01',
    message: field('message') ?? 'the connection was lost',
    detail: field('detail'),
    hint: field('hint'),
    schema: field('schema'),
    table: field('table'),
    column: field('column'),
    constraint: field('constraint'),
  };
}
