/** One gateway, several databases: each replicated by itself, the others readable only. */
import { connect } from 'node:net';
import type { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { devDrop } from '../../../src/cli/dev-drop.ts';
import { devJoin } from '../../../src/cli/dev-join.ts';
import { failureOf, startCluster, type Cluster } from '../../support/cluster.ts';
import { eventually, within } from '../../support/polling.ts';

const more = ['other', 'Ein "Name" mit ünd'];
const all = ['app', ...more];

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ majors: [17, 17, 17], databases: more });
});

afterAll(async () => {
  await cluster?.stop();
});

async function inEach(work: (database: string) => Promise<void>): Promise<void> {
  for (const database of all) await work(database);
}

/** The same rows on all servers, nothing prepared. */
async function sameEverywhere(database: string, sql: string): Promise<unknown[]> {
  const answers = await Promise.all(
    cluster.numbers.map(async (number) => {
      const client = await cluster.direct(number, { database });
      const { rows } = await client.query<Record<string, unknown>>(sql);
      await client.end();
      return rows;
    }),
  );
  for (const rows of answers) expect(rows).toEqual(answers[0]);
  return answers[0]!;
}

/** Writes until told to stop; an error other than a conflict or a failover is the test's. */
function writer(client: Client, label: string): { stop(): Promise<number> } {
  let stopping = false;
  let written = 0;
  const run = async (): Promise<void> => {
    for (let n = 0; !stopping; n++) {
      try {
        await client.query('INSERT INTO load VALUES ($1, $2)', [label, n]);
        written++;
      } catch (error) {
        if (!/^(40001|57P03|08007)$/.test((error as { code?: string }).code ?? '')) throw error;
      }
    }
  };
  const done = run();
  return {
    stop: async () => {
      stopping = true;
      await within('the writer', 60_000, done);
      return written;
    },
  };
}

test('each database is replicated by itself, with sequences of its own', async () => {
  await inEach(async (database) => {
    const one = await cluster.client(1, { database });
    await one.query('CREATE TABLE thing (id serial PRIMARY KEY, name text)');
    await one.query('CREATE TABLE load (label text, n int, PRIMARY KEY (label, n))');
    for (const number of cluster.numbers) {
      const client = await cluster.client(number, { database });
      await client.query('INSERT INTO thing (name) VALUES (current_database())');
    }
    const rows = await sameEverywhere(database, 'SELECT * FROM thing ORDER BY id');
    expect(rows).toEqual([1, 2, 3].map((id) => ({ id, name: database })));
  });
});

test('load on all of them at once, and a gateway that is killed meanwhile', async () => {
  const writers = await Promise.all(
    all.flatMap((database) =>
      [1, 3].map(async (number) => writer(await cluster.client(number, { database }), `${number}`)),
    ),
  );
  await cluster.killGateway(2);
  await inEach(async (database) => {
    const client = await cluster.client(1, { database });
    await eventually(`database ${database} goes on without node 2`, async () => {
      const { rows } = await client.query<{ m: number[] }>('SELECT gen_members AS m FROM mtm.status()');
      return rows[0]?.m.join() === '1,3';
    });
  });
  await cluster.startGateway(2);
  const written = await Promise.all(writers.map((each) => each.stop()));
  expect(Math.min(...written)).toBeGreaterThan(0);
  await inEach(async (database) => {
    const client = await cluster.client(2, { database });
    await eventually(`node 2 is back in database ${database}`, async () => {
      const { rows } = await client.query<{ m: number[] }>(
        'SELECT gen_members_online AS m FROM mtm.status()',
      );
      return rows[0]?.m.join() === '1,2,3';
    });
    await client.query("INSERT INTO load VALUES ('end', 0)");
    expect(await sameEverywhere(database, 'SELECT gid FROM pg_prepared_xacts')).toEqual([]);
    await sameEverywhere(database, 'SELECT label, count(*), sum(n) FROM load GROUP BY label ORDER BY label');
  });
});

test('a role that was made in one database is there for the others, whichever node they ask', async () => {
  const app = await cluster.client(1);
  const other = await Promise.all([2, 3].map((number) => cluster.client(number, { database: 'other' })));
  for (const name of ['made_1', 'made_2', 'made_3']) {
    await app.query(`CREATE ROLE ${name}`);
    await Promise.all(other.map((client) => client.query(`GRANT SELECT ON thing TO ${name}`)));
  }
  // What others have given it is seen from everywhere, too.
  expect((await failureOf(app.query('DROP ROLE made_1'))).code).toBe('2BP01');
  for (const name of ['made_1', 'made_2', 'made_3']) {
    await other[0]!.query(`REVOKE ALL ON thing FROM ${name}`);
    await app.query(`DROP ROLE ${name}`);
  }
  expect(
    await sameEverywhere('other', `SELECT relacl::text FROM pg_class WHERE relname = 'thing'`),
  ).toHaveLength(1);
  expect(await sameEverywhere('app', `SELECT rolname FROM pg_roles WHERE rolname ~ '^made'`)).toEqual([]);
});

test('a cancel request finds its session in whichever database it is', async () => {
  const client = await cluster.client(1, { database: 'other' });
  const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
  const sleeping = failureOf(client.query('SELECT pg_sleep(30)'));
  const killer = await cluster.client(1, { database: 'other' });
  await eventually('it sleeps', async () => {
    const found = await killer.query('SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event = $2', [
      rows[0]?.pid,
      'PgSleep',
    ]);
    return found.rowCount === 1;
  });
  const { processID, secretKey } = client as unknown as { processID: number; secretKey: number };
  const request = Buffer.alloc(16);
  for (const [index, value] of [16, 80_877_102, processID].entries()) request.writeInt32BE(value, 4 * index);
  request.writeInt32BE(secretKey, 12);
  connect(cluster.node(1).gatewayPort, '127.0.0.1').end(request);
  expect((await sleeping).code).toBe('57014');
});

test('another database is read, and what is of this node only runs in it; a write is refused', async () => {
  const client = await cluster.client(1, { database: 'postgres' });
  expect((await client.query('SELECT current_database() AS d')).rows).toEqual([{ d: 'postgres' }]);
  await client.query('BEGIN');
  await client.query('SELECT count(*) FROM pg_class');
  await client.query('COMMIT');
  await client.query('CREATE DATABASE of_node_one');
  await client.query('DROP DATABASE of_node_one');
  for (const sql of [
    'CREATE TABLE here (a int)',
    'CREATE ROLE nobody',
    'SELECT setval(1, 1)',
    'DO $$BEGIN END$$',
  ]) {
    const failure = await failureOf(client.query(sql), sql);
    expect(failure, sql).toMatchObject({ code: '0A000' });
    expect(failure.message).toContain('the database "postgres" is not replicated');
  }
  await client.query('BEGIN');
  expect((await failureOf(client.query('CREATE TABLE here (a int)'))).code).toBe('0A000');
  await client.query('ROLLBACK');
  expect((await client.query("SELECT to_regclass('here') AS r")).rows).toEqual([{ r: null }]);
});

test('a node that is added has all of them, and one that is dropped leaves all of them', async () => {
  const { folder } = cluster.folder;
  await devJoin({ data: folder, node: undefined, from: undefined });
  cluster.refresh();
  await inEach(async (database) => {
    const four = await cluster.client(4, { database });
    await four.query("INSERT INTO thing (name) VALUES ('from four')");
    const rows = await sameEverywhere(
      database,
      'SELECT name, count(*)::int AS n FROM thing GROUP BY 1 ORDER BY 1',
    );
    expect(rows).toContainEqual({ name: 'from four', n: 1 });
  });
  await devDrop({ data: folder, node: 4 });
  cluster.refresh();
  await inEach(async (database) => {
    const one = await cluster.client(1, { database });
    const { rows } = await one.query('SELECT gen_configured AS c FROM mtm.status()');
    expect(rows).toEqual([{ c: [1, 2, 3] }]);
    await one.query("INSERT INTO thing (name) VALUES ('after four')");
  });
});
