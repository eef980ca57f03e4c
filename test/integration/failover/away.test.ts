/**
 * A node that was away while the others went on catches up faster than they wrote, while they go on writing.
 * MTM_TEST_AWAY_TRANSACTIONS=100000 is the figure; the rates are printed.
 */
import { setTimeout as hold } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { bothParts, stopNode } from '../../../src/io/launcher/embedded-cluster.ts';
import { startCluster, type Cluster } from '../../support/cluster.ts';
import { equalRows, noPrepared } from '../../support/convergence.ts';
import { eventually } from '../../support/polling.ts';

const transactions = Number(process.env['MTM_TEST_AWAY_TRANSACTIONS'] ?? 3000);
const clients = 16;
const limitMs = 300_000 + transactions * 10;

vi.setConfig({ testTimeout: limitMs });

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ majors: [17, 17, 17] });
  await cluster.query(1, 'CREATE TABLE event (id bigserial PRIMARY KEY, node int, t text)');
  await cluster.query(1, 'CREATE TABLE counter (id int PRIMARY KEY, n bigint)');
  await cluster.query(1, 'INSERT INTO counter SELECT i, 0 FROM generate_series(1, 1000) i');
});

afterAll(async () => {
  await cluster?.stop();
});

/** One small transaction after another until `goOn` says no; how many. */
async function write(number: number, goOn: () => boolean, pauseMs = 0): Promise<number> {
  const client = await cluster.client(number);
  let count = 0;
  while (goOn()) {
    const id = 1 + Math.floor(Math.random() * 1000);
    const statement =
      count % 2 === 0
        ? `UPDATE counter SET n = n + 1 WHERE id = ${id}`
        : `INSERT INTO event (node, t) VALUES (${number}, 'x')`;
    await client.query(statement);
    count++;
    if (pauseMs > 0) await hold(pauseMs);
  }
  return count;
}

test(`a node that was away for ${transactions} transactions`, async () => {
  await stopNode(cluster.node(3), bothParts);
  await eventually('the others go on', () =>
    cluster.query(1, `INSERT INTO event (node, t) VALUES (1, 'first')`).then(
      () => true,
      () => false,
    ),
  );
  const begin = performance.now();
  let left = transactions;
  await Promise.all(Array.from({ length: clients }, (_, at) => write(1 + (at % 2), () => left-- > 0)));
  const madeSeconds = (performance.now() - begin) / 1000;

  let goOn = true;
  const load = [write(1, () => goOn, 5), write(2, () => goOn, 5)];
  await cluster.startServer(3);
  const back = performance.now();
  await cluster.startGateway(3);
  await cluster.whole(limitMs);
  const backSeconds = (performance.now() - back) / 1000;
  goOn = false;
  const meanwhile = (await Promise.all(load)).reduce((sum, count) => sum + count, 0);

  const made = Math.round(transactions / madeSeconds);
  const caughtUp = Math.round((transactions + meanwhile) / backSeconds);
  process.stdout.write(
    `${transactions} transactions made at ${made}/s; caught up, the start of the gateway included, in ` +
      `${backSeconds.toFixed(1)} s = ${caughtUp}/s, while ${meanwhile} more were made\n`,
  );
  await noPrepared(cluster);
  await equalRows(cluster);
  // With few transactions the start of the gateway is most of the time.
  if (transactions >= 10_000) expect(caughtUp).toBeGreaterThan(made);
});
