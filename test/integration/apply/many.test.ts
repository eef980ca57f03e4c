/** Many rows that one statement changes arrive as they were, whatever their types, from 18 to 15 and from 15 to 18. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { factsMark, factsQuery, readFacts } from '../../../src/core/apply/facts.ts';
import { careful } from '../../../src/core/apply/many-rows.ts';
import { RelationPlan } from '../../../src/core/apply/relation-plan.ts';
import { applySettings } from '../../../src/io/postgres/pinned-settings.ts';
import { Lab } from './lab.ts';
import type { Site } from './lab.ts';

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.start([18, 15]);
  await lab.everywhere(`
    CREATE TYPE mood AS ENUM ('fine', 'so, "so"', 'bad\\'); CREATE TYPE place AS (street text, "no" int);
    CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE DOMAIN list AS int[]; CREATE DOMAIN spot AS place;
    CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE COLLATION loose (provider = icu, locale = 'und',
      deterministic = false)`);
});
afterAll(async () => lab?.stop());

async function same(query: string): Promise<unknown[][]> {
  const [a, b] = await Promise.all(lab.sites.map((site) => site.rows(query)));
  expect(b).toEqual(a);
  return a!;
}

/** Type, and a value made of g; NULL for some. */
const scalars: readonly (readonly [string, string])[] = [
  ['text', `E'q"\\\\ ,{}\\n' || g`],
  ['varchar(30)', `'NULL'`],
  ['char(9)', `'x' || g`],
  ['"char"', `chr(34 + g % 60)`],
  ['name', `'n"' || g`],
  ['bytea', `decode(md5(g::text), 'hex')`],
  ['bool', `g % 2 = 0`],
  ['int2', `g`],
  ['int8', `g * 10000000000::int8`],
  ['numeric', `g + 0.10`],
  ['numeric(9,3)', `g / 7.0`],
  ['float8', `g / 3.0`],
  ['float4', `'-Infinity'`],
  ['money', `g::money`],
  ['date', `date '0400-01-01 BC' + g`],
  ['timestamptz', `timestamptz '2024-03-31 01:30+00' + g * interval '7 min'`],
  ['timetz', `'12:00:00+05:30'`],
  ['interval', `g * interval '1 mon -2 days 3.000001 s'`],
  ['uuid', `md5(g::text)::uuid`],
  ['json', `json_build_object('a"', g, 'b', E'\\\\')`],
  ['jsonb', `jsonb_build_array(g, 'x"y')`],
  ['xml', `xmlparse(CONTENT '<a b="' || g || '"/>')`],
  ['inet', `('10.0.0.' || g % 250)::inet`],
  ['bit(5)', `(g % 32)::bit(5)`],
  ['point', `point(g, -g)`],
  ['int4range', `int4range(g, g + 5)`],
  ['tsvector', `to_tsvector('simple', 'it''s "' || g)`],
  ['regclass', `'pg_class'`],
  ['pg_lsn', `'0/ABC'`],
  ['mood', `(enum_range(NULL::mood))[1 + g % 3]`],
  ['positive', `g + 1`],
  ['list', `ARRAY[g, NULL, 3]`],
  ['citext', `'CI"' || g`],
  ['hstore', `hstore('k"' || g, NULL)`],
];
/** What cannot stand in an array, or not as one: these go row by row. */
const others: readonly (readonly [string, string])[] = [
  ['text[]', `ARRAY['a"' || g, NULL, '{}']`],
  ['int[]', `ARRAY[[g, 1], [2, 3]]`],
  ['box', `box(point(g, 1), point(2, 3))`],
  ['place', `ROW('s, "' || g, g)::place`],
  ['spot', `ROW('s', g)`],
];

for (const direction of ['18 to 15', '15 to 18'] as const) {
  describe(direction, () => {
    let origin: Site;
    let target: Site;
    const s = direction === '18 to 15' ? 'a' : 'b';
    beforeAll(() => {
      [origin, target] = direction === '18 to 15' ? lab.sites : [lab.sites[1], lab.sites[0]];
    });

    test.each([
      ['in arrays', 1, scalars],
      ['with others among them', 2, [...scalars, ...others]],
    ] as const)('values of all types, %s', async (_name, at, types) => {
      const table = `${s}m${at}`;
      const columns = types.map(([type], index) => `c${index} ${type}`);
      const values = (g: string): string[] =>
        types.map(([type, value]) => `(${value.replaceAll(/\bg\b/g, g)})::${type}`);
      await lab.everywhere(`CREATE TABLE ${table} (id int PRIMARY KEY, ${columns.join(', ')})`);
      const sets = values('(g + 1)').map(
        (value, index) => `c${index} = CASE WHEN (g + ${index}) % 5 > 0 THEN ${value} END`,
      );
      const result = await lab.carry(origin, target, [
        `INSERT INTO ${table} SELECT g, ${values('g').join(', ')} FROM generate_series(1, 1100) g`,
        `UPDATE ${table} SET ${sets.join(', ')} FROM generate_series(1, 1100) g WHERE g = id AND g % 7 > 0`,
        `UPDATE ${table} SET c0 = c0 || '!' WHERE id % 3 = 0`,
        `UPDATE ${table} SET c0 = NULL WHERE id % 2 = 0`,
        `DELETE FROM ${table} WHERE id % 5 = 0`,
      ]);
      expect(result).toEqual({ kind: 'prepared' });
      expect(await same(`SELECT id, md5(t::text) FROM ${table} t ORDER BY id`)).toHaveLength(880);
    });

    test('keys of many types, and of several columns', async () => {
      const keys = ['text', 'numeric', 'timestamptz', 'uuid', 'mood', 'positive', 'citext', 'bytea', 'inet'];
      for (const [index, type] of keys.entries()) {
        const table = `${s}k${index}`;
        const value = scalars.find(([name]) => name === type)![1];
        const unique = type === 'mood' ? `(enum_range(NULL::mood))[1 + g % 3]` : value;
        await lab.everywhere(`CREATE TABLE ${table} (k ${type}, "o""k" int, n int, PRIMARY KEY ("o""k", k))`);
        const result = await lab.carry(origin, target, [
          `INSERT INTO ${table} SELECT ${unique}, g, 0 FROM generate_series(1, 60) g`,
          `UPDATE ${table} SET n = "o""k" * 2`,
          `DELETE FROM ${table} WHERE "o""k" > 40`,
        ]);
        expect(result, type).toEqual({ kind: 'prepared' });
        expect(await same(`SELECT k::text, "o""k", n FROM ${table} ORDER BY 2`)).toHaveLength(40);
      }
    });

    test('a key under a loose collation, an identity by index, a partition', async () => {
      await lab.everywhere(`
        CREATE TABLE ${s}l (k text COLLATE loose PRIMARY KEY, n int);
        CREATE TABLE ${s}i (a int NOT NULL, b int); CREATE UNIQUE INDEX ${s}ii ON ${s}i (a);
        ALTER TABLE ${s}i REPLICA IDENTITY USING INDEX ${s}ii;
        CREATE TABLE ${s}p (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
        CREATE TABLE ${s}p1 PARTITION OF ${s}p FOR VALUES FROM (0) TO (50);
        CREATE TABLE ${s}p2 PARTITION OF ${s}p FOR VALUES FROM (50) TO (100)`);
      const result = await lab.carry(origin, target, [
        `INSERT INTO ${s}l SELECT 'Key ' || g, 0 FROM generate_series(1, 50) g`,
        `UPDATE ${s}l SET n = 5`,
        `INSERT INTO ${s}i SELECT g, 0 FROM generate_series(1, 50) g`,
        `UPDATE ${s}i SET b = a`,
        `INSERT INTO ${s}p SELECT g, 0 FROM generate_series(0, 99) g`,
        `UPDATE ${s}p SET n = 7`,
        `DELETE FROM ${s}p WHERE id % 10 > 4`,
      ]);
      expect(result).toEqual({ kind: 'prepared' });
      expect(await same(`SELECT * FROM ${s}l ORDER BY k`)).toHaveLength(50);
      expect(await same(`SELECT * FROM ${s}i ORDER BY a`)).toHaveLength(50);
      expect(await same(`SELECT * FROM ${s}p ORDER BY id`)).toHaveLength(50);
    });

    test('another unique index: values that move from row to row keep their order', async () => {
      await lab.everywhere(`CREATE TABLE ${s}u (id int PRIMARY KEY, pos int UNIQUE)`);
      const result = await lab.carry(origin, target, [
        `INSERT INTO ${s}u SELECT g, 1000 - g FROM generate_series(1, 500) g`,
        // In the order of the heap each row takes the place that the one before has left.
        `UPDATE ${s}u SET pos = pos + 1`,
      ]);
      expect(result).toEqual({ kind: 'prepared' });
      expect(await same(`SELECT * FROM ${s}u ORDER BY id`)).toHaveLength(500);
    });

    test('the same rows again and again in one transaction', async () => {
      await lab.everywhere(`CREATE TABLE ${s}r (id int PRIMARY KEY, n int)`);
      const result = await lab.carry(origin, target, [
        `INSERT INTO ${s}r SELECT g, 0 FROM generate_series(1, 20) g`,
        ...Array.from({ length: 30 }, () => `UPDATE ${s}r SET n = n + id`),
        `UPDATE ${s}r SET id = id + 100`,
        `DELETE FROM ${s}r WHERE id < 110`,
        `INSERT INTO ${s}r SELECT g, -1 FROM generate_series(101, 109) g`,
        `UPDATE ${s}r SET n = n * 2`,
      ]);
      expect(result).toEqual({ kind: 'prepared' });
      expect(await same(`SELECT * FROM ${s}r ORDER BY id`)).toHaveLength(20);
    });

    test('a row that is not there stops all of it', async () => {
      await lab.everywhere(`CREATE TABLE ${s}g (id int PRIMARY KEY, n int)`);
      await lab.carry(origin, target, [`INSERT INTO ${s}g SELECT g, 0 FROM generate_series(1, 20) g`]);
      await target.admin.query(`DELETE FROM ${s}g WHERE id = 7`);
      for (const statement of [`UPDATE ${s}g SET n = 1`, `DELETE FROM ${s}g`]) {
        const gid = await lab.prepare(origin, [statement]);
        const result = await lab.apply(origin, target, gid);
        expect(result).toMatchObject({ kind: 'refused', refusal: { sqlstate: 'XX001' } });
        await origin.finish(gid, 'rollback');
      }
    });

    test('rows are looked up, whatever an ANALYZE has seen while the table was loaded', async () => {
      const table = `${s}a`;
      await target.admin.query(`CREATE TABLE ${table} (id int PRIMARY KEY, n int)`);
      await target.admin.query(`INSERT INTO ${table} SELECT g, 0 FROM generate_series(1, 5000) g`);
      await target.admin.query(
        `UPDATE pg_class SET relpages = 20, reltuples = 0 WHERE relname IN ('${table}', '${table}_pkey')`,
      );
      const { rows } = await target.admin.query({
        text: factsQuery,
        values: ['public', table],
        rowMode: 'array',
      });
      const facts = readFacts(String(rows[0]![0]).slice(factsMark.length));
      const column = (name: string, key: boolean) => ({ key, name, typeOid: 23, typmod: -1 });
      const plan = RelationPlan.bind(
        {
          kind: 'relation',
          oid: 1,
          schema: 'public',
          name: table,
          identity: 'default',
          columns: [column('id', true), column('n', false)],
        },
        facts,
      ) as RelationPlan;
      const planned = async (): Promise<string> => {
        await target.admin.query(`PREPARE careful AS ${plan.many.update('')!.sql}`);
        const lines = await target.rows(`EXPLAIN EXECUTE careful('{1,2}', '{3,4}', 2)`);
        await target.admin.query('DEALLOCATE careful');
        return lines.flat().join('\n');
      };
      await target.admin.query('BEGIN');
      for (const [name, value] of Object.entries(applySettings))
        await target.admin.query(`SELECT set_config($1, $2, true)`, [name, value]);
      expect(await planned()).not.toContain('Index Cond');
      await target.admin.query(careful, [facts.oid]);
      expect(await planned()).toContain('Index Cond');
      await target.admin.query('ROLLBACK');
    });

    test('foreign keys of many rows are checked', async () => {
      await lab.everywhere(`
        CREATE TABLE ${s}fp (id int PRIMARY KEY, n int);
        CREATE TABLE ${s}fc (id int PRIMARY KEY, p int REFERENCES ${s}fp)`);
      const result = await lab.carry(origin, target, [
        `INSERT INTO ${s}fp SELECT g, 0 FROM generate_series(1, 50) g`,
        `INSERT INTO ${s}fc SELECT g, g FROM generate_series(1, 40) g`,
        `UPDATE ${s}fc SET p = p + 5`,
        `UPDATE ${s}fp SET n = 1`,
        `DELETE FROM ${s}fp WHERE id < 6`,
      ]);
      expect(result).toEqual({ kind: 'prepared' });
      // A child that only the target has.
      await target.admin.query(`SET session_replication_role = replica`);
      await target.admin.query(`INSERT INTO ${s}fc VALUES (99, 48)`);
      await target.admin.query(`RESET session_replication_role`);
      const gid = await lab.prepare(origin, [`DELETE FROM ${s}fp WHERE id > 45`]);
      expect(await lab.apply(origin, target, gid)).toMatchObject({ refusal: { sqlstate: '23503' } });
      await origin.finish(gid, 'rollback');
    });
  });
}
