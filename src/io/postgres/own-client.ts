/**
 * A connection of the gateway's own through `pg`, for questions and book-keeping.
 * Rule: what databases and roles have as their settings does not reach it; what it commits is durable.
 */
import pg from 'pg';
import { noTimeouts } from './pinned-settings.ts';
import { startupOptions } from './raw-connection.ts';
import type { ServerLogin } from './raw-connection.ts';
import { pgLogin } from './server-connection.ts';

/** A client whose queries wait for each other (pg's own queue is deprecated). */
class QueuedClient extends pg.Client {
  #last: Promise<unknown> = Promise.resolve();

  override query(...parameters: unknown[]): never {
    const query = super.query.bind(this) as (...all: unknown[]) => Promise<unknown>;
    const result = this.#last.then(() => query(...parameters));
    this.#last = result.catch(() => undefined); // its caller hears of it
    return result as never;
  }
}

/** Rejects with what the server or the socket said. `more`: further settings of the session. */
export async function openOwnClient(
  login: ServerLogin,
  applicationName: string,
  more: Readonly<Record<string, string>> = {},
): Promise<pg.Client> {
  const client = new QueuedClient({
    ...pgLogin(login),
    application_name: applicationName,
    connectionTimeoutMillis: 5000,
    keepAlive: true,
    options: startupOptions({
      ...noTimeouts,
      search_path: 'pg_catalog',
      standard_conforming_strings: 'on',
      default_transaction_read_only: 'off',
      synchronous_commit: 'on',
      ...more,
    }),
  });
  client.on('error', () => undefined); // before the owner listens, connect() itself reports
  await client.connect();
  return client;
}
