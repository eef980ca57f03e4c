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
               OR c.oid IN ('mtm.ddl_mark'::regclass, 'mtm.setval_call'::regclass))
             AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')), false) AS permanent,
           coalesce(bool_or(c.relpersistence = 't' OR c.oid = 'mtm.temporary_mark'::regclass), false) AS temporary
    FROM pg_locks l LEFT JOIN pg_class c ON c.oid = l.relation
    WHERE l.locktype = 'relation' AND l.pid = pg_backend_pid() AND l.granted
      AND l.database IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
  ) AS locks
$$;

-- Called just before PREPARE; on the path of every write. Returns
--   'empty'      no transaction id: nothing to replicate, nothing emitted: COMMIT
--   'temporary'  only temporary objects were touched: COMMIT
--   'mixed'      temporary and others: PREPARE would fail, the transaction commits last (mtm.header_open)
--   'write'      the header was emitted: PREPARE
--   'early'      the same, and the session does not want to wait for the other nodes (wait_peer_commits)
CREATE OR REPLACE FUNCTION mtm.header(gid text, hmac text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE kind text;
BEGIN
  IF current_setting('multimaster.monotonic_sequences', true) = 'on' THEN PERFORM mtm.tell_drawn(); END IF;
  IF pg_current_xact_id_if_assigned() IS NULL THEN RETURN 'empty'; END IF;
  IF pg_my_temp_schema() <> 0 THEN
    kind := mtm.touched();
    IF kind <> 'write' THEN RETURN kind; END IF;
  END IF;
  PERFORM pg_logical_emit_message(true, 'mtm', json_build_object('gid', gid, 'hmac', hmac)::text);
  RETURN CASE current_setting('multimaster.wait_peer_commits', true) WHEN 'off' THEN 'early' ELSE 'write' END;
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
-- their locks at once. All are small. DROP EVENT TRIGGER, DROP TABLESPACE and lo_unlink leave no trace.
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
    UNION ALL SELECT 'pg_event_trigger' FROM pg_event_trigger WHERE age(xmin) <= 0 AND mtm.is_own(xmin)) AS changed
    LIMIT 1);
END $$;

-- For a transaction without captured DDL: new relations of EXPLAIN ANALYZE CREATE TABLE AS, which fires no event trigger, are
-- told now; new owners (REASSIGN OWNED) are not.
CREATE OR REPLACE FUNCTION mtm.unseen_object(locked oid[]) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF mtm.capture_explained(locked) THEN RETURN NULL; END IF;
  RETURN (SELECT 'pg_shdepend' FROM pg_shdepend WHERE age(xmin) <= 0 AND mtm.is_own(xmin) LIMIT 1);
END $$;

-- Refuses what must never be prepared (a catalog lock that would stop decoding, architecture §9), what is not replicated
-- (large objects), and, unless announced, catalog changes that event triggers do not see.
CREATE OR REPLACE FUNCTION mtm.check_transaction(announced boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE l record; large boolean := false; marked boolean := false; locked oid[] := '{}'; unseen text;
BEGIN
  FOR l IN
    SELECT k.relation, k.mode, c.relname, c.relisshared, c.relpersistence FROM pg_locks k JOIN pg_class c ON c.oid = k.relation
    WHERE k.locktype = 'relation' AND k.pid = pg_backend_pid() AND k.granted
      AND k.mode NOT IN ('AccessShareLock', 'RowShareLock')
      AND k.database IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
  LOOP
    IF l.relation < 16384 AND l.mode IN ('ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
      AND NOT (l.relation = 'pg_collation'::regclass AND l.mode = 'ShareRowExclusiveLock') THEN
      RAISE EXCEPTION '[multimaster] a transaction that holds % on the system catalog "%" cannot be replicated',
        l.mode, l.relname USING ERRCODE = '0A000', HINT = 'Do not LOCK system catalogs.';
    END IF;
    IF l.relisshared AND l.relation <> 'pg_shdepend'::regclass THEN unseen := l.relname; END IF;
    IF l.relation >= 16384 AND l.mode = 'AccessExclusiveLock' THEN locked := locked || l.relation; END IF;
    large := large OR l.relation IN ('pg_largeobject'::regclass, 'pg_largeobject_metadata'::regclass);
    -- What touched temporary tables is not prepared anyway.
    marked := marked OR l.relpersistence = 't'
      OR l.relation IN ('mtm.ddl_mark'::regclass, 'mtm.temporary_mark'::regclass);
  END LOOP;
  IF large OR EXISTS (SELECT FROM pg_largeobject_metadata WHERE age(xmin) <= 0 AND mtm.is_own(xmin)) THEN
    RAISE EXCEPTION '[multimaster] large objects cannot be changed: they are not replicated'
      USING ERRCODE = '0A000', HINT = 'Keep the data in a bytea column.';
  END IF;
  IF announced THEN RETURN; END IF;
  unseen := coalesce(unseen, mtm.changed_catalog());
  IF unseen IS NULL AND NOT marked THEN unseen := mtm.unseen_object(locked); END IF;
  IF unseen IS NULL THEN RETURN; END IF;
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

-- As mtm.header, after a block that ran LOCK, DO, CALL, EXPLAIN ANALYZE or a function that is not built in. `announced`: the
-- gateway has announced a command of this transaction that event triggers do not see.
CREATE OR REPLACE FUNCTION mtm.header_checked(gid text, hmac text, announced boolean) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF pg_current_xact_id_if_assigned() IS NOT NULL THEN
    PERFORM mtm.check_transaction(announced);
    PERFORM mtm.check_row_types();
    IF mtm.is_bound() THEN RETURN 'mixed'; END IF;
  END IF;
  RETURN mtm.header(gid, hmac);
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
  PERFORM mtm.check_transaction(announced);
  PERFORM mtm.check_row_types();
  IF current_setting('multimaster.monotonic_sequences', true) = 'on' THEN PERFORM mtm.tell_drawn(); END IF;
  FOR timeout IN SELECT name FROM pg_settings WHERE name IN ('statement_timeout', 'lock_timeout', 'transaction_timeout',
    'idle_in_transaction_session_timeout') AND setting <> '0'
  LOOP
    PERFORM set_config(timeout, '0', true);
  END LOOP;
  IF current_setting('synchronous_commit') = 'off' THEN PERFORM set_config('synchronous_commit', 'local', true); END IF;
  PERFORM pg_logical_emit_message(true, 'mtm', json_build_object('gid', gid, 'hmac', hmac)::text);
  PERFORM pg_logical_emit_message(true, 'mtm-open', repeat(' ', 262144));
  RETURN pg_current_xact_id()::text;
END $$;

REVOKE EXECUTE ON FUNCTION mtm.touched(), mtm.is_own(xid), mtm.changed_catalog(), mtm.unseen_object(oid[]),
  mtm.check_row_types(), mtm.check_transaction(boolean), mtm.is_bound() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mtm.header(text, text), mtm.header_checked(text, text, boolean),
  mtm.header_open(text, text, boolean) TO PUBLIC;
