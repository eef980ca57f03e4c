/**
 * From the death of a process to the next write on the other nodes: within a second when somebody notices, else recv_timeout + 1 s.
 * MTM_TEST_FAULT_ROUNDS (any number): all cases instead of the short version.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createBeats, failoverText, failoverTime } from './failover-time.ts';
import { timed } from '../../support/polling.ts';
import { say, timeFactor, wishedRounds } from './fault-rounds.ts';
import { mend } from './faults.ts';
import { killGateway, killServer, pauseGateway, pauseServer } from './process-faults.ts';
import { loopbackSite, wholeAgain, type Site } from './site.ts';

let site: Site;

beforeAll(async () => {
  site = await loopbackSite();
  await createBeats(site);
});

afterAll(async () => {
  await site?.stop();
});

const cases = [
  {
    what: 'kill -9 of a gateway',
    long: true,
    node: 3,
    limitMs: 1000,
    inflict: () => killGateway(site.node(3)),
  },
  {
    what: 'kill -9 of a gateway with the lowest id',
    long: false,
    node: 1,
    limitMs: 1000,
    inflict: () => killGateway(site.node(1)),
  },
  {
    what: 'kill -9 of a PostgreSQL',
    long: false,
    node: 3,
    limitMs: 1000,
    inflict: () => killServer(site.node(3)),
  },
  {
    what: 'kill -9 of both',
    long: true,
    node: 2,
    limitMs: 1000,
    inflict: async () => {
      await Promise.all([killGateway(site.node(2)), killServer(site.node(2))]);
    },
  },
  {
    what: 'SIGSTOP of a gateway',
    long: true,
    node: 3,
    limitMs: 3000,
    inflict: () => pauseGateway(site.node(3)),
  },
  {
    what: 'SIGSTOP of a PostgreSQL',
    long: false,
    node: 3,
    limitMs: 3000,
    inflict: () => pauseServer(site.node(3)),
  },
];

describe('the others write again', () => {
  test.each(cases.filter(({ long }) => wishedRounds !== undefined || !long))(
    'after $what, within $limitMs ms',
    timed,
    async ({ what, node, limitMs, inflict }) => {
      const survivors = site.numbers.filter((number) => number !== node);
      try {
        const time = await failoverTime(site, survivors, inflict);
        say(`  ${what}: ${failoverText(time)}`);
        expect(Math.max(...time.firstMs.values())).toBeLessThan(limitMs * timeFactor);
        expect(time.lostSessions, 'sessions on the others stay open').toBe(0);
      } finally {
        await mend(site, site.numbers);
        await wholeAgain(site);
      }
    },
  );
});
