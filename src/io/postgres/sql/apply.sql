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
