/**
 * A walsender connection that reads the node's own retained history in commit order: a temporary copy of
 * `mtm_retain` (a copy loses two-phase decoding, which is wanted), pgoutput, nothing filtered by origin.
 *
 * Rule: the copy ends with the connection; it moves only to positions that the reader released.
 */
import { query } from '../../core/wire/messages.ts';
import type { Lsn } from '../../core/identity.ts';
import { parseLsn } from './lsn-text.ts';
import { noTimeouts, pinnedFormats } from './pinned-settings.ts';
import { RawConnection } from './raw-connection.ts';
import type { ServerLogin } from './raw-connection.ts';
import { QueryError, simpleQuery } from './simple-query.ts';
import { slotNames } from './slot-names.ts';
import { WalsenderFeed } from './walsender-feed.ts';

export interface HistoryHandler {
  /** One message of pgoutput, valid during the call only. Returns what is wrong with it, if anything. */
  message(buffer: Uint8Array, start: number, end: number): string | undefined;
  /** Everything before this position has been handed over. */
  reached(position: Lsn): void;
  /** Called once, whoever ended it. */
  closed(reason: string): void;
}

const statusIntervalMs = 500;
/** The source slot may move while it is copied. */
const copyTries = 5;
const protocol = `proto_version '3', publication_names '"mtm"', messages 'true'`;

export class HistoryStream {
  readonly #connection: RawConnection;
  readonly #feed: WalsenderFeed;
  /** Where the history begins. */
  readonly start: Lsn;

  private constructor(connection: RawConnection, start: Lsn, handler: HistoryHandler) {
    this.#connection = connection;
    this.start = start;
    this.#feed = new WalsenderFeed(
      connection,
      { released: start, wantsAnswer: true, quiet: false },
      {
        change: (buffer, from, end) => handler.message(buffer, from, end),
        alive: (position) => handler.reached(position),
        closed: (reason) => handler.closed(reason),
      },
    );
  }

  /** Resolves when the copy exists; nothing is read before `run`. Rejects with what the server said. */
  static async open(login: ServerLogin, handler: HistoryHandler): Promise<HistoryStream> {
    const connection = await RawConnection.open({
      login,
      applicationName: 'mtm_donor',
      settings: { ...pinnedFormats, ...noTimeouts, wal_sender_timeout: '60s' },
      replication: 'database',
    });
    try {
      const start = await copySlot(connection, slotNames(login).retained, `mtm_donor_${connection.pid}`);
      return new HistoryStream(connection, start, handler);
    } catch (error) {
      connection.destroy();
      throw error;
    }
  }

  /** Begins to read. */
  run(): void {
    if (this.#connection.closed) return this.#feed.close('the connection is closed');
    this.#feed.begin(statusIntervalMs);
    this.#connection.send(
      query(`START_REPLICATION SLOT "mtm_donor_${this.#connection.pid}" LOGICAL 0/0 (${protocol})`),
    );
    this.#feed.sendStatus();
  }

  /** The reader needs nothing before this position any more. */
  release(position: Lsn): void {
    this.#feed.release(position);
  }

  pause(): void {
    this.#connection.pause();
  }

  resume(): void {
    this.#connection.resume();
  }

  close(): void {
    this.#feed.close();
  }
}

/** Returns the position at which the copy begins. */
async function copySlot(connection: RawConnection, source: string, name: string): Promise<Lsn> {
  for (let tries = 1; ; tries++) {
    try {
      const sql = `SELECT pg_copy_logical_replication_slot('${source}', '${name}', true)`;
      await simpleQuery(connection, sql);
      break;
    } catch (error) {
      if (tries >= copyTries || !(error instanceof QueryError)) throw error;
    }
  }
  const rows = await simpleQuery(
    connection,
    `SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '${name}'`,
  );
  return parseLsn(rows[0]?.[0] ?? '0/0');
}
