/** monotonic_sequences = on: values of the nodes in the order in which their transactions are seen. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startCluster, type Cluster } from '../../support/cluster.ts';
import { equalEverywhere, noPrepared } from '../../support/convergence.ts';
import { together } from '../../support/load.ts';

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ majors: [15, 18, 17], settings: { monotonic_sequences: true } });
});

afterAll(async () => {
  await cluster?.stop();
});

test('monotonic_sequences: whoever has seen a commit draws above it', async () => {
  await cluster.query(1, 'CREATE SCHEMA "a b"');
  await cluster.query(1, 'CREATE SEQUENCE "a b".s');
  await cluster.query(
    1,
    'CREATE TABLE "a b".t (id bigserial PRIMARY KEY, g int GENERATED ALWAYS AS IDENTITY)',
  );
  const sessions = [];
  for (const number of cluster.numbers) sessions.push(await cluster.client(number));
  let last = { id: 0, g: 0, v: 0 };
  for (const place of [0, 1, 1, 1, 1, 2, 0, 2, 2, 2, 1, 0, 0, 0, 0, 2, 1]) {
    const session = sessions[place]!;
    const { rows } = await session.query(
      'INSERT INTO "a b".t SELECT FROM generate_series(1, 3) RETURNING id::int, g',
    );
    const drew = (await session.query(`SELECT nextval('"a b".s')::int AS v`)).rows[0] as { v: number };
    const next = { ...(rows[0] as { id: number; g: number }), ...drew };
    expect(next.id).toBeGreaterThan(last.id);
    expect(next.g).toBeGreaterThan(last.g);
    expect(next.v).toBeGreaterThan(last.v);
    last = { ...(rows[2] as { id: number; g: number }), ...drew };
  }
  // All at once: an id that somebody has read is lower than what he draws afterwards.
  const highest = 'SELECT coalesce(max(id), 0)::int AS id FROM "a b".t';
  await together(
    sessions.map(async (session) => {
      for (let round = 0; round < 25; round++) {
        const seen = (await session.query(highest)).rows[0] as { id: number };
        const { rows } = await session.query('INSERT INTO "a b".t DEFAULT VALUES RETURNING id::int');
        expect((rows[0] as { id: number }).id).toBeGreaterThan(seen.id);
      }
    }),
  );
  for (const session of sessions) await session.end();
  await equalEverywhere(cluster);
  await noPrepared(cluster);
});

test('what is rolled back is told to nobody; a cycle is left alone; the bounds end for all', async () => {
  await cluster.query(1, 'CREATE SEQUENCE short MAXVALUE 30');
  await cluster.query(1, 'CREATE SEQUENCE round MAXVALUE 9 CYCLE');
  const draw = async (number: number, name: string, times = 1): Promise<number | undefined> => {
    const text = `SELECT max(nextval($1))::int AS v FROM generate_series(1, $2)`;
    return (await cluster.query<{ v: number }>(number, text, [name, times]))[0]?.v;
  };
  const client = await cluster.client(1);
  await client.query('BEGIN');
  await client.query(`SELECT nextval('short') FROM generate_series(1, 5)`);
  await client.query('ROLLBACK');
  await client.end();
  expect(await draw(2, 'short')).toBe(2);
  expect(await draw(1, 'short', 3)).toBe(22);
  expect(await draw(3, 'short')).toBe(24);
  expect(await draw(1, 'short', 2)).toBe(28);
  expect(await draw(2, 'short')).toBe(29);
  expect(await draw(3, 'short')).toBe(30);
  await expect(draw(1, 'short')).rejects.toMatchObject({ code: '2200H' });
  await expect(draw(2, 'short')).rejects.toMatchObject({ code: '2200H' });
  expect([await draw(1, 'round', 2), await draw(2, 'round'), await draw(3, 'round')]).toEqual([4, 2, 3]);
});
