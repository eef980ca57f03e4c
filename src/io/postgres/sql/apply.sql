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

-- What follows tells whether rows of a table may be written here with the gateway's own rights: not if that would run
-- code of others, who would be superuser in it (core/apply/row-writer.ts). Whose code it is: a function is its owner's;
-- an expression is its author's, the owner of the table or domain. What a superuser wrote may do anything; in an
-- expression of others only functions that a superuser owns and that are immutable are known to do nothing but compute
-- (query_to_xml runs what it is given).
CREATE OR REPLACE FUNCTION mtm.is_foreign_function(function oid, author_is_superuser boolean) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
  SELECT NOT (r.rolsuper AND (author_is_superuser OR p.provolatile = 'i'))
  FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner WHERE p.oid = function
$function$;

-- Dependencies on what initdb made are not recorded, so the stored tree itself is read: its fields are called the same
-- from 15 to 18, and its strings come escaped, so no name in it can look like one.
CREATE OR REPLACE FUNCTION mtm.is_foreign_expression(tree text, author oid, seen oid[]) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $function$
DECLARE author_is_superuser boolean;
BEGIN
  IF tree IS NULL THEN
    RETURN false;
  END IF;
  SELECT rolsuper INTO author_is_superuser FROM pg_roles WHERE oid = author;
  RETURN EXISTS (
    SELECT FROM regexp_matches(tree, ':(?:funcid|opfuncid|aggfnoid|winfnoid) (\d+)', 'g') f
    WHERE mtm.is_foreign_function(f[1]::oid, author_is_superuser)
  ) OR EXISTS (
    SELECT FROM regexp_matches(tree, ':opnos? (?:\(o )?([\d ]+)', 'g') m
    CROSS JOIN regexp_split_to_table(btrim(m[1]), ' +') o(id) JOIN pg_operator p ON p.oid = o.id::oid
    WHERE mtm.is_foreign_function(p.oprcode, author_is_superuser)
  ) OR EXISTS (
    SELECT FROM (SELECT DISTINCT m[1]::oid AS id FROM regexp_matches(tree, ':(?!\w*typmod)\w*typ\w* (\d+)', 'g') m) t
    WHERE mtm.is_foreign_type(t.id, seen)
  );
END
$function$;

-- Reading a value of the type runs code of others: the CHECK of a domain that is in it.
CREATE OR REPLACE FUNCTION mtm.is_foreign_type(type oid, seen oid[]) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
  t pg_type;
  known oid[] := seen || type;
BEGIN
  -- What initdb made has no domain of others in it.
  IF type < 16384 OR type = ANY (seen) THEN
    RETURN false;
  END IF;
  SELECT * INTO t FROM pg_type p WHERE p.oid = type;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  RETURN CASE t.typtype
    WHEN 'd' THEN mtm.is_foreign_type(t.typbasetype, known) OR EXISTS (SELECT FROM pg_constraint c
      WHERE c.contypid = type AND c.contype = 'c' AND mtm.is_foreign_expression(c.conbin::text, t.typowner, known))
    WHEN 'c' THEN EXISTS (SELECT FROM pg_attribute a
      WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND mtm.is_foreign_type(a.atttypid, known))
    WHEN 'r' THEN EXISTS (SELECT FROM pg_range r WHERE r.rngtypid = type AND mtm.is_foreign_type(r.rngsubtype, known))
    WHEN 'm' THEN EXISTS (SELECT FROM pg_range r WHERE r.rngmultitypid = type AND mtm.is_foreign_type(r.rngtypid, known))
    ELSE t.typelem <> 0 AND mtm.is_foreign_type(t.typelem, known)
  END;
END
$function$;

-- The type under all domains: what reads it runs no CHECK.
CREATE OR REPLACE FUNCTION mtm.base_type(type oid) RETURNS oid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
  WITH RECURSIVE line(id, depth) AS (
    SELECT type, 0
    UNION ALL SELECT t.typbasetype, depth + 1 FROM line JOIN pg_type t ON t.oid = line.id WHERE t.typtype = 'd'
  )
  SELECT id FROM line ORDER BY depth DESC LIMIT 1
$function$;

-- Triggers and rules that fire at the peers are the work of whoever owns the table; a superuser's function is no excuse,
-- since it does what it does with the rights of whoever runs it (lo_manage).
CREATE OR REPLACE FUNCTION mtm.has_foreign_trigger(relation oid, kinds integer) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
  SELECT EXISTS (SELECT FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_roles o ON o.oid = c.relowner
    WHERE t.tgrelid = relation AND t.tgenabled IN ('A', 'R') AND NOT t.tgisinternal AND t.tgtype & kinds <> 0
      AND (NOT o.rolsuper OR mtm.is_foreign_function(t.tgfoid, true)
        OR mtm.is_foreign_expression(t.tgqual::text, c.relowner, '{}')))
$function$;

-- `line`: the table and those that it is a partition of.
CREATE OR REPLACE FUNCTION mtm.runs_foreign_code(relation oid, line oid[]) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $function$
  SELECT mtm.has_foreign_trigger(relation, 28) -- INSERT, DELETE, UPDATE
  OR EXISTS (SELECT FROM pg_class c JOIN pg_roles o ON o.oid = c.relowner JOIN pg_rewrite r ON r.ev_class = c.oid
    WHERE c.oid = relation AND r.ev_enabled IN ('A', 'R') AND NOT o.rolsuper)
  OR EXISTS (SELECT FROM pg_attribute a
    WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND mtm.is_foreign_type(a.atttypid, '{}'))
  OR EXISTS (SELECT FROM pg_class c CROSS JOIN LATERAL (
      SELECT k.conbin::text FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'c'
      UNION ALL SELECT unnest(ARRAY[i.indexprs::text, i.indpred::text]) FROM pg_index i WHERE i.indrelid = c.oid
      UNION ALL SELECT d.adbin::text FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
        WHERE d.adrelid = c.oid AND a.attgenerated <> '') e(tree)
    WHERE c.oid = relation AND mtm.is_foreign_expression(e.tree, c.relowner, '{}'))
  OR EXISTS (SELECT FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partrelid
    WHERE p.partrelid = ANY (line) AND mtm.is_foreign_expression(p.partexprs::text, c.relowner, '{}'))
$function$;

-- A tree of the parser's, as another server has printed it: the type's own input function refuses all texts, because code
-- trusts what is in them.
CREATE OR REPLACE FUNCTION mtm.node_tree(cstring) RETURNS pg_node_tree LANGUAGE internal IMMUTABLE STRICT AS 'textin';
REVOKE EXECUTE ON FUNCTION mtm.node_tree(cstring) FROM PUBLIC;

-- The function in which rows of others' tables are written is theirs, so their code could change it: SECURITY INVOKER
-- would give it our rights. Asked before each call, in the same session.
CREATE OR REPLACE FUNCTION mtm.require_guard(function name, owner name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
  PERFORM FROM pg_proc p WHERE p.pronamespace = 'mtm'::regnamespace AND p.proname = function AND p.prosecdef
    AND p.proconfig IS NULL AND p.provolatile = 'v' AND NOT p.proisstrict AND pg_get_userbyid(p.proowner) = owner;
  IF NOT FOUND THEN
    RAISE EXCEPTION '[multimaster] the function in which the rows of % are written was changed', owner
      USING ERRCODE = '42501', HINT = 'Code that runs when a row is written must not change functions of the schema mtm.';
  END IF;
END
$function$;
