/** DDL at top level and nested, mixed with rows: the same schema on every node. Old and new server versions. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { failureOf, startCluster, type Cluster } from '../../support/cluster.ts';
import {
  canDump,
  equalEverywhere,
  equalRows,
  equalSchemas,
  noPrepared,
  schemaLines,
} from '../../support/convergence.ts';
import { within } from '../../support/polling.ts';
import { findProgram } from '../../support/programs.ts';
import type { PostgresMajor } from '../../../src/io/launcher/server-binaries.ts';

const majors: readonly PostgresMajor[] = [15, 18];

describe.each(majors)('on PostgreSQL %i', (major) => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await startCluster({ majors: [major, major, major] });
  });

  afterEach(async () => {
    await noPrepared(cluster);
    await equalEverywhere(cluster);
  });

  afterAll(async () => {
    await cluster?.stop();
  });

  /** Statements one after the other in one transaction on one node. */
  async function inTransaction(number: number, statements: readonly string[]): Promise<void> {
    const client = await cluster.client(number);
    await client.query('BEGIN');
    for (const statement of statements) await client.query(statement);
    await client.query('COMMIT');
    await client.end();
  }

  /** The schema of the other nodes has a line that says so: the comparison does not compare nothing with nothing. */
  async function expectLine(pattern: RegExp): Promise<void> {
    for (const node of cluster.nodes)
      expect((await schemaLines(node)).filter((line) => pattern.test(line))).not.toEqual([]);
  }

  test('the comparison sees a difference', async () => {
    const other = await cluster.direct(2);
    await other.query(`SET session_replication_role = replica; CREATE TABLE only_here (id int)`);
    await expect(equalSchemas(cluster, 500)).rejects.toThrow(/schema of node/);
    await other.query('DROP TABLE only_here');
    await other.end();
  });

  test('tables, columns, indexes and constraints', async () => {
    await cluster.query(
      1,
      `CREATE TABLE item (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE, price numeric(10, 2)
         DEFAULT 1.5 CHECK (price > 0), tags text[], made timestamptz DEFAULT now())`,
    );
    await cluster.query(2, 'CREATE INDEX item_tags ON item USING gin (tags)');
    await cluster.query(3, `CREATE UNIQUE INDEX item_lower ON item (lower(name)) WHERE price > 1`);
    await cluster.query(
      3,
      'ALTER TABLE item ADD COLUMN weight float8 NOT NULL DEFAULT 0, ADD CONSTRAINT light CHECK (weight < 100)',
    );
    await cluster.query(2, `INSERT INTO item (name, tags) VALUES ('a', '{x,y}'), ('b', NULL)`);
    await cluster.query(1, 'ALTER TABLE item ALTER COLUMN price TYPE numeric(12, 3), DROP COLUMN made');
    await cluster.query(1, 'ALTER TABLE item RENAME COLUMN weight TO mass');
    await cluster.query(2, 'ALTER TABLE item RENAME TO goods');
    await cluster.query(3, `COMMENT ON TABLE goods IS 'what we sell'; `);
    await cluster.query(3, `INSERT INTO goods (name, mass) VALUES ('c', 3)`);
    await expectLine(/^column public\.goods 5: mass double precision/);
  });

  test('in one transaction with rows, in order', async () => {
    await inTransaction(2, [
      'CREATE SCHEMA shop',
      'CREATE TABLE shop.orders (id serial PRIMARY KEY, note text)',
      `INSERT INTO shop.orders (note) VALUES ('one'), ('two')`,
      'ALTER TABLE shop.orders ADD COLUMN size int',
      'UPDATE shop.orders SET size = length(note)',
      'ALTER TABLE shop.orders ALTER COLUMN size SET NOT NULL',
      'CREATE INDEX ON shop.orders (size)',
      'ALTER TABLE shop.orders DROP COLUMN note',
      `INSERT INTO shop.orders (size) VALUES (7)`,
      'CREATE TABLE shop.gone (id int)',
      'INSERT INTO shop.gone VALUES (1)',
      'DROP TABLE shop.gone',
    ]);
    await expectLine(/^column shop\.orders 2: size integer not null t/);
    expect(
      await cluster.onAllServers('SELECT count(*)::int AS n, sum(size)::int AS s FROM shop.orders'),
    ).toEqual(cluster.numbers.map(() => [{ n: 3, s: 13 }]));
  });

  test('a transaction that is rolled back leaves no schema', async () => {
    const client = await cluster.client(1);
    await client.query('BEGIN');
    await client.query('CREATE TABLE never (id int)');
    await client.query('ROLLBACK');
    await client.query('BEGIN');
    await client.query('CREATE TABLE partly (id int PRIMARY KEY)');
    await client.query('SAVEPOINT s');
    await failureOf(client.query('CREATE TABLE partly (id int)'));
    await client.query('ROLLBACK TO s');
    await client.query('CREATE TABLE partly_too (id int PRIMARY KEY)');
    await client.query('COMMIT');
    await client.end();
    await expectLine(/^relation public\.partly_too /);
    const lines = await schemaLines(cluster.node(3));
    expect(lines.filter((line) => /\bnever\b/.test(line))).toEqual([]);
  });

  test('functions, procedures, triggers, rules and views', async () => {
    await inTransaction(3, [
      'CREATE TABLE log (id serial PRIMARY KEY, text text)',
      'CREATE TABLE noisy (id int PRIMARY KEY, v int)',
      `CREATE FUNCTION noise() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN
         INSERT INTO log (text) VALUES (TG_OP || ';' || NEW.id); RETURN NEW; END $f$`,
      'CREATE TRIGGER noise AFTER INSERT OR UPDATE ON noisy FOR EACH ROW EXECUTE FUNCTION noise()',
      'CREATE VIEW loud AS SELECT * FROM noisy WHERE v > 5',
      'CREATE OR REPLACE VIEW loud AS SELECT id, v, v * 2 AS twice FROM noisy WHERE v > 6',
      'CREATE RULE loud_in AS ON INSERT TO loud DO INSTEAD INSERT INTO noisy VALUES (NEW.id, NEW.v)',
      'CREATE MATERIALIZED VIEW frozen AS SELECT count(*) AS n FROM noisy',
      'INSERT INTO noisy VALUES (1, 10)',
      'CREATE PROCEDURE clear() LANGUAGE sql AS $$ DELETE FROM noisy $$',
      `CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE RETURN $1 * 2`,
    ]);
    await cluster.query(1, 'INSERT INTO loud VALUES (2, 20)');
    await cluster.query(2, 'REFRESH MATERIALIZED VIEW frozen');
    expect(await cluster.onAllServers('SELECT n::int AS n FROM frozen')).toEqual(
      cluster.numbers.map(() => [{ n: 2 }]),
    );
    await cluster.query(2, 'ALTER TABLE noisy DISABLE TRIGGER noise');
    await cluster.query(2, 'INSERT INTO noisy VALUES (3, 30)');
    expect(await cluster.onAllServers('SELECT count(*)::int AS n FROM log')).toEqual(
      cluster.numbers.map(() => [{ n: 2 }]),
    );
    await cluster.query(1, 'CALL clear()');
    await expectLine(/^trigger CREATE TRIGGER noise .* enabled D$/);
  });

  test('types, domains and rows of them', async () => {
    await cluster.query(3, 'CREATE TYPE pair AS (x int, y text)');
    await inTransaction(1, [
      `CREATE TYPE mood AS ENUM ('sad', 'happy')`,
      `CREATE DOMAIN small AS int CHECK (VALUE < 100)`,
      'CREATE TYPE span AS RANGE (subtype = float8)',
      'CREATE TABLE typed (id int PRIMARY KEY, m mood, ms mood[], p pair, s small, r span)',
      `INSERT INTO typed VALUES (1, 'sad', '{happy,sad}', ROW(1, 'a;"b'), 5, '[1,2)')`,
    ]);
    await cluster.query(2, `ALTER TYPE mood ADD VALUE 'ok' BEFORE 'happy'`);
    await cluster.query(
      3,
      `INSERT INTO typed VALUES (2, 'ok', ARRAY['ok']::mood[], ROW(2, NULL), 6, 'empty')`,
    );
    await cluster.query(1, `UPDATE typed SET m = 'happy', p.y = 'changed' WHERE id = 2`);
    await expectLine(/^type public\.mood kind e .* labels sad, ok, happy$/);
  });

  test('extensions', async () => {
    await cluster.query(2, 'CREATE EXTENSION citext');
    await inTransaction(3, [
      'CREATE SCHEMA crypto',
      'CREATE EXTENSION pgcrypto SCHEMA crypto',
      'CREATE TABLE people (name citext PRIMARY KEY, secret text)',
      `INSERT INTO people VALUES ('Ada', crypto.crypt('x', crypto.gen_salt('bf', 4)))`,
    ]);
    expect(await failureOf(cluster.query(1, `INSERT INTO people VALUES ('ADA', '')`))).toMatchObject({
      code: '23505',
    });
    await expectLine(/^extension pgcrypto .* in crypto$/);
  });

  test('in DO and in functions', async () => {
    await cluster.query(
      1,
      `DO $$ BEGIN
         FOR i IN 1..3 LOOP
           EXECUTE format('CREATE TABLE part_%s (id int PRIMARY KEY, v float8 DEFAULT random())', i);
           EXECUTE format('INSERT INTO part_%s (id) SELECT generate_series(1, %s)', i, i);
         END LOOP;
         CREATE TABLE direct (id int PRIMARY KEY, t text DEFAULT 'it''s');
       END $$`,
    );
    await cluster.query(
      2,
      `CREATE FUNCTION make(name text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
         EXECUTE format('CREATE TABLE %I (id serial PRIMARY KEY, note text)', name);
         EXECUTE format('INSERT INTO %I (note) VALUES (%L)', name, name);
         EXECUTE format('CREATE INDEX ON %I (note)', name);
         RETURN name; END $$`,
    );
    await cluster.query(3, `SELECT make('from "three"'), make('Second; one')`);
    await cluster.query(
      1,
      `CREATE FUNCTION make_sql() RETURNS void LANGUAGE sql AS $$ CREATE TABLE by_sql (id int PRIMARY KEY); COMMENT ON TABLE by_sql IS 'sql' $$`,
    );
    await cluster.query(2, 'SELECT make_sql()');
    await expectLine(/^relation public\."from ""three""" /);
    await expectLine(/^relation public\.by_sql /);
  });

  test('several commands in one string', async () => {
    await cluster.query(
      1,
      `CREATE TABLE first (id int PRIMARY KEY); CREATE TABLE second (id int PRIMARY KEY, f int REFERENCES first);
       INSERT INTO first VALUES (1); CREATE INDEX ON second (f); INSERT INTO second VALUES (1, 1)`,
    );
    await expectLine(/^relation public\.second /);
  });

  test('partitions and inheritance', async () => {
    await inTransaction(2, [
      'CREATE TABLE measured (at date NOT NULL, v int) PARTITION BY RANGE (at)',
      `CREATE TABLE measured_1 PARTITION OF measured FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')`,
      `CREATE TABLE measured_2 PARTITION OF measured FOR VALUES FROM ('2021-01-01') TO ('2022-01-01')`,
      `INSERT INTO measured VALUES ('2020-05-05', 1), ('2021-05-05', 2)`,
    ]);
    await cluster.query(1, `UPDATE measured SET at = '2021-06-06' WHERE v = 1`);
    await cluster.query(3, 'ALTER TABLE measured DETACH PARTITION measured_1');
    await cluster.query(3, 'TRUNCATE measured_2');
    await cluster.query(1, 'CREATE TABLE kin () INHERITS (measured_1)');
    await expectLine(/^relation public\.measured_2 .* bound FOR VALUES FROM/);
  });

  test('roles, grants and row security', async () => {
    await cluster.query(1, `CREATE ROLE clerk LOGIN PASSWORD 'secret' CONNECTION LIMIT 7`);
    await cluster.query(2, 'CREATE ROLE staff');
    await cluster.query(3, 'GRANT staff TO clerk');
    await cluster.query(2, 'CREATE TABLE desk (id int PRIMARY KEY, owner text DEFAULT current_user)');
    await cluster.query(1, 'GRANT SELECT, INSERT ON desk TO staff');
    await cluster.query(2, 'ALTER TABLE desk ENABLE ROW LEVEL SECURITY');
    await cluster.query(
      3,
      'CREATE POLICY own ON desk TO staff USING (owner = current_user) WITH CHECK (true)',
    );
    await cluster.query(1, `ALTER ROLE clerk SET work_mem = '5MB'`);
    const clerk = await cluster.client(2, { user: 'clerk', password: 'secret' });
    await clerk.query('INSERT INTO desk (id) VALUES (1)');
    await clerk.query('CREATE TEMP TABLE mine AS SELECT 1 AS a');
    expect((await failureOf(clerk.query('DROP TABLE desk'))).code).toBe('42501');
    await clerk.end();
    expect(await cluster.onAllServers('SELECT owner FROM desk')).toEqual(
      cluster.numbers.map(() => [{ owner: 'clerk' }]),
    );
    await expectLine(/^role \(clerk,f,t,f,f,t,f,f,7\)$/);
    await expectLine(/^member clerk of staff$/);
  });

  test('a table of a schema that only the search_path names, and names that need quotes', async () => {
    const client = await cluster.client(3);
    await client.query('CREATE SCHEMA "Mixed Case"');
    await client.query('SET search_path = "Mixed Case", public');
    await client.query('CREATE TABLE "Select" ("Order" int PRIMARY KEY, "ü" text)');
    await client.query(`INSERT INTO "Select" VALUES (1, 'x')`);
    await client.query('ALTER TABLE "Select" ADD COLUMN "from" int');
    await client.end();
    await expectLine(/^column "Mixed Case"\."Select" 3: from /);
  });

  test('LIKE of a temporary table, which the other nodes do not have', async () => {
    const client = await cluster.client(1);
    await client.query('CREATE TEMP TABLE pattern (a int, b varchar(7) COLLATE "C" DEFAULT \'x\')');
    await client.query('CREATE TABLE patterned (LIKE pattern)');
    await client.query(`INSERT INTO patterned VALUES (1, 'y')`);
    // With what a definition from the catalog does not say, the other nodes refuse it.
    expect((await failureOf(client.query('CREATE TABLE more (LIKE pattern INCLUDING ALL)'))).code).toBe(
      '42P01',
    );
    await client.end();
    await expectLine(/^column public\.patterned 2: b character varying\(7\)/);
  });

  test('settings and rights of a database that the other nodes do not have', async () => {
    await cluster.query(2, 'CREATE DATABASE "only Here"');
    await cluster.query(2, `ALTER DATABASE "only Here" SET work_mem = '5MB'`);
    await cluster.query(2, 'ALTER DATABASE "only Here" RESET work_mem');
    await cluster.query(2, 'GRANT TEMPORARY ON DATABASE "only Here" TO PUBLIC');
    await cluster.query(2, `COMMENT ON DATABASE "only Here" IS 'x'`);
    await cluster.query(2, 'DROP DATABASE "only Here"');
  });

  test('a subscription that does not connect is a row in the catalog of all nodes; none is enabled', async () => {
    const connection = `CONNECTION 'host=nowhere' PUBLICATION p`;
    const refused = await failureOf(cluster.query(1, `CREATE SUBSCRIPTION sub ${connection}`));
    expect(refused.code).toBe('0A000');
    await cluster.query(1, `CREATE SUBSCRIPTION sub ${connection} WITH (connect = false, slot_name = 'x')`);
    expect((await failureOf(cluster.query(2, 'ALTER SUBSCRIPTION sub ENABLE'))).code).toBe('0A000');
    await cluster.query(2, 'ALTER SUBSCRIPTION sub SET (slot_name = NONE)');
    expect(await cluster.onAllServers('SELECT subslotname, subenabled FROM pg_subscription')).toEqual(
      cluster.numbers.map(() => [{ subslotname: null, subenabled: false }]),
    );
    await cluster.query(3, 'DROP SUBSCRIPTION sub');
    expect(await cluster.onAllServers('SELECT subname FROM pg_subscription')).toEqual(
      cluster.numbers.map(() => []),
    );
  });

  test('CLUSTER of a partitioned table marks the indexes of its partitions on all nodes, one of a catalog nothing', async () => {
    await cluster.query(
      1,
      `CREATE TABLE heap (a int, b int) PARTITION BY LIST (a); CREATE TABLE heap_1 PARTITION OF heap FOR VALUES IN (1);
       CREATE TABLE heap_2 PARTITION OF heap FOR VALUES IN (2) PARTITION BY LIST (b);
       CREATE TABLE heap_3 PARTITION OF heap_2 DEFAULT; CREATE INDEX heap_a ON heap (a); CREATE INDEX heap_b ON heap (b);
       INSERT INTO heap SELECT 1 + i % 2, i FROM generate_series(10, 1, -1) AS i`,
    );
    const marks = `SELECT indrelid::regclass::text || ' ' || indexrelid::regclass AS mark FROM pg_index
      WHERE indisclustered AND indrelid::regclass::text LIKE 'heap%' ORDER BY 1`;
    const everywhere = (by: string) =>
      cluster.numbers.map(() =>
        ['heap_1', 'heap_3'].map((table) => ({ mark: `${table} ${table}_${by}_idx` })),
      );
    await cluster.query(1, 'CLUSTER heap USING heap_a');
    expect(await cluster.onAllServers(marks)).toEqual(everywhere('a'));
    const client = await cluster.client(2);
    await client.query({ name: 'extended', text: 'CLUSTER heap USING heap_b' });
    expect(await cluster.onAllServers(marks)).toEqual(everywhere('b'));
    expect((await client.query('SELECT b FROM heap_1')).rows.map((row: { b: number }) => row.b)).toEqual([
      2, 4, 6, 8, 10,
    ]);
    expect((await failureOf(client.query('CLUSTER heap USING nowhere'))).code).toBe('42704');
    await client.query('CLUSTER pg_catalog.pg_description USING pg_description_o_c_o_index');
    await client.query('BEGIN');
    expect((await failureOf(client.query('CLUSTER heap USING heap_a'))).code).toBe('25001');
    await client.end();
    expect(await cluster.onAllServers(marks)).toEqual(everywhere('b'));
  });

  test('what only the grammar of 18 finds wrong is told in its words', async () => {
    const failure = await failureOf(cluster.query(1, 'CREATE TABLE wrong (a int) PARTITION BY magic (a)'));
    expect(failure.message).toBe('unrecognized partitioning strategy "magic"');
  });

  test('two serializable transactions that create tables without a key', async () => {
    const clients = [await cluster.client(1), await cluster.client(1)];
    for (const [index, client] of clients.entries()) {
      await client.query('BEGIN ISOLATION LEVEL SERIALIZABLE');
      await client.query(`CREATE TABLE serial_${index} (a int)`);
    }
    for (const client of clients) await client.query('COMMIT');
    for (const client of clients) await client.end();
  });

  test('rows of a table without a key', async () => {
    await cluster.query(1, 'CREATE TABLE keyless (a int, b text)');
    await cluster.query(2, `INSERT INTO keyless VALUES (1, 'x'), (1, 'x'), (2, NULL)`);
    await cluster.query(3, `UPDATE keyless SET b = 'y' WHERE a = 2`);
    await cluster.query(1, `DELETE FROM keyless WHERE a = 2`);
    await equalRows(cluster);
    await expectLine(/^relation public\.keyless .* identity f /);
  });

  test('pg_dump takes part in the comparison of the version that it knows', () => {
    if (findProgram('pg_dump') !== undefined) expect(canDump(cluster.node(1)) || major > 15).toBe(true);
  });

  test('a row type made and used in one transaction: done everywhere or refused, never a hang', async () => {
    const client = await cluster.client(1);
    await client.query('BEGIN');
    await client.query('CREATE TYPE couple AS (x int, y text)');
    await client.query('CREATE TABLE coupled (id int PRIMARY KEY, p couple)');
    await client.query(`INSERT INTO coupled VALUES (1, ROW(1, 'a'))`);
    const commit = within('COMMIT', 60_000, client.query('COMMIT'));
    const refusal = await commit.then(
      () => undefined,
      (error: unknown) => error,
    );
    // pgoutput waits for the lock that the prepared transaction holds on the type (architecture §9).
    if (refusal !== undefined) expect(refusal).toMatchObject({ code: '0A000' });
    await client.end();
  });
});
