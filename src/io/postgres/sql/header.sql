-- The header: the last message before PREPARE TRANSACTION, and what the server knows about the transaction so far.

-- 'write', 'temporary' or 'mixed' for a transaction with a transaction id in a session with a temporary schema.
-- The session's own locks tell. Sequences do not count (nextval is not part of the transaction); a relation that is
-- locked but gone was dropped here: permanent ones leave the mark.
CREATE OR REPLACE FUNCTION mtm.touched() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN NOT permanent AND temporary THEN 'temporary' WHEN permanent AND temporary THEN 'mixed' ELSE 'write' END
  FROM (
    SELECT coalesce(bool_or(c.oid >= 16384 AND c.relpersistence <> 't' AND c.relkind <> 'S'
             AND (c.relnamespace <> 'mtm'::regnamespace
               OR c.oid IN ('mtm.notify_mark'::regclass, 'mtm.setval_call'::regclass))
             AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')
             OR c.oid = 'pg_transform'::regclass AND l.mode = 'RowExclusiveLock'), false) AS permanent,
           coalesce(bool_or(c.relpersistence = 't' OR c.oid = 'mtm.temporary_mark'::regclass), false) AS temporary
    FROM pg_locks l LEFT JOIN pg_class c ON c.oid = l.relation
    WHERE l.locktype = 'relation' AND l.pid = pg_backend_pid() AND l.granted
      AND l.database IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
  ) AS locks
$$;

-- The client's session is a replica's: nobody has checked its foreign keys, and nobody is to check them elsewhere.
CREATE OR REPLACE FUNCTION mtm.emit_unchecked() RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_logical_emit_message(true, 'mtm-follow', '{"do": "unchecked"}')
  WHERE current_setting('session_replication_role') = 'replica'
$$;

-- Called just before PREPARE, or by one of the two functions that are. Returns
--   'empty'      no transaction id: nothing to replicate, nothing emitted: COMMIT
--   'temporary'  only temporary objects were touched: COMMIT
--   'mixed'      temporary and others (a notification too): PREPARE would fail, the transaction commits last (mtm.header_open)
--   'write'      the header was emitted: PREPARE
--   'early'      the same, and the session does not want to wait for the other nodes (wait_peer_commits)
-- Only functions that have set search_path call it: to set it again would cost as much as the rest.
CREATE OR REPLACE FUNCTION mtm.seal(gid text, hmac text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE kind text;
BEGIN
  IF current_setting('multimaster.monotonic_sequences', true) = 'on' THEN PERFORM mtm.tell_drawn(); END IF;
  IF pg_current_xact_id_if_assigned() IS NULL THEN RETURN 'empty'; END IF;
  IF pg_my_temp_schema() <> 0 THEN
    kind := mtm.touched();
    IF kind <> 'write' THEN RETURN kind; END IF;
  END IF;
  IF current_setting('session_replication_role') = 'replica' THEN PERFORM mtm.emit_unchecked(); END IF;
  PERFORM pg_logical_emit_message(true, 'mtm', json_build_object('gid', gid, 'hmac', hmac)::text);
  RETURN CASE current_setting('multimaster.wait_peer_commits', true) WHEN 'off' THEN 'early' ELSE 'write' END;
END $$;

-- Whoever has written may have said SET TRANSACTION READ ONLY since: then a row, of no use to anybody, stays.
CREATE OR REPLACE FUNCTION mtm.forget_accounted() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF current_setting('transaction_read_only') = 'off' THEN
    DELETE FROM mtm.accounted WHERE transaction = pg_current_xact_id_if_assigned();
  END IF;
END $$;

-- For row changes and DDL; on the path of every write. Triggers of users may still have run commands on roles, memberships,
-- settings, grants: when the session has counted any (see unwatched.sql) it is looked at closely.
CREATE OR REPLACE FUNCTION mtm.header(gid text, hmac text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE kind text;
BEGIN
  IF pg_stat_get_xact_tuples_inserted(1260) + pg_stat_get_xact_tuples_updated(1260) + pg_stat_get_xact_tuples_deleted(1260)
    + pg_stat_get_xact_tuples_inserted(1261) + pg_stat_get_xact_tuples_updated(1261) + pg_stat_get_xact_tuples_deleted(1261)
    + pg_stat_get_xact_tuples_inserted(2964) + pg_stat_get_xact_tuples_updated(2964) + pg_stat_get_xact_tuples_deleted(2964)
    + pg_stat_get_xact_tuples_inserted(6243) + pg_stat_get_xact_tuples_deleted(6243) + pg_stat_get_xact_tuples_updated(1262)
    + pg_stat_get_xact_tuples_inserted(2396) + pg_stat_get_xact_tuples_inserted(3466) > 0 THEN
    PERFORM mtm.emit_unwatched();
    PERFORM mtm.check_transaction(false);
    kind := mtm.seal(gid, hmac);
    IF kind NOT IN ('mixed', 'empty') THEN PERFORM mtm.forget_accounted(); END IF;
    RETURN kind;
  END IF;
  RETURN mtm.seal(gid, hmac);
END $$;

-- Is the row version of a transaction that still runs? Only the own one's can be seen. Its id is widened relative to the
-- own one, to either side: subtransactions have later ids.
CREATE OR REPLACE FUNCTION mtm.is_own(row_xmin xid) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE me bigint; it bigint := row_xmin::text::bigint;
BEGIN
  IF it < 3 OR age(row_xmin) > 0 THEN RETURN false; END IF;
  me := pg_current_xact_id()::text::bigint;
  RETURN coalesce(pg_xact_status(
    (me + ((it - me + 6442450944) & 4294967295) - 2147483648)::text::xid8) = 'in progress', false);
END $$;

-- A catalog that event triggers do not watch and that this transaction has written: by row, because most commands give up
-- their locks at once. All are small. What was deleted only the counters of the session know (of a transaction that was
-- rolled back just before, too: refused once too often); COMMENT ON and DROP of an event trigger lock it to the end.
CREATE OR REPLACE FUNCTION mtm.changed_catalog() RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RETURN (SELECT name FROM (
    SELECT 'pg_database' AS name FROM pg_database WHERE age(xmin) <= 0 AND mtm.is_own(xmin)
    UNION ALL SELECT 'pg_tablespace' FROM pg_tablespace WHERE age(xmin) <= 0 AND mtm.is_own(xmin)
    UNION ALL SELECT 'pg_db_role_setting' FROM pg_db_role_setting WHERE age(xmin) <= 0 AND mtm.is_own(xmin)
    UNION ALL SELECT 'pg_auth_members' FROM pg_auth_members WHERE age(xmin) <= 0 AND mtm.is_own(xmin)
    UNION ALL SELECT 'pg_parameter_acl' FROM pg_parameter_acl WHERE age(xmin) <= 0 AND mtm.is_own(xmin)
    UNION ALL SELECT 'pg_shdescription' FROM pg_shdescription WHERE age(xmin) <= 0 AND mtm.is_own(xmin)
    UNION ALL SELECT 'pg_shseclabel' FROM pg_shseclabel WHERE age(xmin) <= 0 AND mtm.is_own(xmin)
    UNION ALL SELECT 'pg_event_trigger' FROM pg_event_trigger WHERE age(xmin) <= 0 AND mtm.is_own(xmin)
    UNION ALL SELECT 'pg_event_trigger' FROM pg_locks WHERE locktype = 'object' AND pid = pg_backend_pid() AND granted
      AND classid = 'pg_event_trigger'::regclass AND mode IN ('ShareUpdateExclusiveLock', 'AccessExclusiveLock')
    UNION ALL SELECT t FROM unnest(ARRAY['pg_db_role_setting', 'pg_auth_members', 'pg_parameter_acl', 'pg_shdescription',
      'pg_shseclabel', 'pg_event_trigger']) AS t
      WHERE pg_stat_get_xact_tuples_deleted(to_regclass('pg_catalog.' || t)) > 0) AS changed
    LIMIT 1);
END $$;

-- For a transaction without captured DDL: new relations of EXPLAIN ANALYZE CREATE TABLE AS, which fires no event trigger, are
-- told now; new owners (REASSIGN OWNED) are not.
CREATE OR REPLACE FUNCTION mtm.unseen_object(locked oid[]) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF mtm.capture_explained(locked) THEN RETURN NULL; END IF;
  -- What went over to the first superuser has lost its row in pg_shdepend.
  RETURN (SELECT 'pg_shdepend' FROM pg_shdepend WHERE age(xmin) <= 0 AND mtm.is_own(xmin)
    UNION ALL SELECT 'pg_shdepend' WHERE pg_stat_get_xact_tuples_deleted('pg_shdepend'::regclass) > 0 AND (
      EXISTS (SELECT FROM pg_class WHERE oid = ANY (locked) AND relowner = 10 AND age(xmin) <= 0 AND mtm.is_own(xmin))
      OR EXISTS (SELECT FROM pg_proc WHERE age(xmin) <= 0 AND mtm.is_own(xmin))
      OR EXISTS (SELECT FROM pg_type WHERE age(xmin) <= 0 AND mtm.is_own(xmin))
      OR EXISTS (SELECT FROM pg_namespace WHERE age(xmin) <= 0 AND mtm.is_own(xmin))) LIMIT 1);
END $$;

-- Can a function, rule or default of this database change large objects, where no text shows it?
CREATE OR REPLACE FUNCTION mtm.hides_large_objects() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
DECLARE
  calls constant text := (SELECT ':funcid (' || string_agg(oid::text, '|') || ') ' FROM pg_proc
    WHERE oid < 16384 AND (proname LIKE 'lo\_%' OR proname IN ('loread', 'lowrite')));
BEGIN
  RETURN EXISTS (SELECT FROM pg_proc WHERE oid >= 16384 AND pronamespace <> 'mtm'::regnamespace
      AND (prosrc ~* '\m(lo_[a-z0-9_]+|lowrite|loread)\M' OR prosqlbody::text ~ calls))
    OR EXISTS (SELECT FROM pg_rewrite WHERE oid >= 16384 AND ev_type <> '1' AND ev_action::text ~ calls)
    OR EXISTS (SELECT FROM pg_attrdef WHERE oid >= 16384 AND adbin::text ~ calls);
END $$;

-- Refuses what must never be prepared (a catalog lock that would stop decoding, architecture §9), what is not replicated
-- (large objects), and, unless announced, catalog changes that event triggers do not see.
CREATE OR REPLACE FUNCTION mtm.check_transaction(announced boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  l record;
  -- lo_unlink leaves its lock on the object; whatever opens one, also to read it, one on the table.
  large boolean := EXISTS (SELECT FROM pg_locks WHERE locktype = 'object' AND pid = pg_backend_pid() AND granted
    AND classid = 'pg_largeobject'::regclass AND mode = 'AccessExclusiveLock'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database()));
  marked boolean := false; locked oid[] := '{}'; unseen text; accounted bigint; new_collations text;
  drops constant boolean := pg_stat_get_xact_tuples_deleted('pg_subscription'::regclass) > 0;
BEGIN
  FOR l IN
    SELECT k.relation, k.mode, c.relname, c.relisshared, c.relpersistence FROM pg_locks k JOIN pg_class c ON c.oid = k.relation
    WHERE k.locktype = 'relation' AND k.pid = pg_backend_pid() AND k.granted
      AND k.mode NOT IN ('AccessShareLock', 'RowShareLock')
      AND k.database IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
  LOOP
    CONTINUE WHEN l.relation = 'pg_subscription'::regclass; -- DROP SUBSCRIPTION; decoding does not need it
    -- Each subscription has an origin, which goes with it.
    CONTINUE WHEN drops AND l.relation = 'pg_replication_origin'::regclass AND l.mode <> 'AccessExclusiveLock';
    IF l.relation < 16384 AND l.mode IN ('ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
      AND NOT (l.relation = 'pg_collation'::regclass AND l.mode = 'ShareRowExclusiveLock') THEN
      RAISE EXCEPTION '[multimaster] a transaction that holds % on the system catalog "%" cannot be replicated',
        l.mode, l.relname USING ERRCODE = '0A000', HINT = 'Do not LOCK system catalogs.';
    END IF;
    -- CREATE COLLATION takes it, and pg_import_system_collations(), which no event trigger sees.
    IF l.relation = 'pg_collation'::regclass AND l.mode = 'ShareRowExclusiveLock' THEN new_collations := l.relname; END IF;
    IF l.relisshared AND l.relation <> 'pg_shdepend'::regclass THEN unseen := l.relname; END IF;
    IF l.relation >= 16384 AND l.mode = 'AccessExclusiveLock' THEN locked := locked || l.relation; END IF;
    large := large OR l.relation IN ('pg_largeobject'::regclass, 'pg_largeobject_metadata'::regclass);
    -- What touched temporary tables is not prepared anyway.
    marked := marked OR l.relpersistence = 't'
      OR l.relation = 'pg_transform'::regclass AND l.mode = 'RowExclusiveLock'
      OR l.relation = 'mtm.temporary_mark'::regclass;
  END LOOP;
  IF large OR EXISTS (SELECT FROM pg_largeobject_metadata WHERE age(xmin) <= 0 AND mtm.is_own(xmin)) THEN
    RAISE EXCEPTION '[multimaster] large objects are not replicated: a transaction that writes can neither change nor open them'
      USING ERRCODE = '0A000', HINT = 'Keep the data in a bytea column; read large objects in a transaction of their own.';
  END IF;
  SELECT a.changes INTO accounted FROM mtm.accounted a WHERE a.transaction = pg_current_xact_id_if_assigned();
  IF announced AND accounted IS DISTINCT FROM -1 THEN RETURN; END IF;
  IF accounted < 0 THEN unseen := 'a shared catalog';
  ELSIF accounted IS NOT NULL THEN unseen := CASE WHEN accounted <> mtm.unwatched_changes() THEN 'a shared catalog' END;
  ELSE unseen := coalesce(unseen, mtm.changed_catalog());
  END IF;
  IF unseen IS NULL AND NOT marked THEN unseen := coalesce(mtm.unseen_object(locked), new_collations); END IF;
  IF unseen IS NULL THEN RETURN; END IF;
  PERFORM pg_stat_force_next_flush(); -- the counters are not to hold it against the next transaction
  RAISE EXCEPTION '[multimaster] the transaction changed % by a command that cannot be replicated from here', unseen
    USING ERRCODE = '0A000', HINT = 'Run commands on roles, databases, tablespaces and event triggers and REASSIGN OWNED at '
      || 'top level.';
END $$;

-- Decoding prints a value of a row type under AccessShareLock on the type's relation: for a type that the prepared transaction
-- itself created or altered it would wait for ever (measured). Rows of such a type in the same transaction are refused.
CREATE OR REPLACE FUNCTION mtm.check_row_types() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE t regtype; r regclass;
BEGIN
  WITH RECURSIVE locks AS MATERIALIZED (
    SELECT k.relation, k.mode FROM pg_locks k
    WHERE k.locktype = 'relation' AND k.pid = pg_backend_pid() AND k.granted AND k.relation >= 16384
      AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  ), used(written, type) AS (
    SELECT a.attrelid, a.atttypid FROM locks l JOIN pg_attribute a ON a.attrelid = l.relation
    WHERE l.mode = 'RowExclusiveLock' AND a.attnum > 0 AND a.atttypid >= 16384
    UNION
    SELECT u.written, inner_type FROM used u JOIN pg_type y ON y.oid = u.type
    CROSS JOIN LATERAL (
      SELECT y.typelem AS inner_type UNION ALL SELECT y.typbasetype
      UNION ALL SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = y.typrelid AND a.attnum > 0
      UNION ALL SELECT g.rngsubtype FROM pg_range g WHERE y.oid IN (g.rngtypid, g.rngmultitypid)
    ) AS i WHERE inner_type >= 16384
  )
  SELECT u.type::regtype, u.written::regclass INTO t, r
  FROM used u JOIN pg_type y ON y.oid = u.type JOIN locks l ON l.relation = y.typrelid
  WHERE y.typrelid <> 0 AND l.mode = 'AccessExclusiveLock' AND EXISTS (
    SELECT FROM pg_attribute a WHERE a.attrelid = y.typrelid AND a.attnum > 0 AND age(a.xmin) <= 0 AND mtm.is_own(a.xmin))
  LIMIT 1;
  IF t IS NULL THEN RETURN; END IF;
  RAISE EXCEPTION '[multimaster] rows of % use the row type % in the transaction that creates or alters it', r, t
    USING ERRCODE = '0A000', HINT = 'Commit the type before the rows.';
END $$;

-- Has this transaction something beside temporary tables that PREPARE refuses: a cursor WITH HOLD, an exported snapshot?
CREATE OR REPLACE FUNCTION mtm.is_bound() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (SELECT FROM pg_cursors WHERE is_holdable AND creation_time >= transaction_timestamp())
    OR EXISTS (
      SELECT FROM pg_locks l JOIN pg_ls_dir('pg_snapshots') AS f(name) ON f.name LIKE
        upper(lpad(to_hex(split_part(l.virtualxid, '/', 1)::integer), 8, '0')) || '-' ||
        upper(lpad(to_hex(split_part(l.virtualxid, '/', 2)::bigint), 8, '0')) || '-%'
      WHERE l.locktype = 'virtualxid' AND l.pid = pg_backend_pid() AND l.granted AND l.mode = 'ExclusiveLock')
$$;

-- CLUSTER fires no event trigger. What it did to the rows is each node's own, the mark on the index is not.
CREATE OR REPLACE FUNCTION mtm.emit_clustered() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE i record;
BEGIN
  FOR i IN
    SELECT n.nspname, t.relname AS table_name, c.relname AS index_name
    FROM pg_locks k JOIN pg_index x ON x.indrelid = k.relation JOIN pg_class t ON t.oid = x.indrelid
    JOIN pg_class c ON c.oid = x.indexrelid JOIN pg_namespace n ON n.oid = t.relnamespace
    WHERE k.locktype = 'relation' AND k.pid = pg_backend_pid() AND k.granted AND k.mode = 'AccessExclusiveLock'
      AND x.indisclustered AND t.relpersistence <> 't' AND age(x.xmin) <= 0 AND mtm.is_own(x.xmin)
      AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  LOOP
    PERFORM set_config('mtm.search_path', 'pg_catalog', true), set_config('mtm.effective_user',
      mtm.current_role_name()::text, true);
    PERFORM mtm.emit_ddl(format('ALTER TABLE %I.%I CLUSTER ON %I', i.nspname, i.table_name, i.index_name), 'ALTER TABLE');
  END LOOP;
END $$;

-- As mtm.header, after a block that ran LOCK, DO, CALL, EXPLAIN ANALYZE or a function that is not built in. `announced`: the
-- gateway has announced a command of this transaction that event triggers do not see.
CREATE OR REPLACE FUNCTION mtm.header_checked(gid text, hmac text, announced boolean) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE kind text;
BEGIN
  IF pg_current_xact_id_if_assigned() IS NOT NULL THEN
    IF NOT announced THEN PERFORM mtm.emit_unwatched(); END IF;
    PERFORM mtm.check_transaction(announced);
    PERFORM mtm.check_row_types();
    IF mtm.is_bound() THEN RETURN 'mixed'; END IF;
    PERFORM mtm.emit_clustered();
  END IF;
  kind := mtm.seal(gid, hmac);
  IF kind NOT IN ('mixed', 'empty') THEN PERFORM mtm.forget_accounted(); END IF;
  RETURN kind;
END $$;

-- Just before the commit of a transaction that PREPARE would refuse: it stays open at its origin until the others have decided.
-- The header, then enough behind it that a stream of transactions in progress shows all of it (open-capture.ts). Nothing may
-- end or fail it from now on: its timeouts are lifted, and its commit is durable. Returns the transaction's id.
CREATE OR REPLACE FUNCTION mtm.header_open(gid text, hmac text, announced boolean) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE timeout text;
BEGIN
  -- Others may make it fail until the very end of its COMMIT.
  IF current_setting('transaction_isolation') = 'serializable' THEN
    RAISE EXCEPTION '[multimaster] a serializable transaction with temporary tables, a cursor WITH HOLD or an exported '
      'snapshot cannot change replicated tables' USING ERRCODE = '0A000', HINT = 'Use REPEATABLE READ.';
  END IF;
  IF NOT announced THEN PERFORM mtm.emit_unwatched(); END IF;
  PERFORM mtm.check_transaction(announced);
  PERFORM mtm.check_row_types();
  PERFORM mtm.emit_clustered();
  PERFORM mtm.forget_accounted();
  IF current_setting('multimaster.monotonic_sequences', true) = 'on' THEN PERFORM mtm.tell_drawn(); END IF;
  FOR timeout IN SELECT name FROM pg_settings WHERE name IN ('statement_timeout', 'lock_timeout', 'transaction_timeout',
    'idle_in_transaction_session_timeout') AND setting <> '0'
  LOOP
    PERFORM set_config(timeout, '0', true);
  END LOOP;
  IF current_setting('synchronous_commit') = 'off' THEN PERFORM set_config('synchronous_commit', 'local', true); END IF;
  PERFORM mtm.emit_unchecked();
  PERFORM pg_logical_emit_message(true, 'mtm', json_build_object('gid', gid, 'hmac', hmac)::text);
  PERFORM pg_logical_emit_message(true, 'mtm-open', repeat(' ', 262144));
  RETURN pg_current_xact_id()::text;
END $$;

-- The transaction has used temporary objects, if only to read them, or holds a cursor beyond its end: PREPARE refuses it.
CREATE OR REPLACE FUNCTION mtm.is_unpreparable() RETURNS boolean
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (SELECT FROM pg_cursors WHERE is_holdable AND creation_time >= transaction_timestamp())
    OR (pg_my_temp_schema() <> 0 AND EXISTS (SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
      WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND c.relnamespace = pg_my_temp_schema()))
$$;

REVOKE EXECUTE ON FUNCTION mtm.seal(text, text), mtm.emit_unchecked(), mtm.forget_accounted(), mtm.touched(),
  mtm.is_own(xid),
  mtm.changed_catalog(), mtm.unseen_object(oid[]), mtm.check_row_types(), mtm.check_transaction(boolean),
  mtm.hides_large_objects(), mtm.emit_clustered(), mtm.is_bound() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mtm.header(text, text), mtm.header_checked(text, text, boolean),
  mtm.header_open(text, text, boolean) TO PUBLIC;
