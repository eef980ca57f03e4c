/** The statements around replayed transactions, and what their answers mean. */
import type { Gid, Lsn } from '../../core/identity.ts';
import type { StatementPipeline } from '../../core/apply/statement-pipeline.ts';
import { parseLsn } from '../postgres/lsn-text.ts';
import { replayedPrefix } from '../postgres/replay-names.ts';

const lsnMark = 'mtm-lsn:';
const lsnQuery =
  `SELECT '${lsnMark}' || pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text, ` +
  'pg_catalog.pg_current_wal_flush_lsn()::pg_catalog.text';
const emitHeader = `SELECT pg_catalog.pg_logical_emit_message(true, '${replayedPrefix}', $1)`;
const textOid = 25;
const encoder = new TextEncoder();

export function writeBegin(pipeline: StatementPipeline): void {
  pipeline.run('BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE');
}

/** Closes a transaction: from here on the WAL says that it committed. */
export function writeHeader(pipeline: StatementPipeline, gid: Gid, hmac: string): void {
  pipeline.run(emitHeader, [textOid], [encoder.encode(JSON.stringify({ gid, hmac }))]);
}

/** A commit that waits for the disk, and so for all before it. */
export function writeFlush(pipeline: StatementPipeline): void {
  writeBegin(pipeline);
  pipeline.run('SET LOCAL synchronous_commit = on');
  pipeline.run("SELECT pg_catalog.pg_logical_emit_message(true, 'mtm-flush', '')");
  pipeline.run('COMMIT');
}

/** Behind a COMMIT: where its effects end in the WAL, and how far that is durable. */
export function askPositions(pipeline: StatementPipeline): void {
  pipeline.run(lsnQuery);
}

/** Undefined for a row of another statement. */
export function readPositions(
  columns: readonly string[],
): { readonly inserted: Lsn; readonly flushed: Lsn } | undefined {
  const first = columns[0] ?? '';
  if (!first.startsWith(lsnMark)) return undefined;
  return { inserted: parseLsn(first.slice(lsnMark.length)), flushed: parseLsn(columns[1] ?? '0/0') };
}

/** Connection, conflict of timing, resources, locks, operator, system. */
const localClasses = new Set(['08', '40', '53', '55', '57', '58']);

/** The error says nothing about whether the transaction fits the data of this node. */
export function isLocal(sqlstate: string): boolean {
  return localClasses.has(sqlstate.slice(0, 2));
}
