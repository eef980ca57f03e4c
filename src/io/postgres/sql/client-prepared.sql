-- The client's own two-phase commit: what is prepared for clients on all nodes, and how each node prepares and finishes it.
--
-- A transaction 'x' that a client prepares is prepared under that name on every node (a *branch*). That it is, and everything
-- in it, stands in rows here, which are replicated as a user's: written by a supervised transaction that no member prepares
-- before it has prepared the branch. COMMIT or ROLLBACK PREPARED is a supervised transaction that writes the decision into the
-- row; a node that has executed it has also finished the branch, and deletes the rows for itself.
-- Rule: a branch without a row is nobody's and is rolled back; one with a row can always be prepared again from the row.

-- id: never used twice (src/node/branch-desk.ts); gid: the client's name for it. proof: that of its header. ddl: it has commands.
CREATE TABLE IF NOT EXISTS mtm.client_prepared (
  id text PRIMARY KEY,
  gid text NOT NULL,
  owner text NOT NULL,
  prepared timestamptz NOT NULL,
  home integer NOT NULL,
  ddl boolean NOT NULL,
  proof text NOT NULL,
  decision text CHECK (decision IN ('commit', 'rollback'))
);

-- Its changes, as they go to the peers (core/pgoutput/piece-writer.ts), cut into parts.
CREATE TABLE IF NOT EXISTS mtm.client_body (
  id text,
  part integer,
  data bytea NOT NULL,
  PRIMARY KEY (id, part)
);

-- Never has rows. A branch holds a ROW EXCLUSIVE lock on it, which only our functions can take, and a shared advisory lock
-- made of its id: both outlive every restart with it, and tell it from what others have prepared, and from another of its name.
CREATE TABLE IF NOT EXISTS mtm.client_mark (one boolean PRIMARY KEY);

CREATE OR REPLACE FUNCTION mtm.client_key(id text) RETURNS bigint
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS 'SELECT hashtextextended(id, 0)';

-- The last statement of a branch before its PREPARE, on every node.
CREATE OR REPLACE FUNCTION mtm.mark_client(id text, proof text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  LOCK TABLE mtm.client_mark IN ROW EXCLUSIVE MODE;
  PERFORM pg_advisory_xact_lock_shared(mtm.client_key(id));
  PERFORM pg_logical_emit_message(true, 'mtm-client', json_build_object('gid', id, 'hmac', proof)::text);
END $$;

-- Only the gateway has the key: sha256(key || sha256(key || text)), as in mtm.announce_as.
CREATE OR REPLACE FUNCTION mtm.require_gateway(text text, proof text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE key bytea := (SELECT announce_key FROM mtm.secret);
BEGIN
  IF proof IS DISTINCT FROM encode(sha256(key || sha256(key
    || convert_to(pg_backend_pid() || ':' || text, 'UTF8'))), 'hex') THEN
    RAISE EXCEPTION '[multimaster] this function is the gateway''s own' USING ERRCODE = '42501';
  END IF;
END $$;

-- At home, before the client's PREPARE TRANSACTION.
CREATE OR REPLACE FUNCTION mtm.client_header(id text, hmac text, announced boolean, proof text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM mtm.require_gateway('client:' || id, proof);
  PERFORM mtm.check_transaction(announced), mtm.check_row_types();
  IF current_setting('multimaster.listening', true) <> '' OR EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid()
    AND relation = 'mtm.notify_mark'::regclass AND mode = 'RowExclusiveLock') THEN
    RAISE EXCEPTION 'cannot PREPARE a transaction that has executed LISTEN, UNLISTEN, or NOTIFY' USING ERRCODE = '0A000';
  END IF;
  PERFORM mtm.emit_unchecked();
  PERFORM mtm.mark_client(id, hmac);
END $$;

-- At home, when the branch is prepared: its rows. `gid` is UTF-8. The parts come first: a reader of the stream has the whole
-- body when it sees the row of mtm.client_prepared.
CREATE OR REPLACE FUNCTION mtm.write_client(id text, gid bytea, hmac text, ddl boolean, body bytea, proof text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE name constant text := convert_from(gid, 'UTF8'); x pg_prepared_xacts; size constant integer := 65536;
BEGIN
  PERFORM mtm.require_gateway('write:' || id, proof);
  SELECT * INTO x FROM pg_prepared_xacts p WHERE p.gid = name AND p.database = current_database();
  IF NOT FOUND THEN
    RAISE EXCEPTION '[multimaster] prepared transaction "%" was finished past the gateway', name USING ERRCODE = '42704';
  END IF;
  INSERT INTO mtm.client_body (id, part, data)
  SELECT write_client.id, n, substr(body, n * size + 1, size) FROM generate_series(0, (length(body) - 1) / size) AS n;
  INSERT INTO mtm.client_prepared (id, gid, owner, prepared, home, ddl, proof)
  SELECT write_client.id, name, x.owner, x.prepared, my_id, write_client.ddl, hmac FROM mtm.node;
END $$;

-- COMMIT PREPARED and ROLLBACK PREPARED of a client, on any node, with PostgreSQL's own errors.
CREATE OR REPLACE FUNCTION mtm.finish_client(gid bytea, decision text, proof text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  name constant text := convert_from(gid, 'UTF8');
  who constant text := mtm.current_role_name();
  until constant timestamptz := clock_timestamp() + interval '3 seconds';
  c mtm.client_prepared;
BEGIN
  PERFORM mtm.require_gateway(decision || ':' || encode(gid, 'hex'), proof);
  LOOP
    SELECT * INTO c FROM mtm.client_prepared p WHERE p.gid = name AND p.decision IS NULL FOR UPDATE;
    -- Without wait_peer_commits another node may have answered its client before the row is here.
    EXIT WHEN FOUND OR clock_timestamp() > until
      OR NOT EXISTS (SELECT FROM mtm.client_state('{}') s WHERE s.id IS NULL AND s.gid = name);
    PERFORM pg_sleep(0.01);
  END LOOP;
  IF c.id IS NULL THEN
    RAISE EXCEPTION 'prepared transaction with identifier "%" does not exist', name USING ERRCODE = '42704',
      HINT = CASE WHEN EXISTS (SELECT FROM pg_prepared_xacts p WHERE p.gid = name AND p.database = current_database())
        THEN 'It is prepared on this node alone: finish it in a session with application_name=mtm_admin.' ELSE '' END;
  END IF;
  IF who <> c.owner AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = who AND r.rolsuper) THEN
    RAISE EXCEPTION 'permission denied to finish prepared transaction' USING ERRCODE = '42501',
      HINT = 'Must be superuser or the user that prepared the transaction.';
  END IF;
  UPDATE mtm.client_prepared p SET decision = finish_client.decision WHERE p.id = c.id;
END $$;

-- At the peers, before a branch is prepared. One that is being rolled back here is waited for; of two nodes that prepare the
-- same name at the same time only one waits for long.
CREATE OR REPLACE FUNCTION mtm.await_client_gid(gid text, home integer) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE until constant timestamptz := clock_timestamp()
  + CASE WHEN home < (SELECT my_id FROM mtm.node) THEN interval '5 seconds' ELSE interval '1 second' END;
BEGIN
  WHILE EXISTS (SELECT FROM pg_prepared_xacts x WHERE x.gid = await_client_gid.gid) LOOP
    IF clock_timestamp() > until OR EXISTS (
      SELECT FROM mtm.client_prepared p WHERE p.gid = await_client_gid.gid AND p.decision IS NULL) THEN
      RAISE EXCEPTION 'transaction identifier "%" is already in use', gid USING ERRCODE = '42710';
    END IF;
    PERFORM pg_sleep(0.02);
  END LOOP;
END $$;

-- The branches of this node: each row, and what is prepared here under which it should be; and what is prepared without a row,
-- its id NULL. `in_flight`: ids that are being prepared just now, and are passed over. owner is NULL when there is no such role.
CREATE OR REPLACE FUNCTION mtm.client_state(in_flight text[]) RETURNS TABLE (
  id text, gid text, owner text, home integer, proof text, decision text, ddl boolean, is_prepared boolean)
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  WITH locks AS MATERIALIZED (
    SELECT virtualtransaction AS holder, locktype, relation, transactionid,
      (classid::bigint << 32) | objid::bigint AS key
    FROM pg_locks WHERE pid IS NULL AND granted AND locktype IN ('transactionid', 'relation', 'advisory')
  ), marked AS MATERIALIZED (
    SELECT x.gid, t.holder FROM pg_prepared_xacts x
    JOIN locks t ON t.locktype = 'transactionid' AND t.transactionid = x.transaction
    JOIN locks m ON m.holder = t.holder AND m.locktype = 'relation' AND m.relation = 'mtm.client_mark'::regclass
    WHERE x.database = current_database() AND x.gid NOT LIKE 'mtm:%'
  ), named AS MATERIALIZED (
    SELECT p.id, m.gid, m.holder FROM marked m JOIN locks a ON a.holder = m.holder AND a.locktype = 'advisory'
    JOIN (SELECT c.id, c.gid FROM mtm.client_prepared c UNION SELECT f, NULL FROM unnest(in_flight) AS f) AS p
      ON mtm.client_key(p.id) = a.key AND (p.gid IS NULL OR p.gid = m.gid)
  )
  SELECT c.id, c.gid, (SELECT rolname::text FROM pg_roles WHERE rolname = c.owner), c.home, c.proof, c.decision, c.ddl,
    EXISTS (SELECT FROM named n WHERE n.id = c.id)
  FROM mtm.client_prepared c WHERE c.id <> ALL (in_flight)
  UNION ALL
  SELECT NULL, m.gid, NULL, NULL, NULL, NULL, NULL, true
  FROM marked m WHERE NOT EXISTS (SELECT FROM named n WHERE n.holder = m.holder)
$$;

-- Under which name the branch is prepared here, if it is.
CREATE OR REPLACE FUNCTION mtm.client_gid(id text) RETURNS SETOF text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
  SELECT x.gid FROM pg_prepared_xacts x
  JOIN pg_locks t ON t.pid IS NULL AND t.locktype = 'transactionid' AND t.transactionid = x.transaction
  JOIN pg_locks m ON m.pid IS NULL AND m.virtualtransaction = t.virtualtransaction AND m.locktype = 'relation'
    AND m.relation = 'mtm.client_mark'::regclass
  JOIN pg_locks a ON a.pid IS NULL AND a.virtualtransaction = t.virtualtransaction AND a.locktype = 'advisory'
    AND (a.classid::bigint << 32) | a.objid::bigint = mtm.client_key(client_gid.id)
  WHERE x.database = current_database() AND x.gid NOT LIKE 'mtm:%'
$$;

-- Its branch is finished here.
CREATE OR REPLACE FUNCTION mtm.forget_client(id text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  DELETE FROM mtm.client_body b WHERE b.id = forget_client.id;
  DELETE FROM mtm.client_prepared p WHERE p.id = forget_client.id;
$$;

REVOKE EXECUTE ON FUNCTION mtm.client_key(text), mtm.mark_client(text, text), mtm.require_gateway(text, text),
  mtm.await_client_gid(text, integer), mtm.client_state(text[]), mtm.client_gid(text), mtm.forget_client(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mtm.client_header(text, text, boolean, text), mtm.finish_client(bytea, text, text),
  mtm.write_client(text, bytea, text, boolean, bytea, text) TO PUBLIC;
