/**
 * The one query that reads `Suspicions` from the catalog (context.ts): one row, columns named as its fields.
 * $1: text[], the names of `builtInWriters`. Works on 15–18, reads only what users created (oid >= 16384).
 * Run it after every commit that changed definitions on this node, the client's or an applied one, and give
 * its row to `Classifier.setContext` before the client of that commit is answered.
 *
 * Trusted is a function of an extension that is C or internal and immutable. A user's own function is every
 * other one but SQL, C and internal ones of extensions: those cannot swallow 25006, though they may write.
 */
export const suspicionQuery = `
with recursive fn as materialized (
  select p.oid, p.proname, p.pronargs, p.pronargdefaults, p.proargtypes,
    e.member and l.lanname in ('c', 'internal') and p.provolatile = 'i' as trusted,
    not (e.member and l.lanname in ('c', 'internal', 'sql')) as own
  from pg_catalog.pg_proc p
    join pg_catalog.pg_language l on l.oid = p.prolang
    cross join lateral (select exists (
      select from pg_catalog.pg_depend d
      where d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass and d.objid = p.oid and d.deptype = 'e'
    ) as member) e
  where p.oid >= 16384
), operator as materialized (
  select o.oid, o.oprname from pg_catalog.pg_operator o join fn on fn.oid = o.oprcode and fn.own
), used as materialized (
  select r.ev_class as rel, d.refclassid, d.refobjid
  from pg_catalog.pg_rewrite r join pg_catalog.pg_depend d
    on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and d.objid = r.oid
  where r.oid >= 16384 and r.ev_type = '1'
  union all
  select p.polrelid, d.refclassid, d.refobjid
  from pg_catalog.pg_policy p join pg_catalog.pg_depend d
    on d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass and d.objid = p.oid
), writer as (
  -- Built-in functions leave no dependency: they are found in the stored trees.
  select ':(?:funcid|opfuncid|aggfnoid|winfnoid) (?:' || string_agg(oid::text, '|') || ') ' as pattern
  from pg_catalog.pg_proc where oid < 16384 and proname = any ($1::text[])
), bad (rel) as (
  select rel from used
  where (refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass
      and refobjid in (select oid from fn where not trusted))
    or (refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass and refobjid in (select oid from operator))
  union select oid from pg_catalog.pg_class where relkind = 'f'
  union select r.ev_class from pg_catalog.pg_rewrite r, writer w
    where r.oid >= 16384 and r.ev_type = '1' and r.ev_action::text ~ w.pattern
  union select p.polrelid from pg_catalog.pg_policy p, writer w where p.polqual::text ~ w.pattern
  union
  select e.rel from bad b join (
    select rel, refobjid as ref from used
    where refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and refobjid <> rel
    union all select inhparent, inhrelid from pg_catalog.pg_inherits) e on e.ref = b.rel
)
select
  array(select distinct proname::text from fn where own) as "functions",
  array(select proname::text from fn group by proname having bool_and(trusted)) as "trustedFunctions",
  array(select distinct fn.proname::text from fn join pg_catalog.pg_type t on t.oid = fn.proargtypes[0]
    where not fn.trusted and fn.pronargs >= 1 and fn.pronargs - fn.pronargdefaults <= 1
      and t.typtype in ('c', 'p', 'd')) as "attributeFunctions",
  array(select distinct c.relname::text from bad
    join pg_catalog.pg_class c on c.oid = bad.rel) as "relations",
  array(select distinct oprname::text from operator) as "operators",
  exists (select from pg_catalog.pg_cast where castfunc in (select oid from fn where own))
    or exists (select from pg_catalog.pg_amproc where amproc in (select oid from fn where own))
    or exists (select from pg_catalog.pg_amop where amopopr in (select oid from operator))
    or exists (select from pg_catalog.pg_constraint c join pg_catalog.pg_depend d
        on d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass and d.objid = c.oid
      where c.contypid <> 0 and ((d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass
          and d.refobjid in (select oid from fn where own))
        or (d.refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass
          and d.refobjid in (select oid from operator)))) as "hiddenCode",
  mtm.hides_notify() as "hiddenNotify",
  mtm.has_nothing() as "identityNothing",
  mtm.hides_large_objects() as "hiddenLargeObjects"`;
