/**
 * `mtm-gateway compare`: what is the same is called the same, under load too; each difference is found and named.
 * Rule: whatever a test breaks past the gateways is mended before the next one. MTM_TEST_COMPARE=all: more versions.
 */
import type { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ComparisonNews } from '../../../src/core/comparison/news.ts';
import type { PostgresMajor } from '../../../src/io/launcher/server-binaries.ts';
import { failureOf, startCluster, type Cluster } from '../../support/cluster.ts';
import { eventually } from '../../support/polling.ts';
import { runToEnd, type ProgramRun } from '../../support/programs.ts';

const mixed: readonly PostgresMajor[][] = [[18, 15, 18]];
const all: readonly PostgresMajor[][] = [...mixed, [15, 15, 15], [18, 18, 18]];
const versions = process.env['MTM_TEST_COMPARE'] === 'all' ? all : mixed;

const schema = `
  CREATE TYPE mood AS ENUM ('good', 'bad');
  CREATE TABLE kinds (id int PRIMARY KEY, t text, n numeric, f float8, j jsonb, a int[], b bytea, c char(4), m mood,
    at timestamptz, big text, doubled int GENERATED ALWAYS AS (id * 2) STORED);
  ALTER TABLE kinds ALTER big SET STORAGE EXTERNAL;
  INSERT INTO kinds SELECT g, NULL, g / 3.0, g / 7.0::float8, jsonb_build_object('k', g, 'l', NULL), ARRAY[g, NULL],
    decode(md5(g::text), 'hex'), 'ab', 'good', timestamptz '2026-01-01' + g * interval '1 s', repeat(md5(g::text), 500)
  FROM generate_series(1, 300) AS g;
  CREATE TABLE many (id int PRIMARY KEY, n int);
  INSERT INTO many SELECT g, 0 FROM generate_series(1, 20000) AS g;
  CREATE TABLE keyless (a int, b text);
  INSERT INTO keyless SELECT g % 5, 'x' FROM generate_series(1, 50) AS g;
  CREATE TABLE parts (a int, b int, v text, PRIMARY KEY (a, b)) PARTITION BY RANGE (a);
  CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
  CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20);
  INSERT INTO parts SELECT g, g, 'v' FROM generate_series(0, 19) AS g;
  CREATE TABLE parent (id int PRIMARY KEY, v text);
  CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
  INSERT INTO parent VALUES (1, 'parent');
  INSERT INTO child VALUES (2, 'child');
  CREATE TABLE secret (id int PRIMARY KEY, v text);
  ALTER TABLE secret ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
  INSERT INTO secret VALUES (1, 'hidden');
  CREATE SCHEMA "a ""schema""";
  CREATE TABLE "a ""schema"""."t'; DROP" ("k""; --" text PRIMARY KEY, "v, $1" text);
  INSERT INTO "a ""schema"""."t'; DROP" VALUES ('it''s "quoted", é', NULL);
  CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
  CREATE TABLE alone (id int PRIMARY KEY);
  CREATE MATERIALIZED VIEW sums AS SELECT a, count(*) FROM keyless GROUP BY a;
  CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a + 1';
  CREATE SEQUENCE numbers INCREMENT 5`;

describe.each(versions)('on PostgreSQL %i, %i, %i', (...majors) => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await startCluster({ majors });
    await cluster.query(1, schema);
    await cluster.query(1, `SELECT mtm.make_table_local('alone')`);
    await cluster.query(2, 'INSERT INTO alone VALUES (2)');
  });

  afterAll(async () => {
    await cluster?.stop();
  });

  /** Past the gateways, so that nobody hears of it. */
  async function break_(number: number, ...commands: readonly string[]): Promise<void> {
    const client = await cluster.direct(number);
    try {
      await client.query('SET session_replication_role = replica');
      await client.query(`SELECT pg_replication_origin_create('test')
        WHERE pg_replication_origin_oid('test') IS NULL`);
      await client.query(`SELECT pg_replication_origin_session_setup('test')`);
      for (const command of commands) {
        const { rowCount } = await client.query(command);
        expect([command, (rowCount ?? 1) > 0]).toEqual([command, true]);
      }
    } finally {
      await client.end();
    }
  }

  function run(...args: string[]): Promise<ProgramRun> {
    const url = `postgresql://postgres@127.0.0.1:${cluster.node(1).gatewayPort}/app`;
    return runToEnd(process.execPath, ['src/main.ts', ...args, '--url', url]);
  }

  async function compare(...args: string[]): Promise<{ code: unknown; news: readonly ComparisonNews[] }> {
    const { code, stdout, stderr } = await run('compare', '--json', ...args);
    const lines = stdout.split('\n').filter((line) => line !== '');
    expect([stderr.replaceAll(/^comparing.*\n/gm, ''), lines.length > 0]).toEqual(['', true]);
    return { code, news: lines.map((line) => JSON.parse(line) as ComparisonNews) };
  }

  /** Work that goes on at every node until `work` has ended; what fails in it fails the test. */
  async function underLoad<T>(
    write: (client: Client, number: number, i: number) => Promise<void>,
    work: () => Promise<T>,
  ): Promise<T> {
    let writing = true;
    const writers = cluster.numbers.map(async (number) => {
      const client = await cluster.client(number);
      let i = 0;
      for (; writing; i++) await write(client, number, i);
      await client.end();
      return i;
    });
    try {
      return await Promise.race([
        work(),
        Promise.all(writers).then(() => Promise.reject(new Error('no load'))),
      ]);
    } finally {
      writing = false;
      for (const written of await Promise.all(writers)) expect(written).toBeGreaterThan(0);
    }
  }

  async function repairSome(): Promise<void> {
    const plan = await run('repair', '--from', '1', '--table', 'public.many', '--key', '17', '--key', '-1');
    expect([plan.code, plan.stderr]).toEqual([0, '']);
    const inserted =
      /^node 2: INSERT INTO "public"."many" \("id", "n"\) OVERRIDING SYSTEM VALUE VALUES \('17', '\d+'\);$/m;
    expect(plan.stdout).toMatch(inserted);
    expect(plan.stdout).toContain(`node 3: DELETE FROM ONLY "public"."many" WHERE "id" = '-1';`);
    expect(plan.stdout).toContain('dry run: nothing was changed');
    for (const table of ['many', 'keyless']) {
      const args = ['--from', '1', '--table', table, '--all-differences', '--apply', '--yes'];
      const { code, stdout, stderr } = await run('repair', ...args);
      expect([table, code, stderr.replaceAll(/^comparing.*\n/gm, '')], stdout).toEqual([table, 0, '']);
    }
  }

  const of = <K extends ComparisonNews['kind']>(news: readonly ComparisonNews[], kind: K) =>
    news.filter((each): each is Extract<ComparisonNews, { kind: K }> => each.kind === kind);

  test('equal nodes are equal while all of them write, and what is local is left out by name', async () => {
    const { code, news } = await underLoad(
      async (client, number, i) => {
        await client.query('BEGIN');
        await client.query('UPDATE many SET n = n + 1 WHERE id = $1', [((i * 3) % 15_000) + number]);
        await client.query('INSERT INTO many VALUES ($1, 1)', [100_000 * number + i]);
        await client.query(`DELETE FROM many WHERE id = $1`, [100_000 * number + i - 5]);
        await client.query('COMMIT');
      },
      () => compare('--jobs', '3'),
    );
    expect(of(news, 'definition')).toEqual([]);
    expect(of(news, 'sequence')).toEqual([]);
    expect(of(news, 'table').filter(({ equal }) => !equal)).toEqual([]);
    expect(code).toBe(0);
    expect(
      of(news, 'table')
        .map(({ table }) => table)
        .toSorted(),
    ).toEqual(
      [...['child', 'keyless', 'kinds', 'many', 'parent', 'parts_1', 'parts_2', 'secret', 'sums']]
        .map((name) => `public.${name}`)
        .concat(`"a ""schema"""."t'; DROP"`)
        .toSorted(),
    );
    expect(of(news, 'left-out').map(({ table, reason }) => [table, reason])).toEqual([
      ['public.alone', 'it was made local'],
      ['public.unlogged', 'it is unlogged'],
    ]);
    expect(of(news, 'end')).toMatchObject([{ equal: true, whole: true }]);
  });

  test('each row that differs is found and named', async () => {
    await break_(
      2,
      'DELETE FROM many WHERE id = 17',
      'UPDATE kinds SET t = $$$$ WHERE id = 1',
      'UPDATE kinds SET n = n::numeric(20, 16) * 1.00 WHERE id = 2',
      'UPDATE kinds SET f = f + 1e-15, a = a || 1 WHERE id = 3',
      `UPDATE kinds SET j = '{"k": 4}' WHERE id = 4`,
      `UPDATE kinds SET b = b || '\\x00', c = 'abc' WHERE id = 5`,
      `UPDATE kinds SET big = overlay(big placing '!' from 15000), m = 'bad' WHERE id = 6`,
      `INSERT INTO keyless VALUES (3, 'x')`,
      `UPDATE parts SET v = 'w' WHERE a = 13`,
      `UPDATE ONLY parent SET v = 'other'`,
      `UPDATE secret SET v = 'seen'`,
      `UPDATE "a ""schema"""."t'; DROP" SET "v, $1" = ''`,
    );
    await break_(3, 'INSERT INTO many VALUES (-1, 0)', 'DELETE FROM child');
    const { code, news } = await compare();
    expect(code).toBe(1);
    expect(of(news, 'definition')).toEqual([]);
    const found = of(news, 'row').map(({ table, key, versions, columns }) =>
      [
        table,
        key.join(),
        versions.map(({ nodes, rows }) => `${nodes.join('+')}: ${rows}`).join(' '),
        columns.join(),
      ].join(' | '),
    );
    const changed = '1+3: 1 2: 1';
    expect(found.toSorted()).toEqual(
      [
        `public.many | 17 | 1+3: 1 2: 0 | `,
        `public.many | -1 | 3: 1 1+2: 0 | `,
        `public.kinds | 1 | ${changed} | t`,
        `public.kinds | 2 | ${changed} | n`,
        `public.kinds | 3 | ${changed} | a,f`,
        `public.kinds | 4 | ${changed} | j`,
        `public.kinds | 5 | ${changed} | b,c`,
        `public.kinds | 6 | ${changed} | big,m`,
        `public.keyless | (3,x) | 1+3: 10 2: 11 | `,
        `public.parts_2 | 13,13 | ${changed} | v`,
        `public.parent | 1 | ${changed} | v`,
        `public.secret | 1 | ${changed} | v`,
        `public.child | 2 | 1+2: 1 3: 0 | `,
        `"a ""schema"""."t'; DROP" | it's "quoted", é | ${changed} | v, $1`,
      ].toSorted(),
    );
    const some = await compare('--table', 'public.k*', '--exclude', 'keyless', '--details', '1');
    expect(some.code).toBe(1);
    expect(of(some.news, 'table').map(({ table }) => table)).toEqual(['public.kinds']);
    expect([of(some.news, 'row').length, of(some.news, 'more-rows').length]).toEqual([1, 1]);
  });

  test('repair makes the rows those of a node, while all of them write', async () => {
    await underLoad(async (client, number, i) => {
      // What is being repaired, too: whoever meets a row that is not there loses, and nothing of it stays.
      const id = i % 10 === 0 ? 17 : ((i * 3) % 15_000) + number;
      await client.query('UPDATE many SET n = n + 1 WHERE id = $1', [id]).catch((error: unknown) => {
        if (id !== 17) throw error;
      });
    }, repairSome);
    for (const table of ['kinds', 'parts_2', 'parent', 'child', 'secret', `t'; DROP`]) {
      const options = JSON.stringify({ from: 1, table, apply: true });
      const [row] = await cluster.query<{ done: unknown }>(3, 'SELECT mtm.repair_rows($1) AS done', [
        options,
      ]);
      expect(row?.done).toMatchObject({ more: false, statements: [] });
    }
    expect((await compare()).code).toBe(0);
    expect(cluster.gatewayLog(2)).toContain('rows of this node were repaired');
    for (const number of cluster.numbers) {
      expect(cluster.gatewayLog(number)).not.toContain('an unsupervised write');
      const left = `SELECT 1 FROM pg_replication_origin WHERE roname = 'mtm_repair'`;
      expect(await cluster.directly(number, left)).toEqual([]);
    }
    const again = await run('repair', '--from', '2', '--table', 'kinds', '--all-differences');
    expect([again.code, again.stdout]).toEqual([
      0,
      'nothing to repair: these rows of public.kinds are those of node 2\n',
    ]);
  });

  test('definitions and sequences that differ are found', async () => {
    await break_(
      3,
      'CREATE INDEX extra ON many (n)',
      'CREATE OR REPLACE FUNCTION f(a int) RETURNS int LANGUAGE sql IMMUTABLE AS $$SELECT a + 2$$',
      'GRANT SELECT ON secret TO PUBLIC',
      `COMMENT ON TABLE many IS 'here only'`,
      'ALTER SEQUENCE numbers INCREMENT 4',
      'CREATE TABLE here_only (id int PRIMARY KEY)',
    );
    const { code, news } = await compare('--jobs', '1');
    expect(code).toBe(1);
    const lines = of(news, 'definition')
      .filter(({ nodes }) => nodes.join() === '3')
      .map(({ line }) => line);
    for (const part of [
      'index CREATE INDEX extra ON public.many',
      'SELECT a + 2',
      'relation public.secret',
      'here only',
      'table public.here_only',
    ])
      expect([part, lines.some((line) => line.includes(part))]).toEqual([part, true]);
    expect(of(news, 'sequence').map(({ text: line }) => line)).toContainEqual(
      expect.stringContaining('public.numbers'),
    );
    expect(of(news, 'table').filter(({ equal }) => !equal)).toEqual([]);
    await break_(
      3,
      'DROP INDEX extra',
      'CREATE OR REPLACE FUNCTION f(a int) RETURNS int LANGUAGE sql IMMUTABLE AS $$SELECT a + 1$$',
      'REVOKE SELECT ON secret FROM PUBLIC',
      'COMMENT ON TABLE many IS NULL',
      'DROP TABLE here_only',
      'ALTER SEQUENCE numbers INCREMENT 5',
      `UPDATE pg_class SET relacl = NULL WHERE oid = 'secret'::regclass`,
    );
    expect((await compare()).news.filter(({ kind }) => kind === 'definition' || kind === 'sequence')).toEqual(
      [],
    );
  });

  test('who may not, and what makes no sense, is refused', async () => {
    await cluster.query(1, 'CREATE ROLE nobody LOGIN');
    const client = await cluster.client(1, { user: 'nobody' });
    for (const call of [`begin_comparison('{}')`, `comparison_news('1', 0)`, `repair_rows('{}')`])
      expect(await failureOf(client.query(`SELECT mtm.${call}`), call)).toMatchObject({ code: '42501' });
    await client.end();
    expect(await run('compare', '--table', 'nothing')).toMatchObject({
      code: 3,
      stderr: 'mtm-gateway: no table is called nothing\n',
    });
    expect((await run('compare', '--jobs', '0')).code).toBe(2);
    expect((await run('repair', '--from', '1', '--table', 'many')).code).toBe(2);
    const refused: readonly (readonly [object, string])[] = [
      [{ from: 9, table: 'many' }, 'node 9 is not online'],
      [{ from: 1, table: 'sums' }, 'is a materialized view'],
      [{ from: 1, table: 'alone' }, 'was made local'],
      [{ from: 1, table: 'keyless', keys: [['1']] }, 'has no primary key'],
      [{ from: 1, table: 'parts_1', keys: [['1']] }, 'the key of public.parts_1 is (a, b)'],
      [{ from: 1, table: 'parts*' }, 'are several tables'],
    ];
    for (const [options, reason] of refused) {
      const text = 'SELECT mtm.repair_rows($1)';
      const failed = await failureOf(
        cluster.query(1, text, [JSON.stringify({ apply: true, ...options })]),
        reason,
      );
      expect(failed.message).toContain(reason);
    }
    await cluster.query(
      1,
      `CREATE FUNCTION notes() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`,
    );
    await cluster.query(
      1,
      'CREATE TRIGGER notes AFTER INSERT ON secret FOR EACH ROW EXECUTE FUNCTION notes()',
    );
    await cluster.query(1, 'ALTER TABLE secret ENABLE ALWAYS TRIGGER notes');
    await break_(2, `UPDATE secret SET v = 'seen'`);
    const options = { from: 1, table: 'secret', apply: true };
    const text = 'SELECT mtm.repair_rows($1) AS done';
    expect((await failureOf(cluster.query(1, text, [JSON.stringify(options)]))).message).toContain(
      'fire always',
    );
    await cluster.query(1, 'DROP TRIGGER notes ON secret');
    const [row] = await cluster.query<{ done: unknown }>(1, text, [JSON.stringify(options)]);
    expect(row?.done).toMatchObject({
      nodes: [
        { node: 2, rows: 1, deleted: 1, inserted: 1 },
        { node: 3, rows: 0 },
      ],
    });
  });

  test('a session that ends takes its comparison with it; a node that dies is named', async () => {
    const blocker = await cluster.direct(3);
    await blocker.query('BEGIN; LOCK TABLE keyless IN ACCESS EXCLUSIVE MODE');
    const held = `SELECT 1 FROM pg_stat_activity WHERE application_name IN ('mtm_snapshot', 'mtm_compare')`;
    const waiting = `SELECT 1 FROM pg_stat_activity WHERE application_name = 'mtm_compare' AND wait_event_type = 'Lock'`;
    const compares = async (number: number): Promise<boolean> =>
      (await cluster.directly(number, waiting)).length > 0;
    const client = await cluster.client(1);
    await client.query(`SELECT mtm.begin_comparison('{"tables": ["keyless"]}')`);
    await eventually('node 3 is asked', () => compares(3));
    await client.end();
    for (const number of cluster.numbers)
      await eventually(
        'all is freed',
        async () => (await cluster.directly(number, held)).length === 0,
        60_000,
      );
    const begun = compare('--table', 'keyless', '--table', 'secret');
    await eventually('node 3 is asked again', () => compares(3));
    await cluster.killGateway(3);
    await blocker.end();
    const { code, news } = await begun;
    expect(code).toBe(3);
    expect(of(news, 'lost').map(({ node }) => node)).toEqual([3]);
    expect(of(news, 'table')).toMatchObject([{ equal: true }, { equal: true }]);
    await cluster.startGateway(3);
    await cluster.whole();
  });
});
