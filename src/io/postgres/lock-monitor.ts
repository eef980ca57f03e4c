/**
 * Who holds the locks that apply connections wait for. Prepared transactions have no process, so
 * pg_blocking_pids shows 0 for them;
 * their locks share a virtual transaction with the lock on their own transaction id, which pg_prepared_xacts
 * names (measured).
 * Rule: it only looks; what follows is judged by the commit machine.
 */
import type pg from 'pg';
import type { Gid } from '../../core/identity.ts';

export interface BlockedBy {
  /** Backend that waits. */
  readonly waiter: number;
  readonly holder:
    | { readonly kind: 'prepared'; readonly gid: Gid }
    /** `waits` for any lock; `mutual`: the two wait for each other. */
    | { readonly kind: 'backend'; readonly pid: number; readonly waits: boolean; readonly mutual: boolean };
}

/** Cheap beside the full look, which reads the whole lock table. */
const waitingSql = `
SELECT a.pid FROM pg_catalog.pg_stat_get_activity(NULL) a
WHERE a.wait_event_type = 'Lock' AND a.pid OPERATOR(pg_catalog.=) ANY ($1::int[])`;

const sql = `
WITH locks AS MATERIALIZED (SELECT * FROM pg_catalog.pg_locks),
waiting AS MATERIALIZED (
  SELECT l.*, pg_catalog.pg_blocking_pids(l.pid) AS blockers FROM locks l
  WHERE NOT l.granted AND l.pid OPERATOR(pg_catalog.=) ANY ($1::int[]))
SELECT w.pid AS waiter, b.pid AS holder, NULL AS gid,
       w.pid OPERATOR(pg_catalog.=) ANY (pg_catalog.pg_blocking_pids(b.pid)) AS mutual,
       EXISTS (SELECT 1 FROM locks x WHERE x.pid OPERATOR(pg_catalog.=) b.pid AND NOT x.granted) AS waits
FROM waiting w CROSS JOIN LATERAL pg_catalog.unnest(w.blockers) AS b(pid) WHERE b.pid <> 0
UNION
SELECT w.pid, NULL, p.gid, false, false
FROM waiting w
JOIN locks h ON h.pid IS NULL AND h.granted AND h.locktype = w.locktype
  AND h.database IS NOT DISTINCT FROM w.database AND h.relation IS NOT DISTINCT FROM w.relation
  AND h.page IS NOT DISTINCT FROM w.page AND h.tuple IS NOT DISTINCT FROM w.tuple
  AND h.virtualxid IS NOT DISTINCT FROM w.virtualxid AND h.transactionid IS NOT DISTINCT FROM w.transactionid
  AND h.classid IS NOT DISTINCT FROM w.classid AND h.objid IS NOT DISTINCT FROM w.objid
  AND h.objsubid IS NOT DISTINCT FROM w.objsubid
JOIN locks t ON t.pid IS NULL AND t.locktype = 'transactionid' AND t.virtualtransaction = h.virtualtransaction
JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = t.transactionid
WHERE 0 = ANY (w.blockers)`;

interface Row {
  readonly waiter: number;
  readonly holder: number | null;
  readonly gid: string | null;
  readonly mutual: boolean;
  readonly waits: boolean;
}

/** Those of the backends that wait for a lock of any kind. */
export async function lockWaiters(client: pg.Client, pids: readonly number[]): Promise<number[]> {
  const query = { name: 'mtm_waiting', text: waitingSql, values: [pids] };
  const { rows } = await client.query<{ pid: number }>(query);
  return rows.map(({ pid }) => pid);
}

/** Looks once. Rejects when the connection fails. */
export async function blockedBy(client: pg.Client, waiters: readonly number[]): Promise<BlockedBy[]> {
  const { rows } = await client.query<Row>({ name: 'mtm_blocked', text: sql, values: [waiters] });
  return rows.map((row) => ({
    waiter: row.waiter,
    holder:
      row.gid === null
        ? { kind: 'backend', pid: row.holder!, waits: row.waits, mutual: row.mutual }
        : { kind: 'prepared', gid: row.gid },
  }));
}
