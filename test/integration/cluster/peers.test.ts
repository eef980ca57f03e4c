/**
 * What PostgreSQL's own tests (npm run regress) found at the nodes that apply.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { equalEverywhere, noPrepared } from '../../support/convergence.ts';
import { startCluster, type Cluster } from '../../support/cluster.ts';

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ majors: [15, 18, 18] });
});

afterAll(async () => {
  await noPrepared(cluster);
  await equalEverywhere(cluster);
  await cluster.stop();
});

test('values that are larger than a message between gateways', async () => {
  await cluster.query(1, 'CREATE TABLE large (id int PRIMARY KEY, v text)');
  for (const [id, size] of [300_000, 1_000_000, 4_000_000].entries()) {
    await cluster.query(1 + (id % 2), `INSERT INTO large VALUES (${id}, repeat(md5('${id}'), ${size / 32}))`);
  }
  await cluster.query(2, `INSERT INTO large SELECT g, repeat('x', 280000) FROM generate_series(10, 20) g`);
  await cluster.query(3, `UPDATE large SET v = v || 'y' WHERE id IN (0, 1, 10)`);
  const question = 'SELECT count(*)::int AS rows, sum(length(v))::int AS size FROM large';
  expect(await cluster.query(3, question)).toEqual([{ rows: 14, size: 5_300_000 + 11 * 280_000 + 3 }]);
});

test('a foreign key that is dropped is forgotten by those who have checked it', async () => {
  await cluster.query(1, 'CREATE TABLE parent (id int PRIMARY KEY)');
  await cluster.query(1, 'CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent)');
  for (const id of [1, 2, 3]) await cluster.query(1, `INSERT INTO parent VALUES (${id})`);
  // On every apply connection: they remember what they know of a table.
  await Promise.all([1, 2].map((id) => cluster.query(id, `DELETE FROM parent WHERE id = ${id}`)));
  await cluster.query(1, 'DROP TABLE child');
  await cluster.query(1, 'DELETE FROM parent WHERE id = 3');
  expect(await cluster.query(3, 'SELECT * FROM parent')).toEqual([]);
});

test('DROP OWNED BY, of the role whose command it is', async () => {
  const client = await cluster.client(1);
  await client.query('CREATE ROLE owner_of_little');
  await client.query('GRANT CREATE ON SCHEMA public TO owner_of_little');
  await client.query('SET ROLE owner_of_little');
  await client.query('CREATE TABLE little (id int PRIMARY KEY)');
  await client.query('DROP OWNED BY owner_of_little');
  await client.query('RESET ROLE');
  await client.query('REVOKE CREATE ON SCHEMA public FROM owner_of_little');
  await client.query('DROP ROLE owner_of_little');
  await client.end();
  expect(await cluster.query(2, `SELECT to_regclass('little') AS it`)).toEqual([{ it: null }]);
});

test('ALTER PUBLICATION that takes something out', async () => {
  await cluster.query(1, 'CREATE TABLE published (id int PRIMARY KEY)');
  await cluster.query(1, 'CREATE TABLE other (id int PRIMARY KEY)');
  await cluster.query(1, 'CREATE PUBLICATION p FOR TABLE published, other');
  await cluster.query(2, 'ALTER PUBLICATION p DROP TABLE published');
  await cluster.query(3, 'ALTER PUBLICATION p ADD TABLE published');
  await cluster.query(1, 'ALTER PUBLICATION p SET TABLE other');
  const members = `SELECT string_agg(prrelid::regclass::text, ' ') AS m FROM pg_publication_rel JOIN pg_publication o
    ON o.oid = prpubid WHERE pubname = 'p'`;
  expect(await cluster.onAllServers(members)).toEqual([1, 2, 3].map(() => [{ m: 'other' }]));
});

test('CREATE COLLATION beside other commands', async () => {
  const client = await cluster.client(1);
  await client.query('CREATE TEMP TABLE mine (id int)'); // asks the server before each PREPARE
  await client.query('BEGIN');
  await client.query(`CREATE COLLATION plain (provider = libc, locale = 'C')`);
  await client.query('CREATE TABLE collated (v text COLLATE plain PRIMARY KEY)');
  await client.query('COMMIT');
  await client.end();
});

test('a rule that writes rows of a view, whose type is not new', async () => {
  const client = await cluster.client(1);
  await client.query('CREATE VIEW viewed AS SELECT 1 AS one');
  await client.query('CREATE TABLE log (before viewed, after viewed)');
  await client.query('CREATE TEMP TABLE mine (id int)');
  await client.query('CREATE RULE note AS ON UPDATE TO viewed DO INSTEAD INSERT INTO log VALUES (old, new)');
  await client.end();
  const rules = `SELECT count(*)::int AS n FROM pg_rules WHERE rulename = 'note'`;
  expect(await cluster.query(3, rules)).toEqual([{ n: 1 }]);
});

test('EXPLAIN ANALYZE of what creates a relation', async () => {
  const rows = 'SELECT g AS id, random() AS v FROM generate_series(1, 100) g';
  await cluster.query(1, `EXPLAIN ANALYZE CREATE TABLE explained AS ${rows}`);
  await cluster.query(2, `EXPLAIN (ANALYZE) SELECT id, md5(v::text) INTO explained_too FROM explained`);
  await cluster.query(
    3,
    `EXPLAIN ANALYZE CREATE MATERIALIZED VIEW explained_view AS SELECT * FROM explained_too`,
  );
  await cluster.query(3, `DELETE FROM explained WHERE id > 50`);
  for (const number of [1, 2, 3]) {
    const counts = `SELECT (SELECT count(*)::int FROM explained) AS a, (SELECT count(*)::int FROM explained_view) AS b`;
    expect(await cluster.query(number, counts)).toEqual([{ a: 50, b: 100 }]);
  }
});

test('TRUNCATE of a table that a partitioned one references', async () => {
  await cluster.query(1, 'CREATE TABLE whole (a int PRIMARY KEY)');
  await cluster.query(1, 'CREATE TABLE parts (a int REFERENCES whole) PARTITION BY RANGE (a)');
  await cluster.query(1, 'CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (1) TO (100)');
  await cluster.query(1, 'INSERT INTO whole VALUES (1), (2)');
  await cluster.query(1, 'INSERT INTO parts VALUES (1), (2)');
  await cluster.query(1, 'TRUNCATE whole, parts');
  expect(await cluster.query(3, 'SELECT * FROM whole')).toEqual([]);
});

test('functions that need temporary objects', async () => {
  const client = await cluster.client(1);
  await client.query('CREATE TEMP SEQUENCE mine');
  await client.query(`CREATE FUNCTION drawn() RETURNS int8 LANGUAGE sql AS $$ SELECT nextval('mine') $$`);
  expect((await client.query('SELECT drawn()')).rows).toEqual([{ drawn: '1' }]);
  await client.query('CREATE TEMP TABLE person (name text)');
  // As on one server it ends with the table, so it is of this session alone.
  await client.query(`CREATE FUNCTION name_of(person) RETURNS text LANGUAGE sql AS $$ SELECT $1.name $$`);
  await client.query(`CREATE DOMAIN people AS person[]`);
  expect((await client.query(`SELECT name_of(row('a')::person) AS n`)).rows).toEqual([{ n: 'a' }]);
  await client.query('DROP FUNCTION name_of(person)');
  await client.query(`CREATE FUNCTION name_of(person) RETURNS text LANGUAGE sql AS $$ SELECT $1.name $$`);
  await client.query('DROP TABLE person CASCADE');
  await client.end();
  const there = `SELECT to_regprocedure('drawn()') IS NOT NULL AS it`;
  expect(await cluster.query(3, there)).toEqual([{ it: true }]);
});

test('a foreign key of a generated column', async () => {
  await cluster.query(1, 'CREATE TABLE doubled (b int PRIMARY KEY)');
  await cluster.query(
    1,
    'CREATE TABLE single (a int PRIMARY KEY, b int GENERATED ALWAYS AS (a * 2) STORED REFERENCES doubled)',
  );
  await cluster.query(1, 'INSERT INTO doubled VALUES (2), (4)');
  await cluster.query(1, 'INSERT INTO single VALUES (1)');
  await cluster.query(2, 'UPDATE single SET a = 2');
  expect(await cluster.query(3, 'SELECT * FROM single')).toEqual([{ a: 2, b: 4 }]);
  // The parent is deleted at one node while a child is inserted at another: one of them must lose.
  const [parent, child] = await Promise.all([cluster.client(1), cluster.client(2)]);
  for (const client of [parent, child]) await client.query('BEGIN');
  await parent.query('DELETE FROM doubled WHERE b = 2');
  await child.query('INSERT INTO single VALUES (1)');
  const ends = await Promise.allSettled([parent.query('COMMIT'), child.query('COMMIT')]);
  expect(ends.filter(({ status }) => status === 'fulfilled').length).toBeLessThan(2);
  await Promise.all([parent, child].map((client) => client.end()));
  const orphans = 'SELECT count(*)::int AS n FROM single WHERE b NOT IN (SELECT b FROM doubled)';
  expect(await cluster.query(3, orphans)).toEqual([{ n: 0 }]);
});

test('temporary objects that are dropped together with others', async () => {
  const client = await cluster.client(1);
  await client.query('CREATE SCHEMA dropped');
  await client.query('CREATE TABLE dropped.a (id int PRIMARY KEY)');
  await client.query('CREATE TEMP TABLE mine (id int)');
  // It becomes temporary by itself, and goes with what it needs.
  await client.query('CREATE VIEW of_both AS SELECT FROM mine, dropped.a');
  await client.query('DROP SCHEMA dropped CASCADE');
  await client.query('CREATE TABLE "others" (id int PRIMARY KEY)');
  await client.query('DROP TABLE mine, "others"');
  await client.end();
  const left = `SELECT to_regnamespace('dropped') AS a, to_regclass('others') AS b`;
  expect(await cluster.query(3, left)).toEqual([{ a: null, b: null }]);
});

test('foreign keys of rows whose tables are dropped or renamed in the same transaction', async () => {
  await cluster.query(1, 'CREATE TABLE head (id int PRIMARY KEY)');
  await cluster.query(
    1,
    'CREATE TABLE tail (id int PRIMARY KEY, head int REFERENCES head INITIALLY DEFERRED)',
  );
  const client = await cluster.client(1);
  await client.query('BEGIN');
  await client.query('INSERT INTO tail VALUES (1, 7)');
  await client.query('DROP TABLE head CASCADE');
  await client.query('COMMIT');
  // A table is built anew, as migrations do.
  await cluster.query(1, 'CREATE TABLE head (id int PRIMARY KEY)');
  await cluster.query(1, 'INSERT INTO head VALUES (7), (8)');
  await client.query('BEGIN');
  await client.query('CREATE TABLE tail_new (id int PRIMARY KEY, head int REFERENCES head)');
  await client.query('INSERT INTO tail_new SELECT * FROM tail');
  await client.query('DROP TABLE tail');
  await client.query('ALTER TABLE tail_new RENAME TO tail');
  await client.query('INSERT INTO tail VALUES (2, 8)');
  await client.query('COMMIT');
  await client.end();
  expect(await cluster.query(3, 'SELECT * FROM tail ORDER BY id')).toEqual([
    { id: 1, head: 7 },
    { id: 2, head: 8 },
  ]);
});

test('the modes of a chain of transactions survive a failure', async () => {
  const client = await cluster.client(1);
  await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
  await client.query('COMMIT AND CHAIN');
  await expect(client.query('SELECT 1 / 0')).rejects.toThrow('division by zero');
  await client.query('COMMIT AND CHAIN');
  const { rows } = await client.query('SHOW transaction_isolation');
  expect(rows).toEqual([{ transaction_isolation: 'repeatable read' }]);
  await client.query('CREATE TABLE chained (id int PRIMARY KEY)');
  await client.query('COMMIT');
  await client.end();
  expect(await cluster.query(2, `SELECT to_regclass('chained') IS NOT NULL AS it`)).toEqual([{ it: true }]);
});
