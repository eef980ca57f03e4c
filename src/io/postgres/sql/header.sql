-- The header: the last message before PREPARE TRANSACTION, and what the server knows about the transaction so far.

-- 'write', 'temporary' or 'mixed' for a transaction with a transaction id in a session with a temporary schema.
-- The session's own locks tell. Sequences do not count (nextval is not part of the transaction); a relation that is
-- locked but gone was dropped here: permanent ones leave the mark.
CREATE OR REPLACE FUNCTION mtm.touched() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN NOT permanent AND temporary THEN 'temporary' WHEN permanent AND temporary THEN 'mixed' ELSE 'write' END
  FROM (
    SELECT coalesce(bool_or(c.oid >= 16384 AND c.relpersistence <> 't' AND c.relkind <> 'S'
             AND (c.relnamespace <> 'mtm'::regnamespace OR c.oid = 'mtm.ddl_mark'::regclass)
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
--   'mixed'      temporary and others: PREPARE would fail
--   'write'      the header was emitted: PREPARE
CREATE OR REPLACE FUNCTION mtm.header(gid text, hmac text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE kind text;
BEGIN
  IF pg_current_xact_id_if_assigned() IS NULL THEN RETURN 'empty'; END IF;
  IF pg_my_temp_schema() <> 0 THEN
    kind := mtm.touched();
    IF kind <> 'write' THEN RETURN kind; END IF;
  END IF;
  PERFORM pg_logical_emit_message(true, 'mtm', json_build_object('gid', gid, 'hmac', hmac)::text);
  RETURN 'write';
END $$;

-- Is the row version of a transaction that still runs? Only the own one's can be seen. Its id is widened relative to the
-- own one, to either side: subtransactions have later ids.
CREATE OR REPLACE FUNCTION mtm.is_own(row_xmin xid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT age(row_xmin) <= 0 AND row_xmin::text::bigint > 2 AND coalesce(pg_xact_status(
    (me + ((row_xmin::text::bigint - me + 6442450944) & 4294967295) - 2147483648)::text::xid8) = 'in progress', false)
  FROM (SELECT pg_current_xact_id()::text::bigint AS me) AS own
$$;

-- Relations that the own transaction has locked to change them, or more.
CREATE OR REPLACE FUNCTION mtm.own_locks(OUT relation oid, OUT mode text, OUT name name, OUT shared boolean)
RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT l.relation, l.mode, c.relname, c.relisshared
  FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
  WHERE l.locktype = 'relation' AND l.pid = pg_backend_pid() AND l.granted
    AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')
    AND l.database IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
$$;

-- Refuses what must never be prepared: a catalog lock that would stop decoding (architecture §9), large objects.
CREATE OR REPLACE FUNCTION mtm.check_catalog_locks() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE l record;
BEGIN
  FOR l IN SELECT * FROM mtm.own_locks() WHERE relation < 16384 LOOP
    IF l.mode IN ('ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock') THEN
      RAISE EXCEPTION '[multimaster] a transaction that holds % on the system catalog "%" cannot be replicated',
        l.mode, l.name USING ERRCODE = '0A000', HINT = 'Do not LOCK system catalogs.';
    END IF;
  END LOOP;
  IF EXISTS (SELECT FROM mtm.own_locks() WHERE relation IN ('pg_largeobject'::regclass, 'pg_largeobject_metadata'::regclass))
    OR EXISTS (SELECT FROM pg_largeobject_metadata WHERE age(xmin) <= 0 AND mtm.is_own(xmin)) THEN
    RAISE EXCEPTION '[multimaster] large objects cannot be changed: they are not replicated'
      USING ERRCODE = '0A000', HINT = 'Keep the data in a bytea column.';
  END IF;
END $$;

-- Refuses catalog changes that event triggers do not see and nobody announced: on shared catalogs by lock or by row (most
-- of them are small), on ownership (REASSIGN OWNED) and new tables (EXPLAIN ANALYZE CREATE TABLE AS) only when no
-- other DDL of the transaction was captured. DROP EVENT TRIGGER and DROP of a tablespace leave no trace.
CREATE OR REPLACE FUNCTION mtm.check_unseen_changes() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE unseen text;
BEGIN
  SELECT name INTO unseen FROM (
    SELECT name::text FROM mtm.own_locks() WHERE shared AND relation <> 'pg_shdepend'::regclass
    UNION ALL SELECT 'pg_database' FROM pg_database WHERE age(xmin) <= 0 AND mtm.is_own(xmin)
    UNION ALL SELECT 'pg_tablespace' FROM pg_tablespace WHERE age(xmin) <= 0 AND mtm.is_own(xmin)
    UNION ALL SELECT 'pg_db_role_setting' FROM pg_db_role_setting WHERE age(xmin) <= 0 AND mtm.is_own(xmin)
    UNION ALL SELECT 'pg_auth_members' FROM pg_auth_members WHERE age(xmin) <= 0 AND mtm.is_own(xmin)
    UNION ALL SELECT 'pg_parameter_acl' FROM pg_parameter_acl WHERE age(xmin) <= 0 AND mtm.is_own(xmin)
    UNION ALL SELECT 'pg_shdescription' FROM pg_shdescription WHERE age(xmin) <= 0 AND mtm.is_own(xmin)
    UNION ALL SELECT 'pg_shseclabel' FROM pg_shseclabel WHERE age(xmin) <= 0 AND mtm.is_own(xmin)
    UNION ALL SELECT 'pg_event_trigger' FROM pg_event_trigger WHERE age(xmin) <= 0 AND mtm.is_own(xmin)) AS changed LIMIT 1;
  IF unseen IS NULL AND (pg_my_temp_schema() = 0 OR mtm.touched() = 'write')
    AND NOT EXISTS (SELECT FROM mtm.own_locks() WHERE relation = 'mtm.ddl_mark'::regclass) THEN
    SELECT name INTO unseen FROM (
      SELECT l.relation::regclass::text AS name
      FROM mtm.own_locks() l JOIN pg_attribute a ON a.attrelid = l.relation AND a.attnum = 1
      WHERE l.relation >= 16384 AND l.mode = 'AccessExclusiveLock' AND mtm.is_own(a.xmin)
      UNION ALL
      SELECT 'pg_shdepend' FROM pg_shdepend WHERE age(xmin) <= 0 AND mtm.is_own(xmin)) AS changed LIMIT 1;
  END IF;
  IF unseen IS NULL THEN RETURN; END IF;
  RAISE EXCEPTION '[multimaster] the transaction changed % by a command that cannot be replicated from here', unseen
    USING ERRCODE = '0A000', HINT = 'Run commands on roles, databases, tablespaces and event triggers and REASSIGN OWNED at '
      || 'top level, and CREATE TABLE AS without EXPLAIN ANALYZE.';
END $$;

-- As mtm.header, after a block that ran LOCK, DO, CALL, EXPLAIN ANALYZE or a function that is not built in. `announced`: the
-- gateway has announced a command of this transaction that event triggers do not see.
CREATE OR REPLACE FUNCTION mtm.header_checked(gid text, hmac text, announced boolean) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF pg_current_xact_id_if_assigned() IS NULL THEN RETURN 'empty'; END IF;
  PERFORM mtm.check_catalog_locks();
  IF NOT announced THEN PERFORM mtm.check_unseen_changes(); END IF;
  RETURN mtm.header(gid, hmac);
END $$;

REVOKE EXECUTE ON FUNCTION mtm.touched(), mtm.is_own(xid), mtm.own_locks(), mtm.check_catalog_locks(),
  mtm.check_unseen_changes() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mtm.header(text, text), mtm.header_checked(text, text, boolean) TO PUBLIC;
