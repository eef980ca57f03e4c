-- What every node does after a DDL command, its own or an applied one (ENABLE ALWAYS): interleave sequences, give tables
-- without a usable key REPLICA IDENTITY FULL, make deferrable unique constraints hold under apply.
-- Rule: the same command leads to the same catalog on all nodes, but for the values of sequences.

-- A table and all that inherit from it, partitions included.
CREATE OR REPLACE FUNCTION mtm.family(relation oid) RETURNS SETOF oid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  WITH RECURSIVE family(oid) AS (
    SELECT relation UNION SELECT i.inhrelid FROM pg_inherits i JOIN family f ON i.inhparent = f.oid)
  SELECT oid FROM family
$$;

CREATE OR REPLACE FUNCTION mtm.adjust_table(relation oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE c pg_class; keyed boolean; chosen boolean; ours boolean;
BEGIN
  SELECT * INTO c FROM pg_class
  WHERE oid = relation AND relkind IN ('r', 'p') AND relpersistence <> 't' AND oid >= 16384
    AND relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname IN ('mtm', 'pg_catalog', 'information_schema'));
  IF NOT FOUND THEN RETURN; END IF;
  SELECT coalesce(bool_or(indisprimary AND sent), false), coalesce(bool_or(indisreplident AND sent), false)
  INTO keyed, chosen FROM (
    -- Before 18 generated columns are not in the stream.
    SELECT i.*, indisvalid AND indimmediate AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = i.indrelid
      AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]) AND a.attgenerated <> '') AS sent
    FROM pg_index i WHERE i.indrelid = relation) AS indexes;
  -- NOTHING stays until rows are to be changed: mtm.full_identities().
  IF (c.relreplident = 'd' AND NOT keyed) OR (c.relreplident = 'i' AND NOT chosen) THEN
    UPDATE pg_class SET relreplident = 'f' WHERE oid = relation;
    INSERT INTO mtm.full_identity VALUES (relation) ON CONFLICT DO NOTHING;
  -- What is read here may cost another serializable transaction its commit: only a table with a key needs it.
  ELSIF keyed OR c.relreplident <> 'f' THEN
    BEGIN
      ours := EXISTS (SELECT FROM mtm.full_identity WHERE relid = relation);
      RAISE SQLSTATE 'MTM01'; -- gives back the lock that this took
    EXCEPTION WHEN SQLSTATE 'MTM01' THEN NULL;
    END;
    IF ours THEN DELETE FROM mtm.full_identity WHERE relid = relation; END IF;
    IF ours AND c.relreplident = 'f' THEN UPDATE pg_class SET relreplident = 'd' WHERE oid = relation; END IF;
  END IF;
  UPDATE pg_trigger SET tgenabled = 'A'
  WHERE tgrelid = relation AND tgisinternal AND tgfoid = 'unique_key_recheck()'::regprocedure AND tgenabled <> 'A';
  -- A change of pg_trigger alone is not seen by sessions that know the table already; one of pg_class is.
  IF FOUND THEN UPDATE pg_class SET relreplident = relreplident WHERE oid = relation; END IF;
END $$;

CREATE OR REPLACE FUNCTION mtm.has_nothing() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (SELECT FROM pg_class WHERE relreplident = 'n' AND relkind IN ('r', 'p') AND relpersistence <> 't' AND oid >= 16384
    AND relnamespace <> 'mtm'::regnamespace)
$$;

-- The gateway calls it in a transaction that is about to update or delete rows: where a table has REPLICA IDENTITY NOTHING,
-- PostgreSQL would refuse that, because the table is published, and the other nodes could not find the rows. Tables that are
-- only inserted into keep it.
CREATE OR REPLACE FUNCTION mtm.full_identities() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE names text[];
BEGIN
  IF current_setting('transaction_read_only')::boolean OR NOT mtm.has_nothing() THEN RETURN; END IF;
  SELECT array_agg(format('%I.%I', n.nspname, c.relname) ORDER BY c.oid) INTO names
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relreplident = 'n' AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND c.oid >= 16384 AND n.nspname <> 'mtm';
  PERFORM mtm.emit_own_command(format('SELECT mtm.make_identities_full(%L)', names));
  PERFORM mtm.make_identities_full(names);
END $$;

CREATE OR REPLACE FUNCTION mtm.make_identities_full(names text[]) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  WITH made AS (
    UPDATE pg_class SET relreplident = 'f' WHERE relreplident = 'n' AND oid IN (SELECT to_regclass(n) FROM unnest(names) AS n)
    RETURNING oid)
  INSERT INTO mtm.full_identity SELECT oid FROM made ON CONFLICT DO NOTHING
$$;

CREATE OR REPLACE FUNCTION mtm.adjust() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lc_messages = 'C' AS $$
DECLARE context text; command text; tables oid[]; sequences oid[]; o oid;
BEGIN
  SELECT array_agg(objid) INTO tables FROM pg_event_trigger_ddl_commands()
  WHERE classid = 'pg_class'::regclass AND schema_name IS DISTINCT FROM 'mtm';
  IF tables IS NULL OR mtm.inside_own_frame() THEN RETURN; END IF;
  sequences := array(SELECT s.seqrelid FROM pg_sequence s WHERE s.seqrelid = ANY (tables)
    UNION SELECT d.objid FROM pg_depend d JOIN pg_sequence s ON s.seqrelid = d.objid
      WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY (tables)
        AND d.deptype IN ('a', 'i'));
  IF sequences <> '{}' THEN
    GET DIAGNOSTICS context = PG_CONTEXT;
    command := coalesce(mtm.command_text(context, tg_tag), '');
    FOREACH o IN ARRAY sequences LOOP PERFORM mtm.interleave(o, command, true); END LOOP;
  END IF;
  -- An index is listed alone when it was created alone.
  PERFORM mtm.adjust_table(f) FROM (
    SELECT DISTINCT mtm.family(t) AS f FROM (
      SELECT unnest(tables) AS t UNION SELECT indrelid FROM pg_index WHERE indexrelid = ANY (tables)) AS touched) AS all_of_them;
END $$;

CREATE OR REPLACE FUNCTION mtm.adjust_all_tables() RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT mtm.adjust_table(oid) FROM pg_class WHERE relkind IN ('r', 'p') AND relpersistence <> 't' AND oid >= 16384
$$;

-- Forgets what was dropped; a table that lost its key by the drop of something else gets FULL.
CREATE OR REPLACE FUNCTION mtm.forget_dropped() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  DELETE FROM mtm.sequence WHERE seqrelid IN (SELECT objid FROM pg_event_trigger_dropped_objects()
    WHERE classid = 'pg_class'::regclass AND objsubid = 0);
  DELETE FROM mtm.local_table WHERE relid IN (SELECT objid FROM pg_event_trigger_dropped_objects()
    WHERE classid = 'pg_class'::regclass AND objsubid = 0);
  DELETE FROM mtm.full_identity WHERE relid IN (SELECT objid FROM pg_event_trigger_dropped_objects()
    WHERE classid = 'pg_class'::regclass AND objsubid = 0);
  IF tg_tag <> 'DROP TABLE' AND EXISTS (SELECT FROM pg_event_trigger_dropped_objects()
    WHERE object_type IN ('index', 'table constraint', 'table column') AND NOT is_temporary) THEN
    -- Of thousands of tables these few.
    PERFORM mtm.adjust_table(c.oid) FROM pg_class c
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND c.oid >= 16384 AND c.relreplident <> 'f' AND NOT EXISTS (
      SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate
        AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END);
  END IF;
END $$;

-- For what was there before the installation, or in the copy of another node's server that this one was made of. Returns the
-- sequences whose bounds are too small: they give the same values on all nodes.
CREATE OR REPLACE FUNCTION mtm.adopt() RETURNS text[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE s oid; too_small text[] := '{}';
BEGIN
  DELETE FROM mtm.sequence WHERE seqrelid NOT IN (SELECT seqrelid FROM pg_sequence);
  DELETE FROM mtm.full_identity WHERE relid NOT IN (SELECT oid FROM pg_class);
  FOR s IN SELECT seqrelid FROM pg_sequence LOOP
    IF NOT mtm.interleave(s, '', false) THEN too_small := too_small || s::regclass::text; END IF;
  END LOOP;
  PERFORM mtm.adjust_all_tables();
  RETURN too_small;
END $$;

REVOKE EXECUTE ON FUNCTION mtm.make_identities_full(text[]), mtm.family(oid), mtm.adjust_table(oid), mtm.adjust_all_tables(), mtm.adopt() FROM PUBLIC;
