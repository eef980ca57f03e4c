/** Load on all three gateways at once: nothing is lost, nothing differs, nothing is left over. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startCluster, type Cluster } from '../../support/cluster.ts';
import { equalEverywhere, equalRows, noPrepared } from '../../support/convergence.ts';
import { isRepeatable, randomBelow, together, transaction } from '../../support/load.ts';
import { findProgram, needs, pgbench } from '../../support/programs.ts';

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ majors: [16, 16, 16] });
});

afterAll(async () => {
  await cluster?.stop();
});

describe.skipIf(findProgram('pgbench') === undefined)(
  `pgbench TPC-B through three gateways${needs('pgbench')}`,
  () => {
    const scale = 2;

    beforeAll(async () => {
      const made = await pgbench(cluster.node(1), ['-i', '-s', String(scale), '-q']);
      expect(made.code, made.stderr).toBe(0);
    });

    test('the initialised tables are on every node', async () => {
      const counts = await cluster.onAllServers('SELECT count(*)::int AS n FROM pgbench_accounts');
      expect(counts).toEqual(cluster.nodes.map(() => [{ n: scale * 100_000 }]));
      await equalEverywhere(cluster);
    });

    test.each(['simple', 'extended', 'prepared'])('mode %s', async (mode) => {
      const args = ['-M', mode, '-c', '6', '-j', '1', '-T', '5', '--max-tries=100', '-n'];
      const runs = await Promise.all(cluster.nodes.map((node) => pgbench(node, args)));
      for (const run of runs) {
        expect(run.code, run.stderr).toBe(0);
        expect(run.stderr).not.toMatch(/aborted|error|fatal/i);
        expect(run.stdout).toMatch(/number of failed transactions: 0 /);
        expect(Number(/processed: (\d+)/.exec(run.stdout)?.[1])).toBeGreaterThan(0);
      }
      await noPrepared(cluster);
      await equalRows(cluster);
      const done = runs.map((run) => Number(/processed: (\d+)/.exec(run.stdout)?.[1]));
      const [sums] = await cluster.directly<Record<string, string>>(
        2,
        `SELECT (SELECT sum(abalance) FROM pgbench_accounts) AS accounts, (SELECT sum(tbalance) FROM pgbench_tellers) AS tellers,
         (SELECT sum(bbalance) FROM pgbench_branches) AS branches, (SELECT coalesce(sum(delta), 0) FROM pgbench_history) AS history,
         (SELECT count(*) FROM pgbench_history) AS count`,
      );
      expect(
        new Set([sums?.['accounts'], sums?.['tellers'], sums?.['branches'], sums?.['history']]).size,
      ).toBe(1);
      // What was told to be done is there: not one more, not one less.
      written += done.reduce((sum, each) => sum + each, 0);
      expect(Number(sums?.['count'])).toBe(written);
    });

    let written = 0;
  },
);

describe('a bank', () => {
  const accounts = 40;
  const total = accounts * 1000;
  const seconds = 5;

  beforeAll(async () => {
    await cluster.query(1, 'CREATE TABLE bank (id int PRIMARY KEY, balance int NOT NULL)');
    await cluster.query(1, 'INSERT INTO bank SELECT g, 1000 FROM generate_series(1, $1::int) AS g', [
      accounts,
    ]);
  });

  async function transfers(number: number, until: number): Promise<number> {
    const client = await cluster.client(number);
    let count = 0;
    for (; performance.now() < until; count++) {
      const [from, to] = [1 + randomBelow(accounts), 1 + randomBelow(accounts)];
      const amount = randomBelow(50);
      await transaction(client, async () => {
        await client.query('UPDATE bank SET balance = balance - $1 WHERE id = $2', [amount, from]);
        await client.query('UPDATE bank SET balance = balance + $1 WHERE id = $2', [amount, to]);
      });
    }
    await client.end();
    return count;
  }

  async function readCommitted(number: number, until: number): Promise<number[]> {
    const client = await cluster.client(number);
    const seen: number[] = [];
    while (performance.now() < until) {
      const { rows } = await client.query<{ sum: number }>('SELECT sum(balance)::int AS sum FROM bank');
      seen.push(rows[0]?.sum ?? Number.NaN);
    }
    await client.end();
    return seen;
  }

  /** Three statements on one snapshot: the halves add up to the whole, and the whole stays what it was. */
  async function repeatableRead(number: number, until: number): Promise<number[]> {
    const client = await cluster.client(number);
    const half = `SELECT coalesce(sum(balance), 0)::int AS sum FROM bank WHERE id % 2 = $1`;
    const seen: number[] = [];
    while (performance.now() < until) {
      await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
      const even = await client.query<{ sum: number }>(half, [0]);
      const odd = await client.query<{ sum: number }>(half, [1]);
      const whole = await client.query<{ sum: number }>('SELECT sum(balance)::int AS sum FROM bank');
      await client.query('COMMIT');
      seen.push((even.rows[0]?.sum ?? 0) + (odd.rows[0]?.sum ?? 0), whole.rows[0]?.sum ?? Number.NaN);
    }
    await client.end();
    return seen;
  }

  test('the total is the same in every read on every node while money moves on all of them', async () => {
    const until = performance.now() + seconds * 1000;
    const moving = cluster.numbers.flatMap((number) => [1, 2, 3].map(() => transfers(number, until)));
    const reading = cluster.numbers.flatMap((number) => [
      readCommitted(number, until),
      repeatableRead(number, until),
    ]);
    await together([...moving, ...reading]);
    for (const seen of await Promise.all(reading)) {
      expect(seen.length).toBeGreaterThan(5);
      expect(seen.filter((sum) => sum !== total)).toEqual([]);
    }
    for (const count of await Promise.all(moving)) expect(count).toBeGreaterThan(0);
    await noPrepared(cluster);
    await equalRows(cluster);
  });

  test('an increment is never lost, whoever makes it', async () => {
    await cluster.query(2, 'CREATE TABLE counter (id int PRIMARY KEY, n int NOT NULL)');
    await cluster.query(2, 'INSERT INTO counter VALUES (1, 0)');
    const each = 25;
    const increments = cluster.numbers.flatMap((number) =>
      [1, 2].map(async (kind) => {
        const client = await cluster.client(number);
        for (let index = 0; index < each; index++) {
          if (kind === 1) await client.query('UPDATE counter SET n = n + 1');
          else {
            // Read, think, write: the row lock makes it right.
            await transaction(client, async () => {
              const { rows } = await client.query<{ n: number }>(
                'SELECT n FROM counter WHERE id = 1 FOR UPDATE',
              );
              await client.query('UPDATE counter SET n = $1 WHERE id = 1', [(rows[0]?.n ?? 0) + 1]);
            });
          }
        }
        await client.end();
      }),
    );
    await together(increments);
    const counts = await cluster.onAllServers('SELECT n FROM counter');
    expect(counts).toEqual(cluster.numbers.map(() => [{ n: each * increments.length }]));
    await noPrepared(cluster);
  });
});

describe('foreign keys across nodes', () => {
  const rounds = Number(process.env['MTM_TEST_ORPHAN_ROUNDS'] ?? 200);

  test(`insert child on node 1, delete parent on node 2, ${rounds} times: never an orphan`, async () => {
    await cluster.query(1, 'CREATE TABLE parent (id int PRIMARY KEY)');
    await cluster.query(1, 'CREATE TABLE child (id int PRIMARY KEY, parent int NOT NULL REFERENCES parent)');
    await cluster.query(1, 'INSERT INTO parent SELECT generate_series(1, $1::int)', [rounds]);
    const [inserter, deleter] = await Promise.all([cluster.client(1), cluster.client(2)]);
    const outcomes = { inserted: 0, deleted: 0, refused: 0 };
    for (let round = 1; round <= rounds; round++) {
      const results = await Promise.allSettled([
        inserter.query('INSERT INTO child VALUES ($1, $1)', [round]),
        deleter.query('DELETE FROM parent WHERE id = $1', [round]),
      ]);
      const [insert, remove] = results.map((result) => result.status === 'fulfilled');
      if (insert === true) outcomes.inserted++;
      if (remove === true) outcomes.deleted++;
      for (const result of results) {
        if (result.status === 'fulfilled') continue;
        outcomes.refused++;
        expect(isRepeatable(result.reason) || result.reason.code === '23503', String(result.reason)).toBe(
          true,
        );
      }
      expect(insert === true && remove === true, `round ${round}: both committed`).toBe(false);
    }
    const orphans =
      'SELECT count(*)::int AS n FROM child LEFT JOIN parent ON parent.id = child.parent WHERE parent.id IS NULL';
    expect(await cluster.onAllServers(orphans)).toEqual(cluster.numbers.map(() => [{ n: 0 }]));
    expect(outcomes.inserted + outcomes.deleted).toBeGreaterThan(0);
    expect(outcomes.refused).toBeGreaterThan(0);
    await equalRows(cluster);
    await noPrepared(cluster);
  });

  test('a child is refused where its parent is missing, with the words of PostgreSQL', async () => {
    await expect(cluster.query(3, 'INSERT INTO child VALUES (0, 0)')).rejects.toMatchObject({
      code: '23503',
      constraint: 'child_parent_fkey',
    });
  });
});
