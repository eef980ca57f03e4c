/** Whatever a statement looks like: what it writes is on every node, with the same values. Three versions in one cluster. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { failureOf, startCluster, type Cluster } from '../../support/cluster.ts';
import { equalRows, noPrepared } from '../../support/convergence.ts';
import { together } from '../../support/load.ts';
import { findProgram, needs, psql } from '../../support/programs.ts';

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ majors: [15, 17, 18] });
});

afterEach(async () => {
  await equalRows(cluster);
  await noPrepared(cluster);
});

afterAll(async () => {
  await cluster?.stop();
});

/** What each server answers; all must agree. */
async function agreed(text: string): Promise<Record<string, unknown>[]> {
  const [first, ...others] = await cluster.onAllServers(text);
  for (const other of others) expect(other).toEqual(first);
  return first ?? [];
}

/** After a write through `number`, every server counts as many rows. */
async function expectRows(table: string, count: number): Promise<void> {
  expect(await agreed(`SELECT count(*)::int AS n FROM ${table}`)).toEqual([{ n: count }]);
}

describe('volatile functions give the same values on all nodes', () => {
  const volatile = `r float8 DEFAULT random(), n timestamptz DEFAULT now(), c timestamptz DEFAULT clock_timestamp(),
    u uuid DEFAULT gen_random_uuid(), x xid8 DEFAULT pg_current_xact_id(), p int DEFAULT pg_backend_pid()`;

  test('in defaults', async () => {
    await cluster.query(1, `CREATE TABLE defaults (id int PRIMARY KEY, ${volatile})`);
    for (const number of cluster.numbers)
      await cluster.query(number, `INSERT INTO defaults (id) VALUES ($1), ($2)`, [number, -number]);
    await expectRows('defaults', 6);
    expect(await agreed('SELECT count(DISTINCT (r, u))::int AS n FROM defaults')).toEqual([{ n: 6 }]);
  });

  test('in triggers, which run once', async () => {
    await cluster.query(2, `CREATE TABLE triggered (id int PRIMARY KEY, r float8, at timestamptz)`);
    await cluster.query(
      2,
      `CREATE TABLE trace (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what text, u uuid)`,
    );
    await cluster.query(
      2,
      `CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         NEW.r := random(); NEW.at := clock_timestamp();
         INSERT INTO trace (what, u) VALUES (TG_OP, gen_random_uuid());
         RETURN NEW; END $$`,
    );
    await cluster.query(
      2,
      `CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON triggered FOR EACH ROW EXECUTE FUNCTION stamp()`,
    );
    await cluster.query(3, 'INSERT INTO triggered (id) VALUES (1), (2)');
    await cluster.query(1, 'UPDATE triggered SET id = id + 10');
    await expectRows('triggered', 2);
    await expectRows('trace', 4);
  });

  test('in INSERT … SELECT, UPDATE and a function', async () => {
    await cluster.query(1, 'CREATE TABLE copied (id int, r float8, u uuid, at timestamptz)');
    await cluster.query(
      3,
      'INSERT INTO copied SELECT g, random(), gen_random_uuid(), clock_timestamp() FROM generate_series(1, 50) AS g',
    );
    await cluster.query(2, 'UPDATE copied SET r = random() WHERE id % 2 = 0');
    await cluster.query(
      1,
      `CREATE FUNCTION add_copied(n int) RETURNS float8 LANGUAGE sql AS
       $$ INSERT INTO copied VALUES (n, random(), gen_random_uuid(), now()) RETURNING r $$`,
    );
    const [row] = await cluster.query<{ r: number }>(2, 'SELECT add_copied(99) AS r');
    expect(await agreed('SELECT r FROM copied WHERE id = 99')).toEqual([row]);
    await expectRows('copied', 51);
  });

  test('in DO', async () => {
    await cluster.query(1, 'CREATE TABLE done (id int PRIMARY KEY, r float8)');
    await cluster.query(
      2,
      `DO $$ BEGIN FOR i IN 1..20 LOOP INSERT INTO done VALUES (i, random()); END LOOP; END $$`,
    );
    await expectRows('done', 20);
  });

  test('in CREATE TABLE AS', async () => {
    await cluster.query(
      3,
      'CREATE TABLE created AS SELECT g AS id, random() AS r FROM generate_series(1, 20) AS g',
    );
    await expectRows('created', 20);
  });
});

describe('statements that do not look like writes', () => {
  beforeAll(async () => {
    await cluster.query(1, 'CREATE TABLE target (id serial PRIMARY KEY, note text)');
    await cluster.query(1, `INSERT INTO target (id, note) VALUES (1000, 'first')`);
    await cluster.query(
      1,
      `CREATE FUNCTION note(t text) RETURNS int LANGUAGE plpgsql AS
       $$ DECLARE n int; BEGIN INSERT INTO target (note) VALUES (t) RETURNING id INTO n; RETURN n; END $$`,
    );
    await cluster.query(1, `CREATE VIEW noting AS SELECT note('from a view') AS id`);
    await cluster.query(1, 'CREATE TABLE ruled (id int)');
    await cluster.query(
      1,
      `CREATE RULE ruled AS ON INSERT TO ruled DO INSTEAD INSERT INTO target (note) VALUES ('rule ' || NEW.id)`,
    );
  });

  const noted = (note: string) => agreed(`SELECT count(*)::int AS n FROM target WHERE note = '${note}'`);

  test.each([
    ['SELECT f()', `SELECT note('selected')`, 'selected'],
    ['a function in WHERE', `SELECT 1 WHERE note('where') > 0`, 'where'],
    ['a view over a function', 'SELECT * FROM noting', 'from a view'],
    [
      'a writing CTE',
      `WITH w AS (INSERT INTO target (note) VALUES ('cte') RETURNING id) SELECT count(*) FROM w`,
      'cte',
    ],
    ['a rule', 'INSERT INTO ruled VALUES (7)', 'rule 7'],
    ['EXPLAIN ANALYZE INSERT', `EXPLAIN ANALYZE INSERT INTO target (note) VALUES ('explained')`, 'explained'],
    ['VALUES with a function', `VALUES (note('values'))`, 'values'],
    ['a function in LIMIT', `SELECT 1 LIMIT (SELECT least(note('limit'), 1))`, 'limit'],
    ['a prepared statement', `PREPARE p AS SELECT note('prepared'); EXECUTE p; DEALLOCATE p`, 'prepared'],
    [
      'MERGE',
      `MERGE INTO target USING (VALUES ('merged')) AS s (v) ON note = v WHEN NOT MATCHED THEN INSERT (note) VALUES (v)`,
      'merged',
    ],
  ])('%s', async (_, text, note) => {
    for (const number of cluster.numbers) {
      const before = await noted(note);
      const client = await cluster.client(number);
      await client.query(text);
      await client.end();
      // MERGE finds its row the second time.
      const more = note === 'merged' && number > 1 ? 0 : 1;
      expect(await noted(note)).toEqual([{ n: Number(before[0]?.['n']) + more }]);
    }
  });

  test('a function that swallows every error cannot hide its write', async () => {
    await cluster.query(
      1,
      `CREATE FUNCTION quiet() RETURNS text LANGUAGE plpgsql AS
       $$ BEGIN INSERT INTO target (note) VALUES ('quiet'); RETURN 'written';
          EXCEPTION WHEN OTHERS THEN RETURN 'not written'; END $$`,
    );
    expect(await cluster.query(3, 'SELECT quiet() AS r')).toEqual([{ r: 'written' }]);
    expect(await noted('quiet')).toEqual([{ n: 1 }]);
  });

  test('EXPLAIN without ANALYZE writes nothing', async () => {
    await cluster.query(2, `EXPLAIN INSERT INTO target (note) VALUES ('never')`);
    expect(await noted('never')).toEqual([{ n: 0 }]);
  });

  test('SELECT … FOR UPDATE locks on all nodes', async () => {
    const [one, two] = await Promise.all([cluster.client(1), cluster.client(2)]);
    expect((await one.query('SELECT note FROM target WHERE id = 1000 FOR UPDATE')).rows).toEqual([
      { note: 'first' },
    ]);
    await one.query('BEGIN');
    await one.query('SELECT note FROM target WHERE id = 1000 FOR UPDATE');
    const [update] = await Promise.allSettled([
      two.query(`UPDATE target SET note = 'second' WHERE id = 1000`),
      one
        .query('SELECT pg_sleep(0.3)')
        .then(() => one.query(`UPDATE target SET note = note || '!' WHERE id = 1000`)),
    ]);
    const commit = await one.query('COMMIT').then(
      () => true,
      () => false,
    );
    await Promise.all([one.end(), two.end()]);
    // Whoever won, the other was told, or came after it; never is one of two successes lost.
    const expected = commit
      ? update?.status === 'fulfilled'
        ? ['second', 'second!']
        : ['first!']
      : ['second'];
    const [row] = await agreed('SELECT note FROM target WHERE id = 1000');
    expect(expected).toContain(row?.['note']);
  });

  test.skipIf(findProgram('psql') === undefined)(`COPY FROM${needs('psql')}`, async () => {
    await cluster.query(2, 'CREATE TABLE loaded (id int PRIMARY KEY, r float8 DEFAULT random(), t text)');
    const lines = Array.from({ length: 5000 }, (_, index) => `${index}\tline ${index}\\tä€😀`).join('\n');
    const run = await psql(cluster.node(3), ['-c', 'COPY loaded (id, t) FROM STDIN'], `${lines}\n`);
    expect(run).toMatchObject({ code: 0, stderr: '' });
    expect(run.stdout.trim()).toBe('COPY 5000');
    await expectRows('loaded', 5000);
  });

  test('TRUNCATE, also of a table that others refer to', async () => {
    await cluster.query(
      1,
      'CREATE TABLE owners (id int PRIMARY KEY); CREATE TABLE things (id int PRIMARY KEY, owner int REFERENCES owners)',
    );
    await cluster.query(2, 'INSERT INTO owners VALUES (1); INSERT INTO things VALUES (1, 1)');
    await cluster.query(3, 'TRUNCATE owners CASCADE');
    await expectRows('owners', 0);
    await expectRows('things', 0);
  });
});

describe('sequences', () => {
  test.each([
    ['serial', 'id serial PRIMARY KEY'],
    ['bigserial', 'id bigserial PRIMARY KEY'],
    ['identity', 'id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY'],
    ['identity by default', 'id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY'],
  ])('%s gives 1, 4, 7 … / 2, 5, 8 … / 3, 6, 9 …', async (name, column) => {
    const table = `drawn_${name.replaceAll(' ', '_')}`;
    await cluster.query(2, `CREATE TABLE ${table} (${column}, node int)`);
    for (let round = 0; round < 3; round++) {
      for (const number of cluster.numbers) {
        const [row] = await cluster.query<{ id: string }>(
          number,
          `INSERT INTO ${table} (node) VALUES ($1) RETURNING id`,
          [number],
        );
        expect(Number(row?.id)).toBe(number + 3 * round);
      }
    }
    await expectRows(table, 9);
  });

  test('no collision under load on all nodes', async () => {
    await cluster.query(
      1,
      'CREATE TABLE busy (id serial PRIMARY KEY, other bigint GENERATED ALWAYS AS IDENTITY UNIQUE, node int)',
    );
    const each = 60;
    const sessions = cluster.numbers.flatMap((number) =>
      [1, 2, 3, 4].map(async () => {
        const client = await cluster.client(number);
        for (let index = 0; index < each; index++)
          await client.query('INSERT INTO busy (node) VALUES ($1)', [number]);
        await client.end();
      }),
    );
    await together(sessions);
    await expectRows('busy', each * sessions.length);
    expect(
      await agreed('SELECT count(*)::int AS n FROM busy WHERE id % 3 <> node % 3 OR other % 3 <> node % 3'),
    ).toEqual([{ n: 0 }]);
  });

  test('a sequence of the user with an increment of its own', async () => {
    await cluster.query(1, 'CREATE SEQUENCE tens START 10 INCREMENT 10');
    const drawn = [];
    for (let round = 0; round < 2; round++) {
      for (const number of cluster.numbers)
        drawn.push(...(await cluster.query<{ v: string }>(number, `SELECT nextval('tens') AS v`)));
    }
    expect(drawn.map(({ v }) => Number(v))).toEqual([10, 20, 30, 40, 50, 60]);
  });
});

describe('what is rolled back is nowhere', () => {
  test('a constraint that fails on another row', async () => {
    await cluster.query(1, 'CREATE TABLE limited (id int PRIMARY KEY CHECK (id < 10))');
    const failure = await failureOf(cluster.query(2, 'INSERT INTO limited VALUES (1), (11)'));
    expect(failure).toMatchObject({ code: '23514', constraint: 'limited_id_check' });
    await expectRows('limited', 0);
  });

  test('a deferred constraint is checked at COMMIT and reported there', async () => {
    await cluster.query(1, 'CREATE TABLE deferred (id int UNIQUE DEFERRABLE INITIALLY DEFERRED, n int)');
    await cluster.query(1, 'INSERT INTO deferred VALUES (1, 1), (2, 2)');
    const client = await cluster.client(3);
    await client.query('BEGIN');
    await client.query('UPDATE deferred SET id = 3 - id');
    await client.query('COMMIT');
    await client.query('BEGIN');
    await client.query('UPDATE deferred SET id = 2');
    expect(await failureOf(client.query('COMMIT'))).toMatchObject({
      code: '23505',
      constraint: 'deferred_id_key',
    });
    expect((await client.query('SELECT n FROM deferred ORDER BY id')).rows).toEqual([{ n: 2 }, { n: 1 }]);
    await client.end();
  });

  test('the same key from two nodes at once: one wins, the other is told', async () => {
    await cluster.query(1, 'CREATE TABLE keys (id int PRIMARY KEY, node int)');
    for (let key = 0; key < 30; key++) {
      const results = await Promise.allSettled(
        cluster.numbers.map((number) =>
          cluster.query(number, 'INSERT INTO keys VALUES ($1, $2)', [key, number]),
        ),
      );
      expect(results.filter(({ status }) => status === 'fulfilled').length).toBe(1);
      for (const result of results)
        if (result.status === 'rejected') expect(result.reason.code).toBe('23505');
    }
    await expectRows('keys', 30);
  });
});
