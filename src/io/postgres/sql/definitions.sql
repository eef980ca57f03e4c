-- Everything that makes up a database's definitions, one sorted line for each thing, names instead of OIDs, for
-- mtm-gateway compare (src/node/comparison-hands.ts). May be run again.
-- Rule: nothing of the gateway's own, nothing that each node has for itself, and no secret: passwords of foreign servers are
-- told as digests, those of roles not at all. (The tests have a fingerprint of their own, test/support/schema-fingerprint.sql.)
CREATE OR REPLACE FUNCTION mtm.definition_lines() RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on AS $definitions$
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
  SELECT format('relation %s kind %s persistence %s owner %s acl %s options %s security %s %s identity %s part %s bound %s'
    ' populated %s',
    name, relkind, relpersistence, pg_get_userbyid(relowner), relacl, reloptions, relrowsecurity, relforcerowsecurity,
    relreplident, CASE WHEN relkind = 'p' THEN pg_get_partkeydef(oid) END, pg_get_expr(relpartbound, oid), relispopulated)
  FROM relations WHERE relkind NOT IN ('i', 'I', 'S', 't')
  UNION ALL
  SELECT format('inheritance %s of %s, %s', inhrelid::regclass, inhparent::regclass, inhseqno)
  FROM pg_inherits JOIN relations ON oid = inhrelid
  UNION ALL
  SELECT format('column %s %s: %s %s not null %s default %s identity %s generated %s collation %s storage %s acl %s', r.name,
    row_number() OVER (PARTITION BY r.oid ORDER BY a.attnum), a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
    pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attgenerated,
    nullif(a.attcollation, 0)::regcollation, a.attstorage, a.attacl)
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
  SELECT format('statistics %s', pg_get_statisticsobjdef(e.oid))
  FROM pg_statistic_ext e JOIN spaces s ON s.oid = e.stxnamespace
  UNION ALL
  SELECT format('comment on %s: %s', pg_describe_object(classoid, objoid, objsubid), description)
  FROM pg_description WHERE objoid >= 16384 AND pg_describe_object(classoid, objoid, objsubid) !~ '\mmtm\M'
  UNION ALL
  SELECT format('event trigger %s on %s calls %s enabled %s tags %s', evtname, evtevent, evtfoid::regproc,
    evtenabled, evttags)
  FROM pg_event_trigger WHERE evtname !~ '^!mtm_'
  UNION ALL
  SELECT format('role %s', (rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication,
    rolbypassrls, rolconnlimit,
    rolpassword IS NOT NULL, rolvaliduntil)) FROM pg_authid WHERE rolname !~ '^pg_'
  UNION ALL
  SELECT format('member %s of %s', member::regrole, roleid::regrole) FROM pg_auth_members
  WHERE roleid >= 16384 OR member >= 16384
  UNION ALL
  SELECT format('setting of %s in %s: %s', nullif(setrole, 0)::regrole,
    (SELECT datname FROM pg_database WHERE oid = setdatabase), setconfig) FROM pg_db_role_setting
  UNION ALL
  SELECT format('default privileges of %s in %s for %s: %s', defaclrole::regrole, nullif(defaclnamespace, 0)::regnamespace,
    defaclobjtype, defaclacl) FROM pg_default_acl
  UNION ALL
  SELECT format('publication %s owner %s all %s actions %s via root %s of %s and %s', pubname, pg_get_userbyid(pubowner),
    puballtables, (pubinsert, pubupdate, pubdelete, pubtruncate), pubviaroot,
    (SELECT array_agg(format('%s %s %s', r.prrelid::regclass, (SELECT array_agg(attname ORDER BY attnum) FROM pg_attribute
      WHERE attrelid = r.prrelid AND attnum = ANY (r.prattrs::int2[])), pg_get_expr(r.prqual, r.prrelid))
      ORDER BY r.prrelid::regclass::text COLLATE "C") FROM pg_publication_rel r WHERE r.prpubid = p.oid),
    (SELECT array_agg(pnnspid::regnamespace ORDER BY pnnspid::regnamespace::text COLLATE "C") FROM pg_publication_namespace
      WHERE pnpubid = p.oid))
  FROM pg_publication p WHERE pubname !~ '^mtm(_|$)'
  UNION ALL
  SELECT format('wrapper %s owner %s acl %s handler %s validator %s options %s', fdwname, pg_get_userbyid(fdwowner), fdwacl,
    nullif(fdwhandler, 0)::regproc, nullif(fdwvalidator, 0)::regproc, fdwoptions) FROM pg_foreign_data_wrapper
  UNION ALL
  SELECT format('server %s type %s version %s of %s owner %s acl %s options %s', srvname, srvtype, srvversion, fdwname,
    pg_get_userbyid(srvowner), srvacl, srvoptions)
  FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
  UNION ALL
  SELECT format('mapping of %s on %s: digest %s', nullif(umuser, 0)::regrole, srvname, md5(umoptions::text))
  FROM pg_user_mapping m JOIN pg_foreign_server s ON s.oid = m.umserver
  UNION ALL
  SELECT format('foreign table %s of %s: %s', ftrelid::regclass, srvname, ftoptions)
  FROM pg_foreign_table t JOIN pg_foreign_server s ON s.oid = t.ftserver
  UNION ALL
  SELECT format('cast %s as %s by %s context %s method %s', castsource::regtype, casttarget::regtype,
    nullif(castfunc, 0)::regprocedure, castcontext, castmethod) FROM pg_cast WHERE oid >= 16384
  UNION ALL
  SELECT format('operator %s owner %s by %s commutator %s negator %s merges %s hashes %s', o.oid::regoperator,
    pg_get_userbyid(oprowner), nullif(oprcode, 0)::regprocedure, nullif(oprcom, 0)::regoperator,
    nullif(oprnegate, 0)::regoperator, oprcanmerge, oprcanhash)
  FROM pg_operator o JOIN spaces s ON s.oid = o.oprnamespace
  UNION ALL
  SELECT format('operator class %s.%s of %s for %s owner %s default %s', nspname, opcname, amname, opcintype::regtype,
    pg_get_userbyid(opcowner), opcdefault)
  FROM pg_opclass c JOIN spaces s ON s.oid = c.opcnamespace JOIN pg_am a ON a.oid = c.opcmethod
  UNION ALL
  SELECT pg_describe_object('pg_amop'::regclass, oid, 0) FROM pg_amop WHERE oid >= 16384
  UNION ALL
  SELECT pg_describe_object('pg_amproc'::regclass, oid, 0) FROM pg_amproc WHERE oid >= 16384
  UNION ALL
  SELECT format('aggregate %s kind %s step %s end %s start %s', aggfnoid::regprocedure, aggkind, aggtransfn::regprocedure,
    nullif(aggfinalfn, 0)::regprocedure, agginitval) FROM pg_aggregate JOIN functions ON functions.oid = aggfnoid
  UNION ALL
  SELECT format('range %s over %s', rngtypid::regtype, rngsubtype::regtype)
  FROM pg_range JOIN types ON types.oid = rngtypid
  UNION ALL
  SELECT format('collation %s.%s owner %s provider %s deterministic %s of %s %s', nspname, collname,
    pg_get_userbyid(collowner),
    collprovider, collisdeterministic, collcollate, collctype) FROM pg_collation c JOIN spaces s ON s.oid = c.collnamespace
  UNION ALL
  SELECT format('conversion %s.%s owner %s from %s to %s by %s default %s', nspname, conname, pg_get_userbyid(conowner),
    pg_encoding_to_char(conforencoding), pg_encoding_to_char(contoencoding), conproc, condefault)
  FROM pg_conversion c JOIN spaces s ON s.oid = c.connamespace
  UNION ALL
  SELECT format('text search configuration %s owner %s parser %s: %s', c.oid::regconfig, pg_get_userbyid(cfgowner), prsname,
    (SELECT string_agg(format('%s %s', maptokentype, mapdict::regdictionary), ', ' ORDER BY maptokentype, mapseqno)
    FROM pg_ts_config_map WHERE mapcfg = c.oid))
  FROM pg_ts_config c JOIN spaces s ON s.oid = c.cfgnamespace JOIN pg_ts_parser p ON p.oid = c.cfgparser
  UNION ALL
  SELECT format('text search dictionary %s owner %s template %s: %s', d.oid::regdictionary, pg_get_userbyid(dictowner),
    tmplname,
    dictinitoption)
  FROM pg_ts_dict d JOIN spaces s ON s.oid = d.dictnamespace JOIN pg_ts_template t ON t.oid = d.dicttemplate
  UNION ALL
  SELECT format('language %s owner %s acl %s trusted %s', lanname, pg_get_userbyid(lanowner), lanacl, lanpltrusted)
  FROM pg_language WHERE lanname NOT IN ('internal', 'c', 'sql')
  UNION ALL
  SELECT format('this database owner %s acl %s', pg_get_userbyid(datdba), datacl) FROM pg_database
  WHERE datname = current_database()
  UNION ALL
  SELECT format('comment on %s: %s', pg_describe_object(classoid, objoid, 0), description) FROM pg_shdescription
  WHERE classoid = 'pg_authid'::regclass AND objoid >= 16384
    OR objoid = (SELECT oid FROM pg_database WHERE datname = current_database())
  UNION ALL
  SELECT format('sequence %I.%I as %s cache %s cycle %s owner %s acl %s', n.nspname, n.relname, seqtypid::regtype, seqcache,
    seqcycle, pg_get_userbyid(relowner), relacl)
  FROM pg_sequence JOIN (SELECT r.*, s.nspname FROM relations r JOIN spaces s ON s.oid = r.relnamespace
    ) n ON n.oid = seqrelid
  UNION ALL
  SELECT format('parameter %s acl %s', parname, paracl) FROM pg_parameter_acl
) AS lines ORDER BY line COLLATE "C"
$definitions$;

REVOKE EXECUTE ON FUNCTION mtm.definition_lines() FROM PUBLIC;
