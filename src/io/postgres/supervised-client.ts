/**
 * A session of the gateway with itself: what it writes is replicated like any client's.
 * Rule: one statement, one transaction; what lost a conflict or came at a bad moment may be repeated.
 */
import pg from 'pg';
import { reachableHost } from '../../config/reachable-host.ts';
import type { GatewayConfig } from '../../config/schema.ts';
import { ownSessions } from '../wire/own-sessions.ts';

/** Runs one statement as a client of this gateway; rejects with the server's or the gateway's error. */
export async function supervised(
  config: Pick<GatewayConfig, 'listen' | 'postgres'>,
  text: string,
  values: unknown[],
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
  try {
    await client.query(text, values);
  } finally {
    await client.end().catch(() => undefined); // it may be what has failed
  }
}
