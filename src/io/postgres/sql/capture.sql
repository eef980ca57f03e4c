-- Capture: every DDL command becomes a logical message `mtm-ddl` (src/core/apply/ddl-message.ts) at its place in the
-- transaction. The message is written when the command has succeeded (sql_drop for DROP, else ddl_command_end), because only
-- then is known what it touched: temporary objects are left out, IF [NOT] EXISTS that did nothing too. CREATE and ALTER
-- EXTENSION are written at their start and end, because their scripts also insert rows.
-- Rule: what cannot be replicated raises 0A000; nothing is dropped silently. All of it is silent where the gateway applies,
-- and in replica sessions past it: mtm.is_silent().

-- What only a function without SET and without SECURITY DEFINER can see. Fires before the others of the same event;
-- no code of a user runs between them, so what it notes cannot be feigned.
CREATE OR REPLACE FUNCTION mtm.note_frame() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_catalog.set_config('mtm.search_path', pg_catalog.current_setting('search_path'), true),
    pg_catalog.set_config('mtm.effective_user', current_user::pg_catalog.text, true),
    pg_catalog.set_config('mtm.standard_strings', pg_catalog.current_setting('standard_conforming_strings'), true);
END $$;

-- Has this transaction perhaps inserted rows there? Asked before such a table is read, so that a command leaves no locks on our
-- tables when there is nothing in them: whoever looks at the locks of his session sees his own. The session's counters never
-- miss one.
CREATE OR REPLACE FUNCTION mtm.may_have_inserted(relation regclass) RETURNS boolean
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_stat_get_xact_tuples_inserted(relation) > 0 OR current_setting('track_counts') = 'off'
$$;

CREATE OR REPLACE FUNCTION mtm.inside_extension() RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT mtm.may_have_inserted('mtm.extension_frame') THEN RETURN false; END IF;
  RETURN EXISTS (SELECT FROM mtm.extension_frame WHERE transaction = pg_current_xact_id_if_assigned());
END $$;

-- Does one of our own functions alter sequences just now?
CREATE OR REPLACE FUNCTION mtm.inside_own_frame() RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT mtm.may_have_inserted('mtm.own_frame') THEN RETURN false; END IF;
  RETURN EXISTS (SELECT FROM mtm.own_frame WHERE transaction = pg_current_xact_id_if_assigned());
END $$;

-- A replica session that is no client's, or one of our own functions in one that is: nothing is to be captured. Users run
-- code here too, so a client's session is told by what its startup packet has set, which no SET can undo.
CREATE OR REPLACE FUNCTION mtm.is_silent() RETURNS boolean
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  SELECT current_setting('session_replication_role') = 'replica' AND (current_setting('multimaster.node_id', true) IS NULL
    OR pg_replication_origin_session_is_setup() OR mtm.inside_own_frame())
$$;

-- The settings (those that are not empty) that change what the text of a command means or what it leaves in the catalog.
CREATE OR REPLACE FUNCTION mtm.ddl_settings() RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT jsonb_object_agg(name, current_setting(name, true)) FILTER (WHERE current_setting(name, true) <> '')
    || jsonb_build_object('search_path', current_setting('mtm.search_path'),
      'standard_conforming_strings', CASE WHEN mtm.standard_strings() THEN 'on' ELSE 'off' END)
  FROM unnest(ARRAY['default_tablespace', 'default_table_access_method', 'default_toast_compression',
    'check_function_bodies', 'DateStyle', 'IntervalStyle', 'TimeZone', 'xmloption',
    'array_nulls', 'transform_null_equals', 'lc_monetary', 'lc_numeric', 'bytea_output', 'default_text_search_config',
    'password_encryption', 'createrole_self_grant']) AS name
$$;

-- Writes the message. Refuses a NULL command, and the rights of a SECURITY DEFINER function: the peers run it as the session
-- user. For a superuser's session the effective user goes as the role, which gives nobody a right that he lacks.
CREATE OR REPLACE FUNCTION mtm.emit_ddl(command text, tag text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  role text := current_setting('role');
  effective text := current_setting('mtm.effective_user');
BEGIN
  IF command IS NULL THEN
    RAISE EXCEPTION '[multimaster] cannot tell the text of this % for the other nodes', tag USING ERRCODE = '0A000',
      HINT = 'Run one command per query string or EXECUTE; functions in SQL that share a name must not run DDL.';
  END IF;
  IF effective <> (CASE role WHEN 'none' THEN session_user ELSE role END) THEN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = session_user) THEN
      RAISE EXCEPTION '[multimaster] % inside a SECURITY DEFINER function cannot be replicated', tag
        USING ERRCODE = '0A000', HINT = 'Run DDL with the rights of the session user or of a role that it has set.';
    END IF;
    role := CASE effective WHEN session_user THEN 'none' ELSE effective END;
  END IF;
  PERFORM mtm.emit_unwatched();
  PERFORM mtm.write_ddl(command, tag, role, mtm.ddl_settings());
END $$;

-- What the gateway sends itself reads alike (core/session/text-reading.ts). What code runs may have been read at another
-- time, with another standard_conforming_strings than is known here.
CREATE OR REPLACE FUNCTION mtm.write_ddl(command text, tag text, role text, settings jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF settings ->> 'standard_conforming_strings' = 'off' AND NOT (mtm.split_statements(command, false)).alike THEN
    RAISE EXCEPTION '[multimaster] the backslashes of this % may mean something else on the other nodes', tag
      USING ERRCODE = '0A000', HINT = 'Write such strings as E''…''.';
  END IF;
  LOCK TABLE pg_transform IN ROW EXCLUSIVE MODE; -- the mark, see schema.sql
  PERFORM pg_logical_emit_message(true, 'mtm-ddl', jsonb_build_object('command', command, 'tag', tag,
    'sessionUser', session_user, 'role', role, 'settings', settings)::text);
END $$;

-- Is this object temporary, part of a temporary table, or a function or domain of its row type, which ends with it? For rows of
-- pg_event_trigger_ddl_commands().
CREATE OR REPLACE FUNCTION mtm.is_temporary(class oid, object oid, schema_name text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce(schema_name = 'pg_temp', false) OR EXISTS (
    SELECT FROM pg_class WHERE relpersistence = 't' AND oid = CASE class
    WHEN 'pg_class'::regclass THEN object
    WHEN 'pg_trigger'::regclass THEN (SELECT tgrelid FROM pg_trigger WHERE oid = object)
    WHEN 'pg_rewrite'::regclass THEN (SELECT ev_class FROM pg_rewrite WHERE oid = object)
    WHEN 'pg_policy'::regclass THEN (SELECT polrelid FROM pg_policy WHERE oid = object)
    WHEN 'pg_constraint'::regclass THEN (SELECT conrelid FROM pg_constraint WHERE oid = object) END)
  OR class IN ('pg_proc'::regclass, 'pg_type'::regclass) AND pg_my_temp_schema() <> 0 AND EXISTS (
    SELECT FROM pg_depend d JOIN pg_type t ON t.oid = d.refobjid
    WHERE d.classid = class AND d.objid = object AND d.refclassid = 'pg_type'::regclass
      AND t.typnamespace = pg_my_temp_schema())
$$;

-- Do all names of a GRANT or REVOKE stand for temporary relations? The event says nothing about its objects.
CREATE OR REPLACE FUNCTION mtm.grants_temporary(command text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
  SELECT coalesce(bool_and(to_regclass(CASE WHEN starts_with(name, 'pg_temp.') THEN name ELSE 'pg_temp.' || name END)
    IS NOT NULL), false)
  FROM regexp_split_to_table((regexp_match(command, '\mon\s+(?:table\s+|sequence\s+)?(.*?)\s+(?:to|from)\s', 'i'))[1],
    '\s*,\s*') AS name
  WHERE pg_my_temp_schema() <> 0 AND name ~ '^(pg_temp\.)?("[^".]+"|[[:alnum:]_$]+)$'
$$;

-- CREATE TABLE for the result of CREATE TABLE AS and SELECT INTO: their rows come as rows.
CREATE OR REPLACE FUNCTION mtm.table_definition(relation oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT format('CREATE %sTABLE %I.%I (%s) USING %I%s%s', CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END,
    n.nspname, c.relname,
    (SELECT string_agg(format('%I %s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
        CASE WHEN a.attcollation <> t.typcollation THEN format(' COLLATE %I.%I', cn.nspname, co.collname) ELSE '' END,
        CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END), ', ' ORDER BY a.attnum)
      FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
      LEFT JOIN pg_collation co ON co.oid = a.attcollation LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
      WHERE a.attrelid = c.oid AND a.attnum > 0),
    (SELECT amname FROM pg_am WHERE oid = c.relam),
    ' WITH (' || (SELECT string_agg(format('%s=%L', split_part(o, '=', 1), substr(o, position('=' IN o) + 1)), ', ')
      FROM unnest(c.reloptions) AS o) || ')',
    CASE WHEN c.reltablespace <> 0
      THEN format(' TABLESPACE %I', (SELECT spcname FROM pg_tablespace WHERE oid = c.reltablespace)) ELSE '' END)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation
$$;

-- CREATE TABLE that is nothing but LIKE of a temporary table, which the other nodes do not have: columns, types and NOT NULL
-- are all that it has copied.
CREATE OR REPLACE FUNCTION mtm.is_like_temporary(command text, relation oid) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
BEGIN
  RETURN EXISTS (SELECT FROM pg_class WHERE relpersistence = 't' AND oid = mtm.resolve((regexp_match(command,
      '^create\s+table\s[^()]*\(\s*like\s+((?:"[^"]+"|[[:alnum:]_$]+)(?:\.(?:"[^"]+"|[[:alnum:]_$]+))?)\s*\)\s*;?\s*$', 'i'))[1]))
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = relation)
    AND EXISTS (SELECT FROM pg_class WHERE oid = relation AND relkind = 'r' AND relpersistence <> 't' AND reloftype = 0);
END $$;

-- Commands that stay on this node, or cannot be part of a transaction (the gateway runs them node by node).
CREATE OR REPLACE FUNCTION mtm.is_local(command text, tag text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
  SELECT tag = 'REINDEX'
    OR (tag IN ('CREATE INDEX', 'DROP INDEX') AND command ~* '^(create|drop)\s+(unique\s+)?index\s+concurrently\M')
    OR (tag = 'ALTER TABLE' AND command ~* '\mdetach\s+partition\s+\S+\s+concurrently\s*$')
$$;

-- For the schema, the publications and everything in the schema. (Event triggers fire none; their guard is the gateway.)
CREATE OR REPLACE FUNCTION mtm.refuse_own_object(kind text, schema_name text, identity text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF schema_name = 'mtm' OR (identity IN ('mtm', 'mtm_headers') AND kind IN ('schema', 'publication')) THEN
    RAISE EXCEPTION '[multimaster] "%" belongs to the gateway and cannot be changed', identity USING ERRCODE = '0A000';
  END IF;
END $$;

-- Each node computes a materialized view for itself: what calls a volatile function or a clock, also by way of a view, is
-- refused. What a function does inside is what it was declared to do.
CREATE OR REPLACE FUNCTION mtm.check_materialized(view oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE culprit text;
BEGIN
  IF NOT (SELECT relispopulated FROM pg_class WHERE oid = view) THEN RETURN; END IF;
  WITH RECURSIVE queries(view_oid, action) AS (
    SELECT view, ev_action::text FROM pg_rewrite WHERE ev_class = view
    UNION
    SELECT c.oid, w.ev_action::text FROM queries q JOIN pg_rewrite r ON r.ev_class = q.view_oid
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
    JOIN pg_class c ON c.oid = d.refobjid AND c.relkind = 'v'
    JOIN pg_rewrite w ON w.ev_class = c.oid AND w.rulename = '_RETURN'
  )
  SELECT p.proname || '()' INTO culprit FROM queries,
    LATERAL regexp_matches(action, ':(?:opfuncid|funcid) ([0-9]+)', 'g') AS m JOIN pg_proc p ON p.oid = m[1]::oid
  WHERE p.provolatile = 'v' OR p.oid IN ('now()'::regprocedure, 'transaction_timestamp()'::regprocedure,
    'statement_timestamp()'::regprocedure) LIMIT 1;
  IF culprit IS NULL THEN RETURN; END IF;
  RAISE EXCEPTION '[multimaster] rows of the materialized view %, which calls %, would differ between the nodes',
    view::regclass, culprit USING ERRCODE = '0A000',
    HINT = 'Use a table that CREATE TABLE AS or INSERT fills; declare functions of your own IMMUTABLE or STABLE if they are.';
END $$;

-- A default that is no constant (now(), current_user) was evaluated once, for the rows that there are; the peers' own
-- evaluation would differ, so the value follows the ALTER TABLE.
CREATE OR REPLACE FUNCTION mtm.emit_missing_values(relation oid) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE v record;
BEGIN
  FOR v IN
    WITH RECURSIVE family(oid) AS (
      SELECT relation UNION SELECT i.inhrelid FROM pg_inherits i JOIN family f ON i.inhparent = f.oid)
    SELECT format('%I.%I', n.nspname, c.relname) AS name, a.attname, a.attmissingval::text AS value
    FROM family f JOIN pg_class c ON c.oid = f.oid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE a.atthasmissing AND NOT a.attisdropped AND d.adbin::text NOT LIKE '{CONST %' AND mtm.is_own(a.xmin)
  LOOP
    PERFORM mtm.emit_ddl(format('SELECT mtm.set_missing_value(%L, %L, %L)', v.name, v.attname, v.value), 'SELECT');
  END LOOP;
END $$;

-- At the peers: puts that value in place. Only in replica sessions of the gateway, which only a superuser can open.
CREATE OR REPLACE FUNCTION mtm.set_missing_value(relation text, name text, value text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT mtm.is_silent()
    OR NOT (SELECT pg_has_role(session_user, relowner, 'MEMBER') FROM pg_class WHERE oid = relation::regclass) THEN
    RAISE EXCEPTION '[multimaster] set_missing_value is the gateway''s own' USING ERRCODE = '42501';
  END IF;
  UPDATE pg_attribute SET attmissingval = array_in(value::cstring, atttypid, -1)::anyarray
  WHERE attrelid = relation::regclass AND attname = name AND atthasmissing;
END $$;

CREATE OR REPLACE FUNCTION mtm.capture_start() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lc_messages = 'C' AS $$
DECLARE context text;
BEGIN
  IF mtm.is_silent() THEN RETURN; END IF;
  IF NOT mtm.inside_extension() THEN
    GET DIAGNOSTICS context = PG_CONTEXT;
    PERFORM mtm.emit_ddl(mtm.command_text(context, tg_tag), tg_tag);
  END IF;
  INSERT INTO mtm.extension_frame AS f (transaction, depth) VALUES (pg_current_xact_id(), 1)
  ON CONFLICT (transaction) DO UPDATE SET depth = f.depth + 1;
END $$;

CREATE OR REPLACE FUNCTION mtm.leave_extension() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE left_over integer;
BEGIN
  UPDATE mtm.extension_frame SET depth = depth - 1 WHERE transaction = pg_current_xact_id() RETURNING depth INTO left_over;
  IF left_over > 0 THEN RETURN; END IF;
  DELETE FROM mtm.extension_frame WHERE transaction = pg_current_xact_id();
  PERFORM mtm.emit_ddl('', 'END EXTENSION');
END $$;

CREATE OR REPLACE FUNCTION mtm.capture_end() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
SET lc_messages = 'C' AS $$
DECLARE context text; command text; o record; objects integer := 0; temporary integer := 0; relation oid;
  rewritten boolean;
BEGIN
  IF mtm.is_silent() THEN RETURN; END IF;
  IF tg_tag IN ('CREATE EXTENSION', 'ALTER EXTENSION') THEN PERFORM mtm.leave_extension(); RETURN; END IF;
  IF mtm.inside_extension() OR (starts_with(tg_tag, 'DROP ') AND tg_tag <> 'DROP OWNED') THEN RETURN; END IF;
  GET DIAGNOSTICS context = PG_CONTEXT;
  FOR o IN SELECT * FROM pg_event_trigger_ddl_commands() LOOP
    PERFORM mtm.refuse_own_object(o.object_type, o.schema_name, o.object_identity);
    objects := objects + 1;
    relation := o.objid;
    IF o.objid IS NULL AND tg_tag IN ('GRANT', 'REVOKE') THEN
      temporary := temporary + mtm.grants_temporary(mtm.command_text(context, tg_tag))::integer;
    ELSIF mtm.is_temporary(o.classid, o.objid, o.schema_name) THEN
      temporary := temporary + 1;
      IF o.schema_name <> 'pg_temp' AND o.classid IN ('pg_proc'::regclass, 'pg_type'::regclass) THEN
        INSERT INTO mtm.temporary_object VALUES (o.classid, o.objid, pg_backend_pid()) ON CONFLICT DO NOTHING;
      END IF;
    END IF;
  END LOOP;
  -- What ALTER PUBLICATION takes out of a publication is no object of the command.
  IF objects = 0 AND tg_tag NOT IN ('DROP OWNED', 'ALTER PUBLICATION') THEN RETURN; END IF;
  IF objects > 0 AND temporary = objects THEN
    LOCK TABLE mtm.temporary_mark IN ROW EXCLUSIVE MODE;
    RETURN;
  END IF;
  IF tg_tag IN ('CREATE TABLE AS', 'SELECT INTO') THEN command := mtm.table_definition(relation);
  ELSE command := mtm.command_text(context, tg_tag);
  END IF;
  IF mtm.is_local(command, tg_tag) THEN RETURN; END IF;
  IF tg_tag = 'CREATE TABLE' AND pg_my_temp_schema() <> 0 AND mtm.is_like_temporary(command, relation) THEN
    command := mtm.table_definition(relation);
  END IF;
  IF tg_tag = 'REFRESH MATERIALIZED VIEW' AND command ~* '^refresh\s+materialized\s+view\s+concurrently\M' THEN
    -- It works with a temporary table, which PREPARE refuses: the transaction commits here last, and the others refresh the
    -- view without that word.
    LOCK TABLE mtm.temporary_mark IN ROW EXCLUSIVE MODE;
    command := regexp_replace(command, '^(refresh\s+materialized\s+view)\s+concurrently\M', '\1', 'i');
  END IF;
  -- One that is not enabled is a row in a catalog.
  IF (tg_tag = 'CREATE SUBSCRIPTION' AND command !~* '\mconnect\s*=\s*''?(false|off|0)\M')
    OR tg_tag IN ('CREATE SUBSCRIPTION', 'ALTER SUBSCRIPTION')
    AND EXISTS (SELECT FROM pg_subscription WHERE oid = relation AND subenabled) THEN
    RAISE EXCEPTION '[multimaster] rows that a subscription applies would bypass the other nodes'
      USING ERRCODE = '0A000', HINT = 'Feed the cluster with a client that writes through a gateway; a subscription that is '
        'not enabled, created with connect = false, is possible.';
  END IF;
  IF tg_tag IN ('CREATE MATERIALIZED VIEW', 'REFRESH MATERIALIZED VIEW') THEN PERFORM mtm.check_materialized(relation); END IF;
  rewritten := tg_tag = 'ALTER TABLE' AND mtm.may_have_inserted('mtm.rewritten');
  IF rewritten THEN PERFORM mtm.emit_emptied(); END IF;
  PERFORM mtm.emit_ddl(command, tg_tag);
  IF tg_tag = 'DROP OWNED' AND mtm.unwatched_changes() > 0 THEN PERFORM mtm.account(NULL); END IF;
  IF tg_tag = 'ALTER TABLE' THEN PERFORM mtm.emit_missing_values(relation); END IF;
  IF rewritten THEN PERFORM mtm.emit_rewritten(); END IF;
END $$;

CREATE OR REPLACE FUNCTION mtm.capture_drop() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
SET lc_messages = 'C' AS $$
DECLARE context text; command text; o record; named text[] := '{}'; temporary boolean := false; mixed boolean := false;
BEGIN
  IF mtm.is_silent() OR mtm.inside_extension() THEN RETURN; END IF;
  GET DIAGNOSTICS context = PG_CONTEXT;
  FOR o IN SELECT d.*, d.is_temporary OR d.object_identity ~ ' on pg_temp\.' AS goes_alone
    FROM pg_event_trigger_dropped_objects() d
  LOOP
    IF pg_my_temp_schema() <> 0 AND o.classid IN ('pg_proc'::regclass, 'pg_type'::regclass) THEN
      DELETE FROM mtm.temporary_object WHERE class = o.classid AND object = o.objid AND backend = pg_backend_pid();
      o.goes_alone := o.goes_alone OR FOUND;
    END IF;
    PERFORM mtm.refuse_own_object(o.object_type, o.schema_name, o.object_identity);
    temporary := temporary OR o.goes_alone;
    mixed := mixed OR (o.original AND o.goes_alone);
    IF o.original AND NOT o.goes_alone THEN named := named || o.object_identity; END IF;
  END LOOP;
  IF NOT starts_with(tg_tag, 'DROP ') OR tg_tag = 'DROP OWNED' THEN RETURN; END IF;
  -- Also what goes with a schema or a table: PREPARE would refuse it.
  IF temporary OR named = '{}' THEN
    LOCK TABLE mtm.temporary_mark IN ROW EXCLUSIVE MODE;
    -- It may commit here alone: what it deletes from pg_shdepend is not to be held against the next transaction.
    PERFORM pg_stat_force_next_flush();
  END IF;
  IF named = '{}' THEN RETURN; END IF;
  command := mtm.command_text(context, tg_tag);
  -- The others have no temporary ones.
  IF mixed THEN
    command := format('%s %s%s', tg_tag, array_to_string(named, ', '),
      CASE WHEN command ~* '\mcascade\s*;?\s*$' THEN ' CASCADE' ELSE '' END);
  END IF;
  -- It may be of the time before the gateway, and then it is here alone.
  IF tg_tag = 'DROP SUBSCRIPTION' THEN
    command := regexp_replace(command, '^drop\s+subscription\s+(if\s+exists\s+)?', 'DROP SUBSCRIPTION IF EXISTS ', 'i');
  END IF;
  IF NOT mtm.is_local(command, tg_tag) THEN PERFORM mtm.emit_ddl(command, tg_tag); END IF;
END $$;

DROP FUNCTION IF EXISTS mtm.announce_as(text, text, text, text, text);
-- For commands that event triggers do not see; tag ACCOUNT: what those before it have changed is in order. `proof` =
-- hex(sha256(key || sha256(key || '<pid>:<command>'))) with mtm.secret.announce_key, so that only the gateway can announce;
-- 42501 otherwise.
CREATE OR REPLACE FUNCTION mtm.announce_as(command text, tag text, proof text, search_path text, effective_user text,
  standard_strings text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE key bytea := (SELECT announce_key FROM mtm.secret);
BEGIN
  IF proof IS DISTINCT FROM encode(sha256(key || sha256(key
    || convert_to(pg_backend_pid() || ':' || command, 'UTF8'))), 'hex') THEN
    RAISE EXCEPTION '[multimaster] only the gateway announces commands' USING ERRCODE = '42501';
  END IF;
  IF tag = 'ACCOUNT' THEN
    PERFORM mtm.account(NULL);
    RETURN;
  END IF;
  -- What comes next is refused, in the server's own words.
  IF current_setting('transaction_read_only')::boolean THEN RETURN; END IF;
  PERFORM pg_stat_force_next_flush(); -- should it be rolled back: see mtm.changed_catalog
  -- What a function has changed before must not pass for what is announced now. Nobody hears an error of this call, so
  -- that the end of the transaction tells it.
  PERFORM mtm.emit_unwatched();
  BEGIN
    PERFORM mtm.check_transaction(false);
  EXCEPTION WHEN feature_not_supported THEN
    PERFORM mtm.account(-1);
  END;
  PERFORM set_config('mtm.search_path', search_path, true), set_config('mtm.effective_user', effective_user, true),
    set_config('mtm.standard_strings', standard_strings, true);
  PERFORM mtm.emit_ddl(mtm.where_database_is(command), tag);
  PERFORM mtm.account(-2);
END $$;

-- Databases are each node's own: a node that lacks this one has nothing to do.
CREATE OR REPLACE FUNCTION mtm.where_database_is(command text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
  SELECT CASE WHEN name IS NULL OR name = current_database() THEN command ELSE format('DO %L', format(
    'BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = %L) THEN EXECUTE %L; END IF; END', name, command)) END
  FROM (SELECT (parse_ident((regexp_match(command, '^\s*(?:alter|comment\s+on|(?:grant|revoke)\M[^;]*?\mon)\s+database\s+'
    '("(?:[^"]|"")+"|[[:alnum:]_$]+)\s+(?:set|reset|is|to|from)\M', 'i'))[1]))[1]::name AS name) AS named
$$;

CREATE OR REPLACE FUNCTION mtm.announce(command text, tag text, proof text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM mtm.announce_as(command, tag, proof, pg_catalog.current_setting('search_path'), current_user::pg_catalog.text,
    pg_catalog.current_setting('standard_conforming_strings'));
END $$;

REVOKE EXECUTE ON FUNCTION mtm.may_have_inserted(regclass), mtm.inside_extension(), mtm.inside_own_frame(), mtm.is_silent(), mtm.ddl_settings(),
  mtm.emit_ddl(text, text),
  mtm.write_ddl(text, text, text, jsonb),
  mtm.is_temporary(oid, oid, text), mtm.grants_temporary(text), mtm.table_definition(oid), mtm.is_local(text, text),
  mtm.is_like_temporary(text, oid), mtm.where_database_is(text),
  mtm.refuse_own_object(text, text, text), mtm.emit_missing_values(oid), mtm.leave_extension(),
  mtm.check_materialized(oid) FROM PUBLIC;
