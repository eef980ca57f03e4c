-- A server that was restored from a backup is to begin a new cluster: what it knows of the old one is taken away
-- (mtm-gateway forget-cluster). Runs last; may be run again.
-- Rule: it never comes back to the old cluster, because it has forgotten its votes: a gateway that works with it must have
-- another cluster_name, by which the handshake keeps the two apart.

CREATE TABLE IF NOT EXISTS mtm.forgotten_cluster (cluster_name text PRIMARY KEY, forgotten_at timestamptz NOT NULL DEFAULT now());

-- Its caller has seen that no gateway works here, and has rolled back what was prepared. Returns the name of the old cluster;
-- NULL: there was none.
CREATE OR REPLACE FUNCTION mtm.forget_cluster() RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE name text := (SELECT cluster_name FROM mtm.node); r mtm.sequence; furthest numeric; last_value bigint;
BEGIN
  IF name IS NULL THEN RETURN NULL; END IF;
  -- Other nodes may have drawn values that stand in the tables: all go on behind them.
  FOR r IN SELECT s.* FROM mtm.sequence s JOIN pg_sequence USING (seqrelid) LOOP
    furthest := mtm.furthest_in_tables(r.seqrelid, ARRAY[r.user_start, r.user_increment, r.user_min, r.user_max]);
    EXECUTE format('SELECT last_value FROM %s', r.seqrelid::regclass) INTO last_value;
    IF (furthest - last_value) * sign(r.user_increment) > 0 THEN
      PERFORM mtm_local_setval(r.seqrelid, furthest::bigint, true);
    END IF;
  END LOOP;
  INSERT INTO mtm.forgotten_cluster (cluster_name) VALUES (name) ON CONFLICT DO NOTHING;
  DELETE FROM mtm.node;
  DELETE FROM mtm.sequence_step;
  DELETE FROM mtm.seed;
  DELETE FROM mtm.peer_position;
  DELETE FROM mtm.predecessor;
  DELETE FROM mtm.departure;
  DELETE FROM mtm.outcome;
  DELETE FROM mtm.outcome_cover;
  DELETE FROM mtm.client_body;
  DELETE FROM mtm.client_prepared;
  DELETE FROM mtm.everywhere;
  DELETE FROM mtm.generation_state;
  INSERT INTO mtm.generation_state DEFAULT VALUES;
  DELETE FROM mtm.syncpoint;
  INSERT INTO mtm.syncpoint DEFAULT VALUES;
  RETURN name;
END $$;

REVOKE EXECUTE ON FUNCTION mtm.forget_cluster() FROM PUBLIC;
