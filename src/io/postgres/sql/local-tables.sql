-- Tables whose rows stay where they were written. Runs after everywhere.sql; may be run again.
-- Rule: every node knows which they are, from the same place in the order of transactions on; what travels of their rows
-- is left out where it is applied (core/apply). Their definition is everybody's still.

CREATE TABLE IF NOT EXISTS mtm.local_table (relid oid PRIMARY KEY);
GRANT SELECT ON mtm.local_table TO PUBLIC;
ALTER TABLE mtm.node ADD COLUMN IF NOT EXISTS ignore_tables_without_pk boolean NOT NULL DEFAULT false;

-- Run on the other nodes by the message of make_table_local.
CREATE OR REPLACE FUNCTION mtm.note_local_table(name text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO mtm.local_table VALUES (name::regclass) ON CONFLICT DO NOTHING
$$;

-- Rows and TRUNCATE of the table stay on the node of the client from now on, those of its partitions too. What is in it
-- stays. The lock waits for transactions that have written to it.
CREATE OR REPLACE FUNCTION mtm.make_table_local(relation regclass) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE kind "char"; persistence "char"; schema_id oid;
BEGIN
  PERFORM mtm.require_admin();
  SELECT relkind, relpersistence, relnamespace INTO kind, persistence, schema_id FROM pg_class WHERE oid = relation;
  IF kind IS NULL OR kind NOT IN ('r', 'p') OR persistence = 't' OR relation::oid < 16384
    OR schema_id = 'mtm'::regnamespace THEN
    RAISE EXCEPTION '[multimaster] % is no table whose rows are replicated', relation USING ERRCODE = '42809';
  END IF;
  IF EXISTS (SELECT FROM mtm.local_table WHERE relid = relation) THEN RETURN; END IF;
  EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', mtm.full_name(relation));
  PERFORM mtm.note_local_table(mtm.full_name(relation));
  PERFORM mtm.emit_own_command(format('SELECT mtm.note_local_table(%L)', mtm.full_name(relation)));
END $$;

REVOKE EXECUTE ON FUNCTION mtm.note_local_table(text) FROM PUBLIC;
