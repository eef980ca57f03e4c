/**
 * What the catalog of *this* node says about a relation that a peer changes.
 * Rule: plain values, read from the JSON that `relation-catalog.ts` lets the server build; names are not
 * quoted yet, types and operators come quoted and schema-qualified from the server.
 */

export interface ColumnFacts {
  readonly name: string;
  readonly typeOid: number;
  /** Quoted and qualified, without a modifier (a cast to `bpchar` must not cut). */
  readonly type: string;
  /** The type under all domains. */
  readonly baseTypeOid: number;
  /** To read a value, even one of the base type, is to run code of others. */
  readonly foreign: boolean;
  /** Name of the type when it lives in pg_catalog, else empty. */
  readonly builtin: string;
  /** Equal texts and equal values are the same thing as far as the collation goes. */
  readonly deterministic: boolean;
  readonly generated: boolean;
  /** GENERATED ALWAYS AS IDENTITY: an UPDATE may not name it. */
  readonly identityAlways: boolean;
  /** Texts of it can be the elements of one array, each as a value of the column's type. */
  readonly inArrays: boolean;
  /** Equality of the replica identity's index: `OPERATOR(schema.=)`; null for columns outside of it. */
  readonly keyOperator: string | null;
}

export interface ForeignKeyColumn {
  readonly child: string;
  /** Types here are those under all domains, so that to read a key runs no CHECK. */
  readonly childType: string;
  readonly parent: string;
  readonly parentType: string;
  /** parent = child (pg_constraint.conpfeqop). */
  readonly parentChild: string;
  /** parent = parent (pg_constraint.conppeqop). */
  readonly parentParent: string;
  /** child = child (pg_constraint.conffeqop). */
  readonly childChild: string;
}

export interface ForeignKeyFacts {
  readonly oid: number;
  readonly name: string;
  readonly childSchema: string;
  readonly childTable: string;
  /** The child is partitioned: look into its partitions too. */
  readonly childPartitioned: boolean;
  readonly parentSchema: string;
  readonly parentTable: string;
  readonly parentPartitioned: boolean;
  /** The relation itself (or one that it is a partition of) is the child, the parent, or both. */
  readonly isChild: boolean;
  readonly isParent: boolean;
  /** The last column is a range that must be covered (PERIOD, from 18 on). */
  readonly period: boolean;
  readonly columns: readonly ForeignKeyColumn[];
}

export interface RelationFacts {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  /** pg_class.relkind. */
  readonly kind: string;
  /** What happens to its rows at their home stays there (sql/local-tables.sql). */
  readonly local: boolean;
  /** It belongs to an extension. */
  readonly extensionMember: boolean;
  /** It has a deferrable unique, primary key or exclusion constraint. */
  readonly deferrable: boolean;
  /**
   * The order in which rows change can be seen here: there is a unique index or exclusion constraint beside
   * the replica identity, or a trigger fires at applied changes.
   */
  readonly oneByOne: boolean;
  readonly owner: string;
  /** The owner is a superuser. */
  readonly superusers: boolean;
  /** To write a row is to run code of others than superusers (sql/apply.sql). */
  readonly foreignCode: boolean;
  /** To TRUNCATE it is. */
  readonly foreignTruncate: boolean;
  /** FORCE ROW LEVEL SECURITY: the owner sees what policies let through. */
  readonly forcedRowSecurity: boolean;
  readonly columns: readonly ColumnFacts[];
  readonly foreignKeys: readonly ForeignKeyFacts[];
}

/** Reads the answer of `factsQuery`; it comes from our own query, so its shape is known. */
export function readFacts(json: string): RelationFacts {
  return JSON.parse(json) as RelationFacts;
}

/**
 * The catalog query: $1 schema, $2 name. Always one row: `factsMark`, by which it is told from other rows of
 * the same pipeline, and the JSON text, which is empty when there is no such table.
 */
export const factsMark = 'mtm-facts:';

/**
 * 403 is btree, whose strategy 3 is equality; a key WITHOUT OVERLAPS (18) has a GiST index, where only the
 * name tells.
 */
const columnsQuery = `(SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
    'name', a.attname, 'typeOid', a.atttypid::pg_catalog.int8,
    'type', pg_catalog.format('%I.%I', tn.nspname, t.typname),
    'baseTypeOid', mtm.base_type(a.atttypid)::pg_catalog.int8,
    'foreign', mtm.is_foreign_type(mtm.base_type(a.atttypid), '{}'),
    'builtin', CASE WHEN tn.nspname = 'pg_catalog' THEN t.typname ELSE '' END,
    'deterministic', COALESCE(co.collisdeterministic, true),
    'inArrays', t.typarray <> 0 AND t.typdelim = ',' AND t.typcategory <> 'C',
    'generated', a.attgenerated <> '', 'identityAlways', a.attidentity = 'a',
    'keyOperator', (SELECT pg_catalog.format('OPERATOR(%I.%s)', opn.nspname, o.oprname)
       FROM pg_catalog.pg_index i
       CROSS JOIN LATERAL pg_catalog.generate_series(0, i.indnkeyatts - 1) AS position
       JOIN pg_catalog.pg_opclass oc ON oc.oid = i.indclass[position]
       JOIN pg_catalog.pg_amop ao ON ao.amopfamily = oc.opcfamily AND ao.amoplefttype = oc.opcintype
         AND ao.amoprighttype = oc.opcintype
       JOIN pg_catalog.pg_operator o ON o.oid = ao.amopopr
         AND CASE oc.opcmethod WHEN 403 THEN ao.amopstrategy = 3 ELSE o.oprname = '=' END
       JOIN pg_catalog.pg_namespace opn ON opn.oid = o.oprnamespace
       WHERE i.indrelid = c.oid AND i.indkey[position] = a.attnum AND (i.indisreplident OR i.indisprimary)
       ORDER BY i.indisreplident DESC LIMIT 1)
    ) ORDER BY a.attnum)
  FROM pg_catalog.pg_attribute a
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
  LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation
  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)`;

/**
 * Only constraints that users declared (conparentid = 0), here or at a table that this one is a partition of.
 */
const foreignKeysQuery = `(SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
    'oid', k.oid::pg_catalog.int8, 'name', k.conname,
    'childSchema', cn.nspname, 'childTable', cc.relname, 'childPartitioned', cc.relkind = 'p',
    'parentSchema', pn.nspname, 'parentTable', pc.relname, 'parentPartitioned', pc.relkind = 'p',
    'isChild', k.conrelid = ANY (l.line), 'isParent', k.confrelid = ANY (l.line),
    'period', COALESCE(pg_catalog.to_jsonb(k) ->> 'conperiod', 'false') = 'true',
    'columns', (SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
        'child', ca.attname, 'childType', pg_catalog.format('%I.%I', ctn.nspname, ct.typname),
        'parent', pa.attname, 'parentType', pg_catalog.format('%I.%I', ptn.nspname, pt.typname),
        'parentChild', pg_catalog.format('OPERATOR(%I.%s)', on1.nspname, o1.oprname),
        'parentParent', pg_catalog.format('OPERATOR(%I.%s)', on2.nspname, o2.oprname),
        'childChild', pg_catalog.format('OPERATOR(%I.%s)', on3.nspname, o3.oprname)) ORDER BY u.position)
      FROM ROWS FROM (pg_catalog.unnest(k.conkey), pg_catalog.unnest(k.confkey),
        pg_catalog.unnest(k.conpfeqop),
        pg_catalog.unnest(k.conppeqop), pg_catalog.unnest(k.conffeqop))
        WITH ORDINALITY AS u(child, parent, pf, pp, ff, position)
      JOIN pg_catalog.pg_attribute ca ON ca.attrelid = k.conrelid AND ca.attnum = u.child
      JOIN pg_catalog.pg_type ct ON ct.oid = mtm.base_type(ca.atttypid)
      JOIN pg_catalog.pg_namespace ctn ON ctn.oid = ct.typnamespace
      JOIN pg_catalog.pg_attribute pa ON pa.attrelid = k.confrelid AND pa.attnum = u.parent
      JOIN pg_catalog.pg_type pt ON pt.oid = mtm.base_type(pa.atttypid)
      JOIN pg_catalog.pg_namespace ptn ON ptn.oid = pt.typnamespace
      JOIN pg_catalog.pg_operator o1 ON o1.oid = u.pf
      JOIN pg_catalog.pg_namespace on1 ON on1.oid = o1.oprnamespace
      JOIN pg_catalog.pg_operator o2 ON o2.oid = u.pp
      JOIN pg_catalog.pg_namespace on2 ON on2.oid = o2.oprnamespace
      JOIN pg_catalog.pg_operator o3 ON o3.oid = u.ff
      JOIN pg_catalog.pg_namespace on3 ON on3.oid = o3.oprnamespace)) ORDER BY k.oid)
  FROM pg_catalog.pg_constraint k
  JOIN pg_catalog.pg_class cc ON cc.oid = k.conrelid
  JOIN pg_catalog.pg_namespace cn ON cn.oid = cc.relnamespace
  JOIN pg_catalog.pg_class pc ON pc.oid = k.confrelid
  JOIN pg_catalog.pg_namespace pn ON pn.oid = pc.relnamespace
  WHERE k.contype = 'f' AND k.conparentid = 0 AND (k.conrelid = ANY (l.line) OR k.confrelid = ANY (l.line))
    AND COALESCE(pg_catalog.to_jsonb(k) ->> 'conenforced', 'true') = 'true')`;

export const factsQuery = `SELECT '${factsMark}' || COALESCE((SELECT pg_catalog.jsonb_build_object(
  'oid', c.oid::pg_catalog.int8, 'schema', n.nspname, 'name', c.relname, 'kind', c.relkind,
  'local', EXISTS (SELECT FROM mtm.local_table t WHERE t.relid = ANY (l.line)) OR (
    EXISTS (SELECT FROM mtm.node n WHERE n.ignore_tables_without_pk)
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)),
  'extensionMember', EXISTS (SELECT FROM pg_catalog.pg_depend d
    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e'),
  'deferrable', EXISTS (SELECT FROM pg_catalog.pg_constraint d
    WHERE d.conrelid = c.oid AND d.condeferrable AND d.contype IN ('u', 'p', 'x')),
  'oneByOne', 1 < (SELECT pg_catalog.count(*) FROM pg_catalog.pg_index i
    WHERE i.indrelid = c.oid AND (i.indisunique OR i.indisexclusion))
    OR EXISTS (SELECT FROM pg_catalog.pg_trigger g
      WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgenabled IN ('A', 'R')),
  'owner', o.rolname, 'superusers', o.rolsuper, 'forcedRowSecurity', c.relforcerowsecurity,
  'foreignCode', mtm.runs_foreign_code(c.oid, l.line), 'foreignTruncate', mtm.has_foreign_trigger(c.oid, 32),
  'columns', COALESCE(${columnsQuery}, '[]'),
  'foreignKeys', COALESCE(${foreignKeysQuery}, '[]'))::pg_catalog.text
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_roles o ON o.oid = c.relowner
CROSS JOIN LATERAL (SELECT ARRAY(SELECT c.oid
  UNION SELECT pg_catalog.pg_partition_ancestors(c.oid)::pg_catalog.oid) AS line) l
WHERE n.nspname = $1::pg_catalog.name AND c.relname = $2::pg_catalog.name AND c.relkind IN ('r', 'p')), '')`;
