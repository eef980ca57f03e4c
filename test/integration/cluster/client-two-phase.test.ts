/**
 * The client's own two-phase commit: what is prepared through one node can be committed or rolled back through
 * any, once, by whom PostgreSQL lets, and every node shows the same. On 15 and 18.
 */
import type { Client, QueryConfig, QueryResult } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { PostgresMajor } from '../../../src/io/launcher/server-binaries.ts';
import { failureOf, startCluster, type Cluster, type SqlFailure } from '../../support/cluster.ts';
import { eventually } from '../../support/polling.ts';

const majors: PostgresMajor[][] = [
  [18, 18, 18],
  [15, 15, 15],
];

/** One statement after the other, in either protocol. */
const runner =
  (client: Client, extended: boolean) =>
  (text: string): Promise<QueryResult> =>
    client.query(extended ? ({ text, queryMode: 'extended' } as QueryConfig) : text);

describe.each(majors)('on %s', (...versions) => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await startCluster({ majors: versions });
    await cluster.query(1, 'CREATE TABLE account (id int PRIMARY KEY, amount int NOT NULL)');
    await cluster.query(1, 'CREATE TABLE parent (id int PRIMARY KEY)');
    await cluster.query(1, 'CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent)');
  });

  afterAll(async () => {
    await cluster?.stop();
  });

  const inBlock = async (client: Client, name: string, ...statements: string[]): Promise<void> => {
    await client.query('BEGIN');
    for (const statement of statements) await client.query(statement);
    await client.query(`PREPARE TRANSACTION '${name}'`);
  };

  const prepared = (number: number): Promise<{ gid: string; owner: string }[]> =>
    cluster.directly(number, 'SELECT gid, owner::text FROM pg_prepared_xacts ORDER BY gid');

  const expectEverywhere = async (text: string, rows: object[]): Promise<void> => {
    await eventually(`${text} on all nodes`, async () => {
      const answers = await cluster.onAllServers(text);
      return answers.every((answer) => JSON.stringify(answer) === JSON.stringify(rows));
    });
  };

  const nothingLeft = async (): Promise<void> => {
    await expectEverywhere('SELECT gid FROM pg_prepared_xacts', []);
    await expectEverywhere('SELECT id FROM mtm.client_prepared', []);
    await expectEverywhere('SELECT id FROM mtm.client_body', []);
  };

  test('prepared on node 1, committed on node 2', async () => {
    const client = await cluster.client(1);
    await inBlock(client, 'x', 'INSERT INTO account VALUES (1, 100)', 'INSERT INTO account VALUES (2, 7)');
    for (const number of cluster.numbers)
      expect(await prepared(number)).toEqual([{ gid: 'x', owner: 'postgres' }]);
    expect(await cluster.query(3, 'SELECT * FROM account')).toEqual([]);
    const result = await (await cluster.client(2)).query("COMMIT PREPARED 'x'");
    expect(result.command).toBe('COMMIT');
    for (const number of cluster.numbers)
      expect(await cluster.query(number, 'SELECT * FROM account ORDER BY id')).toEqual([
        { id: 1, amount: 100 },
        { id: 2, amount: 7 },
      ]);
    await nothingLeft();
  });

  test('rolled back on another node', async () => {
    await inBlock(await cluster.client(2), 'y', 'UPDATE account SET amount = amount + 1 WHERE id = 1');
    await cluster.query(3, "ROLLBACK PREPARED 'y'");
    await expectEverywhere('SELECT amount FROM account WHERE id = 1', [{ amount: 100 }]);
    await nothingLeft();
    // Its locks are gone everywhere.
    for (const number of cluster.numbers)
      await cluster.query(number, 'UPDATE account SET amount = 100 WHERE id = 1');
  });

  test('of two that finish it at the same time one wins', async () => {
    await inBlock(await cluster.client(1), 'race', 'UPDATE account SET amount = 50 WHERE id = 2');
    // All are there before the first one asks: a failure that comes earlier would be nobody's.
    const clients = [await cluster.client(2), await cluster.client(3), await cluster.client(1)];
    const words = ['COMMIT', 'ROLLBACK', 'COMMIT'];
    const ends = await Promise.allSettled(
      clients.map((client, at) => client.query(`${words[at]} PREPARED 'race'`)),
    );
    const codes = ends.map((end) => (end.status === 'fulfilled' ? 'ok' : (end.reason as SqlFailure).code));
    expect(codes.toSorted()).toEqual(['42704', '42704', 'ok']);
    const amount = codes[1] === 'ok' ? 7 : 50;
    await expectEverywhere('SELECT amount FROM account WHERE id = 2', [{ amount }]);
    await nothingLeft();
  });

  test('of two nodes that prepare the same name at the same time one wins', async () => {
    const clients = await Promise.all([cluster.client(1), cluster.client(2)]);
    for (const [at, client] of clients.entries()) {
      await client.query('BEGIN');
      await client.query(`INSERT INTO account VALUES (${50 + at}, 1)`);
    }
    const ends = await Promise.allSettled(
      clients.map((client) => client.query("PREPARE TRANSACTION 'same'")),
    );
    const codes = ends.map((end) => (end.status === 'fulfilled' ? 'ok' : (end.reason as SqlFailure).code));
    expect(codes.toSorted()).toEqual(['42710', 'ok']);
    await cluster.query(3, "COMMIT PREPARED 'same'");
    await expectEverywhere('SELECT id FROM account WHERE id IN (50, 51)', [{ id: 50 + codes.indexOf('ok') }]);
    await nothingLeft();
  });

  test('its locks hold on all nodes: another node waits for a while and is told', async () => {
    const client = await cluster.client(1);
    await inBlock(client, 'locks', 'UPDATE account SET amount = amount WHERE id = 1');
    const other = await cluster.client(2, { statement_timeout: 500 });
    expect(await failureOf(other.query('UPDATE account SET amount = 5 WHERE id = 1'))).toMatchObject({
      code: '57014',
    });
    // Rows that it does not hold are free.
    await other.query('UPDATE account SET amount = 8 WHERE id = 2');
    await other.query('UPDATE account SET amount = 7 WHERE id = 2');
    await other.query("ROLLBACK PREPARED 'locks'");
    await nothingLeft();
  });

  test('crossed with a transaction of another node it ends, one way or the other', async () => {
    const [one, two] = await Promise.all([cluster.client(1), cluster.client(2)]);
    await one!.query('BEGIN; UPDATE account SET amount = 60 WHERE id = 1');
    await two!.query('BEGIN; UPDATE account SET amount = 61 WHERE id = 1');
    const ends = await Promise.allSettled([
      one!.query("PREPARE TRANSACTION 'crossed'"),
      two!.query('COMMIT'),
    ]);
    const codes = ends.map((end) => (end.status === 'fulfilled' ? 'ok' : (end.reason as SqlFailure).code));
    expect(codes.toSorted()).toEqual(['40001', 'ok']);
    if (codes[0] === 'ok') await cluster.query(3, "COMMIT PREPARED 'crossed'");
    await expectEverywhere('SELECT amount FROM account WHERE id = 1', [
      { amount: codes[0] === 'ok' ? 60 : 61 },
    ]);
    await cluster.query(1, 'UPDATE account SET amount = 100 WHERE id = 1');
    await nothingLeft();
  });

  test("PostgreSQL's own errors", async () => {
    const client = await cluster.client(1);
    await inBlock(client, 'mine', 'INSERT INTO account VALUES (3, 3)');
    // Anywhere a second one of the name, and only that one is lost.
    for (const number of cluster.numbers) {
      const other = await cluster.client(number);
      const failure = await failureOf(inBlock(other, 'mine', 'INSERT INTO account VALUES (4, 4)'));
      expect(failure).toMatchObject({
        code: '42710',
        message: 'transaction identifier "mine" is already in use',
      });
      await other.query('INSERT INTO account VALUES (5, 5)'); // no transaction is left
      await other.query('DELETE FROM account WHERE id = 5');
    }
    const block = await cluster.client(2);
    await block.query('BEGIN');
    expect(await failureOf(block.query("COMMIT PREPARED 'mine'"))).toMatchObject({
      code: '25001',
      message: 'COMMIT PREPARED cannot run inside a transaction block',
    });
    await block.query('ROLLBACK');
    expect(await failureOf(block.query("SELECT 1; COMMIT PREPARED 'mine'"))).toMatchObject({ code: '25001' });
    await cluster.query(1, 'CREATE ROLE somebody LOGIN');
    const somebody = await cluster.client(3, { user: 'somebody' });
    expect(await failureOf(somebody.query("COMMIT PREPARED 'mine'"))).toMatchObject({
      code: '42501',
      message: 'permission denied to finish prepared transaction',
    });
    await cluster.query(3, "COMMIT PREPARED 'mine'");
    for (const number of cluster.numbers) {
      expect(await failureOf(cluster.query(number, "ROLLBACK PREPARED 'mine'"))).toMatchObject({
        code: '42704',
        message: 'prepared transaction with identifier "mine" does not exist',
      });
      expect(await failureOf(cluster.query(number, "COMMIT PREPARED 'mtm:1:1:1:1'"))).toMatchObject({
        code: '22023',
      });
    }
    expect(await failureOf(inBlock(client, 'mtm:1:1:1:1', 'SELECT 1'))).toMatchObject({ code: '22023' });
    await client.query('ROLLBACK');
    await nothingLeft();
  });

  test('its owner is the role that prepared it, on all nodes', async () => {
    await cluster.query(1, 'CREATE ROLE teller LOGIN');
    await cluster.query(1, 'GRANT ALL ON account TO teller');
    await cluster.query(1, 'CREATE ROLE robot NOLOGIN; GRANT ALL ON account TO robot; GRANT robot TO teller');
    const teller = await cluster.client(2, { user: 'teller' });
    await inBlock(teller, 'tell', 'INSERT INTO account VALUES (10, 10)');
    await inBlock(teller, 'as robot', 'SET LOCAL ROLE robot', 'INSERT INTO account VALUES (11, 11)');
    for (const number of cluster.numbers)
      expect(await prepared(number)).toEqual([
        { gid: 'as robot', owner: 'robot' },
        { gid: 'tell', owner: 'teller' },
      ]);
    const other = await cluster.client(3, { user: 'teller' });
    await other.query("COMMIT PREPARED 'tell'");
    expect(await failureOf(other.query("COMMIT PREPARED 'as robot'"))).toMatchObject({ code: '42501' });
    await other.query('SET ROLE robot');
    await other.query("COMMIT PREPARED 'as robot'");
    await expectEverywhere('SELECT id FROM account WHERE id IN (10, 11) ORDER BY id', [
      { id: 10 },
      { id: 11 },
    ]);
    await nothingLeft();
  });

  test('without a block, in a failed one, with nothing in it', async () => {
    const client = await cluster.client(1);
    const notices: string[] = [];
    client.on('notice', ({ code }) => notices.push(code ?? ''));
    expect((await client.query("PREPARE TRANSACTION 'none'")).command).toBe('ROLLBACK');
    expect(notices).toEqual(['25P01']);
    await client.query('BEGIN');
    await failureOf(client.query('SELECT 1/0'));
    expect((await client.query("PREPARE TRANSACTION 'none'")).command).toBe('ROLLBACK');
    await nothingLeft();
    // A string is a transaction of its own, and that is prepared.
    await client.query("INSERT INTO account VALUES (20, 20); PREPARE TRANSACTION 'string'");
    expect(notices).toEqual(['25P01', '25P01']);
    await inBlock(client, 'empty');
    await client.query("BEGIN READ ONLY; SELECT * FROM account; PREPARE TRANSACTION 'reads'");
    for (const number of cluster.numbers)
      expect((await prepared(number)).map(({ gid }) => gid)).toEqual(['empty', 'reads', 'string']);
    await cluster.query(2, "COMMIT PREPARED 'empty'");
    await cluster.query(3, "ROLLBACK PREPARED 'reads'");
    await cluster.query(3, "COMMIT PREPARED 'string'");
    await expectEverywhere('SELECT amount FROM account WHERE id = 20', [{ amount: 20 }]);
    // Deferred constraints are looked at when it is prepared.
    await cluster.query(1, 'CREATE TABLE later (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)');
    const twice = inBlock(client, 'twice', 'INSERT INTO later VALUES (1)', 'INSERT INTO later VALUES (1)');
    expect(await failureOf(twice)).toMatchObject({ code: '23505' });
    const temporary = inBlock(client, 'temporary', 'CREATE TEMP TABLE t (a int)');
    expect(await failureOf(temporary)).toMatchObject({ code: '0A000' });
    await nothingLeft();
  });

  test('definitions, foreign keys and strange names inside', async () => {
    const name = `it's a "näme" \\ with 日本`;
    const quoted = name.replaceAll("'", "''");
    const client = await cluster.client(1);
    await client.query('BEGIN');
    await client.query('CREATE TABLE made (id serial PRIMARY KEY, t text DEFAULT now()::text)');
    await client.query("INSERT INTO made (t) SELECT 'row ' || random() FROM generate_series(1, 300)");
    await client.query('INSERT INTO parent VALUES (1)');
    await client.query('INSERT INTO child VALUES (1, 1)');
    await client.query(`PREPARE TRANSACTION '${quoted}'`);
    for (const number of cluster.numbers)
      expect((await prepared(number)).map(({ gid }) => gid)).toEqual([name]);
    expect(await failureOf(cluster.query(2, 'SELECT * FROM made'))).toMatchObject({ code: '42P01' });
    await cluster.query(2, `COMMIT PREPARED '${quoted}'`);
    const hashes = await cluster.onAllServers(
      'SELECT md5(string_agg(made::text, $$,$$ ORDER BY id)) AS h FROM made',
    );
    expect(new Set(hashes.map(([row]) => row!['h'])).size).toBe(1);
    await cluster.query(3, "INSERT INTO made (t) VALUES ('after')");
    await cluster.query(3, 'INSERT INTO child VALUES (2, 1)');
    await nothingLeft();
  });

  test('a change that a member refuses is prepared nowhere', async () => {
    // On node 2 alone there is a row in the way.
    const admin = await cluster.client(2, { application_name: 'mtm_admin' });
    await admin.query('CREATE UNIQUE INDEX only_here ON account (amount) WHERE amount > 9000');
    await admin.query('UPDATE account SET amount = 9999 WHERE id = 1');
    const client = await cluster.client(1);
    const work = inBlock(client, 'refused', 'INSERT INTO account VALUES (30, 9999)');
    expect(await failureOf(work)).toMatchObject({ code: '23505' });
    await nothingLeft();
    await admin.query('UPDATE account SET amount = 100 WHERE id = 1');
    await admin.query('DROP INDEX only_here');
    // The name is free, the session goes on.
    await inBlock(client, 'refused', 'INSERT INTO account VALUES (30, 30)');
    await client.query("ROLLBACK PREPARED 'refused'");
    await nothingLeft();
  });

  test('in the extended protocol', async () => {
    const client = await cluster.client(2);
    const run = runner(client, true);
    await run('BEGIN ISOLATION LEVEL REPEATABLE READ');
    await client.query('INSERT INTO account VALUES ($1, $2)', [40, 40]);
    expect((await run("PREPARE TRANSACTION 'ext'")).command).toBe('PREPARE');
    expect((await run("COMMIT PREPARED 'ext'")).command).toBe('COMMIT');
    await expectEverywhere('SELECT amount FROM account WHERE id = 40', [{ amount: 40 }]);
    expect(await failureOf(run("ROLLBACK PREPARED 'ext'"))).toMatchObject({ code: '42704' });
    expect((await run('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await nothingLeft();
  });

  test('one that is too big is refused and leaves nothing', async () => {
    const client = await cluster.client(1);
    await cluster.query(1, 'CREATE TABLE big (id int PRIMARY KEY, t text)');
    const rows = 'INSERT INTO big SELECT n, repeat(md5(n::text), 32) FROM generate_series(1, 40000) AS n';
    // Megabytes: a member that is too busy to answer heartbeats is a reason to repeat.
    await eventually('it is too big', async () => {
      const { code } = await failureOf(inBlock(client, 'too big', rows));
      await client.query('ROLLBACK');
      expect(['54000', '40001', '57P03']).toContain(code);
      return code === '54000';
    });
    await nothingLeft();
    await eventually('a smaller one is prepared', () =>
      inBlock(client, 'big', rows.replace('40000', '4000')).then(
        () => true,
        async (error: SqlFailure) => {
          expect(['40001', '57P03']).toContain(error.code);
          await client.query('ROLLBACK');
          return false;
        },
      ),
    );
    await cluster.query(3, "COMMIT PREPARED 'big'");
    await expectEverywhere('SELECT count(*)::int AS n FROM big', [{ n: 4000 }]);
    await nothingLeft();
  });

  test('what an administrator prepares past the gateway is left alone', async () => {
    const admin = await cluster.client(1, { application_name: 'mtm_admin' });
    await inBlock(admin, 'local', 'CREATE TABLE IF NOT EXISTS nowhere (a int)');
    const failure = await failureOf(cluster.query(1, "COMMIT PREPARED 'local'"));
    expect(failure).toMatchObject({ code: '42704', hint: expect.stringContaining('mtm_admin') as string });
    expect(await failureOf(cluster.query(2, "COMMIT PREPARED 'local'"))).toMatchObject({ code: '42704' });
    await admin.query("ROLLBACK PREPARED 'local'");
    const writes = 'SELECT unsupervised_writes::int AS n FROM mtm.status()';
    const [before] = await cluster.directly<{ n: number }>(1, writes);
    expect(before?.n).toBe(0);
    // Who finishes past the gateway what it has prepared makes the nodes differ, and is seen.
    await inBlock(await cluster.client(2), 'past', 'SELECT 1');
    await admin.query("COMMIT PREPARED 'past'");
    await eventually(
      'it is counted',
      async () => (await cluster.directly<{ n: number }>(1, writes))[0]?.n === 1,
    );
    await cluster.query(3, "COMMIT PREPARED 'past'");
  });

  test('COMMIT AND CHAIN and ROLLBACK AND CHAIN keep the characteristics', async () => {
    const modes =
      'SELECT current_setting($$transaction_isolation$$) AS i, current_setting($$transaction_read_only$$) AS r';
    for (const extended of [false, true]) {
      const client = await cluster.client(1);
      const run = runner(client, extended);
      await run('DELETE FROM account WHERE id >= 100');
      await run('BEGIN ISOLATION LEVEL REPEATABLE READ');
      await run('INSERT INTO account VALUES (100, 1)');
      expect((await run('COMMIT AND CHAIN')).command).toBe('COMMIT');
      expect((await run(modes)).rows).toEqual([{ i: 'repeatable read', r: 'off' }]);
      await run('INSERT INTO account VALUES (101, 1)');
      expect((await run('ROLLBACK AND CHAIN')).command).toBe('ROLLBACK');
      expect((await run(modes)).rows).toEqual([{ i: 'repeatable read', r: 'off' }]);
      await run('INSERT INTO account VALUES (102, 1)');
      // A failed transaction rolls back, and the next one is a good one of the same kind.
      await failureOf(run('SELECT 1/0'));
      expect((await run('COMMIT AND CHAIN')).command).toBe('ROLLBACK');
      expect((await run(modes)).rows).toEqual([{ i: 'repeatable read', r: 'off' }]);
      await run('INSERT INTO account VALUES (103, 1)');
      expect((await run('COMMIT AND NO CHAIN')).command).toBe('COMMIT');
      await run('BEGIN READ ONLY');
      await run('COMMIT AND CHAIN');
      expect((await run(modes)).rows).toEqual([{ i: 'read committed', r: 'on' }]);
      expect(await failureOf(run('INSERT INTO account VALUES (104, 1)'))).toMatchObject({ code: '25006' });
      await run('ROLLBACK');
      expect(await failureOf(run('COMMIT AND CHAIN'))).toMatchObject({ code: '25P01' });
      // The next one of the chain may be prepared.
      await run('BEGIN');
      await run('INSERT INTO account VALUES (105, 1)');
      await run('COMMIT AND CHAIN');
      await run('INSERT INTO account VALUES (106, 1)');
      await run("PREPARE TRANSACTION 'chained'");
      await run("COMMIT PREPARED 'chained'");
      const ids = [100, 103, 105, 106].map((id) => ({ id }));
      await expectEverywhere('SELECT id FROM account WHERE id >= 100 ORDER BY id', ids);
    }
    const client = await cluster.client(2);
    expect(await failureOf(client.query('SELECT 1; COMMIT AND CHAIN'))).toMatchObject({ code: '25P01' });
    const results = (await client.query(
      'BEGIN; INSERT INTO account VALUES (110, 1); COMMIT AND CHAIN; INSERT INTO account VALUES (111, 1); COMMIT',
    )) as unknown as QueryResult[];
    expect(results.map(({ command }) => command)).toEqual(['BEGIN', 'INSERT', 'COMMIT', 'INSERT', 'COMMIT']);
    await nothingLeft();
  });
});
