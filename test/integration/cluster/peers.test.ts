/**
 * What PostgreSQL's own tests (npm run regress) found at the nodes that apply.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { equalEverywhere, noPrepared } from '../../support/convergence.ts';
import { startCluster, type Cluster } from '../../support/cluster.ts';

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ majors: [15, 18, 18] });
});

afterAll(async () => {
  await noPrepared(cluster);
  await equalEverywhere(cluster);
  await cluster.stop();
});

test('values that are larger than a message between gateways', async () => {
  await cluster.query(1, 'CREATE TABLE large (id int PRIMARY KEY, v text)');
  for (const [id, size] of [300_000, 5_000_000, 20_000_000].entries()) {
    await cluster.query(1 + (id % 2), `INSERT INTO large VALUES (${id}, repeat(md5('${id}'), ${size / 32}))`);
  }
  await cluster.query(2, `INSERT INTO large SELECT g, repeat('x', 280000) FROM generate_series(10, 20) g`);
  await cluster.query(3, `UPDATE large SET v = v || 'y' WHERE id IN (0, 1, 10)`);
  const question = 'SELECT count(*)::int AS rows, sum(length(v))::int AS size FROM large';
  expect(await cluster.query(3, question)).toEqual([{ rows: 14, size: 25_300_000 + 11 * 280_000 + 3 }]);
});

test('a foreign key that is dropped is forgotten by those who have checked it', async () => {
  await cluster.query(1, 'CREATE TABLE parent (id int PRIMARY KEY)');
  await cluster.query(1, 'CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent)');
  for (const id of [1, 2, 3]) await cluster.query(1, `INSERT INTO parent VALUES (${id})`);
  // On every apply connection: they remember what they know of a table.
  await Promise.all([1, 2].map((id) => cluster.query(id, `DELETE FROM parent WHERE id = ${id}`)));
  await cluster.query(1, 'DROP TABLE child');
  await cluster.query(1, 'DELETE FROM parent WHERE id = 3');
  expect(await cluster.query(3, 'SELECT * FROM parent')).toEqual([]);
});

test('DROP OWNED BY, of the role whose command it is', async () => {
  const client = await cluster.client(1);
  await client.query('CREATE ROLE owner_of_little');
  await client.query('GRANT CREATE ON SCHEMA public TO owner_of_little');
  await client.query('SET ROLE owner_of_little');
  await client.query('CREATE TABLE little (id int PRIMARY KEY)');
  await client.query('DROP OWNED BY owner_of_little');
  await client.query('RESET ROLE');
  await client.query('REVOKE CREATE ON SCHEMA public FROM owner_of_little');
  await client.query('DROP ROLE owner_of_little');
  await client.end();
  expect(await cluster.query(2, `SELECT to_regclass('little') AS it`)).toEqual([{ it: null }]);
});
