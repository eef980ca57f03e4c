/** Values of all types, at their edges, written under settings that print and read them in other ways: the same on all nodes. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { clusters, hostileSettings, TableLab } from './lab.ts';

/** Type, and literals of values at its edges. */
const types: readonly (readonly [string, readonly string[]])[] = [
  ['boolean', ['t', 'f']],
  ['smallint', ['-32768', '32767', '0']],
  ['integer', ['-2147483648', '2147483647']],
  ['bigint', ['-9223372036854775808', '9223372036854775807']],
  [
    'numeric',
    ['NaN', 'Infinity', '-Infinity', '1e-100', '123456789012345678901234567890.0123456789', '0.00', '-0.1'],
  ],
  ['numeric(5, 2)', ['999.99', '-0.01']],
  ['real', ['NaN', '-Infinity', '3.4028235e38', '1.4e-45', '-0', '0.1']],
  [
    'double precision',
    ['NaN', 'Infinity', '1.7976931348623157e308', '4.9e-324', '-0', '0.1', '1e22', '123456.7'],
  ],
  ['money', ['-92233720368547758.08', '92233720368547758.07', '0.01']],
  [
    'text',
    [
      '',
      ' ',
      E('tab\\there'),
      E('line\\nbreak\\r'),
      E('back\\\\slash'),
      '\\N',
      '\\.',
      'ÄÖ€😀',
      "it''s",
      '"q"',
      '{a,b}',
    ],
  ],
  ['varchar(3)', ['abc', '']],
  ['char(5)', ['a', 'abcde', '']],
  ['"char"', ['a', '', E('\\\\377')]],
  ['name', ['a name', '']],
  ['bytea', [E('\\\\x'), E('\\\\x00ff5c27'), E('\\\\xdeadbeef')]],
  ['date', ['infinity', '-infinity', '4713-01-01 BC', '5874897-12-31', '2024-02-29', '0001-01-01']],
  ['time', ['00:00', '24:00', '23:59:59.999999']],
  ['timetz', ['00:00+15:59', '24:00-15:59', '12:00:00.000001+05:30']],
  [
    'timestamp',
    ['infinity', '-infinity', '4713-01-01 00:00 BC', '294276-12-31 23:59:59.999999', '2024-03-10 02:30'],
  ],
  [
    'timestamptz',
    ['infinity', '-infinity', '4713-01-02 00:00+00 BC', '294276-12-31 00:00+00', '2024-10-27 02:30+01'],
  ],
  [
    'interval',
    [
      '178000000 years',
      '-178000000 years',
      '1 mon -1 day 00:00:01',
      '-00:00:00.000001',
      '1 year 2 mons 3 days 4:05:06.7',
    ],
  ],
  ['uuid', ['00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff']],
  ['inet', ['0.0.0.0/0', '255.255.255.255', '::/0', '::ffff:1.2.3.4/128', '10.1.2.3/8']],
  ['cidr', ['10.0.0.0/8', '::1/128']],
  ['macaddr', ['08:00:2b:01:02:03']],
  ['macaddr8', ['08:00:2b:01:02:03:04:05']],
  ['bit(3)', ['101', '000']],
  ['varbit', ['', '1', '0101010101']],
  ['json', ['{"a":  1, "a": 2}', '"\\u0041"', 'null', '1e400']],
  ['jsonb', ['{"b": 1, "a": {"c": [1.10, null, "x"]}}', 'null', '1.000', '""', '[]']],
  ['jsonpath', ['$.a[*] ? (@ > 1)', 'strict $']],
  ['xml', ['<a b="1">x &lt; y</a>', 'text &amp; <b/>', '']],
  ['point', ['(1,2)', '(-0,1e300)', '(NaN,Infinity)', '(0.1,0.2)']],
  ['line', ['{1,-1,0.1}']],
  ['lseg', ['[(0,0),(0.1,1)]']],
  ['box', ['(1,1),(0,0)']],
  ['path', ['((0,0),(1,1))', '[(0,0),(0.1,1)]']],
  ['polygon', ['((0,0),(1,1),(1,0.1))']],
  ['circle', ['<(0.1,0),1e-10>']],
  ['tsvector', ["'a':1A,3B 'b c':2", '']],
  ['tsquery', ["!a & (b | c:*) <-> 'd e'", '']],
  ['int4range', ['empty', '(,)', '[1,5)', '[-2147483648,)']],
  ['int8range', ['[1,2]']],
  ['numrange', ['[1.10,2.0)', '(,Infinity]', '[NaN,NaN]']],
  ['daterange', ['[infinity,]', '[2024-01-01,2024-12-31]', '(,4713-06-01 BC)']],
  ['tsrange', ['["2024-01-01 10:00",infinity)']],
  ['tstzrange', ['["2024-10-27 02:30+02","2024-10-27 02:30+01"]']],
  ['int4multirange', ['{}', '{[1,3),[5,9),(20,)}']],
  ['tstzmultirange', ['{["2024-01-01 00:00+05:30","2024-01-02 00:00Z")}']],
  ['nummultirange', ['{[1.0,2.00],(3,4)}']],
  ['oid', ['0', '4294967295']],
  ['xid', ['4294967295']],
  ['xid8', ['18446744073709551615']],
  ['cid', ['7']],
  ['tid', ['(4294967295,65535)']],
  ['pg_lsn', ['FFFFFFFF/FFFFFFFF', '0/0']],
  ['txid_snapshot', ['10:20:10,14,15']],
  ['pg_snapshot', ['10:20:']],
  ['int2vector', ['1 2 3', '']],
  ['oidvector', ['1 2']],
  ['regclass', ['pg_class', 't', '4294967295']],
  ['regtype', ['integer', 'mood', 'mood[]', '"odd Name"']],
  ['regproc', ['pg_catalog.now', 'mine']],
  ['regprocedure', ['mine(mood)', 'abs(int)']],
  ['regoper', ['pg_catalog.||/']],
  ['regoperator', ['+(int4,int4)']],
  ['regrole', ['postgres']],
  ['regnamespace', ['public']],
  ['regconfig', ['german']],
  ['regdictionary', ['simple']],
  ['regcollation', ['"C"']],
  ['refcursor', ['c']],
  ['mood', ['sad', 'so so', 'ok,"q"']],
  ['mood[]', ['{sad,"so so","ok,\\"q\\""}', '{}', '[0:1]={sad,sad}']],
  ['pair', ['(1,)', '(,"a ""b"" \\\\ c")', '(,)']],
  ['pair[]', ['{"(1,x)","(,\\"y z\\")"}']],
  ['nested', ['("(1,x)",sad)', '(,)']],
  ['positive', ['1']],
  ['positive[]', ['{1,2}']],
  ['moods', ['{sad}']],
  ['floatrange', ['[0.1,0.2)', '[NaN,NaN]', 'empty']],
  ['floatmultirange', ['{[0.1,0.2),[1,2)}']],
  ['"odd Name"', ['x y']],
  ['integer[]', ['{}', '{1,3}', 'R:ARRAY[1, NULL]', '{{1,2},{3,4}}', '[-1:0][5:6]={{1,2},{3,4}}']],
  ['text[]', ['{"",NULL,"NULL","a,b","\\"","\\\\"}']],
  ['timestamptz[]', ['{infinity,"2024-01-01 00:00+00"}']],
  ['bytea[]', ['{"\\\\x00","\\\\x5c"}']],
  ['float8[]', ['{0.1,NaN,-0}']],
  ['xml[]', ['{<a/>}']],
  ['int4range[]', ['{"[1,2)",empty}']],
  ['numeric[]', ['{1.10,NaN}']],
  ['interval[]', ['{"1 mon -1 day"}']],
  ['money[]', ['{1.5}']],
];

/** Of a literal that stands in E'…'. `R:`: an expression; with array_nulls = off no literal has a NULL in it. */
function E(text: string): string {
  return `E:${text}`;
}

function literal(value: string): string {
  if (value.startsWith('R:')) return value.slice(2);
  if (value.startsWith('E:')) return `E'${value.slice(2)}'`;
  return `'${value.replaceAll("''", "'").replaceAll("'", "''")}'`;
}

const usersTypes = [
  `CREATE TYPE mood AS ENUM ('sad', 'so so', 'ok,"q"')`,
  'CREATE TYPE pair AS (a int, b text)',
  'CREATE TYPE nested AS (p pair, m mood)',
  'CREATE DOMAIN positive AS int CHECK (VALUE > 0)',
  'CREATE DOMAIN moods AS mood[]',
  'CREATE TYPE floatrange AS RANGE (SUBTYPE = float8, MULTIRANGE_TYPE_NAME = floatmultirange)',
  `CREATE TYPE "odd Name" AS ENUM ('x y')`,
  `CREATE FUNCTION mine(mood) RETURNS int LANGUAGE sql AS 'SELECT 1'`,
  'CREATE TABLE t (id int)',
];

describe.each(clusters)('PostgreSQL %s', (_name, majors) => {
  let lab: TableLab;

  beforeAll(async () => {
    lab = await TableLab.start(majors);
    // What the database and the role say leaks into every connection that does not pin it.
    for (const [name, value] of hostileSettings) {
      await lab.cluster.query(1, `ALTER DATABASE app SET ${name} = '${value}'`);
      await lab.cluster.query(2, `ALTER ROLE postgres SET ${name} = '${value}'`);
    }
    await lab.cluster.killGateway(2);
    await lab.cluster.startGateway(2);
    await lab.cluster.whole();
  });

  beforeEach(() => lab.clear());

  afterEach(() => lab.equal());

  afterAll(async () => {
    await lab?.stop();
  });

  test('values of every type, inserted, changed and deleted, with and without a key', async () => {
    await lab.run(...usersTypes);
    const names: string[] = [];
    for (const [index, [type, values]] of types.entries()) {
      const number = (index % 3) + 1;
      const client = await lab.hostile(number);
      const name = `v${index}`;
      names.push(name);
      const rows = values.map((value, at) => `(${at}, ${literal(value)}, 0), (${at}, ${literal(value)}, 0)`);
      try {
        await client.query(
          `CREATE TABLE ${name} (k int, v ${type}, n int); CREATE TABLE ${name}k (k int PRIMARY KEY, v ${type}, o ${type})`,
        );
        await client.query(`INSERT INTO ${name} VALUES ${rows.join(', ')}, (99, NULL, 0)`);
        await client.query(
          `INSERT INTO ${name}k SELECT k * 2 + row_number() OVER (PARTITION BY k), v, v FROM ${name}`,
        );
        await client.query(
          `UPDATE ${name} SET n = 1 WHERE ctid IN (SELECT min(ctid) FROM ${name} GROUP BY k)`,
        );
        await client.query(
          `DELETE FROM ${name} WHERE ctid IN (SELECT max(ctid) FROM ${name} WHERE k % 2 = 0 GROUP BY k)`,
        );
        await client.query(`UPDATE ${name}k SET o = NULL WHERE k % 2 = 1`);
        await client.query(`UPDATE ${name}k SET o = v, k = -k WHERE k % 3 = 1`);
      } catch (error) {
        throw new Error(`${type} on node ${number}: ${String(error)}`, { cause: error });
      } finally {
        await client.end();
      }
    }
    expect(
      await lab.everywhere(`SELECT count(*)::int AS n FROM pg_tables WHERE schemaname = 'public'`),
    ).toEqual([{ n: types.length * 2 + 1 }]);
    // Names of relations, types and roles mean the same, whatever their OIDs.
    const place = types.findIndex(([type]) => type === 'regtype');
    const said = await lab.cluster.onAllServers<{ v: string | null }>(
      `SELECT DISTINCT replace(v::text, '"', '') AS v FROM public.v${place} ORDER BY 1`,
    );
    for (const rows of said) {
      expect(rows.map(({ v }) => v)).toEqual(['integer', 'mood', 'mood[]', 'odd Name', null]);
    }
  });

  test('COPY and many rows at once, under the same settings', async () => {
    await lab.run(...usersTypes);
    const chosen = types.filter(([type]) => !/^(?:reg|xml|txid|pg_snapshot)/u.test(type));
    const columns = chosen.map(([type], index) => `c${index} ${type}`);
    await lab.run(`CREATE TABLE w (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, ${columns.join(', ')})`);
    const client = await lab.hostile(3);
    const values = (at: number): string =>
      chosen.map(([, list]) => literal(list[at % list.length] ?? '')).join(', ');
    const names = chosen.map((_, index) => `c${index}`).join(', ');
    const rows = Array.from({ length: 12 }, (_, at) => `(${values(at)})`);
    await client.query(`INSERT INTO w (${names}) VALUES ${rows.join(', ')}`);
    await client.query(`INSERT INTO w (${names}) SELECT ${names} FROM w, generate_series(1, 20)`);
    await client.query('UPDATE w SET c0 = NOT c0 WHERE id % 2 = 0');
    await client.query('ALTER TABLE w DROP CONSTRAINT w_pkey');
    await client.query('DELETE FROM w WHERE id % 7 = 0');
    await client.query('ALTER TABLE w ADD drawn uuid DEFAULT gen_random_uuid()');
    await client.end();
    expect(await lab.everywhere('SELECT count(*) > 100 AS many FROM w')).toEqual([{ many: true }]);
  });

  test('trees of the parser, whose type refuses to be read', async () => {
    await lab.run(
      `CREATE TABLE parted (a int) PARTITION BY LIST (a)`,
      `CREATE TABLE part_1 PARTITION OF parted FOR VALUES IN (1, 2)`,
      `CREATE TABLE trees AS SELECT relname, relpartbound, relacl FROM pg_class WHERE relname ~ '^(part_1|pg_cl.*)$'`,
      `INSERT INTO trees SELECT relname || n, relpartbound FROM trees, generate_series(1, 9) AS n`,
      `UPDATE trees SET relname = 'x' WHERE relname = 'part_11'`,
      `UPDATE trees SET relpartbound = NULL WHERE relname = 'part_12'`,
      `DELETE FROM trees WHERE relname = 'part_13'`,
    );
    expect(
      await lab.everywhere(
        `SELECT count(relpartbound)::int AS n, count(DISTINCT relpartbound::text)::int AS m FROM trees`,
      ),
    ).toEqual([{ n: 8, m: 1 }]);
    expect(await lab.failure(`INSERT INTO trees VALUES ('made up', '{}')`)).toMatchObject({ code: '0A000' });
  });

  test('types that change: enum values added, renamed; attributes of composites; domains', async () => {
    await lab.run(
      ...usersTypes,
      'CREATE TABLE e (id serial PRIMARY KEY, m mood, ms mood[], p pair, ps pair[], n nested, d positive)',
      `INSERT INTO e (m, ms) VALUES ('sad', '{sad}')`,
      `ALTER TYPE mood ADD VALUE 'glad' BEFORE 'so so'`,
      `INSERT INTO e (m, ms) VALUES ('glad', '{glad,sad}')`,
      `ALTER TYPE mood ADD VALUE IF NOT EXISTS 'glad'`,
      `ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'`,
      `INSERT INTO e (m) VALUES ('blue')`,
      `INSERT INTO e (p, ps, n, d) VALUES ((1, 'x'), ARRAY[(2, 'y')]::pair[], ((3, 'z'), 'blue'), 5)`,
      'ALTER TYPE pair RENAME ATTRIBUTE b TO bb CASCADE',
      'ALTER DOMAIN positive ADD CHECK (VALUE < 100)',
      "UPDATE e SET d = 7, m = 'glad' WHERE p IS NOT NULL",
      'ALTER TYPE mood RENAME TO temper',
      'ALTER TABLE e ALTER m TYPE text',
      `UPDATE e SET m = 'any', ms = NULL WHERE m = 'glad'`,
      'CREATE TABLE typed OF pair (a WITH OPTIONS PRIMARY KEY)',
      `INSERT INTO typed VALUES (1, 'x')`,
      'ALTER TYPE pair RENAME ATTRIBUTE bb TO b CASCADE',
      `UPDATE typed SET b = 'y'`,
    );
    expect(await lab.failure(`UPDATE e SET d = 100`)).toMatchObject({ code: '23514' });
    const client = await lab.cluster.client(2);
    await client.query('BEGIN');
    await client.query(`ALTER TYPE temper ADD VALUE 'new'`);
    await client.query('COMMIT');
    await client.query(`UPDATE e SET ms = '{new}'`);
    await client.end();
    expect(await lab.everywhere('SELECT ms::text FROM e GROUP BY 1')).toEqual([{ ms: '{new}' }]);
  });
});
