/**
 * Opens the server session that replays: the settings of an apply connection, commits that do not wait for
 * the disk, and the recovery's own replication origin, by which its commits are told from others.
 */
import { noTransactionTimeout } from '../../core/apply/statement-pipeline.ts';
import { applySettings } from '../postgres/pinned-settings.ts';
import { RawConnection } from '../postgres/raw-connection.ts';
import type { ServerLogin } from '../postgres/raw-connection.ts';
import { recoveryOrigin } from '../postgres/replay-names.ts';
import { QueryError, simpleQuery } from '../postgres/simple-query.ts';

const settings = { ...applySettings, synchronous_commit: 'off' };

const originWaitMs = 15_000;

/** Rejects with what the server said; waits a while for a former session to let go of the origin. */
export async function openReplaySession(login: ServerLogin): Promise<RawConnection> {
  const connection = await RawConnection.open({ login, applicationName: 'mtm_recovery', settings });
  try {
    await simpleQuery(connection, noTransactionTimeout);
    await takeOrigin(connection, recoveryOrigin(login));
  } catch (error) {
    connection.destroy();
    throw error;
  }
  return connection;
}

/** A former session may still hold it for a moment. */
async function takeOrigin(connection: RawConnection, name: string): Promise<void> {
  await simpleQuery(
    connection,
    `SELECT pg_replication_origin_create('${name}')
     WHERE pg_replication_origin_oid('${name}') IS NULL`,
  );
  for (let waitedMs = 0; ; waitedMs += 50) {
    try {
      await simpleQuery(connection, `SELECT pg_replication_origin_session_setup('${name}')`);
      return;
    } catch (error) {
      const held = error instanceof QueryError && error.sqlstate === '55006';
      if (!held || waitedMs >= originWaitMs) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
