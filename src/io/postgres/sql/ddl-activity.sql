-- Who changes definitions on which node, what it waits for, and how an administrator ends it. Runs after requests.sql and
-- everywhere.sql; may be run again.
-- Rule: there is no turn that one would hold: a definition is locked by whoever changes it, as in PostgreSQL, on every node.
-- So whoever is in the way is a session of some node (ended here), a transaction that the nodes decide about by
-- themselves, or a command that runs node by node.

-- The processes of this node that stand in the way of others, in words; 0 stands for what is prepared.
CREATE OR REPLACE FUNCTION mtm.blockers_in_words(waiter integer, blockers integer[]) RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  WITH locks AS MATERIALIZED (SELECT * FROM pg_locks)
  SELECT string_agg(words, '; ') FROM (
    SELECT format('process %s of %s (%s): %s', a.pid, a.usename, a.state, left(a.query, 100)) AS words
    FROM pg_stat_activity a WHERE a.pid = ANY (blockers)
    UNION
    SELECT format('the prepared transaction %s', p.gid)
    FROM locks w JOIN locks h ON h.pid IS NULL AND h.granted AND h.locktype = w.locktype
      AND h.database IS NOT DISTINCT FROM w.database AND h.relation IS NOT DISTINCT FROM w.relation
      AND h.transactionid IS NOT DISTINCT FROM w.transactionid AND h.virtualxid IS NOT DISTINCT FROM w.virtualxid
      AND h.classid IS NOT DISTINCT FROM w.classid AND h.objid IS NOT DISTINCT FROM w.objid
    JOIN locks t ON t.pid IS NULL AND t.locktype = 'transactionid' AND t.virtualtransaction = h.virtualtransaction
    JOIN pg_prepared_xacts p ON p.transaction = t.transactionid
    WHERE 0 = ANY (blockers) AND w.pid = waiter AND NOT w.granted) AS b
$$;

-- What changes definitions on this server: sessions and what they have prepared (they hold the mark as soon as they have
-- changed something; before, their first command may wait), transactions of other nodes that wait here for a lock,
-- commands that run node by node.
CREATE OR REPLACE FUNCTION mtm.local_ddl() RETURNS jsonb
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
  WITH locks AS MATERIALIZED (
    SELECT * FROM pg_locks WHERE (relation = 'pg_transform'::regclass AND mode = 'RowExclusiveLock'
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) OR (locktype = 'transactionid' AND pid IS NULL)
      OR NOT granted),
  marked AS (SELECT DISTINCT pid, virtualtransaction FROM locks WHERE relation = 'pg_transform'::regclass AND granted),
  strong AS (SELECT pid FROM locks WHERE NOT granted AND locktype IN ('relation', 'object')
    AND mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')),
  found AS (
    SELECT CASE a.application_name WHEN 'mtm_apply' THEN 'apply' WHEN 'mtm_everywhere' THEN 'node by node' ELSE 'session' END
        AS kind, a.pid, NULL AS gid, a.usename::text AS username, a.state, a.xact_start AS since, a.query AS statement
    FROM pg_stat_activity a WHERE a.datname = current_database() AND (a.pid IN (SELECT pid FROM marked)
      OR (a.application_name = 'mtm_everywhere' AND a.state <> 'idle')
      OR (a.wait_event_type = 'Lock' AND (a.application_name = 'mtm_apply' OR a.pid IN (SELECT pid FROM strong)
        OR a.query ~* '^\s*(create|alter|drop|grant|revoke|comment|truncate|refresh|reindex|security|reassign)\M')))
    UNION ALL
    SELECT 'prepared', NULL, p.gid, p.owner::text, 'prepared', p.prepared, NULL
    FROM marked m JOIN locks t ON t.pid IS NULL AND t.locktype = 'transactionid' AND t.virtualtransaction = m.virtualtransaction
    JOIN pg_prepared_xacts p ON p.transaction = t.transactionid WHERE m.pid IS NULL
    UNION ALL
    SELECT 'node by node', NULL, e.id, e.frame ->> 'sessionUser', 'under way', e.begun, e.command
    FROM mtm.everywhere e WHERE e.home = (SELECT my_id FROM mtm.node))
  SELECT coalesce(jsonb_agg(to_jsonb(f) || jsonb_build_object('blocked_by', b.pids,
    'waits_for', mtm.blockers_in_words(f.pid, b.pids)) ORDER BY f.since), '[]')
  FROM found f LEFT JOIN LATERAL (SELECT nullif(pg_blocking_pids(f.pid), '{}') AS pids) AS b ON true
$$;

-- Ends the process of this node if it changes definitions or is in the way of that. The rights were checked by whoever asked.
CREATE OR REPLACE FUNCTION mtm.local_release(process integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE ddl constant jsonb := mtm.local_ddl(); name text;
BEGIN
  SELECT application_name INTO name FROM pg_stat_activity WHERE pid = process AND backend_type = 'client backend';
  IF name IS NULL OR NOT EXISTS (SELECT FROM jsonb_array_elements(ddl) AS d
    WHERE d -> 'pid' = to_jsonb(process) OR d -> 'blocked_by' @> to_jsonb(process)) THEN RETURN false; END IF;
  IF name = 'mtm_apply' THEN
    RAISE EXCEPTION '[multimaster] process % applies a transaction of another node', process USING ERRCODE = '55000',
      HINT = 'The nodes decide about it by themselves; end the session on its own node, or what it waits for.';
  END IF;
  RETURN pg_terminate_backend(process);
END $$;

-- On all nodes. kind: session, prepared, apply, node by node; unreachable: the node gave no answer.
CREATE OR REPLACE FUNCTION mtm.ddl_activity() RETURNS TABLE (
  node integer, kind text, pid integer, gid text, username text, state text, since timestamptz, statement text,
  blocked_by integer[], waits_for text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE who constant name := mtm.current_role_name();
BEGIN
  IF NOT pg_has_role(who, 'pg_read_all_stats', 'MEMBER') THEN PERFORM mtm.require_admin(); END IF;
  RETURN QUERY SELECT r.* FROM jsonb_to_recordset(mtm.ask_gateway('ddl-activity', '{}') -> 'rows') AS r(
    node integer, kind text, pid integer, gid text, username text, state text, since timestamptz, statement text,
    blocked_by integer[], waits_for text) ORDER BY r.since NULLS LAST, r.node;
END $$;

-- Ends a process of any node that changes definitions or is in the way of that; false: it does neither (any more).
CREATE OR REPLACE FUNCTION mtm.release_ddl(node integer, pid integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM mtm.require_admin();
  RETURN (mtm.ask_gateway('release-ddl', jsonb_build_object('node', node, 'pid', pid)) ->> 'released')::boolean;
END $$;

REVOKE EXECUTE ON FUNCTION mtm.blockers_in_words(integer, integer[]), mtm.local_ddl(), mtm.local_release(integer) FROM PUBLIC;
