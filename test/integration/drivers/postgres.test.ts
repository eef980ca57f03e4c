/** postgres.js (`postgres`) and psql through a gateway: pipelining, COPY streams, LISTEN; the backslash commands. */
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import postgres, { type Sql } from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { embeddedDatabase, embeddedHost } from '../../../src/io/launcher/node-layout.ts';
import { startCluster, type Cluster } from '../../support/cluster.ts';
import { equalRows, noPrepared } from '../../support/convergence.ts';
import { findProgram, needs, psql, runProgram } from '../../support/programs.ts';

let cluster: Cluster;
let sql: Sql;

beforeAll(async () => {
  cluster = await startCluster({ majors: [16, 18, 17] });
  await cluster.query(1, 'CREATE TABLE people (id int PRIMARY KEY, name text, born date)');
  const { gatewayPort: port } = cluster.node(2);
  sql = postgres({
    host: embeddedHost,
    port,
    user: 'postgres',
    database: embeddedDatabase,
    max: 4,
    onnotice: () => undefined,
  });
});

afterAll(async () => {
  await sql?.end({ timeout: 5 });
  await cluster?.stop();
});

describe('postgres.js', () => {
  test('inserts, reads, transactions with savepoints', async () => {
    await sql`INSERT INTO people ${sql([
      { id: 1, name: 'Ada', born: '1815-12-10' },
      { id: 2, name: 'Bob', born: null },
    ])}`;
    expect(await sql`SELECT name FROM people WHERE id = ${1}`).toEqual([{ name: 'Ada' }]);
    await sql.begin(async (inner) => {
      await inner`UPDATE people SET name = ${'Ada L.'} WHERE id = 1`;
      await inner
        .savepoint(async (deeper) => {
          await deeper`INSERT INTO people VALUES (1, 'twice')`;
        })
        .catch((error: { code: string }) => expect(error.code).toBe('23505'));
      await inner`INSERT INTO people VALUES (3, 'Eve')`;
    });
    await expect(
      sql.begin(async (inner) => {
        await inner`DELETE FROM people`;
        throw new Error('on second thoughts');
      }),
    ).rejects.toThrow('on second thoughts');
    expect(await cluster.directly(3, 'SELECT name FROM people ORDER BY id')).toEqual([
      { name: 'Ada L.' },
      { name: 'Bob' },
      { name: 'Eve' },
    ]);
    await noPrepared(cluster);
    await equalRows(cluster);
  });

  test('many statements in flight on one connection', async () => {
    const { gatewayPort: port } = cluster.node(1);
    const one = postgres({ host: embeddedHost, port, user: 'postgres', database: embeddedDatabase, max: 1 });
    const all = await Promise.all(
      Array.from({ length: 60 }, (_, index) =>
        index % 3 === 0
          ? one`INSERT INTO people VALUES (${1000 + index}, 'flight') RETURNING id`
          : one`SELECT ${index}::int AS id`,
      ),
    );
    expect(all.map(([row]) => Number(row?.['id']))).toEqual(
      Array.from({ length: 60 }, (_, index) => (index % 3 === 0 ? 1000 + index : index)),
    );
    await one`DELETE FROM people WHERE id >= 1000`;
    await one.end();
    await equalRows(cluster);
  });

  test('COPY in and out as streams', async () => {
    const lines = Array.from({ length: 20_000 }, (_, index) => `${10_000 + index}\tname ${index}\t\\N\n`);
    await pipeline(Readable.from(lines), await sql`COPY people FROM STDIN`.writable());
    expect(await cluster.directly(3, 'SELECT count(*)::int AS n FROM people WHERE id >= 10000')).toEqual([
      { n: 20_000 },
    ]);
    let received = '';
    for await (const chunk of await sql`COPY (SELECT id FROM people WHERE id >= 10000 ORDER BY id) TO STDOUT`.readable())
      received += String(chunk);
    expect(received.trim().split('\n').length).toBe(20_000);
    await sql`DELETE FROM people WHERE id >= 10000`;
    await equalRows(cluster);
  });

  test('a cursor, rows piece by piece', async () => {
    const sizes: number[] = [];
    await sql`SELECT generate_series(1, 250)`.cursor(100, (rows) => void sizes.push(rows.length));
    expect(sizes).toEqual([100, 100, 50]);
  });

  test('LISTEN and NOTIFY on one node', async () => {
    const heard: string[] = [];
    const told = new EventTarget();
    const listening = await sql.listen('news', (payload) => {
      heard.push(payload);
      told.dispatchEvent(new Event('news'));
    });
    const first = once(told, 'news');
    await sql.notify('news', 'hello');
    await first;
    expect(heard).toEqual(['hello']);
    await listening.unlisten();
  });

  test('cancel of a query that runs', async () => {
    const query = sql`SELECT pg_sleep(20)`;
    const failed = expect(query.execute()).rejects.toMatchObject({ code: '57014' });
    const running = `SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(20)' AND state = 'active'`;
    await expect.poll(async () => (await cluster.directly(2, running)).length, { timeout: 15_000 }).toBe(1);
    query.cancel();
    await failed;
  });
});

describe.skipIf(findProgram('psql') === undefined)(`psql${needs('psql')}`, () => {
  test('the backslash commands', async () => {
    const run = await psql(cluster.node(1), [], '\\d\n\\d people\n\\dt\n\\df\n\\dn\n\\du\n\\l\n\\conninfo\n');
    expect(run.stderr).toBe('');
    expect(run.code).toBe(0);
    expect(run.stdout).toMatch(/people/);
    expect(run.stdout).toMatch(/^id\|integer\|\|not null/m);
  });

  test('a script with transactions, an error in the middle, and variables', async () => {
    const script = `
      \\set ON_ERROR_STOP 0
      BEGIN;
      INSERT INTO people VALUES (50, 'in a script');
      \\echo :ROW_COUNT
      SELECT nothing;
      COMMIT;
      INSERT INTO people VALUES (51, 'after it') \\g
      \\echo :SQLSTATE
      SELECT 'a' AS x, 'b' AS y \\gset
      \\echo :x:y
      DELETE FROM people WHERE id = 51;`;
    const run = await psql(cluster.node(3), ['-q'], script);
    expect(
      run.stdout
        .trim()
        .split('\n')
        .map((line) => line.trim()),
    ).toEqual(['1', '00000', 'ab']);
    expect(run.stderr).toMatch(/column "nothing" does not exist/);
    expect(await cluster.directly(1, 'SELECT 1 FROM people WHERE id >= 50')).toEqual([]);
  });

  test.each([
    ['any', 'off', true],
    ['read-write', 'off', true],
    ['primary', 'off', true],
    ['prefer-standby', 'off', true],
    ['read-only', 'off', false],
    ['standby', 'off', false],
    ['read-write', 'on', false],
    ['read-only', 'on', true],
  ])('target_session_attrs=%s, read-only by default %s: %s', async (wanted, readOnly, found) => {
    const { gatewayPort: port } = cluster.node(1);
    const options = `'-c default_transaction_read_only=${readOnly}'`;
    const to = `host=${embeddedHost} port=${port} user=postgres dbname=${embeddedDatabase} options=${options}`;
    const run = await runProgram('psql', ['-XAtc', 'SELECT 1', `${to} target_session_attrs=${wanted}`]);
    expect([run.stdout.trim(), run.code]).toEqual(found ? ['1', 0] : ['', 2]);
  });

  test('-1 runs a file as one transaction, -c each string as one', async () => {
    const file = await psql(
      cluster.node(2),
      ['-1', '-f', '-'],
      `INSERT INTO people VALUES (60, 'x');\nINSERT INTO people VALUES (60, 'x');\n`,
    );
    expect(file.code).toBe(3);
    const strings = await psql(cluster.node(2), [
      '-c',
      `INSERT INTO people VALUES (61, 'x')`,
      '-c',
      `DELETE FROM people WHERE id = 61 RETURNING name`,
    ]);
    expect(strings.stdout.trim().split('\n')).toEqual(['INSERT 0 1', 'x', 'DELETE 1']);
    expect(await cluster.directly(1, 'SELECT 1 FROM people WHERE id >= 60')).toEqual([]);
  });

  test('\\copy from a file and to one', async () => {
    const load = await psql(
      cluster.node(3),
      ['-c', '\\copy people (id, name) FROM PSTDIN WITH (FORMAT csv)'],
      '70,"a, b"\n71,c\n',
    );
    expect(load).toMatchObject({ code: 0, stdout: 'COPY 2\n' });
    const out = await psql(cluster.node(1), [
      '-c',
      '\\copy (SELECT id, name FROM people WHERE id >= 70 ORDER BY id) TO STDOUT WITH (FORMAT csv)',
    ]);
    expect(out.stdout).toBe('70,"a, b"\n71,c\n');
    await equalRows(cluster);
  });
});
