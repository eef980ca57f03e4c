-- Nodes that come and go (manual F.31.4.3 and F.31.4.4). What they ask of the gateway: src/node/membership-desk.ts.

-- Adds the node whose gateway clients will reach at `connstr` (host=… port=…, and peer=host:port when its port for the other
-- gateways is not as far from that as here). Returns its id. Then: copy a server, start it, start its gateway.
CREATE OR REPLACE FUNCTION mtm.add_node(connstr text) RETURNS integer
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE id integer; name constant text := (SELECT gid FROM mtm.client_prepared WHERE ddl AND decision IS NULL LIMIT 1);
BEGIN
  PERFORM mtm.require_admin();
  -- What it defines nobody sees before its COMMIT PREPARED: its sequences would stay spread over fewer nodes.
  IF name IS NOT NULL THEN
    RAISE EXCEPTION '[multimaster] no node can be added while a transaction with definitions is prepared'
      USING ERRCODE = '55000', HINT = format('Finish "%s" with COMMIT PREPARED or ROLLBACK PREPARED.', name);
  END IF;
  id := (mtm.ask_gateway('add-node', jsonb_build_object('conninfo', connstr)) ->> 'id')::integer;
  PERFORM mtm.alter_sequences();
  RETURN id;
END $$;

-- Waits until the node, whose server began as a copy that ended at `backup_end_lsn`, is online.
CREATE OR REPLACE FUNCTION mtm.join_node(node_id integer, backup_end_lsn pg_lsn) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM mtm.require_admin();
  PERFORM mtm.ask_gateway('join-node', jsonb_build_object('id', node_id, 'lsn', backup_end_lsn));
END $$;

-- Removes a node whose gateway was stopped: the others keep nothing for it any more.
CREATE OR REPLACE FUNCTION mtm.drop_node(node_id integer) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM mtm.require_admin();
  IF NOT (mtm.ask_gateway('drop-node', jsonb_build_object('id', node_id)) ->> 'dropped')::boolean THEN
    RAISE NOTICE '[multimaster] the cluster has no node %', node_id;
  END IF;
  PERFORM mtm.alter_sequences();
END $$;
