-- Catalogs that event triggers do not watch: pg_authid (1260), pg_auth_members (1261), pg_database (1262), pg_tablespace
-- (1213), pg_db_role_setting (2964), pg_shdescription (2396), pg_shseclabel (3592), pg_event_trigger (3466) and
-- pg_parameter_acl (6243). At top level the gateway announces their commands. Nested in functions, new roles, new
-- memberships, settings and comments are told from the rows; everything else is refused before PREPARE (header.sql).
-- Rule: a change is announced, told or refused. The session's counters say whether there is one: they never miss one, and
-- may count a transaction that was rolled back just before.

-- Row changes there, as the session counts them.
CREATE OR REPLACE FUNCTION mtm.unwatched_changes() RETURNS bigint
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  SELECT sum(pg_stat_get_xact_tuples_inserted(c) + pg_stat_get_xact_tuples_updated(c) + pg_stat_get_xact_tuples_deleted(c))
  FROM unnest('{1260,1261,1262,1213,2964,2396,3592,3466,6243}'::oid[]) AS c
$$;

-- Those of them that rows still show: new roles and memberships, settings and comments that were not deleted.
CREATE OR REPLACE FUNCTION mtm.tellable_changes() RETURNS bigint
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_stat_get_xact_tuples_inserted(1260) + pg_stat_get_xact_tuples_inserted(1261)
    + pg_stat_get_xact_tuples_inserted(2964) + pg_stat_get_xact_tuples_updated(2964)
    + pg_stat_get_xact_tuples_inserted(2396) + pg_stat_get_xact_tuples_updated(2396)
$$;

-- Up to here all changes are in order. `state` instead: -2 an announced command follows, -1 the transaction is refused.
CREATE OR REPLACE FUNCTION mtm.account(state bigint) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO mtm.accounted AS a VALUES (pg_current_xact_id(), coalesce(state, mtm.unwatched_changes()),
    mtm.unwatched_changes() - mtm.tellable_changes())
  ON CONFLICT (transaction) DO UPDATE SET changes = excluded.changes, untold = excluded.untold WHERE a.changes <> -1
$$;

-- CREATE ROLE with all that the row says.
CREATE OR REPLACE FUNCTION mtm.role_definition(role oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT format('CREATE ROLE %I', rolname) || concat(CASE WHEN rolsuper THEN ' SUPERUSER' END,
    CASE WHEN NOT rolinherit THEN ' NOINHERIT' END, CASE WHEN rolcreaterole THEN ' CREATEROLE' END,
    CASE WHEN rolcreatedb THEN ' CREATEDB' END, CASE WHEN rolcanlogin THEN ' LOGIN' END,
    CASE WHEN rolreplication THEN ' REPLICATION' END, CASE WHEN rolbypassrls THEN ' BYPASSRLS' END,
    CASE WHEN rolconnlimit <> -1 THEN ' CONNECTION LIMIT ' || rolconnlimit END,
    ' PASSWORD ' || quote_literal(rolpassword), ' VALID UNTIL ' || quote_literal(rolvaliduntil::text))
  FROM pg_authid WHERE oid = role
$$;

-- GRANT of a role. What 16 brought (inherit_option, set_option) is named only where it is not what 15 does.
CREATE OR REPLACE FUNCTION mtm.membership_definition(m jsonb) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT format('GRANT %s TO %s', (m ->> 'roleid')::oid::regrole, a.oid::regrole)
    || coalesce(' WITH ' || nullif(concat_ws(', ',
    CASE WHEN (m ->> 'admin_option')::boolean THEN 'ADMIN OPTION' END,
    CASE WHEN (m ->> 'inherit_option')::boolean <> a.rolinherit THEN 'INHERIT ' || (m ->> 'inherit_option') END,
    CASE WHEN m ->> 'set_option' = 'false' THEN 'SET FALSE' END), ''), '')
  FROM pg_authid a WHERE a.oid = (m ->> 'member')::oid
$$;

-- All settings of a role, a database or a role in a database, as commands. Lists of names are quoted already.
CREATE OR REPLACE FUNCTION mtm.setting_definitions(database oid, role oid, config text[]) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  WITH whose AS (
    SELECT CASE WHEN role = 0 AND database <> 0 THEN 'ALTER DATABASE ' || quote_ident(d.datname)
      ELSE concat('ALTER ROLE ', CASE WHEN role = 0 THEN 'ALL' ELSE role::regrole::text END,
        ' IN DATABASE ' || quote_ident(d.datname)) END AS command
    FROM (SELECT 1) AS one LEFT JOIN pg_database d ON d.oid = database
  )
  SELECT command || ' RESET ALL' FROM whose
  UNION ALL
  SELECT format('%s SET %s TO %s', command,
    (SELECT string_agg(quote_ident(part), '.') FROM string_to_table(split_part(c, '=', 1), '.') AS part),
    CASE WHEN split_part(c, '=', 1) IN ('search_path', 'temp_tablespaces', 'session_preload_libraries',
        'local_preload_libraries')
      THEN coalesce(nullif(replace(value, '""', ''''''), ''), '''''') ELSE quote_literal(value) END)
  FROM whose, unnest(config) AS c, LATERAL substr(c, position('=' IN c) + 1) AS value
$$;

-- The commands that stand for the rows that this transaction has written since, in their order.
CREATE OR REPLACE FUNCTION mtm.unwatched_commands(since bigint) RETURNS TABLE (command text, tag text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT w.command, w.tag FROM (
    SELECT cmin::text::bigint AS at, 0 AS n, mtm.role_definition(oid) AS command, 'CREATE ROLE' AS tag
    FROM pg_authid WHERE age(xmin) <= 0 AND mtm.is_own(xmin)
    UNION ALL
    -- What CREATE ROLE of a role that is no superuser grants by itself, the other nodes grant by themselves.
    SELECT cmin::text::bigint, 0, mtm.membership_definition(to_jsonb(m)), 'GRANT ROLE' FROM pg_auth_members m
    WHERE age(xmin) <= 0 AND mtm.is_own(xmin)
      AND (grantor <> 10 OR (SELECT rolsuper FROM pg_roles WHERE rolname = session_user))
    UNION ALL
    SELECT s.cmin::text::bigint, d.n, d.command, 'ALTER ROLE' FROM pg_db_role_setting s,
      LATERAL mtm.setting_definitions(s.setdatabase, s.setrole, s.setconfig) WITH ORDINALITY AS d(command, n)
    WHERE age(s.xmin) <= 0 AND mtm.is_own(s.xmin)
    UNION ALL
    SELECT cmin::text::bigint, 0, format('COMMENT ON %s %s IS %L',
      CASE classoid WHEN 1260 THEN 'ROLE' WHEN 1262 THEN 'DATABASE' ELSE 'TABLESPACE' END,
      coalesce((SELECT quote_ident(rolname) FROM pg_authid WHERE classoid = 1260 AND oid = objoid),
      (SELECT quote_ident(datname) FROM pg_database WHERE classoid = 1262 AND oid = objoid),
      (SELECT quote_ident(spcname) FROM pg_tablespace WHERE classoid = 1213 AND oid = objoid)), description), 'COMMENT'
    FROM pg_shdescription WHERE age(xmin) <= 0 AND mtm.is_own(xmin)) AS w
  WHERE w.at > since ORDER BY w.at, w.n
$$;

-- Tells the others what functions have done there, before anything that may need it. Does nothing when it cannot be told:
-- check_transaction refuses it then.
CREATE OR REPLACE FUNCTION mtm.emit_unwatched() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE seen record; c record; told boolean := false;
BEGIN
  IF mtm.may_have_inserted('mtm.accounted') THEN
    SELECT a.changes, a.untold, a.cmin::text::bigint AS at INTO seen
    FROM mtm.accounted a WHERE a.transaction = pg_current_xact_id_if_assigned();
  ELSE SELECT NULL::bigint AS changes, NULL::bigint AS untold, NULL::bigint AS at INTO seen;
  END IF;
  IF seen.changes < 0 OR coalesce(seen.changes, 0) = mtm.unwatched_changes()
    OR coalesce(seen.untold, 0) <> mtm.unwatched_changes() - mtm.tellable_changes() THEN RETURN; END IF;
  IF EXISTS (SELECT FROM pg_db_role_setting, unnest(setconfig) AS setting WHERE age(xmin) <= 0 AND mtm.is_own(xmin)
    AND setting ~* '^(session_replication_role=replica|event_triggers=(off|false|no|0))$') THEN
    RAISE EXCEPTION '[multimaster] a session that begins with this setting would hide its changes from the other nodes'
      USING ERRCODE = '0A000', HINT = 'Use application_name=mtm_admin for an unsupervised session on this node.';
  END IF;
  FOR c IN SELECT * FROM mtm.unwatched_commands(coalesce(seen.at, -1)) LOOP
    PERFORM mtm.write_ddl(c.command, c.tag, current_setting('role'), '{"search_path": "pg_catalog"}');
    told := true;
  END LOOP;
  IF told THEN PERFORM mtm.account(NULL); END IF;
END $$;

-- DROP OWNED is told as it stands, with what it takes from shared catalogs: what was done there before must be in order.
CREATE OR REPLACE FUNCTION mtm.before_drop_owned() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT mtm.is_silent() THEN PERFORM mtm.emit_unwatched(), mtm.check_transaction(false); END IF;
END $$;

REVOKE EXECUTE ON FUNCTION mtm.unwatched_changes(), mtm.tellable_changes(), mtm.account(bigint), mtm.role_definition(oid),
  mtm.membership_definition(jsonb), mtm.setting_definitions(oid, oid, text[]), mtm.unwatched_commands(bigint),
  mtm.emit_unwatched() FROM PUBLIC;
