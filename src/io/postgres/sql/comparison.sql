-- What mtm-gateway compare and repair ask of a node, and of the gateway (src/node/comparison-desk.ts, repair-desk.ts). Runs
-- after local-tables.sql, spread.sql and definitions.sql; may be run again.

-- A comparison of all nodes for this session, in the background: `options` as src/node/comparison-job.ts reads them. It ends
-- with the session. Returns its name.
CREATE OR REPLACE FUNCTION mtm.begin_comparison(options jsonb) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM mtm.require_admin();
  RETURN mtm.ask_gateway('begin-comparison', options) ->> 'comparison';
END $$;

-- What has happened since the first `seen` things, and how far it is. Waits for a moment when nothing has.
CREATE OR REPLACE FUNCTION mtm.comparison_news(comparison text, seen integer) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM mtm.require_admin();
  RETURN mtm.ask_gateway('comparison-news', jsonb_build_object('comparison', comparison, 'seen', seen));
END $$;

-- Makes rows of other nodes those of one node: `options` as src/node/repair-desk.ts reads them. Returns what it has done. As
-- superuser: it reads and writes whatever the table's rights are.
CREATE OR REPLACE FUNCTION mtm.repair_rows(options jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = mtm.current_role_name()) THEN
    RAISE EXCEPTION '[multimaster] only superusers may repair rows' USING ERRCODE = '42501',
      HINT = 'Rows are read on one node and written on others with the rights of the gateway.';
  END IF;
  RETURN mtm.ask_gateway('repair-rows', options);
END $$;

-- The type under domains, and how a value of it is told: core/comparison/relation.ts.
CREATE OR REPLACE FUNCTION mtm.told_as(type oid, generated "char") RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT CASE WHEN generated = 'v' THEN 'computed' ELSE CASE mtm.base_type(type)::regtype::text
    WHEN 'bytea' THEN 'bytes' WHEN 'text' THEN 'text' WHEN 'character varying' THEN 'text'
    WHEN 'pg_node_tree' THEN 'untellable' WHEN 'pg_ndistinct' THEN 'untellable' WHEN 'pg_dependencies' THEN 'untellable'
    WHEN 'pg_mcv_list' THEN 'untellable' WHEN 'pg_brin_bloom_summary' THEN 'untellable'
    WHEN 'pg_brin_minmax_multi_summary' THEN 'untellable' ELSE 'plain' END END
$$;

-- Relations with rows of their own behind the given name, in the order of their names.
CREATE OR REPLACE FUNCTION mtm.compared_relations(after_schema text, after_name text, most integer) RETURNS SETOF jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT jsonb_build_object('schema', n.nspname, 'name', c.relname, 'kind', c.relkind,
    'bytes', CASE WHEN c.relkind IN ('r', 'm') THEN coalesce(pg_table_size(c.oid), 0) ELSE 0 END,
    'pieces', coalesce(a.amname = 'heap', false),
    'columns', coalesce((SELECT jsonb_agg(jsonb_build_object('name', attname, 'type', format_type(atttypid, atttypmod),
        'told', mtm.told_as(atttypid, attgenerated), 'generated', attgenerated <> '') ORDER BY attnum)
      FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped), '[]'),
    'key', coalesce((SELECT jsonb_agg(k.attname ORDER BY u.position) FROM pg_index i
      CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS u(attnum, position)
      JOIN pg_attribute k ON k.attrelid = i.indrelid AND k.attnum = u.attnum
      WHERE i.indrelid = c.oid AND i.indisprimary AND u.position <= i.indnkeyatts), '[]'))
    || CASE WHEN apart.reason IS NULL THEN '{}'::jsonb ELSE jsonb_build_object('apart', apart.reason) END
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_am a ON a.oid = c.relam
  CROSS JOIN LATERAL (SELECT CASE
    WHEN c.relpersistence = 'u' THEN 'it is unlogged'
    WHEN c.relkind = 'f' THEN 'it is a foreign table'
    WHEN NOT c.relispopulated THEN 'it is not populated'
    WHEN c.relkind = 'r' AND EXISTS (SELECT FROM mtm.local_table t
      WHERE t.relid = c.oid OR t.relid IN (SELECT pg_partition_ancestors(c.oid))) THEN 'it was made local'
    WHEN c.relkind = 'r' AND EXISTS (SELECT FROM mtm.node WHERE ignore_tables_without_pk)
      AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
      THEN 'it has no primary key, and ignore_tables_without_pk is on' END AS reason) AS apart
  WHERE c.relkind IN ('r', 'm', 'f') AND c.relpersistence <> 't' AND n.nspname NOT IN ('mtm', 'information_schema')
    AND n.nspname !~ '^pg_' AND (n.nspname COLLATE "C", c.relname COLLATE "C") > (after_schema, after_name)
  ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C" LIMIT most
$$;

-- In a transaction with somebody's snapshot that has read the table: its rows lie where they lay at the snapshot.
-- (TRUNCATE and commands that rewrite a table leave nothing of it to older snapshots.)
CREATE OR REPLACE FUNCTION mtm.require_unmoved(relation regclass) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF pg_relation_filenode(relation) IS DISTINCT FROM (SELECT relfilenode FROM pg_class WHERE oid = relation) THEN
    RAISE EXCEPTION '[multimaster] % was rewritten after the moment of the comparison', relation USING ERRCODE = '55006';
  END IF;
END $$;

-- What sequences are to have in common, and those that draw what is not this node's, one line each.
CREATE OR REPLACE FUNCTION mtm.sequence_lines() RETURNS SETOF text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE nodes constant integer := (SELECT node_count FROM mtm.sequence_step);
BEGIN
  RETURN NEXT format('sequences are spread over %s nodes', nodes);
  RETURN QUERY SELECT CASE WHEN q.fits AND NOT q.is_right THEN format('wrong %s', q.name)
      ELSE format('right %s', q.name) END
    FROM mtm.sequence_states(nodes) AS q;
  RETURN QUERY SELECT format('sequence %s starts with %s increment %s minimum %s maximum %s', q.name, q.parameters[1],
      q.parameters[2], q.parameters[3], q.parameters[4])
    FROM mtm.sequence_states(nodes) AS q;
END $$;

REVOKE EXECUTE ON FUNCTION mtm.told_as(oid, "char"), mtm.compared_relations(text, text, integer),
  mtm.require_unmoved(regclass), mtm.sequence_lines() FROM PUBLIC;
