/**
 * Transactions that PREPARE refuses, from every node: they are atomic on all nodes all the same, whatever dies.
 * The servers are 15, 17 and 18, so each of them is the origin of some.
 */
import type { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { failureOf, startCluster, type Cluster } from '../../support/cluster.ts';
import { eventually } from '../../support/polling.ts';

let cluster: Cluster;

beforeAll(async () => {
  // A session past the gateways may hold a lock for as long as a test looks at who waits for it.
  cluster = await startCluster({ majors: [15, 18, 17], settings: { blocker_timeout: '30s' } });
  await cluster.query(
    1,
    `CREATE TABLE real (id int PRIMARY KEY, v text);
     CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES real DEFERRABLE INITIALLY DEFERRED);
     CREATE TABLE noted (t text);
     CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN INSERT INTO noted VALUES ('deferred ' || NEW.id); RETURN NULL; END $$;
     CREATE CONSTRAINT TRIGGER note AFTER INSERT ON child DEFERRABLE INITIALLY DEFERRED
       FOR EACH ROW EXECUTE FUNCTION note()`,
  );
});

afterAll(async () => {
  await cluster?.stop();
});

/** The same answer on all servers, and nothing left over. */
async function everywhere(sql: string): Promise<unknown[]> {
  const answers = await cluster.onAllServers(sql);
  for (const rows of answers) expect(rows).toEqual(answers[0]);
  const left = await cluster.onAllServers('SELECT gid FROM pg_prepared_xacts');
  expect(left.flat()).toEqual([]);
  return answers[0]!;
}

async function within(number: number, work: (client: Client) => Promise<void>): Promise<void> {
  const client = await cluster.client(number);
  try {
    await work(client);
  } finally {
    await client.end();
  }
}

/** The common bulk upsert. */
async function upsert(client: Client, from: number, to: number, label: string): Promise<void> {
  await client.query('BEGIN');
  await client.query('CREATE TEMP TABLE stage (id int, v text) ON COMMIT DROP');
  await client.query(`INSERT INTO stage SELECT g, '${label}' || g FROM generate_series(${from}, ${to}) g`);
  await client.query('INSERT INTO real SELECT * FROM stage ON CONFLICT (id) DO UPDATE SET v = excluded.v');
  await client.query('COMMIT');
}

describe.each([1, 2, 3])('from node %i', (number) => {
  const base = number * 1000;

  test('temporary and replicated tables in one transaction', async () => {
    await within(number, async (client) => {
      await upsert(client, base, base + 9, 'a');
      await upsert(client, base, base + 9, 'b');
    });
    const [row] = await everywhere(
      `SELECT count(*)::int AS n, min(v) AS least FROM real WHERE id BETWEEN ${base} AND ${base + 9}`,
    );
    expect(row).toEqual({ n: 10, least: `b${base}` });
  });

  test('in one string, in a DO block, in a function that nobody suspects', async () => {
    await within(number, async (client) => {
      await client.query(
        `CREATE TEMP TABLE s1 (id int); INSERT INTO s1 VALUES (${base + 20}); INSERT INTO real SELECT id, 'string' FROM s1`,
      );
      await client.query(
        `DO $$ BEGIN CREATE TEMP TABLE s2 (id int); INSERT INTO s2 VALUES (${base + 21});
           INSERT INTO real SELECT id, 'do' FROM s2; END $$`,
      );
      // Extended protocol, autocommit: the session has temporary tables by now.
      await client.query('INSERT INTO s2 VALUES ($1)', [base + 22]);
      await client.query(
        'WITH w AS (DELETE FROM s2 RETURNING id) INSERT INTO real SELECT id, $1 FROM w WHERE id = $2',
        ['extended', base + 22],
      );
      const { rows } = await client.query('SELECT count(*)::int AS n FROM s2');
      expect(rows).toEqual([{ n: 0 }]);
    });
    expect(
      await everywhere(`SELECT v FROM real WHERE id BETWEEN ${base + 20} AND ${base + 29} ORDER BY id`),
    ).toEqual([{ v: 'string' }, { v: 'do' }, { v: 'extended' }]);
  });

  test('savepoints that are rolled back, before and after much was streamed', async () => {
    await within(number, async (client) => {
      await client.query('BEGIN; CREATE TEMP TABLE s (id int) ON COMMIT DROP; INSERT INTO s VALUES (1)');
      await client.query(`SAVEPOINT a; INSERT INTO real VALUES (${base + 30}, 'no'); ROLLBACK TO a`);
      await client.query(`SAVEPOINT b; INSERT INTO real VALUES (${base + 31}, 'yes')`);
      await client.query(
        `SAVEPOINT c; INSERT INTO real SELECT ${base} + 400 + g, (SELECT string_agg(md5(g::text || k::text), '')
           FROM generate_series(1, 200) k) FROM generate_series(1, 80) g; ROLLBACK TO c`,
      );
      await client.query(`INSERT INTO real VALUES (${base + 32}, 'yes'); COMMIT`);
    });
    expect(
      await everywhere(
        `SELECT id, v FROM real WHERE id BETWEEN ${base + 30} AND ${base + 39} OR id BETWEEN ${base + 400} AND ${base + 500} ORDER BY id`,
      ),
    ).toEqual([
      { id: base + 31, v: 'yes' },
      { id: base + 32, v: 'yes' },
    ]);
  });

  test('deferred constraints and triggers have their say before', async () => {
    await within(number, async (client) => {
      await client.query('CREATE TEMP TABLE s (id int)');
      await client.query(
        `BEGIN; INSERT INTO s VALUES (1); INSERT INTO child VALUES (${base + 40}, ${base + 41})`,
      );
      expect(await failureOf(client.query('COMMIT'))).toMatchObject({ code: '23503' });
      await client.query(
        `BEGIN; INSERT INTO s VALUES (2); INSERT INTO child VALUES (${base + 40}, ${base + 41})`,
      );
      await client.query(`INSERT INTO real VALUES (${base + 41}, 'parent'); COMMIT`);
      expect((await client.query('SELECT id FROM s')).rows).toEqual([{ id: 2 }]);
    });
    expect(await everywhere(`SELECT t FROM noted WHERE t = 'deferred ${base + 40}'`)).toHaveLength(1);
    expect(await everywhere(`SELECT parent FROM child WHERE id = ${base + 40}`)).toEqual([
      { parent: base + 41 },
    ]);
  });

  test('definitions in it, also in savepoints that are rolled back', async () => {
    await within(number, async (client) => {
      await client.query('BEGIN; CREATE TEMP TABLE s (id int) ON COMMIT DROP; INSERT INTO s VALUES (1)');
      await client.query('SAVEPOINT a; CREATE TABLE never (id int); ROLLBACK TO a');
      await client.query(`CREATE TABLE made_${number} (id int PRIMARY KEY, v text DEFAULT 'here')`);
      await client.query(`INSERT INTO made_${number} (id) SELECT id FROM s; COMMIT`);
    });
    expect(await everywhere(`SELECT * FROM made_${number}`)).toEqual([{ id: 1, v: 'here' }]);
    expect(await everywhere("SELECT to_regclass('never') AS t")).toEqual([{ t: null }]);
  });

  test('a cursor WITH HOLD and an exported snapshot', async () => {
    await within(number, async (client) => {
      await client.query(`BEGIN; INSERT INTO real VALUES (${base + 50}, 'hold')`);
      await client.query(
        `DECLARE held CURSOR WITH HOLD FOR SELECT v FROM real WHERE id = ${base + 50}; COMMIT`,
      );
      expect((await client.query('FETCH ALL FROM held')).rows).toEqual([{ v: 'hold' }]);
      await client.query('CLOSE held');
      await client.query('BEGIN');
      await client.query('SELECT pg_export_snapshot()');
      await client.query(`INSERT INTO real VALUES (${base + 51}, 'exported')`);
      await client.query('COMMIT');
    });
    expect(
      await everywhere(`SELECT v FROM real WHERE id IN (${base + 50}, ${base + 51}) ORDER BY id`),
    ).toEqual([{ v: 'hold' }, { v: 'exported' }]);
  });

  test('a cursor WITH HOLD that fails at COMMIT is the client’s error, and nothing is left anywhere', async () => {
    await within(number, async (client) => {
      await client.query(`BEGIN; INSERT INTO real VALUES (${base + 60}, 'never')`);
      await client.query('DECLARE bad CURSOR WITH HOLD FOR SELECT 1 / (g - 5) FROM generate_series(1, 9) g');
      expect(await failureOf(client.query('COMMIT'))).toMatchObject({ code: '22012' });
      await client.query(`INSERT INTO real VALUES (${base + 61}, 'works')`);
    });
    expect(await everywhere(`SELECT v FROM real WHERE id IN (${base + 60}, ${base + 61})`)).toEqual([
      { v: 'works' },
    ]);
  });

  test('temporary tables alone are nobody else’s affair', async () => {
    await within(number, async (client) => {
      const before = await cluster.onAllServers('SELECT count(*)::int AS n FROM real');
      await client.query('BEGIN; CREATE TEMP TABLE s (id int); INSERT INTO s VALUES (1); COMMIT');
      await client.query('INSERT INTO s VALUES (2)');
      expect(await cluster.onAllServers('SELECT count(*)::int AS n FROM real')).toEqual(before);
    });
  });

  test('timeouts of the session do not end what is held open', async () => {
    const other = (number % 3) + 1;
    const blocker = await cluster.direct(other);
    await blocker.query('BEGIN; LOCK TABLE real IN SHARE MODE');
    await within(number, async (client) => {
      await client.query('CREATE TEMP TABLE s (id int)');
      await client.query(
        "SET statement_timeout = '300ms'; SET lock_timeout = '300ms'; SET idle_in_transaction_session_timeout = '300ms'",
      );
      const committed = client.query(
        `BEGIN; INSERT INTO s VALUES (1); INSERT INTO real VALUES (${base + 70}, 't'); COMMIT`,
      );
      committed.catch(() => undefined); // awaited below
      await eventually('it is held open for longer than that', async () => {
        const [row] = await cluster.directly<{ long: boolean }>(
          other,
          `SELECT clock_timestamp() - query_start > '600ms' AS long FROM pg_stat_activity
           WHERE application_name = 'mtm_apply' AND wait_event_type = 'Lock'`,
        );
        return row?.long === true;
      });
      await blocker.query('ROLLBACK');
      await committed;
      const { rows } = await client.query('SHOW statement_timeout');
      expect(rows).toEqual([{ statement_timeout: '300ms' }]);
    });
    await blocker.end();
    expect(await everywhere(`SELECT v FROM real WHERE id = ${base + 70}`)).toEqual([{ v: 't' }]);
  });
});

test('a serializable one is refused clearly', async () => {
  await within(1, async (client) => {
    await client.query('CREATE TEMP TABLE s (id int)');
    await client.query(
      "BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO s VALUES (1); INSERT INTO real VALUES (1, '')",
    );
    expect(await failureOf(client.query('COMMIT'))).toMatchObject({
      code: '0A000',
      hint: 'Use REPEATABLE READ.',
    });
  });
  expect(await everywhere('SELECT v FROM real WHERE id = 1')).toEqual([]);
});

test('100 000 rows', async () => {
  await within(2, async (client) => {
    await upsert(client, 100_000, 199_999, 'big');
  });
  const [row] = await everywhere(
    'SELECT count(*)::int AS n, md5(string_agg(v, $$,$$ ORDER BY id)) FROM real WHERE id >= 100000',
  );
  expect(row).toMatchObject({ n: 100_000 });
});

test('two at once over the same rows end in order, or in 40001', async () => {
  let conflicts = 0;
  let done = 0;
  const writer = async (number: number): Promise<void> => {
    await within(number, async (client) => {
      for (let turn = 0; turn < 8; turn++) {
        try {
          await upsert(client, 50_000, 50_019, `n${number}t${turn}-`);
          done++;
        } catch (error) {
          expect((error as { code?: string }).code).toBe('40001');
          conflicts++;
          await client.query('ROLLBACK').catch(() => undefined);
        }
      }
    });
  };
  await Promise.all([1, 2, 3].map(writer));
  expect(done).toBeGreaterThan(0);
  expect(done + conflicts).toBe(24);
  const rows = await everywhere('SELECT left(v, 5) AS v FROM real WHERE id BETWEEN 50000 AND 50019');
  expect(new Set(rows.map((row) => JSON.stringify(row))).size, 'all rows are of one transaction').toBe(1);
});

describe('what dies meanwhile', () => {
  /** Upserts from node 1, one after the other, until something breaks; what is known of each. */
  async function upserts(goOn: () => boolean, from: number): Promise<{ done: number[]; unsure: number[] }> {
    const done: number[] = [];
    const unsure: number[] = [];
    for (let id = from; goOn(); id += 10) {
      try {
        await within(1, (client) => upsert(client, id, id + 4, 'x'));
        done.push(id);
      } catch (error) {
        const { code = '' } = error as { code?: string };
        if (!['40001', '57P03'].includes(code)) unsure.push(id);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
    return { done, unsure };
  }

  test.each([
    [
      'the gateway of the origin',
      async () => cluster.killGateway(1),
      async () => cluster.startGateway(1),
      300_000,
    ],
    [
      'the gateway of a member',
      async () => cluster.killGateway(2),
      async () => cluster.startGateway(2),
      400_000,
    ],
    [
      'the server of the origin',
      async () => cluster.killServer(1),
      async () => cluster.startServer(1),
      500_000,
    ],
  ] as const)('%s', async (_who, kill, start, from) => {
    await cluster.whole();
    let goOn = true;
    const work = upserts(() => goOn, from);
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await kill();
    await new Promise((resolve) => setTimeout(resolve, 500));
    await start();
    await cluster.whole();
    goOn = false;
    const { done, unsure } = await work;
    expect(done.length).toBeGreaterThan(0);
    await eventually('nothing is left prepared', async () => {
      const left = await cluster.onAllServers('SELECT FROM pg_prepared_xacts');
      return left.flat().length === 0;
    });
    const rows = await everywhere(
      `SELECT id - id % 10 AS first, count(*)::int AS n FROM real WHERE id BETWEEN ${from} AND ${from + 90_000} GROUP BY 1 ORDER BY 1`,
    );
    const there = new Set(
      (rows as { first: number; n: number }[]).map(({ first, n }) => (expect(n).toBe(5), first)),
    );
    for (const id of done) expect(there, `${id} was acknowledged`).toContain(id);
    for (const id of there) expect([...done, ...unsure]).toContain(id);
  });

  test('the session’s own backend: the client is told, and nothing is left', async () => {
    await cluster.whole();
    const blocker = await cluster.direct(2);
    await blocker.query('BEGIN; LOCK TABLE real IN SHARE MODE');
    const client = await cluster.client(1);
    const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    const failure = failureOf(upsert(client, 600_000, 600_004, 'x'));
    await eventually('a peer waits for the lock', async () => {
      const waiting = await cluster.directly(
        2,
        "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
      );
      return waiting.length > 0;
    });
    await cluster.directly(1, 'SELECT pg_terminate_backend($1)', [rows[0]!.pid]);
    expect(['08007', '57P01']).toContain((await failure).code);
    await client.end().catch(() => undefined); // its server session is gone
    await blocker.query('ROLLBACK');
    await blocker.end();
    await eventually('it is rolled back everywhere', async () => {
      const left = await cluster.onAllServers('SELECT FROM pg_prepared_xacts');
      return left.flat().length === 0;
    });
    expect(await everywhere('SELECT v FROM real WHERE id = 600000')).toEqual([]);
    await cluster.query(1, "INSERT INTO real VALUES (600000, 'goes on')");
  });

  test('while a member is away it goes on', async () => {
    await cluster.whole();
    await cluster.killGateway(3);
    await eventually(
      'the two go on',
      () =>
        within(1, (client) => upsert(client, 700_000, 700_004, 'two')).then(
          () => true,
          () => false,
        ),
      30_000,
    );
    await cluster.startGateway(3);
    await cluster.whole();
    expect(
      await everywhere('SELECT count(*)::int AS n FROM real WHERE id BETWEEN 700000 AND 700004'),
    ).toEqual([{ n: 5 }]);
  });
});
