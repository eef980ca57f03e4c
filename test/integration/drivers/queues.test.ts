/**
 * Two job queues of the npm world, pg-boss and graphile-worker, as their users run them: a worker in front of each of
 * three gateways at once, jobs from all three. FOR UPDATE SKIP LOCKED and advisory locks are a server's own, so two
 * workers may take the same job; only one of them commits that. Rule: what a queue promises of one PostgreSQL must hold
 * here; every run of a job leaves a row, so a job that ran twice is seen. Prints figures.
 */
import { Logger, quickAddJob, run, runMigrations, type Runner } from 'graphile-worker';
import PgBoss from 'pg-boss';
import { Pool } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { embeddedDatabase } from '../../../src/io/launcher/node-layout.ts';
import { startCluster, type Cluster } from '../../support/cluster.ts';
import { equalRows, noPrepared } from '../../support/convergence.ts';
import { eventually } from '../../support/polling.ts';
import { together } from '../../support/load.ts';

const jobs = Number(process.env['MTM_TEST_QUEUE_JOBS'] ?? 90);
const limitMs = 120_000 + jobs * 100;
let cluster: Cluster;
const pools: Pool[] = [];

beforeAll(async () => {
  cluster = await startCluster({ majors: [18, 15, 18] });
  // No key that would hide a second run.
  await cluster.query(
    1,
    `CREATE TABLE ran (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, queue text, job text, node int,
       began timestamptz NOT NULL DEFAULT clock_timestamp(), ended timestamptz)`,
  );
  for (const number of cluster.numbers) pools.push(new Pool({ connectionString: url(number), max: 10 }));
});

afterAll(async () => {
  await Promise.all(pools.map((pool) => pool.end()));
  await cluster?.stop();
});

function url(number: number): string {
  return `postgresql://postgres@127.0.0.1:${cluster.node(number).gatewayPort}/${embeddedDatabase}?sslmode=disable`;
}

/** What a job does: a row, through the worker's own gateway. */
async function runs(queue: string, job: string, node: number): Promise<void> {
  await pools[node - 1]!.query('INSERT INTO ran (queue, job, node) VALUES ($1, $2, $3)', [queue, job, node]);
}

interface Ran {
  readonly job: string;
  readonly node: number;
  readonly times: number;
}

async function ranIn(queue: string): Promise<Ran[]> {
  const text = `SELECT job, min(node) AS node, count(*)::int AS times FROM ran WHERE queue = $1 GROUP BY job`;
  return cluster.directly<Ran & Record<string, unknown>>(2, text, [queue]);
}

/** All of them, each once; who ran how many. */
function expectEachOnce(ran: readonly Ran[], count: number): string {
  expect(
    ran.filter(({ times }) => times !== 1),
    'run more than once',
  ).toEqual([]);
  expect(ran.length).toBe(count);
  const shares = cluster.numbers.map((number) => ran.filter(({ node }) => node === number).length);
  return `${count} jobs, each run once; the workers of the nodes ran ${shares.join(', ')}`;
}

const say = (text: string): void => void process.stdout.write(`${text}\n`);

async function consistent(): Promise<void> {
  await noPrepared(cluster);
  await equalRows(cluster);
}

describe('pg-boss', () => {
  const bosses: PgBoss[] = [];
  const troubles: string[] = [];

  beforeAll(async () => {
    for (const number of cluster.numbers) {
      const options = {
        monitorStateIntervalSeconds: 5,
        cronMonitorIntervalSeconds: 1,
        cronWorkerIntervalSeconds: 1,
      };
      const boss = new PgBoss({ connectionString: url(number), max: 8, ...options });
      boss.on('error', (error) => troubles.push(error.message));
      bosses.push(boss);
    }
  });

  afterAll(async () => {
    await Promise.all(bosses.map((boss) => boss.stop({ graceful: false })));
  });

  test('starts on one gateway and then on the others, with its schema', async () => {
    await bosses[0]!.start();
    await together(bosses.slice(1).map((boss) => boss.start()));
    await bosses[0]!.createQueue('work');
    await consistent();
  });

  test('jobs from all gateways, workers on all: each is run and completed once', async () => {
    const begin = performance.now();
    for (const [index, boss] of bosses.entries()) {
      const options = { pollingIntervalSeconds: 0.5, batchSize: 3 };
      await boss.work<{ name: string }>('work', options, async (batch) => {
        for (const { data } of batch) await runs('pg-boss', data.name, index + 1);
      });
    }
    await together(Array.from({ length: jobs }, (_, n) => bosses[n % 3]!.send('work', { name: `job ${n}` })));
    await eventually('all are completed', async () => (await completed('work')) === jobs, limitMs);
    const seconds = (performance.now() - begin) / 1000;
    say(`pg-boss: ${expectEachOnce(await ranIn('pg-boss'), jobs)}, in ${seconds.toFixed(1)} s`);
    expect(troubles).toEqual([]);
    await consistent();
  });

  async function completed(queue: string): Promise<number> {
    const text = `SELECT count(*)::int AS n FROM pgboss.job WHERE name = $1 AND state = 'completed'`;
    const [row] = await cluster.directly<{ n: number }>(3, text, [queue]);
    return row?.n ?? 0;
  }

  test('what must be there once only is sent by one of three at the same time', async () => {
    for (let round = 0; round < 5; round++) {
      const options = { singletonKey: `once ${round}`, singletonSeconds: 3600 };
      const ids = await Promise.all(
        bosses.map((boss) => boss.send('work', { name: `once ${round}` }, options)),
      );
      expect(ids.filter((id) => id !== null).length, String(ids)).toBe(1);
    }
    await eventually('they are completed', async () => (await completed('work')) === jobs + 5, limitMs);
  });

  test('a schedule is due once, whoever looks at the clock', async () => {
    await bosses[0]!.createQueue('tick');
    const from = Date.now();
    await bosses[1]!.schedule('tick', '* * * * *');
    const ticks = `SELECT count(*)::int AS n FROM pgboss.job WHERE name = 'tick'`;
    const tick = async (): Promise<number> => (await cluster.directly<{ n: number }>(3, ticks))[0]!.n;
    await eventually('it is due', async () => (await tick()) > 0, limitMs);
    await new Promise((resolve) => setTimeout(resolve, 2000));
    const minutes = Math.floor(Date.now() / 60_000) - Math.floor(from / 60_000) + 1;
    expect(await tick()).toBeLessThanOrEqual(minutes);
    await bosses[2]!.unschedule('tick');
    await consistent();
  });
});

describe('graphile-worker', () => {
  const runners: Runner[] = [];

  beforeAll(async () => {
    // As its documentation says for several servers: one of them migrates first.
    await runMigrations({ connectionString: url(1) });
    await missTicks();
    for (const number of cluster.numbers) {
      runners.push(
        await run({
          pgPool: pools[number - 1]!,
          concurrency: 4,
          // A worker that found the queue of a job locked looks again only then, as with one server.
          pollInterval: 500,
          noHandleSignals: true,
          logger: new Logger(() => () => undefined),
          crontab: '* * * * * tick ?fill=5m',
          taskList: {
            task: async (payload) => runs('graphile', (payload as { name: string }).name, number),
            tick: async (payload) => runs('tick', (payload as { _cron: { ts: string } })._cron.ts, number),
            inTurn: async (payload) => inTurn((payload as { name: string }).name, number),
          },
        }),
      );
    }
  });

  afterAll(async () => {
    await Promise.all(runners.map((runner) => runner.stop()));
  });

  /** The last minutes had nobody who looked at the clock. */
  async function missTicks(): Promise<void> {
    await cluster.query(
      1,
      `INSERT INTO graphile_worker._private_known_crontabs (identifier, known_since, last_execution)
       VALUES ('tick', now() - interval '1 hour', now() - interval '4 minutes')`,
    );
  }

  async function inTurn(name: string, node: number): Promise<void> {
    const { rows } = await pools[node - 1]!.query<{ id: string }>(
      `INSERT INTO ran (queue, job, node) VALUES ('in turn', $1, $2) RETURNING id`,
      [name, node],
    );
    await new Promise((resolve) => setTimeout(resolve, 20));
    await pools[node - 1]!.query('UPDATE ran SET ended = clock_timestamp() WHERE id = $1', [rows[0]!.id]);
  }

  async function left(): Promise<number> {
    const text = 'SELECT count(*)::int AS n FROM graphile_worker._private_jobs';
    return (await cluster.directly<{ n: number }>(3, text))[0]!.n;
  }

  test('a job from one gateway is told to the workers on all by NOTIFY', async () => {
    const heard = new Set<number>();
    for (const number of cluster.numbers) {
      const client = await cluster.client(number);
      client.on('notification', () => heard.add(number));
      await client.query('LISTEN "jobs:insert"');
    }
    await runners[1]!.addJob('task', { name: 'told' });
    await eventually('all have heard it', () => heard.size === 3);
    await eventually('none is left', async () => (await left()) === 0, limitMs);
    expectEachOnce(await ranIn('graphile'), 1);
  });

  test('jobs from all gateways, workers on all: each is run once', async () => {
    const begin = performance.now();
    await together(
      Array.from({ length: jobs }, (_, n) =>
        runners[n % 3]!.addJob('task', { name: `job ${n}` }).then(() => undefined),
      ),
    );
    await eventually('none is left', async () => (await left()) === 0, limitMs);
    const seconds = (performance.now() - begin) / 1000;
    say(`graphile-worker: ${expectEachOnce(await ranIn('graphile'), jobs + 1)}, in ${seconds.toFixed(1)} s`);
    await consistent();
  });

  test('jobs of one queue are run one after the other, on whatever node', async () => {
    await together(
      Array.from({ length: 9 }, (_, n) =>
        runners[n % 3]!.addJob('inTurn', { name: `turn ${n}` }, { queueName: 'serial' }).then(
          () => undefined,
        ),
      ),
    );
    await eventually('none is left', async () => (await left()) === 0, limitMs);
    expectEachOnce(await ranIn('in turn'), 9);
    const overlaps = await cluster.directly(
      2,
      `SELECT a.job, b.job FROM ran a JOIN ran b ON a.id < b.id AND a.began < b.ended AND b.began < a.ended
       WHERE a.queue = 'in turn' AND b.queue = 'in turn'`,
    );
    expect(overlaps).toEqual([]);
  });

  test('a job key from three gateways at once is one job', async () => {
    for (let round = 0; round < 5; round++) {
      const runAt = new Date(Date.now() + 3_600_000);
      const spec = { jobKey: `key ${round}`, runAt };
      await together(
        cluster.numbers.map((number) =>
          quickAddJob({ pgPool: pools[number - 1]! }, 'task', { name: `key ${round}` }, spec).then(
            () => undefined,
          ),
        ),
      );
      const text = `SELECT count(*)::int AS n FROM graphile_worker._private_jobs WHERE key = $1`;
      expect(await cluster.directly(2, text, [`key ${round}`])).toEqual([{ n: 1 }]);
    }
    await cluster.query(1, 'SELECT graphile_worker.remove_job(key) FROM graphile_worker._private_jobs');
  });

  test('a crontab is due once, whoever looks at the clock', async () => {
    await eventually('the missed ones are run', async () => (await ranIn('tick')).length >= 3, limitMs);
    const ran = await ranIn('tick');
    expect(ran.filter(({ times }) => times !== 1)).toEqual([]);
    await consistent();
  });
});
