-- Everything that makes up a schema, one sorted line for each object, names instead of OIDs. Run with an empty search_path.
WITH spaces AS (
  SELECT oid, nspname FROM pg_namespace
  WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'mtm')
), relations AS (
  SELECT c.*, c.oid::regclass::text AS name FROM pg_class c JOIN spaces s ON s.oid = c.relnamespace
  WHERE c.relpersistence <> 't'
), functions AS (
  SELECT p.*, p.oid::regprocedure::text AS name FROM pg_proc p JOIN spaces s ON s.oid = p.pronamespace
), types AS (
  SELECT t.*, t.oid::regtype::text AS name FROM pg_type t JOIN spaces s ON s.oid = t.typnamespace
)
SELECT line FROM (
  SELECT format('schema %s owner %s acl %s', s.nspname, pg_get_userbyid(n.nspowner), n.nspacl) AS line
  FROM spaces s JOIN pg_namespace n USING (oid)
  UNION ALL
  SELECT format('relation %s kind %s persistence %s owner %s acl %s options %s security %s %s identity %s part %s bound %s',
    name, relkind, relpersistence, pg_get_userbyid(relowner), relacl, reloptions, relrowsecurity, relforcerowsecurity,
    relreplident, CASE WHEN relkind = 'p' THEN pg_get_partkeydef(oid) END, pg_get_expr(relpartbound, oid))
  FROM relations WHERE relkind NOT IN ('i', 'I', 'S', 't')
  UNION ALL
  SELECT format('inheritance %s of %s, %s', inhrelid::regclass, inhparent::regclass, inhseqno)
  FROM pg_inherits JOIN relations ON oid = inhrelid
  UNION ALL
  SELECT format('column %s %s: %s %s not null %s default %s identity %s generated %s collation %s storage %s acl %s', r.name,
    row_number() OVER (PARTITION BY r.oid ORDER BY a.attnum), a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
    pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attgenerated, nullif(a.attcollation, 0)::regcollation, a.attstorage, a.attacl)
  FROM relations r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef d ON d.adrelid = r.oid AND d.adnum = a.attnum
  WHERE r.relkind NOT IN ('i', 'I', 'S')
  UNION ALL
  SELECT format('constraint %s on %s%s: %s valid %s deferrable %s %s', conname, nullif(conrelid, 0)::regclass,
    nullif(contypid, 0)::regtype, pg_get_constraintdef(c.oid), convalidated, condeferrable, condeferred)
  FROM pg_constraint c JOIN spaces s ON s.oid = c.connamespace
  UNION ALL
  SELECT format('index %s valid %s ready %s identity %s clustered %s', pg_get_indexdef(indexrelid), indisvalid, indisready,
    indisreplident, indisclustered)
  FROM pg_index JOIN relations ON relations.oid = indexrelid
  UNION ALL
  SELECT format('trigger %s enabled %s', pg_get_triggerdef(t.oid), tgenabled)
  FROM pg_trigger t JOIN relations ON relations.oid = tgrelid WHERE NOT tgisinternal
  UNION ALL
  SELECT format('internal trigger on %s: %s enabled %s type %s times %s', name, tgfoid::regproc, tgenabled, tgtype, count(*))
  FROM pg_trigger JOIN relations ON relations.oid = tgrelid WHERE tgisinternal GROUP BY name, tgfoid, tgenabled, tgtype
  UNION ALL
  SELECT format('rule %s enabled %s', pg_get_ruledef(w.oid), ev_enabled)
  FROM pg_rewrite w JOIN relations ON relations.oid = ev_class
  UNION ALL
  SELECT format('function %s owner %s acl %s: %s', name, pg_get_userbyid(proowner), proacl,
    CASE WHEN prokind = 'a' THEN 'aggregate' ELSE pg_get_functiondef(oid) END)
  FROM functions
  UNION ALL
  SELECT format('type %s kind %s owner %s acl %s base %s not null %s default %s labels %s', name, typtype,
    pg_get_userbyid(typowner), typacl, CASE WHEN typbasetype <> 0 THEN format_type(typbasetype, typtypmod) END, typnotnull,
    typdefault, (SELECT string_agg(enumlabel, ', ' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = types.oid))
  FROM types
  UNION ALL
  SELECT format('policy %s', p.*) FROM pg_policies p WHERE schemaname <> 'mtm'
  UNION ALL
  SELECT format('extension %s %s in %s', extname, extversion, extnamespace::regnamespace) FROM pg_extension
  UNION ALL
  SELECT format('statistics %s', pg_get_statisticsobjdef(e.oid)) FROM pg_statistic_ext e JOIN spaces s ON s.oid = e.stxnamespace
  UNION ALL
  SELECT format('comment on %s: %s', pg_describe_object(classoid, objoid, objsubid), description)
  FROM pg_description WHERE objoid >= 16384 AND pg_describe_object(classoid, objoid, objsubid) !~ '\mmtm\M'
  UNION ALL
  SELECT format('event trigger %s on %s calls %s enabled %s tags %s', evtname, evtevent, evtfoid::regproc, evtenabled, evttags)
  FROM pg_event_trigger WHERE evtname !~ '^!mtm_'
  UNION ALL
  SELECT format('role %s', (rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication,
    rolbypassrls, rolconnlimit)) FROM pg_roles WHERE rolname !~ '^pg_'
  UNION ALL
  SELECT format('member %s of %s', member::regrole, roleid::regrole) FROM pg_auth_members WHERE roleid >= 16384 OR member >= 16384
  UNION ALL
  SELECT format('setting of %s in %s: %s', nullif(setrole, 0)::regrole,
    (SELECT datname FROM pg_database WHERE oid = setdatabase), setconfig) FROM pg_db_role_setting
  UNION ALL
  SELECT format('default privileges of %s in %s for %s: %s', defaclrole::regrole, nullif(defaclnamespace, 0)::regnamespace,
    defaclobjtype, defaclacl) FROM pg_default_acl
) AS lines ORDER BY line COLLATE "C"
