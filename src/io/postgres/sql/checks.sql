-- Looking at all nodes at once (manual F.31.4.6): what they ask of the gateway is in src/node/snapshot-desk.ts. Runs after
-- requests.sql; may be run again.

-- Runs the query on all nodes in snapshots of the same logical point, and compares the results. False, with a warning, at
-- the first difference; the query needs an ORDER BY. As superuser, because the query runs with the gateway's rights.
CREATE OR REPLACE FUNCTION mtm.check_query_as(query_text text, search_path text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  who constant name := mtm.current_role_name();
  answer jsonb; warning text;
BEGIN
  IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = who) THEN
    RAISE EXCEPTION '[multimaster] only superusers may compare the nodes' USING ERRCODE = '42501',
      HINT = 'The query runs on all nodes with the rights of the gateway.';
  END IF;
  answer := mtm.ask_gateway('check-query', jsonb_build_object('query', query_text, 'searchPath', search_path));
  FOR warning IN SELECT jsonb_array_elements_text(answer -> 'warnings') LOOP
    RAISE WARNING '[multimaster] %', warning;
  END LOOP;
  RETURN (answer ->> 'equal')::boolean;
END $$;

CREATE OR REPLACE FUNCTION mtm.check_query(query_text text) RETURNS boolean
LANGUAGE sql VOLATILE STRICT AS $$
  SELECT mtm.check_query_as(query_text, pg_catalog.current_setting('search_path'))
$$;

-- A snapshot on each node, all of the same logical point, for SET TRANSACTION SNAPSHOT there. They stay until
-- mtm.free_snapshots() or the end of the session, and for ten minutes after their last use.
CREATE OR REPLACE FUNCTION mtm.get_snapshots(OUT node_id integer, OUT snapshot text) RETURNS SETOF record
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM mtm.require_admin();
  RETURN QUERY SELECT (s ->> 'node')::integer, s ->> 'snapshot'
    FROM jsonb_array_elements(mtm.ask_gateway('get-snapshots', '{}') -> 'snapshots') AS s ORDER BY 1;
END $$;

CREATE OR REPLACE FUNCTION mtm.free_snapshots() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM mtm.require_admin();
  PERFORM mtm.ask_gateway('free-snapshots', '{}');
END $$;

-- True when every member of the generation answers; 57P03 otherwise.
CREATE OR REPLACE FUNCTION mtm.ping() RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE answer constant jsonb := mtm.ask_gateway('ping', '{}'); silent integer[];
BEGIN
  SELECT array_agg(m ORDER BY m) INTO silent
  FROM (SELECT unnest(gen_members) AS m FROM mtm.status()) AS members
  WHERE m <> (answer ->> 'node')::integer AND NOT answer -> 'answered' @> to_jsonb(m);
  IF silent IS NULL THEN RETURN true; END IF;
  RAISE EXCEPTION '[multimaster] of the members of the generation these do not answer: %', array_to_string(silent, ', ')
    USING ERRCODE = '57P03', HINT = 'mtm.nodes() tells more.';
END $$;

-- In a cluster of gateways the nodes are named in their configuration; kept for the sake of scripts. True to its promise it
-- ends when all nodes are online, and it names what is missing.
CREATE OR REPLACE FUNCTION mtm.init_cluster(my_conninfo text, peers_conninfo text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE s record; wanted constant integer := coalesce(cardinality(peers_conninfo), 0) + 1;
BEGIN
  PERFORM mtm.require_admin();
  IF wanted = 1 THEN
    RAISE EXCEPTION '[multimaster] at least one peer node should be specified' USING ERRCODE = '22023';
  END IF;
  SELECT * INTO s FROM mtm.status();
  IF cardinality(s.gen_configured) = wanted THEN
    RAISE NOTICE '[multimaster] the cluster is initialized: it has % nodes', wanted;
    RETURN;
  END IF;
  RAISE EXCEPTION '[multimaster] the cluster has % nodes, not %', coalesce(cardinality(s.gen_configured), 0), wanted
    USING ERRCODE = '55000', HINT = 'The nodes of a new cluster stand in the peers of each gateway.yaml (mtm-gateway check '
      || 'tells what is missing); SELECT mtm.add_node(...) adds one to a cluster that runs.';
END $$;
