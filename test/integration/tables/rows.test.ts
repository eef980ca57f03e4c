/** Rows of every kind of table, changed on one node after the other: the same on all of them. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { failureOf } from '../../support/cluster.ts';
import { clusters, TableLab } from './lab.ts';

describe.each(clusters)('PostgreSQL %s', (_name, majors) => {
  let lab: TableLab;

  beforeAll(async () => {
    lab = await TableLab.start(majors);
  });

  beforeEach(() => lab.clear());

  afterEach(() => lab.equal());

  afterAll(async () => {
    await lab?.stop();
  });

  test('OIDs differ between the nodes', async () => {
    await lab.run(
      "CREATE TYPE mood AS ENUM ('sad', 'glad')",
      'CREATE TABLE t (id int PRIMARY KEY, m mood, ms mood[])',
    );
    await lab.run(`INSERT INTO t VALUES (1, 'sad', '{sad,glad}')`, `UPDATE t SET m = 'glad'`);
    const oids = await lab.cluster.onAllServers<{ oid: number }>(`SELECT 'mood'::regtype::oid`);
    expect(new Set(oids.map(([row]) => row?.oid)).size).toBe(3);
  });

  test('without a key: duplicates, NULLs, types without equality', async () => {
    await lab.run(
      'CREATE TABLE d (a int, b text)',
      `INSERT INTO d VALUES (1, 'x'), (1, 'x'), (1, 'x'), (NULL, NULL), (NULL, NULL), (2, NULL)`,
      // One of several equal ones, by place.
      'DELETE FROM d WHERE ctid = (SELECT max(ctid) FROM d WHERE a = 1)',
      "UPDATE d SET b = 'y' WHERE ctid = (SELECT min(ctid) FROM d WHERE a IS NULL)",
      'UPDATE d SET a = 5 WHERE a = 1',
      'DELETE FROM d WHERE b IS NULL',
    );
    expect(await lab.everywhere('SELECT * FROM d ORDER BY a, b')).toEqual([
      { a: 5, b: 'x' },
      { a: 5, b: 'x' },
      { a: null, b: 'y' },
    ]);
    await lab.run(
      `CREATE TABLE n (j json, x xml, p point, b box, c circle, l line, g polygon, h path, s lseg, e tsvector, q tsquery, i inet[])`,
      `INSERT INTO n VALUES ('{"a":  1}', '<a  b="1"/>', '(1,2)', '(0,0),(1,1)', '<(0,0),1>', '{1,2,3}', '((0,0),(1,1),(1,0))',
        '[(0,0),(1,1)]', '[(0,0),(1,1)]', 'a b', 'a & b', '{10.0.0.1}')`,
      'INSERT INTO n SELECT * FROM n',
      'INSERT INTO n DEFAULT VALUES',
      "INSERT INTO n (p) VALUES ('(1,2)'), ('(NaN,Infinity)'), ('(-0,1e-300)')",
      "UPDATE n SET p = '(3,4)' WHERE j IS NOT NULL AND ctid = (SELECT min(ctid) FROM n)",
      "UPDATE n SET j = '[1, 2]' WHERE j IS NULL",
      'DELETE FROM n WHERE x IS NOT NULL AND p[0] = 1',
      'DELETE FROM n WHERE p[1] = 1e-300',
    );
    expect(await lab.everywhere('SELECT p::text, j::text FROM n ORDER BY 1, 2')).toHaveLength(4);
  });

  test('without a key: equal values that look different, -0, NaN, collations, composite and range values', async () => {
    await lab.run(
      'CREATE TYPE pair AS (a int, b text)',
      'CREATE DOMAIN positive AS int CHECK (VALUE > 0)',
      `CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`,
      `CREATE TABLE t (n numeric, f float8, c char(5), l text COLLATE loose, p pair, ps pair[], d positive, r int4range,
         m nummultirange, j jsonb, i interval, z timetz)`,
      `INSERT INTO t (n) VALUES (1.0), (1.00), (1), ('NaN'), ('Infinity')`,
      `INSERT INTO t (f) VALUES (0), ('-0'), ('NaN'), ('-Infinity'), (0.1::float4)`,
      `INSERT INTO t (c, l) VALUES ('a', 'a'), ('a ', 'A'), ('a', 'á')`,
      `INSERT INTO t (p, ps) VALUES ((1, 'x y'), ARRAY[(1, 'q"')::pair, NULL, (NULL, '')::pair]), (NULL, NULL), ((NULL, NULL), '{}')`,
      `INSERT INTO t (d, r, m, j) VALUES (1, '[1,5)', '{[1,2],(3,4]}', '{"b": 1, "a": [1.0, 1.00]}'), (2, 'empty', '{}', 'null')`,
      `INSERT INTO t (i, z) VALUES ('1 day', '10:00+02'), ('24 hours', '09:00+01')`,
      "UPDATE t SET d = 7 WHERE n::text = '1.00'",
      "UPDATE t SET d = 8 WHERE f::text = '-0'",
      "UPDATE t SET d = 9 WHERE l = 'a' AND l::bytea = 'A'::bytea",
      'UPDATE t SET d = 3 WHERE (p).a IS NULL AND p IS NOT DISTINCT FROM ROW(NULL, NULL)::pair',
      "DELETE FROM t WHERE n = 1 AND d IS NULL AND n::text = '1'",
      "DELETE FROM t WHERE i::text = '24:00:00'",
      "DELETE FROM t WHERE p = (1, 'x y')::pair",
      'DELETE FROM t WHERE isempty(r)',
      "DELETE FROM t WHERE f = 'NaN'",
    );
    expect(await lab.everywhere('SELECT count(*)::int AS n FROM t')).toEqual([{ n: 15 }]);
  });

  test('REPLICA IDENTITY USING INDEX, NOTHING, FULL, back to the key; a key that comes and goes', async () => {
    await lab.run(
      'CREATE TABLE t (id int PRIMARY KEY, u text NOT NULL, v int)',
      'CREATE UNIQUE INDEX t_u ON t (u)',
      'ALTER TABLE t REPLICA IDENTITY USING INDEX t_u',
      `INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)`,
      `UPDATE t SET id = id + 10 WHERE id < 3`,
      `UPDATE t SET u = 'z' WHERE u = 'c'`,
      `DELETE FROM t WHERE v = 2`,
      'ALTER TABLE t REPLICA IDENTITY NOTHING',
      `INSERT INTO t VALUES (5, 'only added', 1)`,
    );
    // Until somebody changes rows.
    const identity = "SELECT relreplident::text AS is FROM pg_class WHERE relname = 't'";
    expect(await lab.everywhere(identity)).toEqual([{ is: 'n' }]);
    await lab.run('WITH gone AS (DELETE FROM t WHERE id = 5 RETURNING 1) SELECT count(*) FROM gone');
    expect(await lab.everywhere(identity)).toEqual([{ is: 'f' }]);
    await lab.run('ALTER TABLE t REPLICA IDENTITY NOTHING');
    const client = await lab.cluster.client(2);
    await client.query('BEGIN');
    await client.query(`INSERT INTO t VALUES (3, 'x', 0) ON CONFLICT (id) DO UPDATE SET v = excluded.v + 3`);
    await client.query('COMMIT');
    await client.end();
    await lab.run(
      'UPDATE t SET v = v + 1',
      'ALTER TABLE t REPLICA IDENTITY FULL',
      'UPDATE t SET v = v + 1',
      'ALTER TABLE t REPLICA IDENTITY DEFAULT',
      'UPDATE t SET v = v + 1, id = 40 WHERE id = 3',
      'ALTER TABLE t DROP CONSTRAINT t_pkey',
      'UPDATE t SET v = v + 1',
      `INSERT INTO t VALUES (11, 'e', NULL)`,
      "DELETE FROM t WHERE u = 'e'",
      'ALTER TABLE t REPLICA IDENTITY USING INDEX t_u',
      'DROP INDEX t_u',
      "UPDATE t SET u = 'same'",
      'ALTER TABLE t ADD PRIMARY KEY (id)',
      'UPDATE t SET v = v + 1',
    );
    expect(await lab.everywhere('SELECT * FROM t ORDER BY id')).toEqual([
      { id: 11, u: 'same', v: 5 },
      { id: 40, u: 'same', v: 8 },
    ]);
  });

  test('keys of several columns and other types, in another order than the columns; a change of the key', async () => {
    await lab.run(
      'CREATE TABLE t (v text, b date, a uuid, PRIMARY KEY (a, b) INCLUDE (v))',
      `INSERT INTO t SELECT 'v' || i, DATE '4713-01-01 BC' + i, ('00000000-0000-0000-0000-00000000000' || i)::uuid
       FROM generate_series(1, 9) i`,
      `UPDATE t SET b = 'infinity' WHERE v = 'v1'`,
      `UPDATE t SET a = '00000000-0000-0000-0000-000000000011', v = 'moved' WHERE v = 'v2'`,
      "UPDATE t SET b = b + 1 WHERE b < 'infinity'",
      "DELETE FROM t WHERE b = 'infinity'",
      'CREATE TABLE r (id int PRIMARY KEY)',
      'INSERT INTO r SELECT generate_series(1, 5)',
      // Each takes the place of the one before; PostgreSQL checks at the row.
      'UPDATE r SET id = -id',
      'UPDATE r SET id = -id WHERE id < -2',
      'CREATE TABLE c (k text COLLATE "C" PRIMARY KEY, n numeric UNIQUE, o bytea)',
      `INSERT INTO c VALUES ('a', 1.10, '\\x00ff'), ('A', 1.1e10, ''), ('', 'NaN', NULL)`,
      "UPDATE c SET k = k || '!', n = n * 10",
      'CREATE TABLE f (k float8 PRIMARY KEY, v int)',
      `INSERT INTO f VALUES ('NaN', 1), ('-0', 2), (0.1, 3), ('infinity', 4), (1e-320, 5)`,
      'UPDATE f SET v = v + 1',
      "DELETE FROM f WHERE k = 'NaN'",
      'CREATE TABLE i (k interval PRIMARY KEY, v int)',
      `INSERT INTO i VALUES ('1 mon', 1), ('-178000000 years', 2)`,
      `UPDATE i SET k = '30 days', v = 3 WHERE v = 1`,
    );
    expect(await lab.everywhere('SELECT count(*)::int AS n, min(b)::text AS b FROM t')).toEqual([
      { n: 8, b: '4713-01-04 BC' },
    ]);
  });

  test('values that are kept aside (TOAST) and are not changed', async () => {
    await lab.run(
      'CREATE TABLE t (id int PRIMARY KEY, n int, big text, j jsonb, small text)',
      'ALTER TABLE t ALTER big SET STORAGE EXTERNAL',
      `INSERT INTO t SELECT i, 0, repeat(md5(i::text), 500), jsonb_build_object('x', repeat(i::text, 20000)), 's'
       FROM generate_series(1, 5) i`,
      'UPDATE t SET n = n + 1',
      'UPDATE t SET id = id + 100 WHERE id < 3',
      "UPDATE t SET big = big || '!' WHERE id = 101",
      'UPDATE t SET big = NULL WHERE id = 102',
      'ALTER TABLE t REPLICA IDENTITY FULL',
      'UPDATE t SET n = n + 1',
      'DELETE FROM t WHERE id = 5',
      'CREATE TABLE nokey (big text, n int)',
      'ALTER TABLE nokey ALTER big SET STORAGE EXTERNAL',
      'INSERT INTO nokey SELECT big, id FROM t',
      'INSERT INTO nokey SELECT * FROM nokey',
      'UPDATE nokey SET n = -n WHERE ctid = (SELECT min(ctid) FROM nokey WHERE n = 3)',
      'DELETE FROM nokey WHERE n = 4',
      // Aside in the key itself.
      'CREATE TABLE k (b text PRIMARY KEY, v int)',
      `INSERT INTO k SELECT string_agg(md5(i::text), ''), 1 FROM generate_series(1, 70) i`,
      'UPDATE k SET v = 2',
      "UPDATE k SET b = 'short'",
      'CREATE TABLE g (id int GENERATED ALWAYS AS IDENTITY, big text, n int)',
      'ALTER TABLE g ALTER big SET STORAGE EXTERNAL',
      'INSERT INTO g (big, n) SELECT repeat(md5(i::text), 300), i FROM generate_series(1, 3) i',
      'UPDATE g SET n = n + 1',
    );
  });

  test('deferrable keys and foreign keys', async () => {
    await lab.run(
      'CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, u int UNIQUE DEFERRABLE INITIALLY DEFERRED, v int)',
      'INSERT INTO t SELECT i, i, i FROM generate_series(1, 4) i',
      'UPDATE t SET id = id + 1',
      'UPDATE t SET u = 5 - u',
    );
    await lab.transaction(
      'UPDATE t SET u = 1 WHERE v = 2',
      'UPDATE t SET u = 3 WHERE v = 4',
      'SET CONSTRAINTS t_pkey DEFERRED',
      'UPDATE t SET id = 3 WHERE v = 1',
      'UPDATE t SET id = 2 WHERE v = 2',
    );
    const client = await lab.cluster.client(2);
    await client.query('BEGIN');
    await client.query('UPDATE t SET u = 77');
    expect(await failureOf(client.query('COMMIT'))).toMatchObject({ code: '23505', constraint: 't_u_key' });
    await client.end();
    await lab.run(
      'CREATE TABLE child (id int PRIMARY KEY, p int)',
      'CREATE TABLE parent (id int PRIMARY KEY, c int REFERENCES child DEFERRABLE INITIALLY DEFERRED)',
      'ALTER TABLE child ADD FOREIGN KEY (p) REFERENCES parent DEFERRABLE INITIALLY DEFERRED',
    );
    await lab.transaction('INSERT INTO child VALUES (1, 1)', 'INSERT INTO parent VALUES (1, 1)');
    const orphan = await lab.cluster.client(3);
    await orphan.query('BEGIN');
    await orphan.query('DELETE FROM parent');
    expect(await failureOf(orphan.query('COMMIT'))).toMatchObject({ code: '23503' });
    await orphan.end();
    await lab.transaction('DELETE FROM parent', 'DELETE FROM child');
  });

  test('foreign keys with actions: CASCADE, SET NULL, SET DEFAULT, to itself, of several columns', async () => {
    await lab.run(
      'CREATE TABLE p (a int, b int, PRIMARY KEY (a, b))',
      'CREATE TABLE c1 (id int PRIMARY KEY, a int, b int, FOREIGN KEY (a, b) REFERENCES p ON DELETE CASCADE ON UPDATE CASCADE)',
      'CREATE TABLE c2 (id int PRIMARY KEY, a int, b int, FOREIGN KEY (a, b) REFERENCES p ON DELETE SET NULL (b) ON UPDATE CASCADE)',
      'CREATE TABLE c3 (id int, a int DEFAULT 0, b int DEFAULT 0, FOREIGN KEY (a, b) REFERENCES p MATCH FULL ON DELETE SET DEFAULT)',
      'INSERT INTO p VALUES (0, 0), (1, 1), (2, 2), (3, 3)',
      'INSERT INTO c1 VALUES (1, 1, 1), (2, 2, 2), (3, NULL, 3)',
      'INSERT INTO c2 VALUES (1, 1, 1), (2, 2, 2), (3, 3, NULL)',
      'INSERT INTO c3 VALUES (1, 1, 1), (2, 2, 2), (1, 1, 1), (NULL, NULL, NULL)',
      'UPDATE p SET a = 20 WHERE a = 3',
      'DELETE FROM p WHERE a = 1',
      'CREATE TABLE s (id int PRIMARY KEY, up int REFERENCES s ON DELETE CASCADE)',
      'INSERT INTO s VALUES (1, NULL), (2, 1), (3, 2), (4, 4)',
      'DELETE FROM s WHERE id = 1',
    );
    expect(await lab.everywhere('SELECT a, b FROM c3 ORDER BY 1, 2')).toHaveLength(4);
  });
});
