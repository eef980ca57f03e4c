/**
 * Can this PostgreSQL be a referee? What it has committed must never be forgotten, also not by a standby that
 * takes over, and it must not be a node: it would decide about itself.
 * Rule: what cannot be judged is refused. Pure: it is given the answer to `postgresQuestion`.
 */

export interface RefereeFacts {
  readonly fsync: string;
  readonly synchronous_commit: string;
  readonly standby: boolean;
  /** One of the gateway's slots is there, in whatever database. */
  readonly node: boolean;
  /** Standbys that a commit does not wait for, or that this role may not look at. */
  readonly loose_standbys: number;
  readonly version_num: number;
}

export const postgresQuestion = `
  SELECT current_setting('fsync') AS fsync,
    current_setting('synchronous_commit') AS synchronous_commit,
    pg_is_in_recovery() AS standby,
    current_setting('server_version_num')::int AS version_num,
    EXISTS (SELECT 1 FROM pg_replication_slots WHERE slot_name IN ('mtm_live', 'mtm_retain')) AS node,
    (SELECT count(*)::int FROM pg_stat_replication AS r
      WHERE coalesce(r.state, '') <> 'backup' AND coalesce(r.sync_state, '') NOT IN ('sync', 'quorum')
        AND NOT EXISTS (SELECT 1 FROM pg_replication_slots AS s
          WHERE s.active_pid = r.pid AND s.slot_type = 'logical')) AS loose_standbys`;

/** What is wrong with it: one clause that follows its name; undefined: it is suitable. */
export function postgresObjection(facts: RefereeFacts): string | undefined {
  if (facts.version_num < 120_000) return 'is older than version 12';
  if (facts.node) return 'is a node of a cluster, or a gateway, and must be a server of its own';
  if (facts.standby) return 'is a standby and must be a primary';
  if (facts.fsync !== 'on') return `has fsync ${facts.fsync} and needs on: a grant must survive a crash`;
  if (!['on', 'remote_apply'].includes(facts.synchronous_commit)) {
    return `has synchronous_commit ${facts.synchronous_commit} whatever the gateway says, and needs on`;
  }
  if (facts.loose_standbys > 0) {
    return (
      `has ${facts.loose_standbys} standbys that a commit does not wait for, or that the role may not see ` +
      `(pg_read_all_stats): a promoted one may not know of a grant`
    );
  }
  return undefined;
}
