/** node-postgres (`pg`) through a gateway: what an application does all day. */
import { Pool, type Client } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { embeddedDatabase, embeddedHost } from '../../../src/io/launcher/node-layout.ts';
import { failureOf, startCluster, type Cluster } from '../../support/cluster.ts';
import { equalRows, noPrepared } from '../../support/convergence.ts';
import { isRepeatable } from '../../support/load.ts';

let cluster: Cluster;
let client: Client;

beforeAll(async () => {
  cluster = await startCluster({ majors: [17, 18, 16] });
  await cluster.query(
    1,
    `CREATE TABLE kinds (id serial PRIMARY KEY, i int, b bigint, n numeric, f float8, t text, v varchar(10),
    d date, ts timestamptz, j jsonb, a int[], ta text[], y bytea, o boolean, u uuid, iv interval, ip inet)`,
  );
  await cluster.query(1, 'CREATE TABLE items (id int PRIMARY KEY, name text NOT NULL, UNIQUE (name))');
});

beforeEach(async () => {
  client = await cluster.client(2);
  return async () => {
    await client.end();
    await noPrepared(cluster);
    await equalRows(cluster);
  };
});

afterAll(async () => {
  await cluster?.stop();
});

test('values of all kinds come back as they went, on the other nodes too', async () => {
  const row = {
    i: -7,
    b: '9223372036854775807',
    n: '12345678901234567890.123',
    f: 0.1,
    t: `it's "ä€😀" \\ \n\t;--`,
    v: 'ten chars!',
    ts: new Date('2024-02-29T12:34:56.789Z'),
    j: { a: [1, null, { b: 'x' }] },
    a: [1, null, 3],
    ta: ['a,b', '"q"', '{}', null, ''],
    y: Buffer.from([0, 1, 2, 255, 0]),
    o: false,
    u: '123e4567-e89b-12d3-a456-426614174000',
    ip: '10.0.0.0/8',
  };
  const columns = Object.keys(row);
  const places = columns.map((_, index) => `$${index + 1}`).join();
  const inserted = await client.query(
    `INSERT INTO kinds (${columns.join()}) VALUES (${places}) RETURNING id`,
    Object.values(row),
  );
  for (const number of cluster.numbers) {
    const [found] = await cluster.directly(number, `SELECT ${columns.join()} FROM kinds WHERE id = $1`, [
      inserted.rows[0].id,
    ]);
    expect(found).toEqual(row);
  }
});

test('named prepared statements over many writes', async () => {
  for (let id = 1; id <= 20; id++) {
    const { rowCount } = await client.query({
      name: 'add',
      text: 'INSERT INTO items VALUES ($1, $2)',
      values: [id, `item ${id}`],
    });
    expect(rowCount).toBe(1);
    const { rows } = await client.query({
      name: 'get',
      text: 'SELECT name FROM items WHERE id = $1',
      values: [id],
    });
    expect(rows).toEqual([{ name: `item ${id}` }]);
  }
  expect((await client.query('DELETE FROM items')).rowCount).toBe(20);
});

describe('errors', () => {
  test('carry everything that PostgreSQL sends', async () => {
    await client.query(`INSERT INTO items VALUES (1, 'one')`);
    expect(await failureOf(client.query('INSERT INTO items VALUES ($1, $2)', [2, 'one']))).toMatchObject({
      code: '23505',
      severity: 'ERROR',
      constraint: 'items_name_key',
      detail: 'Key (name)=(one) already exists.',
    });
    expect(await failureOf(client.query('SELECT * FORM items'))).toMatchObject({
      code: '42601',
      position: '10',
    });
    expect(await failureOf(client.query('SELECT $1::int', ['x']))).toMatchObject({ code: '22P02' });
    await client.query('DELETE FROM items');
  });

  test('a statement timeout, a lock timeout', async () => {
    await client.query(`SET statement_timeout = '100ms'`);
    expect((await failureOf(client.query('SELECT pg_sleep(5)'))).code).toBe('57014');
    await client.query('RESET statement_timeout');
  });
});

describe('transactions', () => {
  test('isolation levels are what was asked for', async () => {
    for (const level of ['read committed', 'repeatable read', 'serializable']) {
      await client.query(`BEGIN ISOLATION LEVEL ${level}`);
      expect((await client.query('SHOW transaction_isolation')).rows).toEqual([
        { transaction_isolation: level },
      ]);
      await client.query('COMMIT');
    }
    await client.query('BEGIN READ ONLY');
    expect((await failureOf(client.query(`INSERT INTO items VALUES (1, 'x')`))).code).toBe('25006');
    await client.query('ROLLBACK');
  });

  test('a repeatable read that meets a newer row is told 40001', async () => {
    await client.query(`INSERT INTO items VALUES (1, 'old')`);
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    await client.query('SELECT * FROM items');
    await cluster.query(3, `UPDATE items SET name = 'new' WHERE id = 1`);
    const failure = await failureOf(client.query(`UPDATE items SET name = 'mine' WHERE id = 1`));
    expect(isRepeatable(failure)).toBe(true);
    await client.query('ROLLBACK');
    expect((await client.query('SELECT name FROM items')).rows).toEqual([{ name: 'new' }]);
    await client.query('DELETE FROM items');
  });

  test('an own write is seen by the next read on every node', async () => {
    for (let id = 1; id <= 15; id++) {
      await client.query('INSERT INTO items VALUES ($1::int, $1::int::text)', [id]);
      for (const number of cluster.numbers) {
        expect(await cluster.query(number, 'SELECT 1 AS one FROM items WHERE id = $1', [id])).toEqual([
          { one: 1 },
        ]);
      }
    }
    await client.query('DELETE FROM items');
  });
});

describe('the session', () => {
  test('settings, temporary tables, advisory locks and cursors', async () => {
    await client.query(`SET work_mem = '9MB'; SET search_path = pg_catalog, public`);
    expect((await client.query('SHOW work_mem')).rows).toEqual([{ work_mem: '9MB' }]);
    await client.query('CREATE TEMP TABLE mine (id int)');
    await client.query('INSERT INTO mine SELECT generate_series(1, 100)');
    expect((await client.query('SELECT count(*)::int AS n FROM mine')).rows).toEqual([{ n: 100 }]);
    expect((await client.query('SELECT pg_try_advisory_lock(5) AS got')).rows).toEqual([{ got: true }]);
    const other = await cluster.client(2);
    expect((await other.query('SELECT pg_try_advisory_lock(5) AS got')).rows).toEqual([{ got: false }]);
    await other.end();
    await client.query('BEGIN');
    await client.query('DECLARE c CURSOR FOR SELECT id FROM mine ORDER BY id');
    expect((await client.query('FETCH 2 FROM c')).rows).toEqual([{ id: 1 }, { id: 2 }]);
    await client.query('COMMIT');
    await client.query('DISCARD ALL');
    expect((await client.query('SHOW default_transaction_read_only')).rows).toEqual([
      { default_transaction_read_only: 'off' },
    ]);
    expect((await failureOf(client.query('SELECT * FROM mine'))).code).toBe('42P01');
    await client.query(`INSERT INTO items VALUES (1, 'after discard')`);
    await client.query('DELETE FROM items');
  });

  test('opening the session for writing behind the gateway is closed again', async () => {
    for (const text of [
      'SET default_transaction_read_only = off',
      `SELECT set_config('default_transaction_read_only', 'off', false)`,
      'SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE',
      `DO $$ BEGIN SET default_transaction_read_only = off; END $$`,
    ]) {
      await client.query(text).catch(() => undefined);
      await client.query('RESET ALL');
      await client.query(`SELECT 1; INSERT INTO items VALUES (1, 'supervised')`);
      expect(await cluster.directly(1, 'SELECT name FROM items'), text).toEqual([{ name: 'supervised' }]);
      await client.query('DELETE FROM items');
    }
    const [row] = await cluster.query<{ n: string }>(2, 'SELECT unsupervised_writes AS n FROM mtm.status()');
    expect(Number(row?.n)).toBe(0);
  });
});

test('a pool under load, errors and all', async () => {
  const pool = new Pool({
    host: embeddedHost,
    port: cluster.node(3).gatewayPort,
    user: 'postgres',
    database: embeddedDatabase,
    max: 8,
  });
  await Promise.all(
    Array.from({ length: 120 }, async (_, index) => {
      await pool
        .query('INSERT INTO items VALUES ($1, $2)', [index, `p${index % 100}`])
        .catch((error: { code: string }) => {
          expect(error.code).toBe('23505');
        });
      await pool.query('SELECT count(*) FROM items');
    }),
  );
  await pool.end();
  expect(await cluster.directly(1, 'SELECT count(*)::int AS n FROM items')).toEqual([{ n: 100 }]);
});
