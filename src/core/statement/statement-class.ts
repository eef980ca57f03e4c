/**
 * What the gateway must know of a statement before it sends it to the server (architecture §2, §10).
 * Rule: a class says how to run the statement, never what it changes: PostgreSQL tells that.
 * A mistake towards `write` costs time; a mistake towards `read` must be impossible or end in 25006.
 */
import type { EverywhereCommand } from './everywhere-command.ts';

export type IsolationLevel = 'read uncommitted' | 'read committed' | 'repeatable read' | 'serializable';

export interface TransactionModes {
  readonly isolation: IsolationLevel | undefined;
  /** undefined: the client left it to default_transaction_read_only. */
  readonly readOnly: boolean | undefined;
  readonly deferrable: boolean | undefined;
}

export type StatementClass =
  /** Nothing but white space and comments. */
  | { readonly kind: 'empty' }
  /**
   * Every function it can reach is built in and not a known writer: try it read-only, 25006 tells if it
   * writes.
   */
  | { readonly kind: 'read' }
  /**
   * Writes or may write: runs in a READ WRITE block. `certain`: its tag with a count above 0 proves that it
   * wrote.
   */
  | {
      readonly kind: 'write';
      readonly certain: boolean;
      readonly temporary: boolean;
      readonly copyIn: boolean;
      /** A DO whose text has the command NOTIFY. */
      readonly notifies?: true;
      /** The text to run instead: without the word CONCURRENTLY. */
      readonly instead?: string;
    }
  /**
   * DDL that no event trigger sees (roles, GRANT on shared objects…): in a block, announced with an
   * `mtm-ddl` message.
   */
  | { readonly kind: 'announced'; readonly tag: string }
  | { readonly kind: 'begin'; readonly tag: 'BEGIN' | 'START TRANSACTION'; readonly modes: TransactionModes }
  | { readonly kind: 'commit'; readonly chain: boolean }
  | { readonly kind: 'rollback'; readonly chain: boolean }
  | {
      readonly kind: 'savepoint';
      readonly act: 'savepoint' | 'release' | 'rollback';
      readonly name: string;
    }
  | { readonly kind: 'set-transaction'; readonly modes: TransactionModes }
  | { readonly kind: 'prepare-transaction'; readonly gid: string }
  | { readonly kind: 'finish-prepared'; readonly gid: string; readonly commit: boolean }
  /** SET, RESET, SHOW, DISCARD, DECLARE, FETCH, DEALLOCATE …: session only, forwarded as it is. */
  | { readonly kind: 'session' }
  /**
   * SET/RESET of a setting on which the gateway itself depends. value undefined: RESET or SET … TO DEFAULT.
   */
  | {
      readonly kind: 'set-guarded';
      readonly name: string;
      readonly value: string | undefined;
      readonly local: boolean;
      /** RESET, whose tag is another one than that of SET. */
      readonly reset?: true;
      /** A statement that the server must get as well: the other modes of a SET SESSION CHARACTERISTICS. */
      readonly also?: string;
    }
  /**
   * SHOW of a setting that the gateway has changed for its own purposes (transaction_read_only,
   * default_transaction_read_only).
   */
  | { readonly kind: 'show-guarded'; readonly name: string }
  /**
   * LISTEN ('+' and the channel), UNLISTEN ('-' and the channel, or '*'): session only; inside a transaction
   * that may write it waits for the commit (session/listening.ts).
   */
  | { readonly kind: 'listen'; readonly entry: string }
  /** NOTIFY: in a block, in other words (session/rewrite.ts). */
  | { readonly kind: 'notify'; readonly channel: string; readonly payload: string }
  /**
   * Local by rule, outside a block, and it needs a read-write session (VACUUM, CREATE DATABASE, ALTER
   * SYSTEM, REINDEX …).
   */
  | { readonly kind: 'local' }
  /** Not in a transaction, but on all nodes: each runs it for itself. */
  | { readonly kind: 'everywhere'; readonly command: EverywhereCommand }
  /** Refused before the server sees it. */
  | { readonly kind: 'refused'; readonly sqlstate: string; readonly message: string; readonly hint: string };

export interface Statement {
  readonly class: StatementClass;
  /** Place in the string, UTF-8 byte offsets: [start, end). */
  readonly start: number;
  readonly end: number;
}

/**
 * The statements of one query string. `undefined`: the text does not parse; the server will say so itself,
 * and a text that PostgreSQL's own parser refuses has no effect.
 */
export type ParsedText = readonly Statement[] | undefined;
