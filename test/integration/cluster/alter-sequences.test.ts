/** mtm.alter_sequences(): values of the nodes apart again, and that while everybody draws. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { failureOf, startCluster, type Cluster } from '../../support/cluster.ts';
import { noPrepared } from '../../support/convergence.ts';
import { isRepeatable, together, transaction } from '../../support/load.ts';

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ majors: [15, 18, 17], settings: { admin_role: 'keepers' } });
  await cluster.query(1, 'CREATE ROLE stranger LOGIN');
  await cluster.query(1, 'CREATE ROLE keepers');
  await cluster.query(1, 'CREATE ROLE keeper LOGIN IN ROLE keepers');
});

beforeEach(async () => {
  await cluster.query(1, 'DROP SCHEMA IF EXISTS "a b" CASCADE');
  await cluster.query(1, 'CREATE SCHEMA "a b"');
  await cluster.query(2, 'SELECT mtm.alter_sequences()');
});

afterAll(async () => {
  await cluster?.stop();
});

/** What the nodes draw, one after the other. */
async function drawn(sequence: string, times = 1, numbers = cluster.numbers): Promise<number[][]> {
  const values = [];
  for (const number of numbers) {
    const text = `SELECT nextval($1)::float8 AS v FROM generate_series(1, $2)`;
    values.push((await cluster.query<{ v: number }>(number, text, [sequence, times])).map(({ v }) => v));
  }
  return values;
}

/** As mtm.add_node does: so many nodes that the test has not. */
async function spread(number: number, count: number): Promise<unknown> {
  const client = await cluster.client(number);
  try {
    const { rows } = await client.query<{ done: boolean }>('SELECT mtm.spread_sequences($1) AS done', [
      count,
    ]);
    return rows[0]?.done;
  } finally {
    await client.end();
  }
}

async function alter(number: number, user = 'postgres'): Promise<unknown> {
  const client = await cluster.client(number, { user });
  try {
    return (await client.query<{ done: boolean }>('SELECT mtm.alter_sequences() AS done')).rows[0]?.done;
  } finally {
    await client.end();
  }
}

async function steps(): Promise<number[]> {
  const answers = await cluster.onAllServers<{ n: number }>('SELECT node_count AS n FROM mtm.sequence_step');
  return answers.map(([row]) => row?.n ?? 0);
}

test('a fourth node: each goes on at its own first value above all that were used', async () => {
  await cluster.query(1, 'CREATE SEQUENCE "a b"."c ""d"');
  await cluster.query(1, 'CREATE TABLE "a b".t (id serial PRIMARY KEY, g int GENERATED ALWAYS AS IDENTITY)');
  await cluster.query(1, 'CREATE SEQUENCE "a b".down INCREMENT -10 START -5');
  await cluster.query(1, 'CREATE UNLOGGED TABLE "a b".u (id bigserial)');
  await cluster.query(1, 'CREATE SEQUENCE "a b".cached CACHE 10');
  const session = await cluster.client(2);
  await session.query('CREATE TEMP SEQUENCE of_session');
  await session.query(`SELECT nextval('"a b".cached')`);
  expect(await drawn('"a b"."c ""d"')).toEqual([[1], [2], [3]]);
  expect(await drawn('"a b".t_id_seq', 3)).toEqual([
    [1, 4, 7],
    [2, 5, 8],
    [3, 6, 9],
  ]);
  expect(await drawn('"a b".down', 1)).toEqual([[-5], [-15], [-25]]);
  expect(await spread(2, 4)).toBe(true);
  expect(await steps()).toEqual([4, 4, 4]);
  expect(await drawn('"a b"."c ""d"', 2)).toEqual([
    [5, 9],
    [6, 10],
    [7, 11],
  ]);
  expect(await drawn('"a b".t_id_seq', 2)).toEqual([
    [13, 17],
    [14, 18],
    [15, 19],
  ]);
  expect(await drawn('"a b".t_g_seq')).toEqual([[1], [2], [3]]);
  expect(await drawn('"a b".u_id_seq')).toEqual([[1], [2], [3]]);
  expect(await drawn('"a b".down', 2)).toEqual([
    [-45, -85],
    [-55, -95],
    [-65, -105],
  ]);
  // What the session had cached is gone: 29 was the last of it.
  const { rows } = await session.query(
    `SELECT nextval('"a b".cached')::int AS v, nextval('of_session')::int AS t`,
  );
  expect(rows).toEqual([{ v: 34, t: 1 }]);
  await session.end();
  // New ones are made for four; and back to three, what the fourth has used is passed, too.
  await cluster.query(3, 'CREATE SEQUENCE "a b".later');
  expect(await drawn('"a b".later', 2)).toEqual([
    [1, 5],
    [2, 6],
    [3, 7],
  ]);
  expect(await alter(1)).toBe(true);
  expect(await drawn('"a b".later', 2)).toEqual([
    [10, 13],
    [11, 14],
    [12, 15],
  ]);
  await noPrepared(cluster);
});

test('what a user has broken is put right, and what is right stays', async () => {
  await cluster.query(1, 'CREATE SEQUENCE "a b".s');
  await cluster.query(1, 'CREATE SEQUENCE "a b".fine');
  await drawn('"a b".fine');
  for (const number of cluster.numbers) {
    const past = await cluster.client(number, { application_name: 'mtm_admin' });
    await past.query(`SELECT mtm_local_setval('"a b".s', 100)`);
    await past.end();
  }
  expect(await drawn('"a b".s')).toEqual([[103], [103], [103]]);
  expect(await alter(3)).toBe(true);
  expect(await drawn('"a b".s')).toEqual([[106], [107], [108]]);
  expect(await drawn('"a b".fine')).toEqual([[4], [5], [6]]);
  // An administrator who changed it on one node only has broken it, too: the node that is asked is right.
  const past = await cluster.client(2, { application_name: 'mtm_admin' });
  await past.query('ALTER SEQUENCE "a b".s INCREMENT 5 MAXVALUE 1000');
  await past.end();
  expect((await drawn('"a b".s', 1, [2]))[0]).toEqual([126]);
  expect(await alter(1, 'keeper')).toBe(true);
  expect(await drawn('"a b".s', 2)).toEqual([
    [127, 130],
    [128, 131],
    [129, 132],
  ]);
  const before = await cluster.onAllServers('SELECT pg_relation_filenode(oid) FROM pg_class ORDER BY 1');
  for (const number of cluster.numbers) expect(await alter(number)).toBe(true);
  expect(await cluster.onAllServers('SELECT pg_relation_filenode(oid) FROM pg_class ORDER BY 1')).toEqual(
    before,
  );
});

test('bounds that are too small are left alone with a warning, and ends are kept', async () => {
  await cluster.query(1, 'CREATE SEQUENCE "a b".tiny MAXVALUE 3');
  await cluster.query(1, 'CREATE SEQUENCE "a b".small MAXVALUE 6');
  await cluster.query(1, 'CREATE SEQUENCE "a b".round MAXVALUE 6 CYCLE');
  expect(await drawn('"a b".tiny')).toEqual([[1], [2], [3]]);
  expect(await drawn('"a b".small')).toEqual([[1], [2], [3]]);
  expect(await drawn('"a b".round', 2)).toEqual([
    [1, 4],
    [2, 5],
    [3, 6],
  ]);
  const client = await cluster.client(2);
  const notices: string[] = [];
  client.on('notice', ({ message }) => notices.push(message ?? ''));
  expect((await client.query('SELECT mtm.spread_sequences(4) AS done')).rows).toEqual([{ done: false }]);
  await client.end();
  expect(notices).toEqual([
    '[multimaster] sequences that were left alone, because their bounds leave no room for 4 nodes: "a b".tiny',
  ]);
  // 5 and 6 are left of the second round; the third node has none.
  expect(await drawn('"a b".small', 1, [1, 2])).toEqual([[5], [6]]);
  for (const number of cluster.numbers) {
    expect(await failureOf(cluster.query(number, `SELECT nextval('"a b".small')`))).toMatchObject({
      code: '2200H',
    });
  }
  expect(await drawn('"a b".round', 2)).toEqual([
    [1, 5],
    [2, 6],
    [3, 3],
  ]);
  await cluster.query(1, 'DROP SEQUENCE "a b".tiny');
});

test('only for administrators, and only where writes are replicated', async () => {
  const stranger = await cluster.client(1, { user: 'stranger' });
  expect(await failureOf(stranger.query('SELECT mtm.alter_sequences()'))).toMatchObject({
    code: '42501',
    message: expect.stringMatching(/role "stranger" may not change the cluster/u),
  });
  expect(await failureOf(stranger.query(`SELECT mtm.apply_fences(5, '[]')`))).toMatchObject({
    code: '42501',
  });
  await stranger.end();
  for (const client of [
    await cluster.direct(2),
    await cluster.client(2, { application_name: 'mtm_admin' }),
  ]) {
    expect(await failureOf(client.query('SELECT mtm.alter_sequences()'))).toMatchObject({ code: '0A000' });
    await client.end();
  }
});

test('in a block with sequences of its own, and rolled back', async () => {
  await cluster.query(1, 'CREATE SEQUENCE "a b".s');
  const client = await cluster.client(1);
  await client.query('BEGIN');
  await client.query('CREATE TABLE "a b".own (id serial PRIMARY KEY)');
  await client.query('INSERT INTO "a b".own DEFAULT VALUES');
  await client.query('SELECT mtm.spread_sequences(5)');
  const { rows } = await client.query('INSERT INTO "a b".own DEFAULT VALUES RETURNING id');
  expect(rows).toEqual([{ id: 6 }]);
  await client.query('CREATE SEQUENCE "a b".after');
  await client.query('COMMIT');
  expect(await drawn('"a b".own_id_seq')).toEqual([[11], [7], [8]]);
  expect(await drawn('"a b".after', 2)).toEqual([
    [1, 6],
    [2, 7],
    [3, 8],
  ]);
  await client.query('BEGIN');
  await client.query('SELECT mtm.alter_sequences()');
  await client.query('ROLLBACK');
  expect(await drawn('"a b".after')).toEqual([[11], [12], [13]]);
  expect(await steps()).toEqual([5, 5, 5]);
  await client.end();
});

test('under load from all nodes no value is drawn twice, and nobody fails', async () => {
  await cluster.query(
    1,
    `CREATE TABLE "a b".busy (z bigint GENERATED ALWAYS AS IDENTITY UNIQUE, a serial PRIMARY KEY, node int)`,
  );
  const failures: unknown[] = [];
  let going = true;
  let rows = 0;
  const insert = 'INSERT INTO "a b".busy (node) VALUES ($1)';
  const writers = cluster.numbers.flatMap((number) => [
    (async () => {
      const client = await cluster.client(number);
      while (going) {
        try {
          await client.query(insert, [number]);
          rows += 1;
        } catch (error) {
          if (!isRepeatable(error)) failures.push(error);
        }
      }
      await client.end();
    })(),
    (async () => {
      const client = await cluster.client(number);
      while (going) {
        await transaction(client, async () => {
          await client.query(insert, [number]);
          await client.query(insert, [number]);
        });
        rows += 2;
      }
      await client.end();
    })(),
  ]);
  const changes = (async () => {
    try {
      for (const [index, count] of [4, 3, 7, 5, 4, 9, 3].entries()) {
        const client = await cluster.client((index % 3) + 1);
        await transaction(client, () => client.query('SELECT mtm.spread_sequences($1)', [count]));
        await client.end();
        expect(await spread((index % 3) + 1, count)).toBe(true);
      }
    } finally {
      going = false;
    }
  })();
  await together([...writers, changes]);
  expect(failures).toEqual([]);
  expect(rows).toBeGreaterThan(100);
  const counted = await cluster.onAllServers<{ n: number }>('SELECT count(*)::int AS n FROM "a b".busy');
  expect(counted.map(([row]) => row?.n)).toEqual([rows, rows, rows]);
  await noPrepared(cluster);
});

test('a node that was away, far ahead, is passed; and it finds its place again', async () => {
  await cluster.query(1, 'CREATE TABLE "a b".t (id serial PRIMARY KEY, node int)');
  await cluster.query(3, 'INSERT INTO "a b".t (node) SELECT 3 FROM generate_series(1, 100)');
  await cluster.killGateway(3);
  const insert = 'INSERT INTO "a b".t (node) VALUES ($1) RETURNING id';
  await cluster.query(1, insert, [1]).catch(() => undefined);
  await expect.poll(() => spread(1, 4).catch(String), { timeout: 30_000 }).toBe(true);
  expect(await cluster.query(1, insert, [1])).toEqual([{ id: 301 }]);
  expect(await cluster.query(2, insert, [2])).toEqual([{ id: 302 }]);
  await cluster.startGateway(3);
  await cluster.whole();
  expect(await steps()).toEqual([4, 4, 4]);
  expect(await cluster.query(3, insert, [3])).toEqual([{ id: 303 }]);
  expect(await alter(3)).toBe(true);
  expect(await steps()).toEqual([3, 3, 3]);
  expect(await drawn('"a b".t_id_seq')).toEqual([[304], [305], [306]]);
});
