-- How a node keeps its place when its PostgreSQL becomes another server: pg_upgrade, or a dump restored into a new one
-- (src/io/store/departure.ts). Runs after generation.sql and membership.sql; may be run again.
-- Rule: the row of mtm.departure is written when nothing is prepared and nobody works here any more, so whoever has the row
-- has everything that was committed before it. It says nothing for the server that it was written on.

-- Of the server that the node leaves: what it is, where it was, and what its successor must hold. gids: what is committed here
-- and not yet known to be finished everywhere. places: relations by which our own tables name others. census: mtm.census();
-- counted: with the number of rows of each table. undone: the node stays. One row, or none.
CREATE TABLE IF NOT EXISTS mtm.departure (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  my_id integer NOT NULL,
  system_identifier text NOT NULL,
  timeline bigint NOT NULL,
  flushed pg_lsn NOT NULL,
  branches jsonb NOT NULL,
  next_xid text NOT NULL,
  gids text[] NOT NULL,
  places jsonb NOT NULL,
  census text[] NOT NULL,
  counted boolean NOT NULL,
  undone boolean NOT NULL DEFAULT false,
  departed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The servers that this node had before, as they were when it left them.
CREATE TABLE IF NOT EXISTS mtm.predecessor (
  system_identifier text PRIMARY KEY,
  timeline bigint NOT NULL,
  flushed pg_lsn NOT NULL,
  branches jsonb NOT NULL,
  succeeded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What a user has made in this database, one line for each object; where sequences are; counted: how many rows tables have.
-- What belongs to extensions may be different in another version.
CREATE OR REPLACE FUNCTION mtm.census(counted boolean) RETURNS SETOF text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE r record; n bigint; called boolean;
BEGIN
  RETURN QUERY
  WITH spaces AS (SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'mtm')),
  foreign_ones AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e')
  SELECT format('role %I', rolname) FROM pg_roles WHERE rolname !~ '^pg_'
  UNION ALL SELECT format('schema %I', nspname) FROM pg_namespace WHERE oid IN (SELECT oid FROM spaces)
  UNION ALL SELECT format('extension %I', extname) FROM pg_extension
  UNION ALL SELECT format('relation %s, a %s', c.oid::regclass, relkind) FROM pg_class c
    WHERE relnamespace IN (SELECT oid FROM spaces) AND relpersistence <> 't' AND relkind <> 'c'
      AND ('pg_class'::regclass, c.oid) NOT IN (SELECT * FROM foreign_ones)
  UNION ALL SELECT format('column %s.%I of type %s', c.oid::regclass, attname, format_type(atttypid, atttypmod)) FROM pg_attribute a
    JOIN pg_class c ON c.oid = attrelid WHERE relnamespace IN (SELECT oid FROM spaces) AND relkind IN ('r', 'p') AND attnum > 0
      AND NOT attisdropped AND relpersistence <> 't' AND ('pg_class'::regclass, c.oid) NOT IN (SELECT * FROM foreign_ones)
  UNION ALL SELECT format('constraint %I of %s', conname, conrelid::regclass) FROM pg_constraint JOIN pg_class c ON c.oid = conrelid
    WHERE connamespace IN (SELECT oid FROM spaces) AND contype <> 'n' AND relpersistence <> 't'
      AND ('pg_class'::regclass, c.oid) NOT IN (SELECT * FROM foreign_ones)
  UNION ALL SELECT format('trigger %I of %s', tgname, tgrelid::regclass) FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid
    WHERE NOT tgisinternal AND relnamespace IN (SELECT oid FROM spaces) AND relpersistence <> 't'
      AND ('pg_class'::regclass, c.oid) NOT IN (SELECT * FROM foreign_ones)
  UNION ALL SELECT format('policy %I of %s', polname, polrelid::regclass) FROM pg_policy
  UNION ALL SELECT format('function %s', p.oid::regprocedure) FROM pg_proc p
    WHERE pronamespace IN (SELECT oid FROM spaces) AND ('pg_proc'::regclass, p.oid) NOT IN (SELECT * FROM foreign_ones)
  UNION ALL SELECT format('type %s', t.oid::regtype) FROM pg_type t LEFT JOIN pg_class c ON c.oid = typrelid
    WHERE typnamespace IN (SELECT oid FROM spaces) AND typelem = 0 AND coalesce(relkind, 'c') = 'c'
      AND ('pg_type'::regclass, t.oid) NOT IN (SELECT * FROM foreign_ones)
  UNION ALL SELECT format('event trigger %I', evtname) FROM pg_event_trigger;
  FOR r IN SELECT c.oid::regclass AS name, relkind FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'mtm') AND relpersistence <> 't'
      AND relkind IN ('S', CASE WHEN counted THEN 'r' END) LOOP
    IF r.relkind = 'S' THEN
      EXECUTE format('SELECT last_value, is_called FROM %s', r.name) INTO n, called;
      RETURN NEXT format('sequence %s at %s%s', r.name, n, CASE WHEN called THEN ', drawn' ELSE '' END);
    ELSE
      EXECUTE format('SELECT count(*) FROM ONLY %s', r.name) INTO n;
      RETURN NEXT format('table %s with %s rows', r.name, n);
    END IF;
  END LOOP;
END $$;

-- The relations that our tables name by their oids, and one of ours.
CREATE OR REPLACE FUNCTION mtm.places() RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT jsonb_object_agg(o::text, mtm.full_name(o)) FROM (
    SELECT seqrelid AS o FROM mtm.sequence UNION SELECT relid FROM mtm.full_identity UNION SELECT relid FROM mtm.local_table
    UNION SELECT 'mtm.node'::regclass::oid) AS named
  WHERE EXISTS (SELECT FROM pg_class WHERE oid = o)
$$;

-- The node leaves its server: what stands outside of the schema mtm is as initdb made it (a dump could not be restored), and
-- the next gateway installs everything anew. Its caller has rolled back what was prepared, and holds the server.
CREATE OR REPLACE FUNCTION mtm.depart(holder text, server jsonb, gids text[], counted boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE f regprocedure; name text;
BEGIN
  PERFORM 1 FROM mtm.incarnation i WHERE i.holder = depart.holder FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION '[multimaster] another gateway has taken over this PostgreSQL' USING ERRCODE = '55000';
  END IF;
  SELECT gid INTO name FROM pg_prepared_xacts WHERE database = current_database() LIMIT 1;
  IF name IS NOT NULL THEN
    RAISE EXCEPTION '[multimaster] "%" is still prepared here', name USING ERRCODE = '55000';
  END IF;
  PERFORM mtm.replicate_pg_notify(false);
  PERFORM mtm.replicate_setval(false);
  FOR f IN SELECT oid FROM pg_proc WHERE proname = 'pg_logical_emit_message' AND pronamespace = 11 LOOP
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO PUBLIC', f);
  END LOOP;
  UPDATE mtm.schema_version SET digest = '';
  UPDATE mtm.syncpoint SET position = '0/0', is_renewed = true;
  DELETE FROM mtm.runtime;
  DELETE FROM mtm.request_reply;
  DELETE FROM mtm.temporary_object;
  DELETE FROM mtm.extension_frame;
  DELETE FROM mtm.accounted;
  DELETE FROM mtm.own_frame;
  DELETE FROM mtm.rewritten;
  DELETE FROM mtm.departure;
  INSERT INTO mtm.departure (my_id, system_identifier, timeline, flushed, branches, next_xid, gids, places, census, counted)
  SELECT my_id, server ->> 'systemIdentifier', (server ->> 'timeline')::bigint, pg_current_wal_flush_lsn(), server -> 'branches',
    pg_current_xact_id()::text, depart.gids, mtm.places(), array(SELECT mtm.census(depart.counted)), depart.counted
  FROM mtm.node;
END $$;

-- Our tables name relations by their oids: those of now, where a dump was restored.
CREATE OR REPLACE FUNCTION mtm.find_places() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  known constant jsonb := (SELECT places FROM mtm.departure);
  sequences constant mtm.sequence[] := array(SELECT s FROM mtm.sequence s);
  identities constant oid[] := array(SELECT relid FROM mtm.full_identity);
  locals constant oid[] := array(SELECT relid FROM mtm.local_table);
BEGIN
  DELETE FROM mtm.sequence;
  DELETE FROM mtm.full_identity;
  DELETE FROM mtm.local_table;
  INSERT INTO mtm.sequence
  SELECT to_regclass(known ->> seqrelid::text), user_start, user_increment, user_min, user_max, set_start, set_increment,
    set_min, set_max FROM unnest(sequences) WHERE to_regclass(known ->> seqrelid::text) IS NOT NULL;
  INSERT INTO mtm.full_identity
  SELECT to_regclass(known ->> o::text) FROM unnest(identities) AS o WHERE to_regclass(known ->> o::text) IS NOT NULL;
  INSERT INTO mtm.local_table
  SELECT to_regclass(known ->> o::text) FROM unnest(locals) AS o WHERE to_regclass(known ->> o::text) IS NOT NULL;
END $$;

-- What the successor lacks of what the server had; and whether relations kept their oids, as pg_upgrade keeps them.
CREATE OR REPLACE FUNCTION mtm.compare_departure(OUT missing text[], OUT is_upgraded boolean)
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT array(SELECT unnest(census) EXCEPT SELECT mtm.census(counted)),
    (SELECT bool_and(to_regclass(value)::oid = key::oid) FROM jsonb_each_text(places))
      AND pg_snapshot_xmax(pg_current_snapshot()) >= next_xid::xid8
  FROM mtm.departure
$$;

REVOKE EXECUTE ON FUNCTION mtm.census(boolean), mtm.places(), mtm.depart(text, jsonb, text[], boolean), mtm.find_places(),
  mtm.compare_departure() FROM PUBLIC;
