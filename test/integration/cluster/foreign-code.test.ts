/**
 * Rows are written at the peers by a superuser's connection; code of others that runs there must not become
 * superuser by that, nor change what is written behind it. Mallory's code tries what it can wherever rows of
 * her tables are applied. Node 1 is a 15, the others are 18.
 */
import type { Client } from 'pg';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { embeddedDatabase } from '../../../src/io/launcher/node-layout.ts';
import { failureOf, startCluster, type Cluster } from '../../support/cluster.ts';

/** What her code tries at the peers; a statement that fails does not keep the next from being tried. */
const attempts = [
  'RESET ROLE',
  'RESET SESSION AUTHORIZATION',
  'SET ROLE postgres',
  'SET SESSION AUTHORIZATION postgres',
  'ALTER ROLE mallory SUPERUSER',
  "SELECT set_config('DateStyle', 'SQL, DMY', false)",
  "SELECT set_config('search_path', 'mallory', false)",
  "SELECT set_config('standard_conforming_strings', 'off', false)",
];

const attack = `
  CREATE FUNCTION mallory.seize() RETURNS text LANGUAGE plpgsql AS $$
  BEGIN
    EXECUTE 'ALTER ROLE mallory SUPERUSER';
    RETURN 'mine';
  EXCEPTION WHEN OTHERS THEN RETURN 'failed';
  END $$;
  CREATE FUNCTION mallory.try(command text) RETURNS void LANGUAGE plpgsql AS $$
  BEGIN
    EXECUTE command;
  EXCEPTION WHEN OTHERS THEN NULL;
  END $$;
  CREATE FUNCTION mallory.gain(value anyelement) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
  DECLARE
    command text;
    taken record;
  BEGIN
    IF current_setting('session_replication_role') <> 'replica' THEN RETURN true; END IF;
    FOREACH command IN ARRAY ARRAY[${attempts.map((text) => `'${text.replaceAll("'", "''")}'`).join(', ')}] LOOP
      PERFORM mallory.try(command);
    END LOOP;
    FOR taken IN SELECT name, cardinality(parameter_types) AS parameters FROM pg_prepared_statements LOOP
      PERFORM mallory.try(format('DEALLOCATE %I', taken.name));
      PERFORM mallory.try(format('PREPARE %I AS SELECT mallory.seize()%s', taken.name,
        (SELECT string_agg(format(' || $%s::text', g), '') FROM generate_series(1, taken.parameters) g)));
    END LOOP;
    RETURN true;
  END $$;
  CREATE FUNCTION mallory.alter_ours(value integer) RETURNS boolean LANGUAGE plpgsql AS $$
  DECLARE taken record;
  BEGIN
    FOR taken IN SELECT p.oid::regprocedure AS function FROM pg_proc p
        WHERE p.proowner = 'mallory'::regrole AND p.pronamespace = 'mtm'::regnamespace LOOP
      PERFORM mallory.try(format('ALTER FUNCTION %s SET role = mallory', taken.function));
      PERFORM mallory.try(format('ALTER FUNCTION %s SECURITY INVOKER', taken.function));
    END LOOP;
    RETURN mallory.gain(value);
  END $$;
  CREATE FUNCTION mallory.same(value integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS $$
  BEGIN
    PERFORM mallory.gain(value);
    RETURN value;
  END $$;
  CREATE FUNCTION mallory.fired() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    PERFORM mallory.gain(1);
    RETURN COALESCE(NEW, OLD);
  END $$;
  CREATE FUNCTION mallory.likes(a integer, b integer) RETURNS boolean LANGUAGE sql IMMUTABLE
    AS 'SELECT mallory.gain(a)';
  CREATE OPERATOR mallory.=# (LEFTARG = integer, RIGHTARG = integer, FUNCTION = mallory.likes);
  CREATE DOMAIN mallory.number AS integer CHECK (mallory.gain(VALUE));
  CREATE TYPE mallory.pair AS (a mallory.number, b text)`;

/** Each has an id, a number and a day. */
const tables: Readonly<Record<string, string>> = {
  'a CHECK': 'CREATE TABLE t (id int PRIMARY KEY, n int CHECK (mallory.gain(n)), day date)',
  'a CHECK with an operator':
    'CREATE TABLE t (id int PRIMARY KEY, n int CHECK (n OPERATOR(mallory.=#) 1), day date)',
  'a CHECK that only calls what PostgreSQL has': `CREATE TABLE t (id int PRIMARY KEY, n int, day date,
    CHECK (query_to_xml('SELECT mallory.gain(1)', true, false, '') IS NOT NULL))`,
  'an index': 'CREATE TABLE t (id int PRIMARY KEY, n int, day date); CREATE INDEX ON t (mallory.same(n))',
  'a partial index':
    'CREATE TABLE t (id int PRIMARY KEY, n int, day date); CREATE INDEX ON t (n) WHERE mallory.gain(n)',
  'a generated column': `CREATE TABLE t (id int PRIMARY KEY, n int, day date,
    g int GENERATED ALWAYS AS (mallory.same(n)) STORED)`,
  'a domain': 'CREATE TABLE t (id int PRIMARY KEY, n mallory.number, day date)',
  'a domain as the key': 'CREATE TABLE t (id mallory.number PRIMARY KEY, n int, day date)',
  'a domain in arrays of rows': 'CREATE TABLE t (id int PRIMARY KEY, n int, day date, p mallory.pair[])',
  'a partition key': `CREATE TABLE t (id int, n int, day date) PARTITION BY LIST (mallory.same(id % 2));
    ALTER TABLE t REPLICA IDENTITY FULL;
    CREATE TABLE t0 PARTITION OF t FOR VALUES IN (0); CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1);
    ALTER TABLE t0 REPLICA IDENTITY FULL; ALTER TABLE t1 REPLICA IDENTITY FULL`,
  'a trigger': `CREATE TABLE t (id int PRIMARY KEY, n int, day date);
    CREATE TRIGGER fires BEFORE INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION mallory.fired();
    CREATE TRIGGER empties BEFORE TRUNCATE ON t EXECUTE FUNCTION mallory.fired();
    ALTER TABLE t ENABLE ALWAYS TRIGGER fires; ALTER TABLE t ENABLE ALWAYS TRIGGER empties`,
  'no key':
    'CREATE TABLE t (id int, n int CHECK (mallory.gain(n)), day date); ALTER TABLE t REPLICA IDENTITY FULL',
};

let cluster: Cluster;
let mallory: Client;

beforeAll(async () => {
  cluster = await startCluster({ majors: [15, 18, 18] });
  await cluster.query(1, 'CREATE ROLE mallory LOGIN');
  await cluster.query(1, `GRANT CREATE ON DATABASE ${embeddedDatabase} TO mallory`);
});

afterAll(async () => {
  await cluster?.stop();
});

beforeEach(async () => {
  mallory = await cluster.client(1, { user: 'mallory' });
  await mallory.query('DROP SCHEMA IF EXISTS mallory CASCADE');
  await mallory.query('CREATE SCHEMA mallory');
  await mallory.query('SET search_path = mallory, public');
  await mallory.query(attack);
});

const rows = 'SELECT id, n, day::text FROM mallory.t ORDER BY id';

async function nothingGained(): Promise<void> {
  for (const number of cluster.numbers) {
    const [role] = await cluster.directly<{ rolsuper: boolean }>(
      number,
      "SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'",
    );
    expect(role, `node ${number}`).toEqual({ rolsuper: false });
    const left = await cluster.directly(
      number,
      "SELECT oid::regprocedure FROM pg_proc WHERE proowner = 'mallory'::regrole AND pronamespace = 'mtm'::regnamespace",
    );
    expect(left, `node ${number}`).toEqual([]);
  }
}

/** Single rows, many, changes of keys, and all gone; another of her tables, without code, comes between. */
async function write(): Promise<void> {
  await mallory.query("INSERT INTO t VALUES (1, 10, '2026-03-04')");
  await mallory.query("INSERT INTO t SELECT g, g, '2026-02-01'::date + g FROM generate_series(2, 30) g");
  await mallory.query(
    "BEGIN; UPDATE t SET n = n + 1 WHERE id < 4; INSERT INTO plain VALUES (1, '2026-05-06')",
  );
  await mallory.query(
    "UPDATE t SET id = 100, day = '2026-07-08' WHERE id = 4; DELETE FROM t WHERE id IN (5, 6)",
  );
  await mallory.query("UPDATE plain SET day = '2026-09-10'; INSERT INTO t VALUES (200, NULL, NULL); COMMIT");
}

test.each(Object.entries(tables))('%s', async (_, definition) => {
  await mallory.query(`CREATE TABLE plain (id int PRIMARY KEY, day date); ${definition}`);
  await write();
  const here = await cluster.directly(1, rows);
  expect(here).toHaveLength(29);
  for (const number of [2, 3]) expect(await cluster.directly(number, rows)).toEqual(here);
  for (const number of cluster.numbers) {
    expect(await cluster.directly(number, 'SELECT id, day::text FROM mallory.plain')).toEqual([
      { id: 1, day: '2026-09-10' },
    ]);
  }
  await mallory.query('TRUNCATE t');
  for (const number of cluster.numbers) expect(await cluster.directly(number, rows)).toEqual([]);
  await nothingGained();
  // Nobody is left behind that keeps the owner from going, nor a session that reads days in another order.
  await cluster.query(2, "CREATE TABLE public.days AS SELECT 1 AS id, '2026-11-12'::date AS day");
  for (const number of cluster.numbers)
    expect(await cluster.directly(number, 'SELECT day::text FROM public.days')).toEqual([
      { day: '2026-11-12' },
    ]);
  await cluster.query(3, 'DROP TABLE public.days');
});

test('code that changes the function in which it runs ends the transaction', async () => {
  await mallory.query('CREATE TABLE t (id int PRIMARY KEY CHECK (mallory.alter_ours(id)))');
  const failure = await failureOf(
    mallory.query('BEGIN; INSERT INTO t VALUES (1); UPDATE t SET id = 2; COMMIT'),
  );
  expect(failure.code).toBe('42501');
  expect(failure.message).toContain('the function in which the rows of mallory are written was changed');
  await mallory.query('INSERT INTO t VALUES (1)');
  await nothingGained();
});

test('a foreign key over a domain', async () => {
  await mallory.query(`CREATE TABLE parent (id mallory.number PRIMARY KEY);
    CREATE TABLE child (id int PRIMARY KEY, parent mallory.number REFERENCES parent)`);
  await mallory.query('INSERT INTO parent SELECT generate_series(1, 20)');
  await mallory.query('INSERT INTO child SELECT g, g FROM generate_series(1, 10) g');
  await mallory.query('DELETE FROM child WHERE id = 3; DELETE FROM parent WHERE id = 3');
  const failure = await failureOf(mallory.query('DELETE FROM parent WHERE id = 4'));
  expect(failure.code).toBe('23503');
  await nothingGained();
});

test('a command of hers', async () => {
  await mallory.query(
    `CREATE TABLE t (id int PRIMARY KEY, n int, day date); INSERT INTO t VALUES (1, 1, '2026-03-04')`,
  );
  await mallory.query('ALTER TABLE t ADD CHECK (mallory.gain(n))');
  await mallory.query("INSERT INTO t VALUES (2, 1, '2026-04-05')");
  await mallory.query(
    "BEGIN; CREATE TABLE u (day date CHECK (mallory.gain(1))); INSERT INTO u VALUES ('2026-06-07')",
  );
  await mallory.query(
    "ALTER TABLE t ALTER n TYPE bigint USING mallory.same(n); INSERT INTO t VALUES (3, 1, '2026-04-05'); COMMIT",
  );
  for (const number of cluster.numbers) {
    const days = 'SELECT day::text FROM mallory.t UNION SELECT day::text FROM mallory.u ORDER BY day';
    expect(await cluster.directly(number, days)).toEqual(
      ['2026-03-04', '2026-04-05', '2026-06-07'].map((day) => ({ day })),
    );
  }
  await nothingGained();
});

test('a member that catches up', async () => {
  await mallory.query(`CREATE TABLE plain (id int PRIMARY KEY, day date); ${tables['a domain']!}`);
  await cluster.killGateway(3);
  await write();
  await cluster.startGateway(3);
  await cluster.whole();
  const here = await cluster.directly(1, rows);
  expect(await cluster.directly(3, rows)).toEqual(here);
  await nothingGained();
});

test('what a superuser owns with code of others in it is refused, and so is FORCE ROW LEVEL SECURITY', async () => {
  await cluster.query(1, 'CREATE TABLE public.theirs (id int PRIMARY KEY CHECK (mallory.gain(id)))');
  const failure = await failureOf(cluster.query(1, 'INSERT INTO public.theirs VALUES (1)'));
  expect(failure.code).toBe('55000');
  expect(failure.message).toContain(
    'relation "public.theirs" belongs to a superuser, and a function, operator',
  );
  await cluster.query(1, 'DROP TABLE public.theirs');
  await mallory.query('CREATE TABLE t (id int PRIMARY KEY CHECK (mallory.gain(id)))');
  await mallory.query('ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY');
  await mallory.query('CREATE POLICY all_rows ON t USING (true)');
  const forced = await failureOf(mallory.query('INSERT INTO t VALUES (1)'));
  expect(forced.message).toContain('relation "mallory.t" has FORCE ROW LEVEL SECURITY');
  await nothingGained();
});

test('code that computes only costs nothing: it is not written with the rights of the owner', async () => {
  await mallory.query(`CREATE TABLE t (id int PRIMARY KEY, name text CHECK (length(name) BETWEEN 1 AND 50),
    price numeric CHECK (price > 0 AND price < 1000), mail text CHECK (lower(mail) ~ '^[^@]+@[^@]+$'),
    kind text CHECK (kind IN ('a', 'b')), low text GENERATED ALWAYS AS (lower(name)) STORED,
    period int4range, EXCLUDE USING gist (period WITH &&))`);
  await mallory.query('CREATE UNIQUE INDEX ON t (lower(mail)) WHERE kind IS NOT NULL');
  const asked =
    "SELECT mtm.runs_foreign_code('mallory.t'::regclass, ARRAY['mallory.t'::regclass::oid]) AS foreign";
  for (const number of cluster.numbers)
    expect(await cluster.directly(number, asked)).toEqual([{ foreign: false }]);
  await mallory.query("ALTER TABLE t ADD CHECK (name <> 'x' OR mallory.gain(id))");
  for (const number of cluster.numbers)
    expect(await cluster.directly(number, asked)).toEqual([{ foreign: true }]);
});
