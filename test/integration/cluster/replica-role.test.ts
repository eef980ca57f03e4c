/**
 * session_replication_role = replica in a client's session, and ALTER TABLE … DISABLE TRIGGER ALL: triggers and foreign
 * keys rest as on one server, and all nodes get the same rows and definitions nevertheless.
 */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { failureOf, startCluster, type Cluster } from '../../support/cluster.ts';
import { equalEverywhere, noPrepared } from '../../support/convergence.ts';

const replica = 'SET session_replication_role = replica';
let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ majors: [15, 18] });
  await cluster.query(
    1,
    `CREATE TABLE parent (id int PRIMARY KEY, name text);
     CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE);
     CREATE TABLE log (id serial PRIMARY KEY, what text);
     CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN INSERT INTO public.log (what) VALUES (TG_TABLE_NAME || ' ' || TG_OP); RETURN NULL; END $$;
     CREATE TRIGGER noted AFTER INSERT OR DELETE ON child FOR EACH ROW EXECUTE FUNCTION note();
     CREATE ROLE plain LOGIN`,
  );
});

afterEach(async () => {
  await cluster.query(1, 'TRUNCATE parent, child, log');
  await noPrepared(cluster);
  await equalEverywhere(cluster);
});

afterAll(async () => {
  await cluster?.stop();
});

async function rows(number: number, text: string): Promise<unknown[]> {
  return (await cluster.query<Record<string, unknown>>(number, text)).map((row) => Object.values(row)[0]);
}

/** The same on both nodes. */
async function expectRows(text: string, wanted: readonly unknown[]): Promise<void> {
  await equalEverywhere(cluster);
  for (const number of cluster.numbers) expect(await rows(number, text), `node ${number}`).toEqual(wanted);
}

test.each([1, 2])('rows, without triggers and foreign keys, on node %i', async (number) => {
  const client = await cluster.client(number);
  await client.query(replica);
  await client.query('INSERT INTO child VALUES (1, 1), (2, 2), (3, 3)');
  await client.query(`INSERT INTO parent VALUES (1, 'a'), (2, 'b')`);
  await client.query('DELETE FROM parent WHERE id = 1');
  await client.query('RESET session_replication_role');
  await client.query('DELETE FROM parent WHERE id = 2');
  expect((await failureOf(client.query('INSERT INTO child VALUES (4, 4)'))).code).toBe('23503');
  await client.end();
  await expectRows('SELECT id FROM child ORDER BY 1', [1, 3]);
  await expectRows('SELECT what FROM log', ['child DELETE']);
});

test('definitions, also in code, and positions of sequences', async () => {
  const client = await cluster.client(2, { options: '-c session_replication_role=replica' });
  await client.query('CREATE TABLE made (id serial PRIMARY KEY, n int)');
  await client.query('INSERT INTO made (n) SELECT 1 FROM generate_series(1, 3)');
  await client.query('ALTER TABLE made ADD COLUMN r float DEFAULT random()');
  await client.query(`SELECT setval('made_id_seq', 100)`);
  await client.query('CREATE TABLE again AS SELECT * FROM made');
  await client.query('DROP TABLE again');
  await client.end();
  const other = await cluster.client(1);
  await other.query(
    `DO $$ BEGIN PERFORM set_config('session_replication_role', 'replica', true); CREATE TABLE in_code (a int);
     INSERT INTO in_code VALUES (1); END $$`,
  );
  await other.query('CREATE INDEX CONCURRENTLY made_n ON made (n)');
  await other.end();
  await expectRows('SELECT count(*)::int FROM made', [3]);
  await expectRows(`SELECT count(*)::int FROM pg_class WHERE relname IN ('made_n', 'in_code', 'again')`, [2]);
  for (const number of cluster.numbers)
    expect((await rows(number, `SELECT nextval('made_id_seq')::int`))[0]).toBeGreaterThan(100);
});

test('in transactions that end in other ways', async () => {
  const client = await cluster.client(1);
  await client.query(`BEGIN; ${replica.replace('SET', 'SET LOCAL')}; INSERT INTO child VALUES (1, 1)`);
  await client.query(`PREPARE TRANSACTION 'unchecked'`);
  await cluster.query(2, `COMMIT PREPARED 'unchecked'`);
  await client.query('CREATE TEMPORARY TABLE beside (a int)');
  await client.query(`BEGIN; ${replica.replace('SET', 'SET LOCAL')}; INSERT INTO child VALUES (2, 2)`);
  await client.query('INSERT INTO beside VALUES (1); COMMIT');
  await client.end();
  await expectRows('SELECT id FROM child ORDER BY 1', [1, 2]);
  await expectRows('SELECT what FROM log', []);
});

test('triggers that are disabled for a table: foreign keys rest with them', async () => {
  const client = await cluster.client(2);
  await client.query('ALTER TABLE child DISABLE TRIGGER ALL');
  await client.query('INSERT INTO child VALUES (1, 1), (2, 2)');
  await client.query('ALTER TABLE child ENABLE TRIGGER ALL');
  expect((await failureOf(client.query('INSERT INTO child VALUES (3, 3)'))).code).toBe('23503');
  await client.query(`INSERT INTO parent VALUES (1, 'a'), (2, 'b')`);
  await client.query('ALTER TABLE parent DISABLE TRIGGER ALL');
  await client.query('DELETE FROM parent WHERE id = 1');
  await client.query('ALTER TABLE parent ENABLE TRIGGER ALL');
  await client.query('DELETE FROM parent WHERE id = 2');
  await client.end();
  await expectRows('SELECT id FROM child ORDER BY 1', [1]);
});

test('who may, and where it may not stand', async () => {
  const plain = await cluster.client(1, { user: 'plain' });
  expect((await failureOf(plain.query(replica))).code).toBe('42501');
  await plain.end();
  for (const whom of ['ROLE plain', 'DATABASE app'])
    expect((await failureOf(cluster.query(1, `ALTER ${whom} ${replica}`))).code).toBe('0A000');
  // What only the gateway may do where it applies.
  const client = await cluster.client(1);
  await client.query(replica);
  const own = client.query(`SELECT mtm.set_missing_value('public.child', 'parent', '{1}')`);
  expect((await failureOf(own)).code).toBe('42501');
  await client.end();
});
