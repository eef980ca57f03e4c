/**
 * Recognises a server that went back in time (a restored backup, another data directory): its peers remember
 * how far it was.
 * Rule: what was once reported as flushed is there for ever, on the timeline on which it was reported or on
 * one that branched off later.
 */
import type pg from 'pg';
import type { Lsn, NodeId } from '../../core/identity.ts';
import { formatLsn, parseLsn } from '../postgres/lsn-text.ts';

/** What a server is at one moment. */
export interface ServerPosition {
  readonly systemIdentifier: string;
  readonly timeline: number;
  readonly flushed: Lsn;
  /** Where the timelines before the present one were left, oldest first. */
  readonly branches: readonly { readonly timeline: number; readonly at: Lsn }[];
}

export interface RememberedPosition extends Omit<ServerPosition, 'branches'> {
  /** Which node of that id it was. */
  readonly since: number;
}

/** How a server compares with what is remembered of it: `went-back` must not take part. */
export type PositionVerdict = 'as-known' | 'other-server' | 'went-back';

/** Compares what a node says at its start with what this node remembers of it. */
export function judgePosition(
  known: Omit<RememberedPosition, 'since'> | undefined,
  now: ServerPosition,
): PositionVerdict {
  if (known === undefined) return 'as-known';
  if (known.systemIdentifier !== now.systemIdentifier) return 'other-server';
  if (now.timeline < known.timeline) return 'went-back';
  if (now.timeline === known.timeline) return now.flushed < known.flushed ? 'went-back' : 'as-known';
  const branch = now.branches.find(({ timeline }) => timeline === known.timeline);
  return branch !== undefined && branch.at >= known.flushed ? 'as-known' : 'went-back';
}

/** Asks the own server. */
export async function readPosition(client: pg.Client): Promise<ServerPosition> {
  const { rows } = await client.query<{
    readonly system: string;
    readonly timeline: number;
    readonly flushed: string;
    readonly history: string | null;
  }>(
    `SELECT s.system_identifier::text AS system, t.timeline,
       pg_current_wal_flush_lsn()::text AS flushed,
       pg_read_file('pg_wal/' || lpad(upper(to_hex(t.timeline)), 8, '0') || '.history', 0, 1000000, true)
         AS history
     FROM pg_control_system() s,
       (SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int AS timeline) t`,
  );
  const row = rows[0]!;
  return {
    systemIdentifier: row.system,
    timeline: row.timeline,
    flushed: parseLsn(row.flushed),
    branches: readHistory(row.history ?? ''),
  };
}

/** A line of a history file: parent timeline, tab, position, tab, reason. */
export function readHistory(text: string): { readonly timeline: number; readonly at: Lsn }[] {
  return [...text.matchAll(/^\s*([0-9]+)\s+([0-9A-Fa-f]+\/[0-9A-Fa-f]+)/gm)].map(([, timeline, at]) => ({
    timeline: Number(timeline),
    at: parseLsn(at ?? '0/0'),
  }));
}

/** What this node remembers of its peers' servers. */
export async function loadPeerPositions(client: pg.Client): Promise<Map<NodeId, RememberedPosition>> {
  const { rows } = await client.query<{
    readonly node: number;
    readonly system_identifier: string;
    readonly timeline: string;
    readonly flushed: string;
    readonly since: string;
  }>('SELECT node, system_identifier, timeline, flushed::text AS flushed, since FROM mtm.peer_position');
  return new Map(
    rows.map((row) => [
      row.node,
      {
        systemIdentifier: row.system_identifier,
        timeline: Number(row.timeline),
        flushed: parseLsn(row.flushed),
        since: Number(row.since),
      },
    ]),
  );
}

/** Remembers it durably; now and then is enough: an older position only recognises less. */
export async function notePeerPosition(
  client: pg.Client,
  node: NodeId,
  position: RememberedPosition,
): Promise<void> {
  await client.query(
    `INSERT INTO mtm.peer_position AS p (node, system_identifier, timeline, flushed, since)
     VALUES ($1, $2, $3, $4::pg_lsn, $5)
     ON CONFLICT (node) DO UPDATE SET system_identifier = excluded.system_identifier,
       timeline = excluded.timeline, flushed = excluded.flushed, since = excluded.since,
       noted_at = excluded.noted_at`,
    [node, position.systemIdentifier, position.timeline, formatLsn(position.flushed), position.since],
  );
}
