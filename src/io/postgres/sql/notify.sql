-- NOTIFY for the listeners of all nodes: inside the transaction a notification is a logical message `mtm-notify`
-- (core/pgoutput/notification.ts), which travels with its changes; after the commit the gateway of each node notifies there.
-- Rule: a forged message can do no more than NOTIFY, which needs no right. What PostgreSQL itself refuses, it refuses itself.

-- Never has rows. A ROW EXCLUSIVE lock on it says for the rest of the transaction that it notifies.
CREATE TABLE IF NOT EXISTS mtm.notify_mark (one boolean PRIMARY KEY);

CREATE OR REPLACE FUNCTION mtm.emit_notify(channel text, payload text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  LOCK TABLE mtm.notify_mark IN ROW EXCLUSIVE MODE;
  PERFORM pg_logical_emit_message(true, 'mtm-notify',
    json_build_object('channel', channel, 'payload', coalesce(payload, ''))::text);
END $$;

-- What a client's NOTIFY becomes. A procedure: CALL answers as NOTIFY does, without rows.
CREATE OR REPLACE PROCEDURE mtm.notify(channel text, payload text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM mtm.emit_notify(channel, payload);
END $$;

-- What LISTEN and UNLISTEN become inside a transaction (core/session/listening.ts).
CREATE OR REPLACE PROCEDURE mtm.listen_later(entry text)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM set_config('multimaster.listening',
    concat_ws(chr(10), nullif(current_setting('multimaster.listening', true), ''), entry), false);
END $$;

-- Stored expressions name functions by their oid. What makes those anew that call `callee`, with the name that it has now:
-- functions BEGIN ATOMIC … END, and rules but those of views.
CREATE OR REPLACE FUNCTION mtm.definitions_calling(callee oid) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT array(
    SELECT pg_get_functiondef(oid) FROM pg_proc WHERE prosqlbody IS NOT NULL AND oid >= 16384
      AND prosqlbody::text ~ format(':funcid %s ', callee)
    UNION ALL
    SELECT regexp_replace(pg_get_ruledef(oid), '^CREATE RULE', 'CREATE OR REPLACE RULE') FROM pg_rewrite
    WHERE ev_type <> '1' AND oid >= 16384 AND ev_action::text ~ format(':funcid %s ', callee))
$$;

-- With `wanted`, functions and triggers that call pg_notify() notify on all nodes too: the built-in function is renamed to
-- pg_notify_local, and one of ours has its name and signature. It must be so simple that the planner puts its body in the
-- place of the call: then errors are those of the built-in, without a context. The session's setting says who calls:
--   on      a session behind a gateway: the message
--   nobody  one that applies or replays what another node has done: there the trigger has run at home
--   else    one past the gateway: the built-in function.
-- Without `wanted` everything is as initdb made it. Called at each start of the gateway.
CREATE OR REPLACE FUNCTION mtm.replicate_pg_notify(wanted boolean) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  built_in constant oid := 3036;
  renamed constant boolean := (SELECT proname <> 'pg_notify' FROM pg_proc WHERE oid = built_in);
  callers text[]; definition text;
BEGIN
  IF renamed = wanted THEN RETURN; END IF;
  callers := mtm.definitions_calling(CASE WHEN wanted THEN built_in ELSE to_regprocedure('pg_catalog.pg_notify(text,text)') END);
  IF wanted THEN
    ALTER FUNCTION pg_catalog.pg_notify(text, text) RENAME TO pg_notify_local;
    IF to_regprocedure('mtm.pg_notify_replicated(text,text)') IS NOT NULL THEN
      ALTER FUNCTION mtm.pg_notify_replicated(text, text) SET SCHEMA pg_catalog;
      ALTER FUNCTION pg_catalog.pg_notify_replicated(text, text) RENAME TO pg_notify;
    END IF;
    CREATE OR REPLACE FUNCTION pg_catalog.pg_notify(text, text) RETURNS void
    LANGUAGE sql VOLATILE PARALLEL RESTRICTED AS $f$
      SELECT CASE
        WHEN pg_catalog.current_setting('multimaster.replicate_pg_notify', true) = 'nobody' THEN NULL::pg_catalog.void
        WHEN pg_catalog.current_setting('multimaster.replicate_pg_notify', true) = 'on' AND $1 <> ''
          AND pg_catalog.octet_length($1) < 64 AND coalesce(pg_catalog.octet_length($2), 0) < 8000
          THEN mtm.emit_notify($1, $2)
        ELSE pg_catalog.pg_notify_local($1, $2) END
    $f$;
  ELSE
    ALTER FUNCTION pg_catalog.pg_notify(text, text) RENAME TO pg_notify_replicated;
    ALTER FUNCTION pg_catalog.pg_notify_local(text, text) RENAME TO pg_notify;
  END IF;
  FOREACH definition IN ARRAY callers LOOP EXECUTE definition; END LOOP;
  IF wanted THEN RETURN; END IF;
  BEGIN
    DROP FUNCTION pg_catalog.pg_notify_replicated(text, text);
  EXCEPTION WHEN dependent_objects_still_exist THEN
    -- A view reads it, say: it is the built-in function in other words until it gets its name again.
    ALTER FUNCTION pg_catalog.pg_notify_replicated(text, text) SET SCHEMA mtm;
    CREATE OR REPLACE FUNCTION mtm.pg_notify_replicated(text, text) RETURNS void
    LANGUAGE sql VOLATILE PARALLEL RESTRICTED AS 'SELECT pg_catalog.pg_notify($1, $2)';
  END;
END $$;

-- Can a function or a rule of this database run the command NOTIFY, of which nobody hears but the server's own listeners?
CREATE OR REPLACE FUNCTION mtm.hides_notify() RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $$
  SELECT EXISTS (SELECT FROM pg_proc p WHERE p.oid >= 16384 AND p.prosrc ~* '\mnotify\M' AND pronamespace <> 'mtm'::regnamespace)
    OR EXISTS (SELECT FROM pg_rewrite WHERE oid >= 16384 AND ev_type <> '1' AND ev_action::text ~ '\{NOTIFYSTMT')
$$;

REVOKE EXECUTE ON FUNCTION mtm.definitions_calling(oid), mtm.replicate_pg_notify(boolean), mtm.hides_notify() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mtm.emit_notify(text, text) TO PUBLIC;
GRANT EXECUTE ON PROCEDURE mtm.notify(text, text), mtm.listen_later(text) TO PUBLIC;
