/**
 * Everything is killed at once under load and started in any order: what was acknowledged is there.
 * MTM_TEST_FAULT_ROUNDS (any number): all orders instead of one.
 */
import { setTimeout as hold } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { gatewayReport } from '../../../src/io/launcher/gateway-process.ts';
import { Prng } from '../../../src/lib/prng.ts';
import { failureOf } from '../../support/cluster.ts';
import { eventually } from '../../support/polling.ts';
import { createWorkload, judgeAtRest, startLoad, testSeed, wishedRounds } from './fault-rounds.ts';
import type { Workload } from './fault-rounds.ts';
import { inflict } from './faults.ts';
import { ask, loopbackSite, wholeAgain, type Site } from './site.ts';

const random = new Prng(testSeed());

let site: Site;
let workload: Workload;

beforeAll(async () => {
  site = await loopbackSite({ majors: [16, 16, 16] });
  workload = await createWorkload(site, random);
});

afterAll(async () => {
  await site?.stop();
});

async function killAllUnderLoad(): Promise<void> {
  const load = startLoad(site, workload);
  try {
    await eventually('load runs', () => site.numbers.every((number) => load.writtenBy(number) > 10));
    await inflict(site, { kind: 'kill all', node: 1, other: 2, holdMs: 0, order: [] });
  } finally {
    await load.stop();
  }
}

async function start(number: number): Promise<void> {
  await site.startServer(number);
  await site.startGateway(number);
}

/** SQLSTATE of a read that must fail. */
async function refusalOf(number: number): Promise<string> {
  return (await failureOf(ask(site, number, 'gateway', 'SELECT 1'), 'a read on the first one alone')).code;
}

const write = `INSERT INTO list VALUES ((SELECT max(id) + 1000 FROM list), '{}')`;

async function writesOn(number: number): Promise<boolean> {
  return ask(site, number, 'gateway', write, [], 5000).then(
    () => true,
    () => false,
  );
}

const orders = [random.shuffled([1, 2, 3]), [1, 2, 3], [3, 2, 1]];

describe('all nodes killed at once', () => {
  test.each(wishedRounds === undefined ? orders.slice(0, 1) : orders)(
    'started in the order %i, %i, %i',
    async (...order) => {
      await killAllUnderLoad();
      const [first = 1, second = 2, third = 3] = order;
      await start(first);
      await eventually(
        'the first one answers',
        async () => (await gatewayReport(site.node(first))) !== undefined,
      );
      // Longer than any timeout: one of three may not begin alone.
      await hold(3000);
      expect(await refusalOf(first)).toBe('57P03');
      await start(second);
      await eventually('two of three write', () => writesOn(second));
      await start(third);
      await wholeAgain(site);
      await judgeAtRest(site, workload);
    },
  );

  test.skipIf(wishedRounds === undefined)('servers first, then the gateways at the same time', async () => {
    await killAllUnderLoad();
    await Promise.all(site.numbers.map((number) => site.startServer(number)));
    await Promise.all(site.numbers.map((number) => site.startGateway(number)));
    await wholeAgain(site);
    for (const number of site.numbers) await eventually(`node ${number} writes`, () => writesOn(number));
    await judgeAtRest(site, workload);
  });
});
