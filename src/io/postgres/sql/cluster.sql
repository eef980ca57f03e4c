-- CLUSTER outside of a transaction (src/core/session/clustering.ts). Runs after everywhere.sql; may be run again.
-- Rule: the order of rows is each node's own, the mark on the index is that of all; what the server would refuse has no marks.

-- The partitions that CLUSTER by an index of a partitioned table works on, with the index of each; none when it would refuse
-- the command. It passes over what the user may not cluster. `who` is he.
CREATE OR REPLACE FUNCTION mtm.clustered_partitions(parent oid, index_name text, who name,
  OUT relation oid, OUT index oid) RETURNS SETOF record
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE maintains constant boolean := current_setting('server_version_num')::integer >= 170000; parent_index oid;
BEGIN
  SELECT x.indexrelid INTO parent_index FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
    JOIN pg_class c ON c.oid = x.indrelid JOIN pg_am a ON a.oid = i.relam
  WHERE x.indrelid = parent AND i.relname = index_name AND x.indisvalid AND x.indpred IS NULL
    AND c.relkind = 'p' AND c.relpersistence <> 't' AND a.amname IN ('btree', 'gist')
    AND CASE WHEN maintains THEN has_table_privilege(who, c.oid, 'MAINTAIN') ELSE pg_has_role(who, c.relowner, 'USAGE') END;
  RETURN QUERY
    SELECT x.indrelid, x.indexrelid FROM pg_partition_tree(parent_index) t
    JOIN pg_index x ON x.indexrelid = t.relid JOIN pg_class c ON c.oid = x.indrelid
    JOIN pg_database d ON d.datname = current_database()
    WHERE t.isleaf AND c.relkind = 'r' AND CASE WHEN maintains THEN has_table_privilege(who, c.oid, 'MAINTAIN')
      ELSE pg_has_role(who, c.relowner, 'USAGE') OR pg_has_role(who, d.datdba, 'USAGE') END
    ORDER BY x.indrelid;
END $$;

CREATE OR REPLACE FUNCTION mtm.cluster_way_of(target oid, index_name text) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN target < 16384 THEN 'alone' WHEN (SELECT relkind FROM pg_class WHERE oid = target) <> 'p' THEN 'together'
    WHEN EXISTS (SELECT FROM mtm.clustered_partitions(target, index_name, mtm.current_role_name())) THEN 'marked'
    ELSE 'alone' END
$$;

-- How CLUSTER runs: 'together' with the rest of its transaction, 'alone' in a session, 'marked': alone, and it marks tables.
-- Without SET: names are found as the client finds them.
CREATE OR REPLACE FUNCTION mtm.cluster_way(target text, index_name text) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT mtm.cluster_way_of(pg_catalog.to_regclass(target)::pg_catalog.oid, index_name)
$$;

-- Here and at the others. No event trigger hears of it: CLUSTER fires none.
CREATE OR REPLACE FUNCTION mtm.ensure_clustered(relation text, index_name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET session_replication_role = replica AS $$
DECLARE present text := (SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
  WHERE x.indrelid = to_regclass(relation) AND x.indisclustered);
BEGIN
  IF present IS NOT DISTINCT FROM index_name THEN RETURN; END IF;
  EXECUTE format('ALTER TABLE %s ', relation) ||
    CASE WHEN index_name IS NULL THEN 'SET WITHOUT CLUSTER' ELSE format('CLUSTER ON %I', index_name) END;
END $$;

CREATE OR REPLACE FUNCTION mtm.mark_partitions_of(target oid, index_name text, setting boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE p record; name text; mark text;
BEGIN
  FOR p IN SELECT relation, index FROM mtm.clustered_partitions(target, index_name, mtm.current_role_name()) LOOP
    name := mtm.full_name(p.relation);
    EXECUTE format('LOCK TABLE %s IN SHARE UPDATE EXCLUSIVE MODE', name);
    IF setting THEN
      INSERT INTO mtm.own_frame VALUES (pg_current_xact_id());
      PERFORM mtm.ensure_clustered(name, (SELECT relname FROM pg_class WHERE oid = p.index));
      DELETE FROM mtm.own_frame WHERE transaction = pg_current_xact_id();
    END IF;
    SELECT i.relname INTO mark FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
    WHERE x.indrelid = p.relation AND x.indisclustered;
    PERFORM mtm.emit_own_command(format('SELECT mtm.ensure_clustered(%L, %L)', name, mark));
  END LOOP;
END $$;

-- Tells all nodes by which index each partition was clustered; `setting`: by the one of CLUSTER, from now on.
CREATE OR REPLACE FUNCTION mtm.mark_partitions(target text, index_name text, setting boolean) RETURNS void
LANGUAGE sql VOLATILE AS $$
  SELECT mtm.mark_partitions_of(pg_catalog.to_regclass(target)::pg_catalog.oid, index_name, setting)
$$;

REVOKE EXECUTE ON FUNCTION mtm.clustered_partitions(oid, text, name), mtm.ensure_clustered(text, text) FROM PUBLIC;
