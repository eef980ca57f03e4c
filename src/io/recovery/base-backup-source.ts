/**
 * BASE_BACKUP on a replication connection to the node's own server, taken apart: where it begins, what it
 * contains, and where it ends. It is the logical kind of replication connection, which needs no line of its
 * own in pg_hba.conf.
 *
 *     answer   = position of the start · tablespaces · copy · position of the end · ReadyForQuery
 *     position = one row: LSN, timeline;  tablespaces = rows: oid (none: the data directory), location, kB
 *     copy     = CopyData: 'n' archive location | 'd' data | 'p' progress | 'm' manifest
 *
 * Grammar: manual, "Streaming Replication Protocol", BASE_BACKUP (the same from 15 on).
 * Rule: the backup is whole only when the end was told; whoever ends it before closes the connection.
 */
import { backend } from '../../core/wire/codes.ts';
import { cstringAt, cstringEnd, query } from '../../core/wire/messages.ts';
import type { Lsn } from '../../core/identity.ts';
import { readRow } from '../postgres/backend-message.ts';
import { parseLsn } from '../postgres/lsn-text.ts';
import { noTimeouts } from '../postgres/pinned-settings.ts';
import { RawConnection, type ServerLogin } from '../postgres/raw-connection.ts';
import { simpleQuery } from '../postgres/simple-query.ts';
import { errorText } from '../postgres/walsender-feed.ts';

export interface BackupPlace {
  readonly lsn: Lsn;
  readonly timeline: number;
}

export interface BackupSourceHandler {
  /** `bytes`: what the server expects to send, without the WAL that is written meanwhile. */
  started(start: BackupPlace, tablespaces: readonly string[], bytes: number, version: number): void;
  /** Relative to the data directory ('' for itself), or an absolute place outside of it. */
  archive(location: string): void;
  /** Valid during the call only. */
  data(bytes: Uint8Array): void;
  /** All of it was handed over. */
  done(end: BackupPlace): void;
  /** Instead of `done`; at most once, and never after `close`. */
  failed(reason: string): void;
}

const command =
  "BASE_BACKUP (LABEL 'mtm-gateway join', PROGRESS true, CHECKPOINT 'fast', WAL true, MANIFEST 'no')";
const archiveMark = 0x6e;
const dataMark = 0x64;

export class BackupSource {
  readonly #connection: RawConnection;
  readonly #handler: BackupSourceHandler;
  readonly #version: number;
  /** Result sets begun: 1 start, 2 tablespaces, 3 end. */
  #results = 0;
  #start: BackupPlace | undefined;
  #end: BackupPlace | undefined;
  #bytes = 0;
  readonly #tablespaces: string[] = [];
  #over = false;

  private constructor(connection: RawConnection, version: number, handler: BackupSourceHandler) {
    this.#connection = connection;
    this.#version = version;
    this.#handler = handler;
  }

  /** Resolves when the server was asked for the backup. Rejects with what it said. */
  static async open(login: ServerLogin, handler: BackupSourceHandler): Promise<BackupSource> {
    const connection = await RawConnection.open({
      login,
      applicationName: 'mtm_copy',
      settings: { ...noTimeouts },
      replication: 'database',
    });
    try {
      const rows = await simpleQuery(connection, 'SHOW server_version_num');
      const source = new BackupSource(connection, Number(rows[0]?.[0]), handler);
      connection.handle({
        message: (type, buffer, start, end) => source.#message(type, buffer, start, end),
        closed: (reason) => source.#fail(reason),
      });
      if (connection.closed) throw new Error('the connection is closed');
      connection.send(query(command));
      return source;
    } catch (error) {
      connection.destroy();
      throw error;
    }
  }

  pause(): void {
    this.#connection.pause();
  }

  resume(): void {
    this.#connection.resume();
  }

  /** Ends the backup in the server, if it is still under way, and the connection. */
  close(): void {
    const running = !this.#over && !this.#connection.closed;
    this.#over = true;
    if (running) void this.#connection.cancel();
    this.#connection.destroy();
  }

  #fail(reason: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#handler.failed(reason);
    this.#connection.destroy();
  }

  #message(type: number, buffer: Uint8Array, start: number, end: number): void {
    if (this.#over) return;
    switch (type) {
      case backend.rowDescription:
        this.#results++;
        return;
      case backend.dataRow:
        return this.#row(readRow(buffer, start));
      case backend.copyOutResponse:
        return this.#began();
      case backend.copyData:
        return this.#copyData(buffer, start + 5, end);
      case backend.errorResponse:
        return this.#fail(errorText(buffer, start, end));
      case backend.readyForQuery:
        return this.#ended();
      case backend.copyDone:
      case backend.commandComplete:
      case backend.noticeResponse:
      case backend.parameterStatus:
        return;
      default:
        this.#fail(`unexpected message ${String.fromCharCode(type)} in a base backup`);
    }
  }

  #row(row: readonly string[]): void {
    if (this.#results === 2) {
      if (row[0] !== '') this.#tablespaces.push(row[1] ?? '');
      this.#bytes += Number(row[2]) * 1024;
      return;
    }
    const place = { lsn: parseLsn(row[0] ?? ''), timeline: Number(row[1]) };
    if (this.#results === 1) this.#start = place;
    else this.#end = place;
  }

  #began(): void {
    if (this.#start === undefined) return this.#fail('the server sends a base backup without its start');
    this.#handler.started(this.#start, this.#tablespaces, this.#bytes, this.#version);
  }

  #copyData(buffer: Uint8Array, at: number, end: number): void {
    const mark = buffer[at];
    if (mark === dataMark) return this.#handler.data(buffer.slice(at + 1, end));
    if (mark !== archiveMark) return; // its own progress, and a manifest that was not asked for
    const location = cstringEnd(buffer, at + 1, end) + 1;
    this.#handler.archive(cstringAt(buffer, location, end));
  }

  #ended(): void {
    if (this.#end === undefined) return this.#fail('the server ended the base backup without its end');
    this.#over = true;
    this.#handler.done(this.#end);
    this.#connection.destroy();
  }
}
