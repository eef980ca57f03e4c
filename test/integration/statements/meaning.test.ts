/**
 * What a command means depends on who runs it, from where and under which settings: the other nodes must get the same.
 * Each way to bring DDL about, and each source of a setting; from a 15 to an 18 and back.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { failureOf, startCluster, type Cluster } from '../../support/cluster.ts';
import { noPrepared } from '../../support/convergence.ts';
import { expectAgreement } from '../../support/agreement.ts';

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ majors: [15, 18] });
  const client = await cluster.client(1);
  for (const text of [
    'CREATE ROLE maker LOGIN',
    'CREATE ROLE team',
    'GRANT team TO maker',
    'GRANT CREATE ON DATABASE app TO maker, team',
    'CREATE SCHEMA one AUTHORIZATION maker',
    'CREATE SCHEMA two AUTHORIZATION team',
    'GRANT ALL ON SCHEMA two TO maker',
    'CREATE SCHEMA maker AUTHORIZATION maker',
  ])
    await client.query(text);
  await client.end();
});

afterEach(async () => {
  await noPrepared(cluster);
  await expectAgreement(cluster.nodes);
});

afterAll(async () => {
  await cluster?.stop();
});

/** What both servers answer; they must answer the same. */
async function everywhere(query: string): Promise<unknown> {
  const [first, second] = await cluster.onAllServers<Record<string, unknown>>(query);
  expect(second).toEqual(first);
  return first?.map((row) => Object.values(row)[0]);
}

const owner = (table: string): string =>
  `SELECT pg_get_userbyid(relowner) || ' ' || relnamespace::regnamespace FROM pg_class WHERE relname = '${table}'`;

describe('who and where', () => {
  test('search_path from SET, from SET LOCAL, from the startup packet', async () => {
    const session = await cluster.client(1, { user: 'maker' });
    await session.query('SET search_path = one');
    await session.query('CREATE TABLE by_set (id int PRIMARY KEY)');
    await session.query(
      'BEGIN; SET LOCAL search_path = two; CREATE TABLE by_local (id int PRIMARY KEY); COMMIT',
    );
    await session.query('CREATE TABLE after_local (id int PRIMARY KEY)');
    await session.end();
    const started = await cluster.client(2, { user: 'maker', options: '-c search_path=two' });
    await started.query('CREATE TABLE by_packet (id int PRIMARY KEY)');
    await started.end();
    expect(await everywhere(owner('by_set'))).toEqual(['maker one']);
    expect(await everywhere(owner('by_local'))).toEqual(['maker two']);
    expect(await everywhere(owner('after_local'))).toEqual(['maker one']);
    expect(await everywhere(owner('by_packet'))).toEqual(['maker two']);
  });

  test('settings of the role, of the database and of the role in the database', async () => {
    await cluster.query(1, 'ALTER ROLE maker SET search_path = one');
    await cluster.query(2, 'ALTER DATABASE app SET default_table_access_method = heap');
    const session = await cluster.client(2, { user: 'maker' });
    await session.query('CREATE TABLE by_role (id int PRIMARY KEY)');
    await session.end();
    await cluster.query(2, 'ALTER ROLE maker IN DATABASE app SET search_path = two');
    const other = await cluster.client(1, { user: 'maker' });
    await other.query('CREATE TABLE by_both (id int PRIMARY KEY)');
    await other.end();
    await cluster.query(1, 'ALTER ROLE maker IN DATABASE app RESET ALL');
    await cluster.query(1, 'ALTER ROLE maker RESET ALL');
    const plain = await cluster.client(1, { user: 'maker' });
    await plain.query('CREATE TABLE by_user (id int PRIMARY KEY)'); // "$user"
    await plain.end();
    expect(await everywhere(owner('by_role'))).toEqual(['maker one']);
    expect(await everywhere(owner('by_both'))).toEqual(['maker two']);
    expect(await everywhere(owner('by_user'))).toEqual(['maker maker']);
  });

  test('SET ROLE, SET SESSION AUTHORIZATION, and the role of the startup packet', async () => {
    const session = await cluster.client(1, { user: 'maker' });
    await session.query('SET ROLE team');
    await session.query('CREATE TABLE two.by_team (id int PRIMARY KEY)');
    await session.query('RESET ROLE');
    await session.query('CREATE TABLE two.by_maker (id int PRIMARY KEY)');
    await session.end();
    const superuser = await cluster.client(2);
    await superuser.query('SET SESSION AUTHORIZATION maker');
    await superuser.query('CREATE TABLE one.authorized (id int PRIMARY KEY)');
    await superuser.query('SET ROLE team');
    await superuser.query('CREATE TABLE two.authorized_team (id int PRIMARY KEY)');
    await superuser.end();
    const started = await cluster.client(2, { user: 'maker', options: '-c role=team' });
    await started.query('CREATE TABLE two.started_team (id int PRIMARY KEY)');
    await started.end();
    expect(await everywhere(owner('by_team'))).toEqual(['team two']);
    expect(await everywhere(owner('by_maker'))).toEqual(['maker two']);
    expect(await everywhere(owner('authorized'))).toEqual(['maker one']);
    expect(await everywhere(owner('authorized_team'))).toEqual(['team two']);
    expect(await everywhere(owner('started_team'))).toEqual(['team two']);
  });

  test('settings that a default, a partition bound or a body is read with', async () => {
    const session = await cluster.client(1, { options: '-c DateStyle=SQL,DMY -c TimeZone=Asia/Tokyo' });
    await session.query(`CREATE TABLE dated (id int PRIMARY KEY, d date DEFAULT '03/02/2024', t timestamptz
      DEFAULT '2024-01-01 00:00', i interval DEFAULT '1 02:03:04', b bytea DEFAULT '\\x41', m money DEFAULT '$1.50')`);
    await session.query('CREATE TABLE ranged (at timestamptz) PARTITION BY RANGE (at)');
    await session.query(
      `CREATE TABLE ranged_1 PARTITION OF ranged FOR VALUES FROM ('01/02/2024') TO ('01/03/2024')`,
    );
    await session.query('SET check_function_bodies = off');
    await session.query(`CREATE FUNCTION later() RETURNS int LANGUAGE sql AS 'SELECT x FROM not_yet_there'`);
    await session.query('SET transform_null_equals = on');
    await session.query('CREATE TABLE nulls (a int, CHECK ((a = NULL) IS NOT TRUE))');
    await session.query(`SET default_text_search_config = 'german'`);
    await session.query(`CREATE TABLE found (t text, v tsvector DEFAULT to_tsvector('Häuser'))`);
    await session.query('INSERT INTO found VALUES (1); INSERT INTO dated VALUES (1)');
    await session.end();
    expect(await everywhere(`SELECT d::text || ' ' || t AT TIME ZONE 'UTC' FROM dated`)).toEqual([
      '2024-02-03 2023-12-31 15:00:00',
    ]);
    await cluster.query(2, 'DROP FUNCTION later()');
  });

  test('a function with SET clauses, and one that changes the path for what follows', async () => {
    await cluster.query(
      1,
      `CREATE FUNCTION one.make() RETURNS void LANGUAGE plpgsql SET search_path = two
       AS $f$ BEGIN CREATE TABLE in_two (id int PRIMARY KEY); END $f$`,
    );
    const session = await cluster.client(2);
    await session.query('SET search_path = one');
    await session.query('SELECT make(); CREATE TABLE in_one (id int PRIMARY KEY)');
    await session.query(
      `DO $$ BEGIN PERFORM set_config('search_path', 'two', true); CREATE TABLE moved (id int); END $$`,
    );
    await session.end();
    expect(await everywhere(owner('in_two'))).toEqual(['postgres two']);
    expect(await everywhere(owner('in_one'))).toEqual(['postgres one']);
    expect(await everywhere(owner('moved'))).toEqual(['postgres two']);
  });
});

describe('in code', () => {
  const exists = (pattern: string): string =>
    `SELECT relname::text FROM pg_class WHERE relname LIKE '${pattern}' AND relkind = 'r' ORDER BY 1`;

  test('procedures, functions in SQL, BEGIN ATOMIC, functions in functions', async () => {
    const session = await cluster.client(2);
    for (const text of [
      `CREATE PROCEDURE proc(n int) LANGUAGE plpgsql AS $p$ BEGIN EXECUTE format('CREATE TABLE code_p%s (id int)', n);
       EXECUTE format('INSERT INTO code_p%s VALUES ($1)', n) USING n; END $p$`,
      `CREATE PROCEDURE proc_sql() LANGUAGE sql AS $p$ CREATE TABLE code_s1 (id int); COMMENT ON TABLE code_s1 IS ';' $p$`,
      `CREATE FUNCTION make_one(n int) RETURNS void LANGUAGE plpgsql AS $f$ BEGIN CALL proc(n); END $f$`,
      `CREATE TABLE code_rows (id int PRIMARY KEY, t text DEFAULT random()::text)`,
      `CREATE PROCEDURE proc_atomic(n int) LANGUAGE sql BEGIN ATOMIC INSERT INTO code_rows VALUES (n); SELECT make_one(n); END`,
      `CREATE FUNCTION inner_one() RETURNS int LANGUAGE plpgsql AS $f$ BEGIN CREATE TABLE code_inner (id int); RETURN 7; END $f$`,
      `CREATE FUNCTION middle() RETURNS int LANGUAGE sql AS 'SELECT inner_one()'`,
      `CREATE FUNCTION outer_one() RETURNS int LANGUAGE plpgsql AS $f$ DECLARE i int := middle(); BEGIN
         EXECUTE 'CREATE TABLE code_outer AS SELECT $1 AS seven, random() AS r' USING i; RETURN i; END $f$`,
      'CALL proc(1)',
      'CALL proc_sql()',
      'CALL proc_atomic(2)',
      'SELECT outer_one()',
    ])
      await session.query(text);
    await session.end();
    expect(await everywhere(exists('code\\_%'))).toEqual([
      'code_inner',
      'code_outer',
      'code_p1',
      'code_p2',
      'code_rows',
      'code_s1',
    ]);
  });

  test('exception blocks and savepoints leave what stands, and DDL behind a failure goes on', async () => {
    const session = await cluster.client(1);
    await session.query(`DO $$ BEGIN
      CREATE TABLE exc_kept (id int PRIMARY KEY);
      BEGIN CREATE TABLE exc_gone (id int); CREATE TABLE exc_kept (id int);
      EXCEPTION WHEN duplicate_table THEN CREATE TABLE exc_instead (id int); END;
      BEGIN CREATE TABLE exc_gone_2 (id int); RAISE 'no'; EXCEPTION WHEN raise_exception THEN NULL; END;
      ALTER TABLE exc_kept ADD COLUMN more int;
      INSERT INTO exc_kept VALUES (1, 2);
    END $$`);
    await session.query('BEGIN');
    await session.query('CREATE TABLE sp_kept (id int PRIMARY KEY)');
    await session.query('SAVEPOINT a');
    await session.query('ALTER TABLE sp_kept ADD COLUMN gone int');
    await session.query('SAVEPOINT b');
    await failureOf(session.query('ALTER TABLE sp_kept ADD COLUMN gone int'));
    await session.query('ROLLBACK TO b');
    await session.query('CREATE TABLE sp_gone (id int)');
    await session.query('ROLLBACK TO a');
    await session.query('ALTER TABLE sp_kept ADD COLUMN kept int');
    await session.query('RELEASE a');
    await session.query('INSERT INTO sp_kept VALUES (1, 2)');
    await session.query('COMMIT');
    await session.end();
    expect(await everywhere(exists('exc\\_%'))).toEqual(['exc_instead', 'exc_kept']);
    expect(await everywhere(exists('sp\\_%'))).toEqual(['sp_kept']);
  });

  test('DDL in triggers of rows and of events, with rows before and behind', async () => {
    const session = await cluster.client(1);
    for (const text of [
      'CREATE TABLE log (n serial PRIMARY KEY, what text)',
      `CREATE FUNCTION on_end() RETURNS event_trigger LANGUAGE plpgsql AS $f$ DECLARE r record; BEGIN
         FOR r IN SELECT * FROM pg_event_trigger_ddl_commands() LOOP
           INSERT INTO log (what) VALUES (r.command_tag || ' ' || r.object_identity); END LOOP; END $f$`,
      'CREATE EVENT TRIGGER on_end ON ddl_command_end EXECUTE FUNCTION on_end()',
      'CREATE TABLE seen (id int PRIMARY KEY)',
      `CREATE FUNCTION part() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN
         EXECUTE format('CREATE TABLE seen_%s (LIKE seen INCLUDING ALL)', NEW.id); RETURN NEW; END $f$`,
      'CREATE TRIGGER part BEFORE INSERT ON seen FOR EACH ROW EXECUTE FUNCTION part()',
      'INSERT INTO seen VALUES (1), (2)',
      'DROP EVENT TRIGGER on_end',
    ])
      await session.query(text);
    await session.end();
    expect(await everywhere(`SELECT what FROM log WHERE what LIKE 'CREATE TABLE%' ORDER BY n`)).toEqual([
      'CREATE TABLE public.seen',
      'CREATE TABLE public.seen_1',
      'CREATE TABLE public.seen_2',
    ]);
  });

  test('CLUSTER in DO leaves its mark on all nodes', async () => {
    await cluster.query(1, 'CREATE TABLE clustered (id int PRIMARY KEY)');
    await cluster.query(1, 'INSERT INTO clustered VALUES (2), (1)');
    await cluster.query(1, `DO $$ BEGIN EXECUTE 'CLUSTER clustered USING clustered_pkey'; END $$`);
    expect(
      await everywhere(`SELECT indisclustered FROM pg_index WHERE indexrelid = 'clustered_pkey'::regclass`),
    ).toEqual([true]);
  });
});
