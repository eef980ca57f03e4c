/** pg-cursor, pg-query-stream, pg-copy-streams and LISTEN of pg; the streams that knex and TypeORM make of them. */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Client } from 'pg';
import { from as copyFrom, to as copyTo } from 'pg-copy-streams';
import Cursor from 'pg-cursor';
import QueryStream from 'pg-query-stream';
import { DataSource } from 'typeorm';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { failureOf } from '../../../support/cluster.ts';
import { eventually } from '../../../support/polling.ts';
import type { Row } from './driver.ts';
import type { Site } from './duties.ts';
import { openKnex } from './knex.ts';

/** More than what sockets and gateway hold: a server that may send all of it at once would not wait. */
const much = `SELECT n AS id, repeat('x', 1000) AS filling FROM generate_series(1, 100000) AS n`;

/** A few rows of a stream that is given up then; their ids. */
async function some(stream: AsyncIterable<Row>, most: number): Promise<number[]> {
  const ids: number[] = [];
  for await (const { id } of stream) if (ids.push(Number(id)) === most) break;
  return ids;
}

export function pgStreams(site: Site): void {
  let client: Client;

  beforeEach(async () => {
    client = new Client(site.access(1));
    await client.connect();
    await client.query('DELETE FROM item');
  });
  afterEach(() => client.end());

  const count = async (node: number): Promise<number> => {
    const rows = await site.cluster().directly<{ n: number }>(node, 'SELECT count(*)::int AS n FROM item');
    return rows[0]!.n;
  };

  describe('pg-cursor', () => {
    test('piece by piece, closed early, in a transaction that writes behind it', async () => {
      await client.query('BEGIN');
      const cursor = client.query(new Cursor<Row>(much, []));
      expect((await cursor.read(2)).map(({ id }) => id)).toEqual([1, 2]);
      expect((await cursor.read(1)).map(({ id }) => id)).toEqual([3]);
      await cursor.close();
      await client.query('INSERT INTO item (id) VALUES (1)');
      await client.query('COMMIT');
      expect(await count(2)).toBe(1);
    });

    test('rows of a write, and its end', async () => {
      const insert = 'INSERT INTO item (id) SELECT * FROM generate_series(1, $1::int) RETURNING id';
      const cursor = client.query(new Cursor<Row>(insert, [5]));
      expect(await cursor.read(9)).toHaveLength(5);
      expect(await cursor.read(9)).toEqual([]);
      await cursor.close();
      expect(await count(2)).toBe(5);
      const failing = client.query(new Cursor('SELECT 1 / (n - 3) FROM generate_series(1, 5) AS n', []));
      expect((await failureOf(failing.read(9))).code).toBe('22012');
      expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    });
  });

  describe('pg-query-stream', () => {
    test('in batches, given up early', async () => {
      const stream = client.query(new QueryStream(much, [], { batchSize: 10 }));
      expect(await some(stream, 25)).toEqual(Array.from({ length: 25 }, (_, n) => n + 1));
      expect((await client.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    });

    test('all of it', async () => {
      let sum = 0;
      const stream = client.query(new QueryStream('SELECT n FROM generate_series(1, 20000) AS n', []));
      for await (const { n } of stream as AsyncIterable<{ n: number }>) sum += n;
      expect(sum).toBe(200_010_000);
    });

    test('as a stream of knex, and of TypeORM', async () => {
      const knex = openKnex(site.access(2), 2);
      expect(await some(knex.select('id').fromRaw(`(${much}) AS m`).stream(), 3)).toEqual([1, 2, 3]);
      await knex.destroy();
      const { user, ...access } = site.access(2);
      const source = await new DataSource({ type: 'postgres', username: user, ...access }).initialize();
      const runner = source.createQueryRunner();
      expect(await some(await runner.stream(much), 3)).toEqual([1, 2, 3]);
      await runner.release();
      await source.destroy();
    });
  });

  describe('pg-copy-streams', () => {
    const lines = (from: number) =>
      Readable.from(Array.from({ length: 5000 }, (_, n) => `${from + n}\tname ${from + n}\n`));
    const copy = 'COPY item (id, name) FROM STDIN';

    test('in, by itself and in a transaction; out', async () => {
      await pipeline(lines(0), client.query(copyFrom(copy)));
      await client.query('BEGIN');
      await pipeline(lines(5000), client.query(copyFrom(copy)));
      await client.query('COMMIT');
      expect(await count(2)).toBe(10_000);
      let bytes = 0;
      for await (const chunk of client.query(copyTo('COPY (SELECT * FROM item ORDER BY id) TO STDOUT')))
        bytes += (chunk as Buffer).length;
      expect(bytes).toBeGreaterThan(100_000);
    });

    test('refused rows and a stream that breaks leave nothing', async () => {
      expect(
        await failureOf(pipeline(Readable.from(['1\ta\n', 'two\tb\n']), client.query(copyFrom(copy)))),
      ).toMatchObject({
        code: '22P02',
        where: 'COPY item, line 2, column id: "two"',
      });
      const broken = async function* () {
        yield '1\ta\n';
        await Promise.resolve();
        throw new Error('no more');
      };
      await expect(pipeline(Readable.from(broken()), client.query(copyFrom(copy)))).rejects.toThrow(
        'no more',
      );
      await eventually('nothing of it is there', async () => (await count(1)) + (await count(2)) === 0);
    });
  });

  test('LISTEN hears what another node commits, in order', async () => {
    const heard: (string | undefined)[] = [];
    const all = new Promise<void>((resolve) =>
      client.on('notification', ({ payload }) => {
        heard.push(payload);
        if (heard.length === 3) resolve();
      }),
    );
    await client.query('LISTEN news');
    const other = new Client(site.access(2));
    await other.connect();
    await other.query('BEGIN');
    await other.query(`NOTIFY news, 'never'`);
    await other.query('ROLLBACK');
    await other.query('BEGIN');
    await other.query(`NOTIFY news, 'one'`);
    await other.query(`SELECT pg_notify('news', 'two')`);
    await other.query('COMMIT');
    await other.query(`NOTIFY news, 'three'`);
    await all;
    expect(heard).toEqual(['one', 'two', 'three']);
    await other.end();
  });

  test('knex cancels what takes too long', async () => {
    const knex = openKnex(site.access(1), 2);
    const slow = knex.raw('SELECT pg_sleep(60)').timeout(200, { cancel: true });
    expect((await failureOf(slow)).message).toMatch(/timeout/i);
    const running = `SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND state = 'active'`;
    await eventually(
      'it was cancelled',
      async () => (await site.cluster().directly(1, running)).length === 0,
    );
    await knex.destroy();
  });
}
