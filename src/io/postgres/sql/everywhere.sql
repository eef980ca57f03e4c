-- Commands that cannot run in a transaction and concern all nodes (CREATE INDEX CONCURRENTLY …): each node runs them for
-- itself, asked by the gateway of the client (src/node/everywhere-desk.ts). Runs after capture.sql; may be run again.
-- Rule: on every node a row says that such a command is under way, from a transaction before it to a transaction behind
-- it. The latter makes up for it where it did not run (a node that was away), or takes it back: so whatever dies in the
-- middle, the nodes end up the same. What is written here travels as commands (mtm-ddl), not as rows.

-- subject: what it works on, one command at a time. home: the node whose gateway runs it.
CREATE TABLE IF NOT EXISTS mtm.everywhere (
  id text PRIMARY KEY,
  home integer NOT NULL,
  what text NOT NULL,
  subject text NOT NULL UNIQUE,
  command text NOT NULL,
  plain text NOT NULL,
  frame jsonb NOT NULL,
  begun timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A relation in quotes, with its schema.
CREATE OR REPLACE FUNCTION mtm.full_name(relation oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.oid = relation
$$;

-- The name for an index without one, as ChooseIndexName in indexcmds.c: parts of table and columns, and a number.
CREATE OR REPLACE FUNCTION mtm.choose_index_name(relation oid, columns text[]) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  schema_id oid; first text; second text := array_to_string(columns, '_'); label text := 'idx'; attempt integer := 0;
  candidate text;
BEGIN
  LOOP
    SELECT relname, relnamespace INTO first, schema_id FROM pg_class WHERE oid = relation;
    second := array_to_string(columns, '_');
    WHILE octet_length(first) + octet_length(second) + octet_length(label) + 2 > 63 LOOP
      IF octet_length(first) > octet_length(second) THEN first := left(first, -1); ELSE second := left(second, -1); END IF;
    END LOOP;
    candidate := first || '_' || second || '_' || label;
    EXIT WHEN NOT EXISTS (SELECT FROM pg_class WHERE relname = candidate AND relnamespace = schema_id);
    attempt := attempt + 1;
    label := 'idx' || attempt;
  END LOOP;
  RETURN candidate;
END $$;

CREATE OR REPLACE FUNCTION mtm.create_index_frame(relation oid, index_name text, columns text[], lenient boolean)
RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  chosen constant text := coalesce(nullif(index_name, ''), mtm.choose_index_name(relation, columns));
  schema_name text := (SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation);
  said constant text := 'relation "%s" already exists' || CASE WHEN lenient THEN ', skipping' ELSE '' END;
BEGIN
  IF EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = chosen AND n.nspname = schema_name) THEN
    RETURN jsonb_build_object(CASE WHEN lenient THEN 'notice' ELSE 'error' END,
      jsonb_build_object('sqlstate', '42P07', 'message', format(said, chosen)));
  END IF;
  RETURN jsonb_build_object('table', mtm.full_name(relation), 'target', format('%I.%I', schema_name, chosen),
    'subject', 'relation ' || mtm.full_name(relation))
    || CASE WHEN index_name = '' THEN jsonb_build_object('chosen', quote_ident(chosen)) ELSE '{}' END;
END $$;

CREATE OR REPLACE FUNCTION mtm.missing_relation_frame(what text, relation text, lenient boolean) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT jsonb_build_object(CASE WHEN lenient THEN 'notice' ELSE 'error' END, jsonb_build_object(
    'sqlstate', CASE WHEN what = 'drop-index' THEN '42704' ELSE '42P01' END,
    'message', format('%s "%s" does not exist%s', CASE WHEN what = 'drop-index' THEN 'index' ELSE 'relation' END,
      replace(relation, '"', ''), CASE WHEN lenient THEN ', skipping' ELSE '' END)))
$$;

-- What a command for all nodes names. `target`: what it makes, drops or detaches.
CREATE OR REPLACE FUNCTION mtm.target_frame(what text, relation oid, partition oid, name text, columns text[],
  lenient boolean) RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  CASE what
    WHEN 'create-index' THEN RETURN mtm.create_index_frame(relation, name, columns, lenient);
    WHEN 'drop-index' THEN
      RETURN jsonb_build_object('target', mtm.full_name(relation), 'subject', 'relation ' || mtm.full_name(
        coalesce((SELECT indrelid FROM pg_index WHERE indexrelid = relation), relation)));
    WHEN 'detach' THEN
      RETURN jsonb_build_object('table', mtm.full_name(relation), 'target', mtm.full_name(partition),
        'subject', 'relation ' || mtm.full_name(relation));
    WHEN 'reindex' THEN RETURN jsonb_build_object('target', coalesce(mtm.full_name(relation), ''));
    ELSE RETURN jsonb_build_object('target', quote_ident(name), 'subject', 'tablespace ' || quote_ident(name));
  END CASE;
END $$;

-- REINDEX looks at the tablespace before it looks at the table. NULL: there is nothing against it.
CREATE OR REPLACE FUNCTION mtm.tablespace_obstacle(name text) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN t.oid IS NULL
    THEN '{"sqlstate": "42704"}' || jsonb_build_object('message', format('tablespace "%s" does not exist', name))
    WHEN t.oid <> d.dattablespace AND NOT has_tablespace_privilege(
      mtm.current_role_name(), t.oid, 'CREATE')
    THEN '{"sqlstate": "42501"}' || jsonb_build_object('message', format('permission denied for tablespace %s', name)) END
  FROM pg_database d LEFT JOIN pg_tablespace t ON t.spcname = name WHERE d.datname = current_database()
$$;

DROP FUNCTION IF EXISTS mtm.everywhere_frame_as(text, text[], oid[], text, text[], boolean, text);
CREATE OR REPLACE FUNCTION mtm.everywhere_frame_as(what text, names text[], oids oid[], name text, columns text[],
  lenient boolean, search_path text, standard_strings text)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE settings jsonb; obstacle constant jsonb := CASE WHEN what = 'reindex' AND name <> '' THEN mtm.tablespace_obstacle(name) END;
BEGIN
  IF obstacle IS NOT NULL THEN RETURN jsonb_build_object('error', obstacle)::text; END IF;
  FOR i IN 1 .. cardinality(names) LOOP
    IF oids[i] IS NULL THEN RETURN mtm.missing_relation_frame(what, names[i], lenient)::text; END IF;
  END LOOP;
  IF EXISTS (SELECT FROM pg_class WHERE oid = ANY (oids) AND relpersistence = 't')
    OR (what = 'reindex' AND columns[1] ~ '^pg_(toast_)?temp') THEN
    RETURN '{"temporary": true}';
  END IF;
  PERFORM set_config('mtm.search_path', search_path, true), set_config('mtm.standard_strings', standard_strings, true);
  SELECT mtm.ddl_settings() || coalesce(jsonb_object_agg(s, current_setting(s, true)), '{}') INTO settings
  FROM unnest(ARRAY['statement_timeout', 'lock_timeout', 'maintenance_work_mem', 'max_parallel_maintenance_workers',
    'client_min_messages', 'allow_in_place_tablespaces']) AS s
  WHERE current_setting(s, true) IS NOT NULL
    AND (s <> 'allow_in_place_tablespaces' OR (SELECT rolsuper FROM pg_roles WHERE rolname = session_user));
  RETURN (mtm.target_frame(what, oids[1], oids[2], name, columns, lenient) || jsonb_build_object(
    'sessionUser', session_user, 'role', current_setting('role'), 'settings', settings))::text;
END $$;

-- Asked in the client's own session (core/session/everywhere.ts). Without SET: names are found as the client finds them.
-- names: quoted.
CREATE OR REPLACE FUNCTION mtm.everywhere_frame(what text, names text[], name text, columns text[], lenient boolean)
RETURNS text LANGUAGE sql VOLATILE AS $$
  SELECT mtm.everywhere_frame_as(what, names,
    ARRAY(SELECT pg_catalog.to_regclass(n)::pg_catalog.oid FROM pg_catalog.unnest(names) AS n), name, columns, lenient,
    pg_catalog.current_setting('search_path'), pg_catalog.current_setting('standard_conforming_strings'))
$$;

-- How far this node is: 'before', 'halfway' (something is left that must be repaired), 'after'.
CREATE OR REPLACE FUNCTION mtm.everywhere_state(what text, frame jsonb) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE
    WHEN what = 'create-index' THEN coalesce((SELECT CASE WHEN indisvalid THEN 'after' ELSE 'halfway' END
      FROM pg_index WHERE indexrelid = to_regclass(frame ->> 'target')), 'before')
    WHEN what = 'drop-index' THEN coalesce((SELECT CASE WHEN indisvalid THEN 'before' ELSE 'halfway' END
      FROM pg_index WHERE indexrelid = to_regclass(frame ->> 'target')), 'after')
    WHEN what = 'detach' THEN coalesce((SELECT CASE WHEN inhdetachpending THEN 'halfway' ELSE 'before' END
      FROM pg_inherits WHERE inhrelid = to_regclass(frame ->> 'target') AND inhparent = to_regclass(frame ->> 'table')),
      'after')
    WHEN what = 'reindex' THEN 'before'
    WHEN (what = 'create-tablespace') = EXISTS (SELECT FROM pg_tablespace WHERE quote_ident(spcname) = frame ->> 'target')
      THEN 'after'
    ELSE 'before' END
$$;

-- Invalid indexes that a REINDEX CONCURRENTLY has left behind, in quotes. busy: somebody works on the table, perhaps the
-- very REINDEX that makes it.
DROP FUNCTION IF EXISTS mtm.reindex_leftovers();
CREATE OR REPLACE FUNCTION mtm.invalid_leftovers(OUT name text, OUT busy boolean) RETURNS SETOF record
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  SELECT mtm.full_name(c.oid), EXISTS (SELECT FROM pg_locks l WHERE l.relation = i.indrelid AND l.granted
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND l.mode = 'ShareUpdateExclusiveLock')
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
  WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$' AND c.relpersistence <> 't' AND c.relkind = 'i'
$$;

-- A command for the other nodes, run there under this role and these settings.
CREATE OR REPLACE FUNCTION mtm.emit_command(command text, tag text, session_user_name text, role text, settings jsonb)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  LOCK TABLE pg_transform IN ROW EXCLUSIVE MODE; -- the mark, see schema.sql
  PERFORM pg_logical_emit_message(true, 'mtm-ddl', jsonb_build_object('command', command, 'tag', tag,
    'sessionUser', session_user_name, 'role', role, 'settings', settings)::text);
END $$;

CREATE OR REPLACE FUNCTION mtm.emit_own_command(command text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  SELECT mtm.emit_command(command, 'SELECT', current_user, 'none', '{"search_path": "pg_catalog, pg_temp"}')
$$;

CREATE OR REPLACE FUNCTION mtm.note_everywhere(id text, home integer, what text, subject text, command text, plain text,
  frame jsonb) RETURNS void LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO mtm.everywhere (id, home, what, subject, command, plain, frame)
  VALUES (note_everywhere.id, note_everywhere.home, note_everywhere.what, note_everywhere.subject,
    note_everywhere.command, note_everywhere.plain, note_everywhere.frame)
$$;

CREATE OR REPLACE FUNCTION mtm.forget_everywhere(gone text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$ DELETE FROM mtm.everywhere WHERE id = gone $$;

-- The transaction before the command, which the gateway of the client runs as one of its clients. 55006: another command
-- works on the same subject; 42P07: the name was given away meanwhile.
CREATE OR REPLACE FUNCTION mtm.begin_everywhere(id text, what text, command text, plain text, frame jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE node constant integer := (SELECT my_id FROM mtm.node); busy constant text := frame ->> 'subject';
BEGIN
  IF EXISTS (SELECT FROM mtm.everywhere e WHERE e.subject = begin_everywhere.frame ->> 'subject') THEN
    RAISE EXCEPTION '[multimaster] another command that runs node by node works on %', busy USING ERRCODE = '55006';
  END IF;
  IF what = 'create-index' THEN
    -- Who makes an index of that name in a transaction is done before, or finds that the name is taken.
    EXECUTE format('LOCK TABLE %s IN SHARE UPDATE EXCLUSIVE MODE', frame ->> 'table');
    IF to_regclass(frame ->> 'target') IS NOT NULL THEN
      RAISE EXCEPTION 'relation % already exists', frame ->> 'target' USING ERRCODE = '42P07';
    END IF;
  END IF;
  PERFORM mtm.note_everywhere(id, node, what, busy, command, plain, frame);
  PERFORM mtm.emit_own_command(format('SELECT mtm.note_everywhere(%L, %L, %L, %L, %L, %L, %L)', id, node, what, busy,
    command, plain, frame));
END $$;

-- At the others, as the client's role: the index is there, or it is made now.
CREATE OR REPLACE FUNCTION mtm.ensure_index(target text, command text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE valid boolean;
BEGIN
  SELECT indisvalid INTO valid FROM pg_catalog.pg_index WHERE indexrelid = pg_catalog.to_regclass(target);
  IF valid THEN RETURN; END IF;
  IF NOT valid THEN EXECUTE 'DROP INDEX ' || target; END IF;
  EXECUTE command;
END $$;

CREATE OR REPLACE FUNCTION mtm.ensure_detached(parent text, child text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE pending boolean;
BEGIN
  SELECT inhdetachpending INTO pending FROM pg_catalog.pg_inherits
  WHERE inhrelid = pg_catalog.to_regclass(child) AND inhparent = pg_catalog.to_regclass(parent);
  IF FOUND THEN
    EXECUTE pg_catalog.format('ALTER TABLE %s DETACH PARTITION %s%s', parent, child,
      CASE WHEN pending THEN ' FINALIZE' ELSE '' END);
  END IF;
END $$;

-- The transaction behind the command. 'done': it is done on every node that was there. 'undone': what it had made was taken
-- back there. 'forgotten': it has changed nothing anywhere. A row that is gone was ended already.
CREATE OR REPLACE FUNCTION mtm.end_everywhere(gone text, outcome text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE e mtm.everywhere; text_there text; session_user_name text; role text;
BEGIN
  DELETE FROM mtm.everywhere WHERE id = gone RETURNING * INTO e;
  IF NOT FOUND THEN RETURN; END IF;
  IF outcome = 'done' THEN
    text_there := CASE e.what
      WHEN 'create-index' THEN format('SELECT mtm.ensure_index(%L, %L)', e.frame ->> 'target', e.plain)
      WHEN 'drop-index' THEN format('DROP INDEX IF EXISTS %s', e.frame ->> 'target')
      WHEN 'detach' THEN format('SELECT mtm.ensure_detached(%L, %L)', e.frame ->> 'table', e.frame ->> 'target') END;
  ELSIF outcome = 'undone' AND e.what = 'create-index' THEN
    text_there := format('DROP INDEX IF EXISTS %s', e.frame ->> 'target');
  END IF;
  IF text_there IS NOT NULL THEN
    PERFORM mtm.emit_command(text_there, 'SELECT', e.frame ->> 'sessionUser', e.frame ->> 'role',
      (e.frame -> 'settings') - ARRAY['statement_timeout', 'lock_timeout', 'allow_in_place_tablespaces',
        'client_min_messages']);
  END IF;
  PERFORM mtm.emit_own_command(format('SELECT mtm.forget_everywhere(%L)', gone));
END $$;

REVOKE EXECUTE ON FUNCTION mtm.full_name(oid), mtm.choose_index_name(oid, text[]),
  mtm.create_index_frame(oid, text, text[], boolean), mtm.missing_relation_frame(text, text, boolean),
  mtm.target_frame(text, oid, oid, text, text[], boolean), mtm.tablespace_obstacle(text),
  mtm.everywhere_state(text, jsonb), mtm.invalid_leftovers(),
  mtm.emit_command(text, text, text, text, jsonb), mtm.emit_own_command(text),
  mtm.note_everywhere(text, integer, text, text, text, text, jsonb), mtm.forget_everywhere(text),
  mtm.begin_everywhere(text, text, text, text, jsonb), mtm.end_everywhere(text, text) FROM PUBLIC;
