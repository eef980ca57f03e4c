/**
 * A server that was restored from a backup begins a new cluster: what it knows of the old one is taken away
 * (sql/forget.sql).
 * Rule: nothing is taken from a server that a gateway works with.
 */
import { GatewayError } from '../../lib/gateway-error.ts';
import { openOwnClient } from '../postgres/own-client.ts';
import type { ServerLogin } from '../postgres/raw-connection.ts';
import { dropSlots } from './departure.ts';

/** The name of the old cluster; undefined: there was none. Throws command-refused. */
export async function forgetCluster(login: ServerLogin): Promise<string | undefined> {
  const client = await openOwnClient(login, 'mtm_store');
  try {
    const known = await client.query<{ there: boolean }>(
      "SELECT to_regprocedure('mtm.forget_cluster()') IS NOT NULL AS there",
    );
    if (known.rows[0]?.there !== true) return undefined;
    const gateways = await client.query(
      `SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'mtm_control'`,
    );
    if (gateways.rows.length > 0)
      throw new GatewayError('command-refused', 'a gateway works with this PostgreSQL', {
        hint: 'stop it first; only a server that was restored from a backup should forget its cluster',
      });
    // What commits of it was not acknowledged before the backup, or is in the backup.
    const prepared = await client.query<{ gid: string }>(
      'SELECT gid FROM pg_prepared_xacts WHERE database = current_database()',
    );
    for (const { gid } of prepared.rows)
      await client.query(`ROLLBACK PREPARED '${gid.replaceAll("'", "''")}'`);
    const { rows } = await client.query<{ name: string | null }>('SELECT mtm.forget_cluster() AS name');
    await dropSlots(client, login);
    return rows[0]?.name ?? undefined;
  } finally {
    await client.end();
  }
}
