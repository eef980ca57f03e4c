-- EXPLAIN ANALYZE of CREATE TABLE AS, SELECT INTO and CREATE MATERIALIZED VIEW creates the relation, and no event trigger fires.
-- What was created is told with the header, behind its rows, which the peers hold back until then.

CREATE OR REPLACE FUNCTION mtm.view_definition(view oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT format('CREATE MATERIALIZED VIEW %I.%I (%s) USING %I%s%s AS %s WITH %sDATA', n.nspname, c.relname,
    (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = view AND attnum > 0),
    (SELECT amname FROM pg_am WHERE oid = c.relam),
    ' WITH (' || (SELECT string_agg(format('%s=%L', split_part(o, '=', 1), substr(o, position('=' IN o) + 1)), ', ')
      FROM unnest(c.reloptions) AS o) || ')',
    CASE WHEN c.reltablespace <> 0
      THEN format(' TABLESPACE %I', (SELECT spcname FROM pg_tablespace WHERE oid = c.reltablespace)) ELSE '' END,
    rtrim(pg_get_viewdef(view), ';'), CASE WHEN c.relispopulated THEN '' ELSE 'NO ' END)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = view
$$;

-- `locked`: what the transaction holds an AccessExclusiveLock on. False: none of it is new.
CREATE OR REPLACE FUNCTION mtm.capture_explained(locked oid[]) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE c pg_class; found_one boolean := false;
BEGIN
  FOR c IN
    SELECT r.* FROM pg_class r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum = 1
    WHERE r.oid = ANY (locked) AND r.relkind IN ('r', 'm') AND r.relpersistence <> 't' AND mtm.is_own(a.xmin)
  LOOP
    found_one := true;
    PERFORM set_config('mtm.search_path', 'pg_catalog', true),
      set_config('mtm.effective_user', pg_get_userbyid(c.relowner), true);
    IF c.relkind = 'm' THEN PERFORM mtm.check_materialized(c.oid), mtm.emit_ddl(mtm.view_definition(c.oid), 'CREATE MATERIALIZED VIEW');
    ELSE PERFORM mtm.emit_ddl(mtm.table_definition(c.oid), 'CREATE TABLE AS');
    END IF;
    PERFORM mtm.adjust_table(c.oid);
  END LOOP;
  RETURN found_one;
END $$;

REVOKE EXECUTE ON FUNCTION mtm.view_definition(oid), mtm.capture_explained(oid[]) FROM PUBLIC;
