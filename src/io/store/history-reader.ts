/**
 * The memory of outcomes after a restart: what the retained history shows as committed, in one phase or two,
 * in commit order.
 *
 * Rules: only ids are kept, whatever the size of the transactions. What changed nothing is told apart: it was
 * committed without the other nodes, so nobody else has it.
 */
import type { Gid, Lsn } from '../../core/identity.ts';
import { CommitCutter } from '../../core/pgoutput/commit-cutter.ts';
import { HistoryStream } from '../postgres/history-stream.ts';
import { RawConnection } from '../postgres/raw-connection.ts';
import type { ServerLogin } from '../postgres/raw-connection.ts';
import { parseLsn } from '../postgres/lsn-text.ts';
import { recoveryOrigin, replayedPrefix } from '../postgres/replay-names.ts';
import { simpleQuery } from '../postgres/simple-query.ts';
import { noTimeouts } from '../postgres/pinned-settings.ts';

const ignore = (): void => undefined;

/**
 * Calls `committed` for each transaction since the syncpoint; `empty`: it changed nothing. Resolves when
 * everything that was written before the call has been read. After the takeover, which ends former sessions.
 * Rejects with what the server said.
 */
export async function readHistory(
  login: ServerLogin,
  verify: (gid: Gid, hmac: string) => boolean,
  committed: (gid: Gid, empty: boolean) => void,
): Promise<void> {
  const end = await walEnd(login);
  const cutter = new CommitCutter(
    {
      verifyHeader: verify,
      unit: (gid, ddl, data) => committed(gid, data.length === 0 && !ddl),
      begin: ignore,
      piece: ignore,
      end: (gid) => {
        if (gid !== undefined) committed(gid, false);
      },
      mark: ignore,
      committed: ignore,
      unsupervised: ignore,
    },
    // Nothing is held: whether there is anything is all that counts.
    { holdBytes: 1, recoveryOrigin: recoveryOrigin(login), replayedPrefix },
  );
  let failed = (_reason: string): void => undefined;
  let through = ignore;
  const read = new Promise<void>((resolve, reject) => {
    through = resolve;
    failed = (reason) => reject(new Error(`the retained history cannot be read: ${reason}`));
  });
  const history = await HistoryStream.open(login, {
    message: (buffer, start, stop) => cutter.message(buffer, start, stop),
    reached: (position) => {
      if (position >= end) through();
    },
    closed: failed,
  });
  history.run();
  try {
    await read;
  } finally {
    history.close();
  }
}

/** Everything before it is durable: a stream never shows more. */
async function walEnd(login: ServerLogin): Promise<Lsn> {
  const settings = { ...noTimeouts, default_transaction_read_only: 'off', synchronous_commit: 'on' };
  const connection = await RawConnection.open({ login, applicationName: 'mtm_store', settings });
  try {
    // What a former session committed without waiting for the disk belongs to it.
    await simpleQuery(connection, "SELECT pg_logical_emit_message(true, 'mtm-flush', '')");
    return parseLsn((await simpleQuery(connection, 'SELECT pg_current_wal_flush_lsn()'))[0]?.[0] ?? '0/0');
  } finally {
    connection.destroy();
  }
}
