-- ALTER TABLE that rewrites a table runs again on each node. Where the new values would differ (a volatile default or USING, a
-- serial or identity column), the other nodes are told the rows instead: they empty the table, run the command on nothing, and
-- get the rows of the home node in messages `mtm-follow`.
-- Rule: refused (0A000) where that would do more or less than the command: a trigger that fires at the peers, too many rows.

-- Is the default of this column not the same on each node? Identity, and any function that is not immutable.
CREATE OR REPLACE FUNCTION mtm.differs_between_nodes(relation oid, attribute smallint) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
  SELECT a.attgenerated = '' AND (a.attidentity <> '' OR coalesce(
    (SELECT d.adbin::text ~ '\{(NEXTVALUEEXPR|SQLVALUEFUNCTION)' OR EXISTS (
        SELECT FROM regexp_matches(d.adbin::text, ':(?:opfuncid|funcid) ([0-9]+)', 'g') AS m
        JOIN pg_proc p ON p.oid = m[1]::oid WHERE p.provolatile <> 'i')
      FROM pg_attrdef d WHERE d.adrelid = relation AND d.adnum = attribute), false))
  FROM pg_attribute a WHERE a.attrelid = relation AND a.attnum = attribute
$$;

-- Could the USING of this ALTER TABLE call a volatile function or a clock? Only names are looked at: it may refuse too much.
CREATE OR REPLACE FUNCTION mtm.volatile_using(command text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
  SELECT coalesce(m[1], 'clock') FROM regexp_matches(substr(command, regexp_instr(command, '\musing\M', 1, 1, 0, 'i')),
    '([[:alnum:]_$]+)"?\s*\(|\m(?:current_timestamp|current_time|current_date|localtimestamp|localtime)\M', 'gi') AS m
  WHERE command ~* '\musing\M' AND (m[1] IS NULL OR lower(m[1]) IN ('now', 'transaction_timestamp', 'statement_timestamp')
    OR EXISTS (SELECT FROM pg_proc WHERE proname IN (m[1], lower(m[1])) AND provolatile = 'v'))
  LIMIT 1
$$;

CREATE OR REPLACE FUNCTION mtm.check_rewrite() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lc_messages = 'C' AS $$
DECLARE
  context text; rel regclass := pg_event_trigger_table_rewrite_oid(); reason integer := pg_event_trigger_table_rewrite_reason();
  filled boolean; culprit text; differs boolean := false;
BEGIN
  IF mtm.is_silent() THEN RETURN; END IF;
  GET DIAGNOSTICS context = PG_CONTEXT;
  IF mtm.inside_extension() OR (SELECT relpersistence = 't' FROM pg_class WHERE oid = rel) THEN RETURN; END IF;
  -- The size, not a query: at this moment the indexes, which a planner would open, are empty files.
  filled := pg_relation_size(rel) > 0;
  IF NOT filled THEN RETURN; END IF;
  IF reason & 1 <> 0 AND (SELECT relpersistence = 'u' FROM pg_class WHERE oid = rel) THEN
    RAISE EXCEPTION '[multimaster] SET LOGGED of a table with rows cannot be replicated: the other nodes do not have them'
      USING ERRCODE = '0A000', HINT = 'Create a table and fill it with INSERT … SELECT.';
  END IF;
  -- Each node has rows of its own in it.
  IF (SELECT relpersistence = 'u' FROM pg_class WHERE oid = rel) THEN RETURN; END IF;
  SELECT a.attname INTO culprit FROM pg_attribute a
  WHERE reason & 2 <> 0 AND a.attrelid = rel AND a.attnum > 0 AND NOT a.attisdropped AND mtm.is_own(a.xmin)
    AND mtm.differs_between_nodes(rel, a.attnum) LIMIT 1;
  differs := FOUND;
  IF NOT differs AND reason & 4 <> 0 AND mtm.volatile_using(mtm.command_text(context, tg_tag)) IS NOT NULL THEN
    differs := true;
    culprit := '(USING)';
  END IF;
  IF NOT differs THEN RETURN; END IF;
  IF pg_table_size(rel) > 268435456 OR tg_tag <> 'ALTER TABLE'
    OR EXISTS (SELECT FROM pg_trigger WHERE tgrelid = rel AND NOT tgisinternal AND tgenabled IN ('A', 'R'))
    OR EXISTS (SELECT FROM pg_rewrite WHERE ev_class = rel AND ev_enabled IN ('A', 'R')) THEN
    RAISE EXCEPTION '[multimaster] the values of the new column "%" would differ between the nodes', culprit
      USING ERRCODE = '0A000', DETAIL = 'Rows are sent instead only up to 256 MB, and without triggers that fire at the other nodes.',
      HINT = 'Add the column without a default or identity, fill it with UPDATE, then set default (or a sequence) and NOT NULL.';
  END IF;
  INSERT INTO mtm.rewritten VALUES (pg_current_xact_id(), rel) ON CONFLICT DO NOTHING;
END $$;

-- Before the command: the other nodes empty the tables that it has rewritten with values of this node's own.
CREATE OR REPLACE FUNCTION mtm.emit_emptied() RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_logical_emit_message(true, 'mtm-follow',
    jsonb_build_object('do', 'empty', 'name', format('%I.%I', n.nspname, c.relname))::text)
  FROM mtm.rewritten w JOIN pg_class c ON c.oid = w.relation JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE w.transaction = pg_current_xact_id()
$$;

-- Behind it: their rows, and what was drawn for them. Values are printed as the change stream prints them.
CREATE OR REPLACE FUNCTION mtm.emit_rewritten() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres'
SET timezone = 'UTC' SET extra_float_digits = 3 SET bytea_output = 'hex' SET lc_monetary = 'C' SET xmloption = 'content' AS $$
DECLARE each record; chunk text; row_count bigint; per_message bigint;
BEGIN
  FOR each IN
    SELECT c.oid AS relation, format('%I.%I', n.nspname, c.relname) AS name
    FROM mtm.rewritten w JOIN pg_class c ON c.oid = w.relation JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE w.transaction = pg_current_xact_id()
  LOOP
    EXECUTE format('SELECT count(*) FROM ONLY %s', each.name) INTO row_count;
    -- About a tenth of a megabyte each.
    per_message := greatest(1, least(1000, 100000 * row_count / (pg_table_size(each.relation) + 1)));
    FOR chunk IN EXECUTE format('SELECT array_agg(r.row)::text FROM (SELECT t AS row, (row_number() OVER () - 1) / %s AS n '
      'FROM ONLY %s AS t) AS r GROUP BY r.n', per_message, each.name)
    LOOP
      PERFORM pg_logical_emit_message(true, 'mtm-follow',
        jsonb_build_object('do', 'rows', 'name', each.name, 'rows', chunk)::text);
    END LOOP;
  END LOOP;
  IF FOUND THEN
    DELETE FROM mtm.rewritten WHERE transaction = pg_current_xact_id();
    PERFORM mtm.tell_drawn();
  END IF;
END $$;

-- At the other nodes, with the content of a message. What changes rows is in this node's stream as rows; the rest is kept.
CREATE OR REPLACE FUNCTION mtm.follow(content text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE m constant jsonb := content; name constant text := m ->> 'name'; columns text;
BEGIN
  CASE m ->> 'do'
    WHEN 'sequence' THEN
      PERFORM pg_logical_emit_message(true, 'mtm-follow', content);
      PERFORM mtm.place_sequence(name::regclass, (m ->> 'value')::bigint, (m ->> 'called')::boolean,
        (m ->> 'onward')::boolean);
    -- Whoever applies it has not checked foreign keys (transaction-writer.ts).
    WHEN 'unchecked' THEN NULL;
    WHEN 'empty' THEN EXECUTE format('DELETE FROM ONLY %s', name);
    WHEN 'rows' THEN
      SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO columns FROM pg_attribute
      WHERE attrelid = name::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
      EXECUTE format('INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM unnest($1::%1$s[])', name, columns)
        USING m ->> 'rows';
  END CASE;
END $$;

REVOKE EXECUTE ON FUNCTION mtm.differs_between_nodes(oid, smallint), mtm.volatile_using(text), mtm.emit_emptied(),
  mtm.emit_rewritten(), mtm.follow(text) FROM PUBLIC;
