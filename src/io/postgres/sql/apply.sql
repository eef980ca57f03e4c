-- Helpers of the applier. Run after the schema mtm exists; may be run again.

-- Fails with the given fields. In a CASE or behind a WHERE it makes a check fail inside the server, so that PREPARE
-- TRANSACTION can travel in the same packet. It harms nobody: whoever calls it only ends his own statement.
CREATE OR REPLACE FUNCTION mtm.fail(state text, message text, schema_name text, table_name text, constraint_name text)
RETURNS integer LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog AS $fail$
BEGIN
  RAISE EXCEPTION USING ERRCODE = state, MESSAGE = message, SCHEMA = schema_name, TABLE = table_name,
    CONSTRAINT = constraint_name;
END
$fail$;

-- A replicated command runs in a function of this schema that is owned by the command's own role (core/apply/ddl-plan.ts).
GRANT USAGE ON SCHEMA mtm TO PUBLIC;

-- Each worker has one. They are made before anybody can prepare a DROP SUBSCRIPTION, which keeps their table locked (on 15)
-- until it is decided: who waits for that must not be the one who decides.
DO $$
BEGIN
  PERFORM pg_replication_origin_create('mtm_apply_' || n) FROM generate_series(1, 100) AS n
  WHERE pg_replication_origin_oid('mtm_apply_' || n) IS NULL;
EXCEPTION WHEN unique_violation OR duplicate_object THEN NULL; -- by the gateway's node of another database
END $$;
