/**
 * A session of the gateway with itself: what it writes is replicated like any client's.
 * Rule: one statement, one transaction; what lost a conflict or came at a bad moment may be repeated.
 */
import pg from 'pg';
import { reachableHost } from '../../config/reachable-host.ts';
import type { GatewayConfig } from '../../config/schema.ts';
import { ownSessions } from '../wire/own-sessions.ts';

/**
 * Runs one statement as a client of this gateway; rejects with the server's or the gateway's error. When
 * `signal` is aborted it leaves, and what becomes of the statement is not known.
 */
export async function supervised(
  config: Pick<GatewayConfig, 'listen' | 'postgres'>,
  text: string,
  values: unknown[],
  signal?: AbortSignal,
): Promise<void> {
  const { user, password, database } = config.postgres;
  const { host, port } = config.listen;
  const client = new pg.Client({
    host: reachableHost(host),
    port,
    user,
    password,
    database,
    ssl: false,
    options: ownSessions.option,
    application_name: 'mtm_everywhere',
    connectionTimeoutMillis: 5000,
  });
  client.on('error', () => undefined); // the statement fails with it
  await client.connect();
  const leave = (): void => void client.end().catch(() => undefined); // the statement fails with it
  signal?.addEventListener('abort', leave);
  try {
    if (signal?.aborted !== true) await client.query(text, values);
  } finally {
    signal?.removeEventListener('abort', leave);
    await client.end().catch(() => undefined); // it may be what has failed
  }
}
