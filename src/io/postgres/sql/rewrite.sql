-- ALTER TABLE that rewrites a table runs again on each node: refuse it (0A000) where the new values would differ.

-- Is the default of this column not the same on each node? Identity, and any function that is not immutable.
CREATE OR REPLACE FUNCTION mtm.differs_between_nodes(relation oid, attribute smallint) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT a.attgenerated = '' AND (a.attidentity <> '' OR coalesce(
    (SELECT d.adbin::text ~ '\{(NEXTVALUEEXPR|SQLVALUEFUNCTION)' OR EXISTS (
        SELECT FROM regexp_matches(d.adbin::text, ':(?:opfuncid|funcid) ([0-9]+)', 'g') AS m
        JOIN pg_proc p ON p.oid = m[1]::oid WHERE p.provolatile <> 'i')
      FROM pg_attrdef d WHERE d.adrelid = relation AND d.adnum = attribute), false))
  FROM pg_attribute a WHERE a.attrelid = relation AND a.attnum = attribute
$$;

-- Could the USING of this ALTER TABLE call a volatile function or a clock? Only names are looked at: it may refuse too much.
CREATE OR REPLACE FUNCTION mtm.volatile_using(command text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
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
  filled boolean; culprit text;
BEGIN
  GET DIAGNOSTICS context = PG_CONTEXT;
  IF mtm.inside_extension() OR (SELECT relpersistence = 't' FROM pg_class WHERE oid = rel) THEN RETURN; END IF;
  -- The size, not a query: at this moment the indexes, which a planner would open, are empty files.
  filled := pg_relation_size(rel) > 0;
  IF NOT filled THEN RETURN; END IF;
  IF reason & 1 <> 0 AND (SELECT relpersistence = 'u' FROM pg_class WHERE oid = rel) THEN
    RAISE EXCEPTION '[multimaster] SET LOGGED of a table with rows cannot be replicated: the other nodes do not have them'
      USING ERRCODE = '0A000', HINT = 'Create a table and fill it with INSERT … SELECT.';
  END IF;
  SELECT a.attname INTO culprit FROM pg_attribute a
  WHERE reason & 2 <> 0 AND a.attrelid = rel AND a.attnum > 0 AND NOT a.attisdropped AND mtm.is_own(a.xmin)
    AND mtm.differs_between_nodes(rel, a.attnum) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION '[multimaster] the values of the new column "%" would differ between the nodes', culprit
      USING ERRCODE = '0A000', HINT = 'Add the column without a default or identity, fill it with UPDATE, then set default '
        || '(or a sequence) and NOT NULL.';
  END IF;
  IF reason & 4 <> 0 AND mtm.volatile_using(mtm.command_text(context, tg_tag)) IS NOT NULL THEN
    RAISE EXCEPTION '[multimaster] the values of the changed column would differ between the nodes'
      USING ERRCODE = '0A000', HINT = 'USING must not call volatile functions; declare your own IMMUTABLE or STABLE.';
  END IF;
END $$;

REVOKE EXECUTE ON FUNCTION mtm.differs_between_nodes(oid, smallint), mtm.volatile_using(text) FROM PUBLIC;
