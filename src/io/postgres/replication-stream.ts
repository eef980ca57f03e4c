/**
 * The walsender connection to the node's own slot: from START_REPLICATION to what the capture makes of it.
 *
 * States: *opening* (inside `open`) → *streaming* → *closed*; nothing leads back: a reconnect is a new
 * object.
 * Rule: what was not released comes again after a crash; the rest is the feed's (walsender-feed.ts).
 */
import { backend } from '../../core/wire/codes.ts';
import { cstringAt, query } from '../../core/wire/messages.ts';
import { Capture } from '../../core/pgoutput/capture.ts';
import type { CaptureHandler } from '../../core/pgoutput/capture-handler.ts';
import type { Lsn, NodeId } from '../../core/identity.ts';
import { noTimeouts, pinnedFormats } from './pinned-settings.ts';
import { RawConnection } from './raw-connection.ts';
import type { ServerLogin } from './raw-connection.ts';
import { errorText, WalsenderFeed } from './walsender-feed.ts';

export interface StreamHandler extends CaptureHandler {
  /** Called once, whoever ended it. */
  closed(reason: string): void;
}

export interface StreamOptions {
  readonly login: ServerLogin;
  /** Whose gids are "ours". */
  readonly node: NodeId;
  readonly slot: string;
  readonly publication: string;
  /** Between two reports of the released position; default 2000. */
  readonly statusIntervalMs?: number;
  /**
   * Rows up to this size the server keeps in memory; those of a larger transaction it writes to its disk and
   * reads again.
   */
  readonly memoryBytes?: number;
}

export class ReplicationStream {
  readonly #connection: RawConnection;
  readonly #feed: WalsenderFeed;

  private constructor(connection: RawConnection, options: StreamOptions, handler: StreamHandler) {
    const capture = new Capture(options.node, handler);
    this.#connection = connection;
    this.#feed = new WalsenderFeed(
      connection,
      { released: 0n, wantsAnswer: true, quiet: true },
      {
        change: (buffer, start, end) => capture.message(buffer, start, end),
        alive: () => undefined,
        closed: (reason) => handler.closed(reason),
      },
    );
  }

  /**
   * Resolves when the server streams. Rejects with what the server said (slot busy, publication missing, …).
   */
  static async open(options: StreamOptions, handler: StreamHandler): Promise<ReplicationStream> {
    const connection = await RawConnection.open({
      login: options.login,
      applicationName: 'mtm_walsender',
      settings: { ...pinnedFormats, ...noTimeouts, ...memory(options), wal_sender_timeout: '60s' },
      replication: 'database',
    });
    const stream = new ReplicationStream(connection, options, handler);
    try {
      const version = Number(await ask(connection, 'SHOW server_version_num'));
      // The first changes may stand in the same packet as the answer: the handler changes within the call.
      await ask(connection, startCommand(options, version), () =>
        stream.#feed.begin(options.statusIntervalMs ?? 2000),
      );
    } catch (error) {
      connection.destroy();
      throw error;
    }
    return stream;
  }

  /** The walsender's process. */
  get pid(): number {
    return this.#connection.pid;
  }

  /**
   * Everything before this position has been handed to the handler. With nothing outstanding it may be
   * released.
   */
  get received(): Lsn {
    return this.#feed.read;
  }

  /**
   * The owner needs nothing before this position any more, even after a crash: the slot may move on to it.
   */
  release(lsn: Lsn): void {
    this.#feed.release(lsn);
  }

  /** Stops reading; what has arrived already may still be delivered. */
  pause(): void {
    this.#connection.pause();
  }

  resume(): void {
    this.#connection.resume();
  }

  close(): void {
    if (!this.#feed.closed) this.#feed.sendStatus();
    this.#feed.close();
  }
}

/**
 * The server counts what it needs for a row, not the row: 230 bytes for one of pgbench's accounts, whose text
 * has 94. A row that is written and read again costs three system calls, half of all that decoding it takes.
 */
const memoryPerByte = 3;

/** Within the limits of the setting. */
function memory({ memoryBytes }: StreamOptions): Readonly<Record<string, string>> {
  if (memoryBytes === undefined) return {};
  const kilobytes = Math.min(Math.max(Math.ceil((memoryBytes * memoryPerByte) / 1024), 64), 2_147_483_647);
  return { logical_decoding_work_mem: `${kilobytes}kB` };
}

function startCommand(options: StreamOptions, version: number): string {
  const literal = (text: string) => `'${text.replaceAll("'", "''")}'`;
  const pairs = [
    `proto_version '${version >= 160_000 ? 4 : 3}'`,
    `publication_names ${literal(`"${options.publication.replaceAll('"', '""')}"`)}`,
    `messages 'true'`,
    ...(version >= 160_000 ? [`origin 'none'`] : []),
  ];
  return `START_REPLICATION SLOT "${options.slot.replaceAll('"', '""')}" LOGICAL 0/0 (${pairs.join(', ')})`;
}

/**
 * Runs one replication command; resolves with the first column of its last row, or when the stream has begun.
 */
function ask(
  connection: RawConnection,
  command: string,
  streaming = () => undefined as void,
): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = '';
    connection.handle({
      message(type, buffer, start, end) {
        if (type === backend.dataRow) answer = cstringAt(buffer, start + 11, end);
        else if (type === backend.errorResponse) reject(new Error(errorText(buffer, start, end)));
        else if (type === backend.readyForQuery) resolve(answer);
        else if (type === backend.copyBothResponse) {
          streaming();
          resolve(answer);
        }
      },
      closed: (reason) => reject(new Error(reason)),
    });
    connection.send(query(command));
  });
}
