-- Questions of the server to its gateway: a function asks by a message in the WAL that is nobody's change, and waits for
-- the answer in a table. Runs after schema.sql; may be run again.
-- Rule: whoever calls mtm.ask_gateway has checked the rights (mtm.require_admin). A question may come twice (the gateway repeats
-- statements), so what a verb does must be the same when it is done again.

-- Answers, and questions that the gateway has taken (neither reply nor error). Unlogged: they are of the moment.
CREATE UNLOGGED TABLE IF NOT EXISTS mtm.request_reply (
  id uuid PRIMARY KEY,
  incarnation bigint NOT NULL,
  reply jsonb,
  error jsonb,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The gateway calls it. `error`: {sqlstate, message, hint}. Without both the question is taken. Nobody waits for answers that
-- are old or of a former gateway.
CREATE OR REPLACE FUNCTION mtm.note_reply(id uuid, incarnation bigint, reply jsonb, error jsonb) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  DELETE FROM mtm.request_reply r WHERE r.incarnation <> note_reply.incarnation
    OR ((r.reply IS NOT NULL OR r.error IS NOT NULL) AND r.at < clock_timestamp() - interval '10 minutes');
  INSERT INTO mtm.request_reply AS r (id, incarnation, reply, error)
  VALUES (note_reply.id, note_reply.incarnation, note_reply.reply, note_reply.error)
  ON CONFLICT (id) DO UPDATE SET reply = excluded.reply, error = excluded.error, at = excluded.at
$$;

-- Raises 42501 unless the role in which the session acts is a superuser or belongs to admin_role.
CREATE OR REPLACE FUNCTION mtm.require_admin() RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  who constant name := mtm.current_role_name();
  admins constant text := (SELECT admin_role FROM mtm.node);
BEGIN
  IF EXISTS (SELECT FROM pg_roles r WHERE r.rolname = who AND (r.rolsuper OR EXISTS (
    SELECT FROM pg_roles a WHERE a.rolname = admins AND pg_has_role(r.oid, a.oid, 'MEMBER')))) THEN RETURN; END IF;
  RAISE EXCEPTION '[multimaster] role "%" may not change the cluster: only superusers and members of admin_role may', who
    USING ERRCODE = '42501', HINT = CASE WHEN admins = '' THEN 'The gateways have no admin_role.'
      ELSE format('The admin_role of this gateway is "%s".', admins) END;
END $$;

-- Emits the question. Before 17 nothing can flush the message, and the next commit of anybody does (the gateway's own probe
-- makes one twice a second).
CREATE OR REPLACE FUNCTION mtm.emit_request(content text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF current_setting('server_version_num')::integer >= 170000 THEN
    EXECUTE 'SELECT pg_logical_emit_message(false, ''mtm-request'', $1, true)' USING content;
  ELSE
    PERFORM pg_logical_emit_message(false, 'mtm-request', content);
  END IF;
END $$;

-- Why no answer of this gateway will come; NULL: it may still.
CREATE OR REPLACE FUNCTION mtm.gateway_trouble(asked_incarnation bigint) RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE
    WHEN (SELECT incarnation FROM mtm.incarnation) <> asked_incarnation THEN 'the gateway of this node was restarted'
    WHEN NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name ~ '^mtm_live(_[0-9]+)?$' AND database = current_database() AND active)
      THEN 'no gateway runs in front of this server' END
$$;

-- Asks, waits, and returns the answer or raises the gateway's error. `args` is for the verb (src/node/verbs.ts).
CREATE OR REPLACE FUNCTION mtm.ask_gateway(verb text, args jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  question constant uuid := gen_random_uuid();
  gateway constant bigint := (SELECT incarnation FROM mtm.incarnation);
  key constant bytea := (SELECT announce_key FROM mtm.secret);
  asked_at constant timestamptz := clock_timestamp();
  request constant text := jsonb_build_object('id', question, 'incarnation', gateway, 'pid', pg_backend_pid(),
    'verb', verb, 'args', args)::text;
  pause double precision := 0.005; trouble text; answer mtm.request_reply;
BEGIN
  IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
    RAISE EXCEPTION '[multimaster] in a transaction of isolation level % the answer of the gateway could not be seen',
      current_setting('transaction_isolation') USING ERRCODE = '25001', HINT = 'Use a transaction of level READ COMMITTED.';
  END IF;
  trouble := mtm.gateway_trouble(gateway);
  IF trouble IS NULL THEN
    PERFORM mtm.emit_request(json_build_object('request', request, 'proof',
      encode(sha256(key || sha256(key || convert_to('request:' || request, 'UTF8'))), 'hex'))::text);
  END IF;
  LOOP
    SELECT * INTO answer FROM mtm.request_reply r WHERE r.id = question;
    IF answer.error IS NOT NULL THEN
      RAISE EXCEPTION USING ERRCODE = answer.error ->> 'sqlstate', MESSAGE = answer.error ->> 'message',
        HINT = coalesce(answer.error ->> 'hint', '');
    END IF;
    IF answer.reply IS NOT NULL THEN RETURN answer.reply; END IF;
    IF trouble IS NOT NULL THEN
      RAISE EXCEPTION '[multimaster] %', trouble USING ERRCODE = '57P03',
        HINT = 'Ask again when the node is online: it does no harm if the question had been answered.';
    END IF;
    IF answer.id IS NULL AND clock_timestamp() > asked_at + interval '15 seconds' THEN
      trouble := 'the gateway of this node does not take questions';
    ELSE
      PERFORM pg_sleep(pause);
      pause := least(pause * 1.5, 0.1);
      trouble := mtm.gateway_trouble(gateway);
    END IF;
  END LOOP;
END $$;

REVOKE EXECUTE ON FUNCTION mtm.note_reply(uuid, bigint, jsonb, jsonb), mtm.require_admin(), mtm.emit_request(text),
  mtm.gateway_trouble(bigint), mtm.ask_gateway(text, jsonb) FROM PUBLIC;
