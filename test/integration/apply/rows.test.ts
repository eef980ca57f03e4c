/** Row changes of every kind arrive at the other node as they were, from 18 to 15 and from 15 to 18. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Lab } from './lab.ts';
import type { Site } from './lab.ts';

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.start([18, 15]);
});
afterAll(async () => lab?.stop());

async function same(query: string): Promise<unknown[][]> {
  const [a, b] = await Promise.all(lab.sites.map((site) => site.rows(query)));
  expect(b).toEqual(a);
  return a!;
}

for (const direction of ['18 to 15', '15 to 18'] as const) {
  describe(direction, () => {
    let origin: Site;
    let target: Site;
    const s = direction === '18 to 15' ? 'a' : 'b';
    beforeAll(() => {
      [origin, target] = direction === '18 to 15' ? lab.sites : [lab.sites[1], lab.sites[0]];
    });

    test('insert, update, change of key, delete', async () => {
      await lab.everywhere(`CREATE TABLE ${s}1 (id int PRIMARY KEY, v text)`);
      const first = await lab.carry(origin, target, [
        `INSERT INTO ${s}1 SELECT g, 'v' || g FROM generate_series(1, 20) g`,
      ]);
      expect(first).toEqual({ kind: 'prepared' });
      const second = await lab.carry(origin, target, [
        `UPDATE ${s}1 SET v = E'x\\ty\\\\n' WHERE id < 5`,
        `UPDATE ${s}1 SET id = id + 100 WHERE id > 15`,
        `DELETE FROM ${s}1 WHERE id BETWEEN 6 AND 8`,
        `INSERT INTO ${s}1 VALUES (900, NULL)`,
      ]);
      expect(second).toEqual({ kind: 'prepared' });
      expect(await same(`SELECT * FROM ${s}1 ORDER BY id`)).toHaveLength(18);
    });

    test('unchanged TOAST values stay', async () => {
      await lab.everywhere(
        `CREATE TABLE ${s}2 (id int PRIMARY KEY, n int, t text); ALTER TABLE ${s}2 ALTER t SET STORAGE external`,
      );
      await lab.carry(origin, target, [
        `INSERT INTO ${s}2 SELECT g, 0, repeat(g::text, 9000) FROM generate_series(1, 3) g`,
      ]);
      await lab.carry(origin, target, [
        `UPDATE ${s}2 SET n = 1 WHERE id = 1`,
        `UPDATE ${s}2 SET id = 7 WHERE id = 2`,
      ]);
      expect(await same(`SELECT id, n, length(t), md5(t) FROM ${s}2 ORDER BY id`)).toHaveLength(3);
    });

    test('tables without key: one of several equal rows, NULLs, types without equality', async () => {
      await lab.everywhere(
        `CREATE TABLE ${s}3 (a int, j json, p point, n numeric); ALTER TABLE ${s}3 REPLICA IDENTITY FULL`,
      );
      const rows = `(1, '{"a":1}', '(1,2)', 1.0), (1, '{"a":1}', '(1,2)', 1.0), (1, '{"a":1}', '(1,2)', 1.00), (NULL, NULL, NULL, NULL)`;
      await lab.carry(origin, target, [`INSERT INTO ${s}3 VALUES ${rows}`]);
      const result = await lab.carry(origin, target, [
        `UPDATE ${s}3 SET a = 5 WHERE ctid = (SELECT ctid FROM ${s}3 WHERE n::text = '1.00')`,
        `DELETE FROM ${s}3 WHERE ctid = (SELECT min(ctid) FROM ${s}3 WHERE a = 1)`,
        `UPDATE ${s}3 SET a = 9 WHERE a IS NULL`,
      ]);
      expect(result).toEqual({ kind: 'prepared' });
      expect(await same(`SELECT a, j::text, p::text, n::text FROM ${s}3 ORDER BY a, n::text`)).toHaveLength(
        3,
      );
    });

    test('identity always, generated columns, defaults, no columns', async () => {
      await lab.everywhere(`
        CREATE TABLE ${s}4 (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a * 2) STORED);
        CREATE TABLE ${s}5 (k int PRIMARY KEY, id int GENERATED ALWAYS AS IDENTITY, t text);
        CREATE TABLE ${s}6 (); ALTER TABLE ${s}6 REPLICA IDENTITY FULL`);
      await lab.carry(origin, target, [
        `INSERT INTO ${s}4 (a) SELECT g FROM generate_series(1, 10) g`,
        `INSERT INTO ${s}5 (k, t) VALUES (1, 'x'), (2, 'y')`,
        `INSERT INTO ${s}6 DEFAULT VALUES`,
      ]);
      const result = await lab.carry(origin, target, [
        `UPDATE ${s}4 SET a = a + 1`,
        `UPDATE ${s}4 SET id = DEFAULT WHERE id = 3`,
        `UPDATE ${s}5 SET t = 'z' WHERE k = 1`,
        `UPDATE ${s}5 SET id = DEFAULT WHERE k = 2`,
      ]);
      expect(result).toEqual({ kind: 'prepared' });
      expect(await same(`SELECT * FROM ${s}4 ORDER BY id`)).toHaveLength(10);
      expect(await same(`SELECT * FROM ${s}5 ORDER BY k`)).toHaveLength(2);
      expect(await same(`SELECT count(*)::int FROM ${s}6`)).toEqual([[1]]);
    });

    test('partitioned tables: leaves, move between leaves, truncate of a leaf and of all', async () => {
      await lab.everywhere(`
        CREATE TABLE ${s}7 (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
        CREATE TABLE ${s}7x PARTITION OF ${s}7 FOR VALUES FROM (0) TO (100);
        CREATE TABLE ${s}7y PARTITION OF ${s}7 FOR VALUES FROM (100) TO (200)`);
      await lab.carry(origin, target, [`INSERT INTO ${s}7 SELECT g, 'p' FROM generate_series(90, 110) g`]);
      await lab.carry(origin, target, [
        `UPDATE ${s}7 SET id = id + 50 WHERE id = 95`,
        `UPDATE ${s}7 SET v = 'q' WHERE id = 96`,
      ]);
      expect(await same(`SELECT tableoid::regclass::text, * FROM ${s}7 ORDER BY id`)).toHaveLength(21);
      expect(await lab.carry(origin, target, [`TRUNCATE ${s}7x`])).toEqual({ kind: 'prepared' });
      expect(await same(`SELECT * FROM ${s}7 ORDER BY id`)).toHaveLength(12);
      expect(await lab.carry(origin, target, [`TRUNCATE ${s}7`])).toEqual({ kind: 'prepared' });
      expect(await same(`SELECT * FROM ${s}7`)).toHaveLength(0);
    });

    test('truncate with cascade and restart identity', async () => {
      await lab.everywhere(`
        CREATE TABLE ${s}8 (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY);
        CREATE TABLE ${s}9 (r int PRIMARY KEY REFERENCES ${s}8)`);
      await lab.carry(origin, target, [`INSERT INTO ${s}8 DEFAULT VALUES`, `INSERT INTO ${s}9 VALUES (1)`]);
      await target.admin.query(`SELECT setval('${s}8_id_seq', 50)`);
      expect(await lab.carry(origin, target, [`TRUNCATE ${s}8 RESTART IDENTITY CASCADE`])).toEqual({
        kind: 'prepared',
      });
      expect(await target.rows(`SELECT count(*)::int, nextval('${s}8_id_seq')::int FROM ${s}9`)).toEqual([
        [0, 1],
      ]);
    });

    test('values of all built-in kinds keep their text', async () => {
      await lab.everywhere(allTypes(`${s}10`));
      expect(
        await lab.carry(origin, target, [
          `INSERT INTO ${s}10 SELECT ${allValues}`,
          `UPDATE ${s}10 SET c1 = false`,
        ]),
      ).toEqual({
        kind: 'prepared',
      });
      await same(`SELECT t::text FROM ${s}10 t`);
      // Without a key the row is found by its values.
      expect(await lab.carry(origin, target, [`DELETE FROM ${s}10`])).toEqual({ kind: 'prepared' });
      expect(await same(`SELECT t::text FROM ${s}10 t`)).toHaveLength(0);
    });

    test('keys of many types are found by their own operators', async () => {
      await lab.everywhere(
        `CREATE TYPE ${s}_mood AS ENUM ('sad', 'glad'); CREATE DOMAIN ${s}_name AS text CHECK (VALUE <> '')`,
      );
      const keys: readonly (readonly [string, string])[] = [
        [`${s}_mood`, "'sad'"],
        [`${s}_name`, "'x'"],
        ['numeric', '1.50'],
        ['char(5)', "'a'"],
        ['varchar(3)', "'b'"],
        ['uuid', 'gen_random_uuid()'],
        ['int[]', "'{1,2}'"],
        ['int4range', "'[1,3)'"],
        ['timestamptz', 'now()'],
        ['float8', '0.1'],
        ['bytea', "'\\x01'"],
        ['inet', "'::1'"],
        ['"char"', "'c'"],
        ['interval', "'1 month'"],
        ['bit(4)', "B'1010'"],
        ['name', "'n'"],
        ['jsonb', "'{}'"],
        ['oid', '7'],
        ['money', "'1.5'::money"],
      ];
      for (const [index, [type, value]] of keys.entries()) {
        await lab.everywhere(`CREATE TABLE ${s}k${index} (id ${type} PRIMARY KEY, v int)`);
        const own = [`INSERT INTO ${s}k${index} VALUES (${value}, 1)`, `UPDATE ${s}k${index} SET v = 2`];
        expect([type, await lab.carry(origin, target, own)]).toEqual([type, { kind: 'prepared' }]);
        await same(`SELECT id::text, v FROM ${s}k${index}`);
        expect([type, await lab.carry(origin, target, [`DELETE FROM ${s}k${index}`])]).toEqual([
          type,
          { kind: 'prepared' },
        ]);
      }
    });

    test('deferrable unique: a swap within a transaction', async () => {
      await lab.everywhere(
        `CREATE TABLE ${s}11 (id int PRIMARY KEY, n int UNIQUE DEFERRABLE INITIALLY DEFERRED)`,
      );
      await lab.carry(origin, target, [`INSERT INTO ${s}11 VALUES (1, 1), (2, 2)`]);
      const swap = [`UPDATE ${s}11 SET n = 2 WHERE id = 1`, `UPDATE ${s}11 SET n = 1 WHERE id = 2`];
      expect(await lab.carry(origin, target, swap)).toEqual({ kind: 'prepared' });
      await same(`SELECT * FROM ${s}11 ORDER BY id`);
    });

    test('a row that is not there is divergence', async () => {
      await lab.everywhere(`CREATE TABLE ${s}12 (id int PRIMARY KEY, v int)`);
      await lab.carry(origin, target, [`INSERT INTO ${s}12 VALUES (1, 1), (2, 2)`]);
      await target.admin.query(`DELETE FROM ${s}12 WHERE id = 1`);
      for (const statement of [`UPDATE ${s}12 SET v = 5 WHERE id = 1`, `DELETE FROM ${s}12 WHERE id = 1`]) {
        const result = await lab.carry(origin, target, [`UPDATE ${s}12 SET v = 6 WHERE id = 2`, statement]);
        expect(result).toMatchObject({
          kind: 'refused',
          refusal: {
            sqlstate: 'XX001',
            table: `${s}12`,
            schema: 'public',
            node: target.node,
            retryable: false,
          },
        });
      }
      expect(await target.rows('SELECT gid FROM pg_prepared_xacts')).toEqual([]);
      expect(await target.rows(`SELECT v FROM ${s}12`)).toEqual([[2]]);
    });

    test('a table or column that is missing here is refused by name', async () => {
      await origin.admin.query(`CREATE TABLE ${s}13 (id int PRIMARY KEY)`);
      const missing = await lab.carry(origin, target, [`INSERT INTO ${s}13 VALUES (1)`]);
      expect(missing).toMatchObject({
        refusal: { sqlstate: '42P01', message: `relation "public.${s}13" does not exist on this node` },
      });
      await lab.everywhere(`DROP TABLE IF EXISTS ${s}13; CREATE TABLE ${s}13 (id int PRIMARY KEY)`);
      await origin.admin.query(`ALTER TABLE ${s}13 ADD extra int`);
      const column = await lab.carry(origin, target, [`INSERT INTO ${s}13 VALUES (1)`]);
      expect(column).toMatchObject({ refusal: { sqlstate: '55000' } });
      expect(column).toHaveProperty('refusal.message', expect.stringContaining('"extra"'));
    });
  });
}

const typed: readonly (readonly [string, string])[] = [
  ['bool', 'true'],
  ['int2', '1'],
  ['int4', '-2'],
  ['int8', '9007199254740993'],
  ['numeric(30,10)', '1.5'],
  ['numeric', "'NaN'"],
  ['float4', '0.1'],
  ['float8', "'-Infinity'"],
  ['money', "'12.34'::money"],
  ['"char"', "'x'"],
  ['char(5)', "'ab'"],
  ['varchar(9)', "E'a\\'b\\\\'"],
  ['text', "E'\\t\\n\\r\\b{}\",'"],
  ['name', "'n'"],
  ['bytea', "'\\x00ff5c'"],
  ['date', "'4713-01-01 BC'"],
  ['time', "'12:00:00.000001'"],
  ['timetz', "'12:00+02'"],
  ['timestamp', "'infinity'"],
  ['timestamptz', "'2026-01-01 00:00:00.123456+05'"],
  ['interval', "'1 year -2 days 03:04:05.6'"],
  ['uuid', "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"],
  ['json', '\'{"a": [1, null]}\''],
  ['jsonb', '\'{"b": 1.10}\''],
  ['jsonpath', "'$.a'"],
  ['xml', "'<a>1</a>'"],
  ['inet', "'10.0.0.1/8'"],
  ['cidr', "'10.0.0.0/8'"],
  ['macaddr', "'08:00:2b:01:02:03'"],
  ['macaddr8', "'08:00:2b:01:02:03:04:05'"],
  ['bit(3)', "B'101'"],
  ['varbit', "B'10101'"],
  ['point', "'(1,2.5)'"],
  ['line', "'{1,2,3}'"],
  ['lseg', "'[(0,0),(1,1)]'"],
  ['box', "'(1,1),(0,0)'"],
  ['path', "'((0,0),(1,1))'"],
  ['polygon', "'((0,0),(1,1),(1,0))'"],
  ['circle', "'<(0,0),1>'"],
  ['tsvector', "'a:1 b'"],
  ['tsquery', "'a & b'"],
  ['int4range', "'[1,5)'"],
  ['numrange', "'(,1.5]'"],
  ['tstzrange', "'[2026-01-01 00:00+00,)'"],
  ['int4multirange', "'{[1,2),[5,6)}'"],
  ['int4[]', "'{1,NULL,3}'"],
  ['text[][]', `'{{"a,b","c\\"d"},{NULL,""}}'`],
  ['oid', '42'],
  ['regclass', "'pg_class'"],
  ['regtype', "'int4'"],
  ['regproc', "'now'"],
  ['pg_lsn', "'0/1'"],
  ['xid8', "'5'"],
  ['pg_snapshot', "'10:20:15'"],
  ['int2vector', "'1 2'"],
  ['oidvector', "'1 2'"],
  ['tid', "'(1,2)'"],
];
const allValues = typed.map(([, value]) => value).join(', ');

function allTypes(name: string): string {
  const columns = typed.map(([type], index) => `c${index + 1} ${type}`);
  return `CREATE TABLE ${name} (${columns.join(', ')}); ALTER TABLE ${name} REPLICA IDENTITY FULL`;
}
