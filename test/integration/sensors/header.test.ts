/** What the header says about a transaction before PREPARE, and what it refuses. */
import type { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { timed } from '../../support/polling.ts';
import { openLab, refusalOf, testedMajors, type SensorLab } from './sensor-lab.ts';

const checked = `mtm.header_checked($1, 'seal', false)`;
const announced = `mtm.header_checked($1, 'seal', true)`;

describe.each(testedMajors)('header on PostgreSQL %i', (major) => {
  let lab: SensorLab;
  let app: Client;

  beforeAll(async () => {
    lab = await openLab(major);
    app = await lab.connect('app');
    await app.query('CREATE TABLE kept (i int PRIMARY KEY, t text)');
    await app.query('CREATE SEQUENCE drawn');
  });

  afterAll(async () => {
    await app?.end();
    await lab?.close();
  });

  test('empty, and a write with the header as its last message', async () => {
    expect((await lab.trace(app, ['SELECT * FROM kept'])).header).toBe('empty');
    const trace = await lab.trace(app, [`INSERT INTO kept VALUES (1, 'a')`]);
    expect(trace.stream[0]).toBe('insert public.kept');
    expect(trace.stream[1]).toMatch(/^header mtm:2:1:1:/);
    expect((await lab.trace(app, ['SELECT * FROM kept FOR UPDATE'])).stream).toHaveLength(1);
    expect((await lab.trace(app, [`SELECT nextval('drawn')`])).header).toBe('write');
  });

  const temporary: readonly [string, readonly string[]][] = [
    ['create', ['CREATE TEMP TABLE t (i serial PRIMARY KEY, t text UNIQUE)']],
    ['create by schema', ['CREATE TABLE pg_temp.t2 (i int)']],
    ['write', [`INSERT INTO t (t) VALUES ('x')`, 'SELECT * FROM kept']],
    ['write from a permanent sequence', [`INSERT INTO t (i) SELECT nextval('drawn') + 1000`]],
    ['alter', ['ALTER TABLE t ADD b int DEFAULT random()', 'ALTER TABLE t RENAME b TO c']],
    ['index', ['CREATE INDEX ON t (c)', 'COMMENT ON COLUMN t.c IS $$x$$', 'GRANT SELECT ON t TO PUBLIC']],
    ['view', ['CREATE VIEW tv AS SELECT * FROM t', 'DROP VIEW tv']],
    [
      'rule, trigger and policy',
      [
        'CREATE RULE r AS ON DELETE TO t DO NOTHING',
        'DROP RULE r ON t',
        'CREATE TRIGGER g BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
        'DROP TRIGGER g ON t',
        'CREATE POLICY p ON t',
        'DROP POLICY p ON t',
      ],
    ],
    ['create as', ['CREATE TEMP TABLE t3 AS SELECT * FROM kept', 'SELECT 1 AS a INTO TEMP t4']],
    ['on commit drop', ['CREATE TEMP TABLE t5 (i int) ON COMMIT DROP', 'INSERT INTO t5 VALUES (1)']],
    [
      'function and type',
      [
        'CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$',
        'CREATE TYPE pg_temp.y AS (a int)',
      ],
    ],
    ['truncate', ['TRUNCATE t']],
    ['drop', ['DROP TABLE t3, t4', 'DROP FUNCTION pg_temp.f()', 'DROP TABLE IF EXISTS t2']],
  ];

  test('temporary objects only: a plain commit', async () => {
    const client = await lab.connect('app');
    for (const [name, statements] of temporary) {
      expect({ name, header: (await lab.trace(client, statements)).header }).toEqual({
        name,
        header: 'temporary',
      });
    }
    expect((await lab.trace(client, ['DROP TABLE t'], checked)).header).toBe('temporary');
    await client.end();
  });

  test('a session with temporary objects still writes others; both is mixed', async () => {
    const client = await lab.connect('app');
    await lab.trace(client, ['CREATE TEMP TABLE t (i int)']);
    expect((await lab.trace(client, [`INSERT INTO kept VALUES (2, 'b')`])).header).toBe('write');
    expect((await lab.trace(client, ['CREATE TABLE perm (i int)'])).ddl).toHaveLength(1);
    expect((await lab.trace(client, ['DROP TABLE perm'])).ddl).toHaveLength(1);
    expect((await lab.trace(client, ['SELECT * FROM kept FOR UPDATE'])).header).toBe('write');
    const mixed = [
      ['INSERT INTO t VALUES (1)', `UPDATE kept SET t = 'c' WHERE i = 2`],
      ['CREATE TABLE perm (i int)', 'INSERT INTO t VALUES (1)'],
      ['DROP TABLE t', 'DELETE FROM kept WHERE i = 2'],
      ['CREATE TEMP TABLE t6 (i int)', 'CREATE FUNCTION pf() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$'],
    ];
    for (const statements of mixed) {
      await client.query('BEGIN');
      for (const text of statements) await client.query(text);
      const { rows } = await client.query(`SELECT mtm.header('mtm:2:1:1:1', 'x') AS header`);
      await client.query('ROLLBACK');
      expect({ statements, rows }).toEqual({ statements, rows: [{ header: 'mixed' }] });
    }
    await client.end();
  });

  test('a temporary table named like a catalog does not mislead', async () => {
    const client = await lab.connect('app');
    await client.query('CREATE TEMP TABLE pg_locks (pid int); CREATE TEMP TABLE pg_class (oid int)');
    expect((await lab.trace(client, [`INSERT INTO kept VALUES (3, 'd')`])).header).toBe('write');
    await client.end();
  });

  test('locks on catalogs and large objects are refused', async () => {
    expect(
      await refusalOf(() =>
        lab.trace(lab.admin, ['LOCK pg_class IN SHARE ROW EXCLUSIVE MODE', 'DELETE FROM kept'], checked),
      ),
    ).toMatch(/^0A000 .*ShareRowExclusiveLock on the system catalog "pg_class"/);
    for (const call of ['SELECT lo_create(0)', `SELECT lo_from_bytea(0, 'x')`]) {
      expect(await refusalOf(() => lab.trace(app, [call], checked))).toMatch(/^0A000 .*large objects/);
    }
  });

  test('shared catalogs and event triggers: announced or refused', async () => {
    const told = [
      `CREATE ROLE r1`,
      `ALTER ROLE app SET work_mem TO '1MB'`,
      `COMMENT ON ROLE app IS 'x'`,
      'GRANT pg_monitor TO app',
    ];
    for (const command of told) {
      const nested = `DO $do$ BEGIN EXECUTE ${lab.admin.escapeLiteral(command)}; CREATE TABLE behind (i int); END $do$`;
      const trace = await lab.trace(lab.admin, [nested], checked);
      expect(trace.ddl.map((one) => one.command).slice(-2)).toEqual([command, 'CREATE TABLE behind (i int)']);
      await lab.admin.query('DROP TABLE behind');
    }
    await lab.admin.query('DROP ROLE r1');
    await lab.admin.query('CREATE ROLE r1');
    const unseen = [
      'ALTER ROLE app CONNECTION LIMIT 7',
      'REVOKE pg_monitor FROM app',
      'CREATE EVENT TRIGGER et ON ddl_command_end EXECUTE FUNCTION mtm.note_frame()',
    ];
    for (const command of unseen) {
      const nested = [`DO $do$ BEGIN EXECUTE ${lab.admin.escapeLiteral(command)}; END $do$`];
      expect(`${command}: ${await refusalOf(() => lab.trace(lab.admin, nested, checked))}`).toMatch(
        /: 0A000 .*cannot be replicated from here/,
      );
      expect((await lab.trace(lab.admin, [command], announced)).header).toBe('write');
    }
    await lab.admin.query('DROP EVENT TRIGGER et');
    await lab.admin.query('DROP ROLE r1');
  });

  test('ordinary work passes the checks', async () => {
    const work = [
      [
        'CREATE TABLE o (id serial PRIMARY KEY, t text UNIQUE DEFERRABLE)',
        'CREATE INDEX ON o (t)',
        `COMMENT ON TABLE o IS 'x'`,
      ],
      [`INSERT INTO o (t) VALUES ('x')`, 'LOCK o IN ACCESS EXCLUSIVE MODE'],
      ['ANALYZE o', `INSERT INTO o (t) VALUES ('y')`],
      ['TRUNCATE o RESTART IDENTITY'],
      ['ALTER TABLE o ADD c int', 'CREATE VIEW ov AS SELECT * FROM o', 'GRANT SELECT ON ov TO PUBLIC'],
      ['DROP TABLE o CASCADE'],
    ];
    for (const statements of work) expect((await lab.trace(app, statements, checked)).header).toBe('write');
    expect(
      (await lab.trace(lab.admin, ['CREATE EXTENSION hstore', 'ALTER TABLE kept OWNER TO postgres'], checked))
        .header,
    ).toBe('write');
    await lab.trace(lab.admin, ['ALTER TABLE kept OWNER TO app']);
  });

  test('EXPLAIN ANALYZE CREATE TABLE AS, which fires no event trigger, is told with the header', async () => {
    const create = 'EXPLAIN ANALYZE CREATE TABLE ex AS SELECT 1 AS a';
    for (const statements of [[create], ['SAVEPOINT a', create, 'RELEASE a']]) {
      const { header, ddl } = await lab.trace(app, statements, checked);
      expect(header).toBe('write');
      expect(ddl.map(({ command }) => command)).toEqual(['CREATE TABLE public.ex (a integer) USING heap']);
      await lab.trace(app, ['DROP TABLE ex']);
    }
    const view = 'EXPLAIN ANALYZE CREATE MATERIALIZED VIEW exv (b) AS SELECT 2 WITH NO DATA';
    const [made] = (await lab.trace(app, [view], checked)).ddl;
    expect(made?.command.replaceAll(/\s+/g, ' ')).toBe(
      'CREATE MATERIALIZED VIEW public.exv (b) USING heap AS SELECT 2 AS b WITH NO DATA',
    );
    await lab.trace(app, ['DROP MATERIALIZED VIEW exv']);
  });

  test('the header is cheap', timed, async () => {
    await app.query('BEGIN');
    await app.query('DELETE FROM kept WHERE false');
    await app.query('SELECT pg_current_xact_id()');
    const { rows } = await app.query<{ us: number }>(`WITH t AS MATERIALIZED (SELECT clock_timestamp() AS at),
      work AS MATERIALIZED (SELECT count(mtm.header('mtm:2:1:1:' || i, 'seal')) FROM t, generate_series(1, 2000) AS i)
      SELECT extract(epoch FROM clock_timestamp() - t.at)::float8 * 1e6 / 2000 AS us FROM work, t`);
    await app.query('ROLLBACK');
    console.info(`header on ${major}: ${rows[0]?.us.toFixed(1)} µs`);
    expect(rows[0]?.us).toBeLessThan(500);
  });
});
