/** Sequences: setval on all nodes, DDL of sequences, numbers for rows that are there already. */
import type { Client } from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { failureOf, startCluster, type Cluster } from '../../support/cluster.ts';
import { equalEverywhere, noPrepared } from '../../support/convergence.ts';
import { isRepeatable, together } from '../../support/load.ts';

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ majors: [15, 18, 16] });
  await cluster.query(1, 'CREATE ROLE stranger LOGIN');
});

beforeEach(async () => {
  await cluster.query(1, 'DROP SCHEMA IF EXISTS "a b" CASCADE');
  await cluster.query(1, 'CREATE SCHEMA "a b"');
});

afterEach(async () => {
  await equalEverywhere(cluster);
  await noPrepared(cluster);
});

afterAll(async () => {
  await cluster?.stop();
});

/** What the nodes draw, one after the other. */
async function drawn(sequence: string, times = 1): Promise<number[][]> {
  const values = [];
  for (const number of cluster.numbers) {
    const text = `SELECT nextval($1)::float8 AS v FROM generate_series(1, $2)`;
    values.push((await cluster.query<{ v: number }>(number, text, [sequence, times])).map(({ v }) => v));
  }
  return values;
}

async function sessionOf(number: number, ...statements: readonly string[]): Promise<Client> {
  const client = await cluster.client(number);
  for (const text of statements) await client.query(text);
  return client;
}

test('setval: all nodes go on above it, each with its own kind', async () => {
  await cluster.query(1, 'CREATE SEQUENCE "a b"."s ""s"');
  const name = '"a b"."s ""s"';
  const [row] = await cluster.query(2, `SELECT setval('${name}', 100) AS v`);
  expect(row).toEqual({ v: '100' });
  expect(await drawn(name, 2)).toEqual([
    [103, 106],
    [101, 104],
    [102, 105],
  ]);
  // As pg_dump writes it; not drawn yet.
  await cluster.query(3, `SELECT pg_catalog.setval('${name}', 1000, false);`);
  expect(await drawn(name)).toEqual([[1000], [1001], [1002]]);
  // With parameters, in the extended protocol, and as text.
  await cluster.query(1, 'SELECT setval($1, $2::bigint)', [name, 2000]);
  expect(await drawn(name)).toEqual([[2002], [2003], [2001]]);
  await cluster.query(1, `SELECT setval('${name}'::text::regclass, 5, true), 1 FROM generate_series(1, 2)`);
  expect(await drawn(name)).toEqual([[7], [8], [6]]);
  // NULL does nothing; far ahead.
  await cluster.query(1, `SELECT setval('${name}', NULL)`);
  expect(await drawn(name)).toEqual([[10], [11], [9]]);
  await cluster.query(2, `SELECT setval('${name}', 9000000000000)`);
  expect(await drawn(name)).toEqual([[9000000000001], [9000000000002], [9000000000003]]);
});

test('setval above the highest id: whoever is ahead of it already stays ahead', async () => {
  await cluster.query(1, 'CREATE TABLE "a b".t (id serial PRIMARY KEY, node int)');
  await cluster.query(2, 'INSERT INTO "a b".t (node) SELECT 2 FROM generate_series(1, 10)');
  await cluster.query(1, 'DELETE FROM "a b".t WHERE id > 14');
  const text = `SELECT setval(pg_get_serial_sequence('"a b".t', 'id'), (SELECT max(id) FROM "a b".t)) AS v`;
  expect(await cluster.query(3, text)).toEqual([{ v: '14' }]);
  const insert = 'INSERT INTO "a b".t (node) VALUES ($1) RETURNING id';
  expect(await cluster.query(1, insert, [1])).toEqual([{ id: 16 }]);
  expect(await cluster.query(2, insert, [2])).toEqual([{ id: 32 }]);
  expect(await cluster.query(3, insert, [3])).toEqual([{ id: 15 }]);
});

test('setval in functions, procedures, triggers, DO, cursors and savepoints', async () => {
  await cluster.query(1, 'CREATE SEQUENCE "a b".s');
  const maker = await sessionOf(1, 'SET search_path = "a b"');
  for (const text of [
    `CREATE FUNCTION plain(n bigint) RETURNS bigint LANGUAGE sql AS $$SELECT setval('"a b".s', n)$$`,
    `CREATE FUNCTION atomic(n bigint) RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT setval('"a b".s', n, false); END`,
    `CREATE FUNCTION of_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN PERFORM setval('"a b".s', NEW.n); RETURN NEW; END$$`,
    `CREATE TABLE t (n bigint PRIMARY KEY)`,
    `CREATE TRIGGER t AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION of_trigger()`,
    `CREATE PROCEDURE stored(n bigint) LANGUAGE plpgsql AS $$BEGIN PERFORM "a b".plain(n); END$$`,
    `CREATE VIEW v AS SELECT setval('"a b".s', 700) AS n`,
  ]) {
    await maker.query(text);
  }
  await maker.end();
  const check = async (n: number): Promise<void> => {
    const values = (await drawn('"a b".s')).map(([value]) => value ?? 0);
    expect(values.toSorted((a, b) => a - b)).toEqual([n, n + 1, n + 2]);
  };
  await cluster.query(1, 'SELECT "a b".plain(100)');
  await check(101);
  await cluster.query(2, 'SELECT "a b".atomic(200)');
  await check(200);
  await cluster.query(3, 'INSERT INTO "a b".t VALUES (300)');
  await check(301);
  await cluster.query(1, 'CALL "a b".stored(400)');
  await check(401);
  await cluster.query(2, `DO $$BEGIN PERFORM setval('"a b".s', 500); END$$`);
  await check(501);
  await cluster.query(3, 'SELECT n FROM "a b".v');
  await check(701);
  const client = await sessionOf(1, 'BEGIN', 'SAVEPOINT x', `SELECT setval('"a b".s', 800)`, 'RELEASE x');
  await client.query('COMMIT');
  await check(801);
  await client.query('PREPARE p AS SELECT setval($1, 900)');
  await client.query(`EXECUTE p('"a b".s')`);
  await check(901);
  await client.end();
});

test('an ALWAYS trigger that calls setval on each node: the kinds stay apart', async () => {
  await cluster.query(1, 'CREATE SEQUENCE "a b".s');
  await cluster.query(1, 'CREATE TABLE "a b".t (n bigint PRIMARY KEY)');
  await cluster.query(
    1,
    `CREATE FUNCTION "a b".f() RETURNS trigger LANGUAGE plpgsql AS $$
     BEGIN PERFORM setval('"a b".s', NEW.n); RETURN NEW; END$$`,
  );
  await cluster.query(1, 'CREATE TRIGGER t AFTER INSERT ON "a b".t FOR EACH ROW EXECUTE FUNCTION "a b".f()');
  await cluster.query(1, 'ALTER TABLE "a b".t ENABLE ALWAYS TRIGGER t');
  await cluster.query(2, 'INSERT INTO "a b".t VALUES (50)');
  expect(await drawn('"a b".s')).toEqual([[52], [53], [51]]);
});

test('rights, bounds and read-only transactions as PostgreSQL has them', async () => {
  await cluster.query(1, 'CREATE SEQUENCE "a b".s MAXVALUE 1000');
  await cluster.query(1, 'GRANT USAGE ON SCHEMA "a b" TO stranger');
  const stranger = await cluster.client(2, { user: 'stranger' });
  expect(await failureOf(stranger.query(`SELECT setval('"a b".s', 5)`))).toMatchObject({
    code: '42501',
    message: 'permission denied for sequence s',
  });
  const oid = `'"a b".s'::regclass`;
  const forged = `DO $$BEGIN INSERT INTO mtm.setval_call VALUES (${oid}, 5, true, 'postgres'); END$$`;
  expect(await failureOf(stranger.query(forged))).toMatchObject({ code: '42501' });
  await cluster.query(
    1,
    `CREATE FUNCTION "a b".lent(n bigint) RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$SELECT setval(${oid}, n)$$`,
  );
  await stranger.query('SELECT "a b".lent(40)');
  expect(await drawn('"a b".s')).toEqual([[43], [41], [42]]);
  await cluster.query(3, 'GRANT UPDATE ON SEQUENCE "a b".s TO stranger');
  await stranger.query(`SELECT setval('"a b".s', 50)`);
  await stranger.end();
  expect(await drawn('"a b".s')).toEqual([[52], [53], [51]]);
  for (const n of ['0', '1001']) {
    expect(await failureOf(cluster.query(1, `SELECT setval('"a b".s', ${n})`))).toMatchObject({
      code: '22003',
      message: `setval: value ${n} is out of bounds for sequence "s" (1..1000)`,
    });
  }
  expect(await failureOf(cluster.query(1, `SELECT setval('"a b".lent(bigint)', 5)`))).toMatchObject({
    code: '42P01',
  });
  const client = await sessionOf(1, 'BEGIN READ ONLY');
  expect(await failureOf(client.query(`SELECT setval('"a b".s', 5)`))).toMatchObject({
    code: '25006',
    message: 'cannot execute setval() in a read-only transaction',
  });
  await client.query('ROLLBACK');
  // At the end of its bounds nobody has a value left.
  await client.query(`SELECT setval('"a b".s', 1000)`);
  for (const number of cluster.numbers) {
    expect(await failureOf(cluster.query(number, `SELECT nextval('"a b".s')`))).toMatchObject({
      code: '2200H',
    });
  }
  // Nobody else sees a temporary one.
  await client.query('CREATE TEMP SEQUENCE own');
  const { rows } = await client.query(
    `SELECT setval('own', 7), nextval('own')::int AS v, lastval()::int AS l`,
  );
  expect(rows).toEqual([{ setval: '7', v: 8, l: 8 }]);
  await client.end();
});

test('setval of a transaction that is rolled back stays where it was called; currval', async () => {
  await cluster.query(1, 'CREATE SEQUENCE "a b".s');
  const client = await sessionOf(1, 'BEGIN', `SELECT setval('"a b".s', 100)`);
  expect((await client.query(`SELECT currval('"a b".s')::int AS v`)).rows).toEqual([{ v: 100 }]);
  await client.query('ROLLBACK');
  await client.end();
  expect(await drawn('"a b".s')).toEqual([[103], [2], [3]]);
});

test('a node that was away follows: setval, and rows that a command has numbered', async () => {
  await cluster.query(1, 'CREATE SEQUENCE "a b".s');
  await cluster.query(1, 'CREATE TABLE "a b".t (v text)');
  await cluster.query(1, `INSERT INTO "a b".t VALUES ('x'), ('y'), (NULL), ('x')`);
  await cluster.killGateway(3);
  await expect
    .poll(() => cluster.query(1, `SELECT setval('"a b".s', 100)`).catch(String), { timeout: 30_000 })
    .toEqual([{ setval: '100' }]);
  await cluster.query(
    2,
    'ALTER TABLE "a b".t ADD id serial PRIMARY KEY, ADD u uuid DEFAULT gen_random_uuid()',
  );
  await cluster.query(1, `INSERT INTO "a b".t (v) VALUES ('z')`);
  await cluster.startGateway(3);
  await cluster.whole();
  expect(await drawn('"a b".s')).toEqual([[103], [101], [102]]);
  expect(await cluster.query(3, `INSERT INTO "a b".t (v) VALUES ('3') RETURNING id`)).toEqual([{ id: 6 }]);
});

test('commands on sequences', async () => {
  await cluster.query(1, 'CREATE SEQUENCE "a b".s AS smallint INCREMENT 10 START 5 CACHE 2');
  expect(await drawn('"a b".s', 2)).toEqual([
    [5, 35],
    [15, 45],
    [25, 55],
  ]);
  await cluster.query(2, 'ALTER SEQUENCE "a b".s RESTART');
  await cluster.query(2, 'ALTER SEQUENCE "a b".s RENAME TO r');
  expect(await drawn('"a b".r')).toEqual([[5], [15], [25]]);
  await cluster.query(3, 'ALTER SEQUENCE "a b".r AS bigint RESTART WITH 1005 CACHE 1');
  expect((await drawn('"a b".r')).flat().toSorted((a, b) => a - b)).toEqual([1005, 1015, 1025]);
  await cluster.query(1, 'ALTER SEQUENCE "a b".r INCREMENT -1 MAXVALUE 5000 MINVALUE 1 START 4999 RESTART');
  expect(await drawn('"a b".r')).toEqual([[4999], [4998], [4997]]);
  await cluster.query(1, `SELECT setval('"a b".r', 100)`);
  expect((await drawn('"a b".r')).flat().toSorted((a, b) => b - a)).toEqual([99, 98, 97]);
  await cluster.query(1, 'CREATE SEQUENCE "a b".c MAXVALUE 8 CYCLE');
  expect(await drawn('"a b".c', 4)).toEqual([
    [1, 4, 7, 1],
    [2, 5, 8, 2],
    [3, 6, 3, 6],
  ]);
  await cluster.query(1, `SELECT setval('"a b".c', 8)`);
  expect(await drawn('"a b".c')).toEqual([[1], [2], [3]]);
  const small = await failureOf(cluster.query(1, 'CREATE SEQUENCE "a b".tiny MAXVALUE 2'));
  expect(small).toMatchObject({
    code: '22023',
    message: expect.stringMatching(/leave no room for the values/u),
  });
  expect(await failureOf(cluster.query(1, 'ALTER SEQUENCE "a b".c MAXVALUE 2 RESTART 1'))).toMatchObject({
    code: '22023',
  });
  await cluster.query(1, 'DROP SEQUENCE "a b".c');
});

test('serial and identity columns: owned, added, taken away, restarted with the table', async () => {
  await cluster.query(
    1,
    'CREATE TABLE "a b".t (id serial, n int NOT NULL, g int GENERATED ALWAYS AS IDENTITY)',
  );
  await cluster.query(2, 'ALTER TABLE "a b".t ALTER n ADD GENERATED BY DEFAULT AS IDENTITY (START 50)');
  await cluster.query(
    3,
    'ALTER TABLE "a b".t ALTER g SET GENERATED BY DEFAULT SET INCREMENT BY 2 RESTART WITH 7',
  );
  const insert = 'INSERT INTO "a b".t DEFAULT VALUES RETURNING id, n, g';
  const first = [];
  for (const number of cluster.numbers) first.push(...(await cluster.query(number, insert)));
  expect(first).toEqual([
    { id: 1, n: 50, g: 7 },
    { id: 2, n: 51, g: 9 },
    { id: 3, n: 52, g: 11 },
  ]);
  const session = await sessionOf(2, 'BEGIN', 'TRUNCATE "a b".t RESTART IDENTITY', insert);
  expect((await session.query('SELECT lastval()::int AS v')).rows).toEqual([{ v: 3 }]);
  await session.query('ROLLBACK');
  await session.end();
  expect(await cluster.query(2, insert)).toEqual([{ id: 5, n: 54, g: 15 }]);
  await cluster.query(1, 'TRUNCATE "a b".t RESTART IDENTITY');
  for (const number of cluster.numbers)
    expect(await cluster.query(number, insert)).toMatchObject([{ id: number }]);
  await cluster.query(1, 'ALTER TABLE "a b".t ALTER n DROP IDENTITY');
  await cluster.query(1, 'CREATE SEQUENCE "a b".other OWNED BY "a b".t.n');
  await cluster.query(2, `ALTER TABLE "a b".t ALTER n SET DEFAULT nextval('"a b".other')`);
  expect(await cluster.query(3, insert)).toMatchObject([{ n: 3 }]);
  await cluster.query(3, 'ALTER TABLE "a b".t DROP n');
  expect(await cluster.query(1, `SELECT to_regclass('"a b".other') AS there`)).toEqual([{ there: null }]);
  await cluster.query(3, 'CREATE UNLOGGED TABLE "a b".u (id serial)');
  await cluster.query(3, `SELECT setval('"a b".u_id_seq', 30)`);
  expect((await drawn('"a b".u_id_seq')).flat().toSorted((a, b) => Number(a) - Number(b))).toEqual([
    31, 32, 33,
  ]);
});

test('columns that number or draw for rows that are there already', async () => {
  await cluster.query(1, 'CREATE TABLE "a b".p (k int, v text) PARTITION BY RANGE (k)');
  await cluster.query(1, 'CREATE TABLE "a b".p1 PARTITION OF "a b".p FOR VALUES FROM (0) TO (10)');
  await cluster.query(1, 'CREATE TABLE "a b".p2 (v text, gone int, k int)');
  await cluster.query(1, 'ALTER TABLE "a b".p2 DROP gone');
  await cluster.query(1, 'ALTER TABLE "a b".p ATTACH PARTITION "a b".p2 FOR VALUES FROM (10) TO (20)');
  await cluster.query(2, `INSERT INTO "a b".p SELECT i, 'a"b\\,{}' || i FROM generate_series(0, 19) i`);
  // Now the rows lie in another order on each node.
  await Promise.all(
    cluster.numbers.map((n) => cluster.query(n, 'UPDATE "a b".p SET v = NULL WHERE k = $1', [n])),
  );
  await cluster.query(
    3,
    'ALTER TABLE "a b".p ADD id bigserial, ADD at timestamptz DEFAULT clock_timestamp()',
  );
  await equalEverywhere(cluster);
  const ids = await cluster.query<{ n: number; l: number }>(
    1,
    'SELECT count(DISTINCT id)::int AS n, max(id)::int AS l FROM "a b".p',
  );
  expect(ids).toEqual([{ n: 20, l: 20 }]);
  for (const number of cluster.numbers) {
    const [row] = await cluster.query<{ id: string }>(number, 'INSERT INTO "a b".p VALUES (1) RETURNING id');
    expect(Number(row?.id) % 3).toBe(number % 3);
    expect(Number(row?.id)).toBeGreaterThan(20);
  }
  await cluster.query(
    1,
    `ALTER TABLE "a b".p ADD f float8 DEFAULT random(), ADD s text GENERATED ALWAYS AS ('<' || k || '>') STORED,
     ALTER v TYPE varchar USING v || random()`,
  );
  await cluster.query(1, 'CREATE TABLE "a b".parent (id int PRIMARY KEY)');
  await cluster.query(1, 'CREATE TABLE "a b".child (id int REFERENCES "a b".parent)');
  await cluster.query(2, 'INSERT INTO "a b".parent SELECT generate_series(1, 3000)');
  await cluster.query(2, 'INSERT INTO "a b".child VALUES (1), (3000), (NULL)');
  await cluster.query(3, 'ALTER TABLE "a b".parent ADD g int GENERATED ALWAYS AS IDENTITY UNIQUE');
  await cluster.query(3, 'ALTER TABLE "a b".child ADD id2 serial PRIMARY KEY');
  expect(await failureOf(cluster.query(1, 'DELETE FROM "a b".parent WHERE id = 1'))).toMatchObject({
    code: '23503',
  });
});

test('a table with a trigger that fires at the peers is refused', async () => {
  await cluster.query(1, 'CREATE TABLE "a b".t (n int PRIMARY KEY)');
  await cluster.query(1, 'INSERT INTO "a b".t VALUES (1)');
  await cluster.query(
    1,
    'CREATE TRIGGER t BEFORE UPDATE ON "a b".t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
  );
  await cluster.query(1, 'ALTER TABLE "a b".t ENABLE ALWAYS TRIGGER t');
  expect(await failureOf(cluster.query(2, 'ALTER TABLE "a b".t ADD id serial'))).toMatchObject({
    code: '0A000',
    message: '[multimaster] the values of the new column "id" would differ between the nodes',
  });
});

test('setval forward while everybody draws: no value comes twice', async () => {
  await cluster.query(1, 'CREATE TABLE "a b".busy (id bigserial PRIMARY KEY, node int)');
  const failures: unknown[] = [];
  let going = true;
  const writers = cluster.numbers.map(async (number) => {
    const client = await cluster.client(number);
    while (going) {
      try {
        await client.query('INSERT INTO "a b".busy (node) SELECT $1 FROM generate_series(1, 20)', [number]);
      } catch (error) {
        if (!isRepeatable(error)) failures.push(error);
      }
    }
    await client.end();
  });
  const changes = (async () => {
    try {
      let last = 0;
      for (let round = 0; round < 12; round++) {
        // Beyond the former one, too: what was drawn behind that and is not committed yet must not be drawn again.
        const text = `SELECT setval('"a b".busy_id_seq', greatest(max(id), ${last}) + 2000)::int AS value FROM "a b".busy`;
        const [row] = await cluster.query<{ value: number }>((round % 3) + 1, text);
        last = row!.value;
      }
    } finally {
      going = false;
    }
  })();
  await together([...writers, changes]);
  expect(failures).toEqual([]);
});
