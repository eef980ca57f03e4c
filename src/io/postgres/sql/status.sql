-- What users see of the cluster (surface.md), and what the gateway asks.

-- The gateway calls it with {"status": {…columns of mtm.status…}, "nodes": [{…columns of mtm.nodes…}]}.
CREATE OR REPLACE FUNCTION mtm.set_runtime(state jsonb) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
  INSERT INTO mtm.runtime (state)
  VALUES (set_runtime.state || jsonb_build_object('written', extract(epoch FROM clock_timestamp())))
  ON CONFLICT (one) DO UPDATE SET state = excluded.state
$$;

-- A gateway writes its report at least every 2 s. Of one that does not any more only this is known, whoever asks the server.
CREATE OR REPLACE FUNCTION mtm.status(
  OUT my_node_id integer, OUT status text, OUT connected integer[], OUT gen_num bigint, OUT gen_members integer[],
  OUT gen_members_online integer[], OUT gen_configured integer[], OUT reason text, OUT retained_wal_bytes bigint,
  OUT unsupervised_writes bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT n.my_id, CASE WHEN a.fresh THEN r.status ELSE 'disabled' END, r.connected, r.gen_num, r.gen_members,
    CASE WHEN a.fresh THEN r.gen_members_online ELSE '{}' END, r.gen_configured,
    CASE WHEN r.status IS NULL THEN 'the gateway has not reported yet'
      WHEN a.fresh THEN r.reason ELSE format('the gateway has not reported for %s s', floor(a.age)) END,
    r.retained_wal_bytes, r.unsupervised_writes
  FROM mtm.node n LEFT JOIN mtm.runtime s ON true LEFT JOIN LATERAL (
    SELECT age, age < 10 AS fresh
    FROM (SELECT extract(epoch FROM clock_timestamp()) - (s.state ->> 'written')::numeric AS age) AS r) AS a ON true
  LEFT JOIN LATERAL jsonb_to_record(s.state -> 'status') AS r(
    status text, connected integer[], gen_num bigint, gen_members integer[], gen_members_online integer[],
    gen_configured integer[], reason text, retained_wal_bytes bigint, unsupervised_writes bigint) ON true
$$;

-- lag: bytes of WAL that the node has not confirmed; last_heartbeat: when it was heard of last.
CREATE OR REPLACE FUNCTION mtm.nodes() RETURNS TABLE (
  id integer, conninfo text, is_self boolean, enabled boolean, connected boolean, sender_pid integer, receiver_pid integer,
  n_workers integer, receiver_mode text, lag bigint, last_heartbeat timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT r.* FROM mtm.runtime s, jsonb_to_recordset(s.state -> 'nodes') AS r(
    id integer, conninfo text, is_self boolean, enabled boolean, connected boolean, sender_pid integer, receiver_pid integer,
    n_workers integer, receiver_mode text, lag bigint, last_heartbeat timestamptz) ORDER BY r.id
$$;

-- Raises the incarnation and returns it: gateways with a lower one are out. `held`: the incarnation that the process
-- `holder` got last, NULL when it begins; NULL comes back when another process has taken over since.
DROP FUNCTION IF EXISTS mtm.take_over();
CREATE OR REPLACE FUNCTION mtm.take_over(holder text, held bigint) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp SET synchronous_commit = on AS $$
  UPDATE mtm.incarnation i SET incarnation = i.incarnation + 1, holder = take_over.holder
  WHERE take_over.held IS NULL OR i.holder = take_over.holder OR i.incarnation < take_over.held
  RETURNING i.incarnation
$$;

-- Of former versions.
DROP FUNCTION IF EXISTS mtm.volatile_relations(), mtm.user_operators();

REVOKE EXECUTE ON FUNCTION mtm.set_runtime(jsonb), mtm.take_over(text, bigint) FROM PUBLIC;
