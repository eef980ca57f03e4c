/**
 * Hosts and links that are cut, each node on a host of its own (network namespaces). Packets vanish silently.
 * MTM_TEST_FAULT_ROUNDS=15: so many random rounds of every kind of fault and the five hosts; MTM_TEST_SEED: which.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { Prng } from '../../../src/lib/prng.ts';
import { failureOf } from '../../support/cluster.ts';
import { needsNetworkLab, networkLabObstacle } from '../../support/network-lab.ts';
import { eventually, timed } from '../../support/polling.ts';
import { createBeats, failoverText, failoverTime } from './failover-time.ts';
import { createWorkload, faultRound, say, testSeed, timeFactor, wishedRounds } from './fault-rounds.ts';
import type { Workload } from './fault-rounds.ts';
import { faultText, mend, networkFaults, processFaults, randomFaults } from './faults.ts';
import { ask, connect, hangUp, labSite, wholeAgain, type Site } from './site.ts';

const numbers = [1, 2, 3];

describe.skipIf(networkLabObstacle !== undefined)(`three hosts${needsNetworkLab}`, () => {
  const random = new Prng(testSeed());
  const faults =
    wishedRounds === undefined
      ? []
      : randomFaults(random, [...networkFaults, ...processFaults, 'kill all'], numbers, wishedRounds);

  let site: Site;
  let workload: Workload;

  beforeAll(async () => {
    site = await labSite();
    await createBeats(site);
    if (faults.length > 0) workload = await createWorkload(site, random);
  });

  afterEach(async () => {
    await mend(site, site.numbers);
    await wholeAgain(site);
  });

  afterAll(async () => {
    await site?.stop();
  });

  test.each(faults.map((fault, index) => ({ name: `round ${index + 1}: ${faultText(fault)}`, fault })))(
    'under load, $name',
    async ({ fault }) => {
      await faultRound(site, workload, fault);
    },
  );

  test('a host is cut off: the others write again within heartbeat_recv_timeout + 1 s', timed, async () => {
    const time = await failoverTime(site, [1, 2], () => site.network?.cutOff(3));
    say(`  cut off: ${failoverText(time)}`);
    expect(Math.max(...time.firstMs.values())).toBeLessThan(3000 * timeFactor);
    expect(time.lostSessions, 'sessions on the others stay open').toBe(0);
  });

  test('the host that is cut off refuses reads and writes before the others go on', async () => {
    const open = await connect(site, 3, 'gateway');
    await open.query('BEGIN');
    await open.query('SELECT count(*) FROM beat');
    const newest = 'SELECT coalesce(max(id), 0)::int AS id FROM beat';
    let acknowledged = 0;
    const stale: string[] = [];
    let goOn = true;
    // What it answers must be at least as new as what the others had acknowledged when it was asked.
    const reader = async (): Promise<void> => {
      while (goOn) {
        const due = acknowledged;
        const answer = await ask<{ id: number }>(site, 3, 'gateway', newest, [], 5000).catch(() => undefined);
        const seen = answer?.[0]?.id;
        if (seen !== undefined && seen < due) stale.push(`${seen} after ${due}`);
      }
    };
    const readers = [reader(), reader(), reader()];
    site.network?.cutOff(3);
    let written = 0;
    await eventually(
      'the others write',
      async () => {
        const row = await ask<{ id: number }>(
          site,
          1,
          'gateway',
          `INSERT INTO beat (id, node) VALUES ((SELECT coalesce(max(id), 0) + 1000 FROM beat), 1) RETURNING id::int AS id`,
          [],
          5000,
        ).catch(() => undefined);
        acknowledged = row?.[0]?.id ?? acknowledged;
        if (row !== undefined) written += 1;
        return written >= 20;
      },
      30_000,
    );
    goOn = false;
    await Promise.all(readers);
    expect(stale).toEqual([]);
    for (const text of [newest, 'INSERT INTO beat (node) VALUES (3)']) {
      const failure = await failureOf(ask(site, 3, 'gateway', text), text);
      expect(failure.code).toBe('57P03');
      expect(failure.detail).toMatch(/node 1.*node 2/s);
    }
    expect((await failureOf(open.query(newest))).code).toMatch(/^57P0[13]$/);
    hangUp(open);
  });

  test('A–B–C with the link A–C cut: one pair goes on, the third node refuses', async () => {
    site.network?.cutLink(1, 3);
    // Both pairs are cliques; the smaller one wins everywhere.
    const write = 'INSERT INTO beat (node) VALUES ($1)';
    const succeeds = (number: number): Promise<boolean> =>
      ask(site, number, 'gateway', write, [number], 5000).then(
        () => true,
        () => false,
      );
    await eventually('node 1 writes', () => succeeds(1));
    await eventually('node 2 writes', () => succeeds(2));
    const members = `SELECT gen_members AS members FROM mtm.status()`;
    await eventually(
      'both know the generation',
      async () =>
        (await ask<{ members: number[] }>(site, 1, 'gateway', members))[0]?.members.join() === '1,2',
    );
    const failure = await failureOf(ask(site, 3, 'gateway', 'SELECT count(*) FROM beat'), 'a read on node 3');
    expect(failure.code).toBe('57P03');
    expect(failure.detail).toMatch(/node 1/);
  });
});

const skipsFive = networkLabObstacle !== undefined || wishedRounds === undefined;

describe.skipIf(skipsFive)(`five hosts${needsNetworkLab}`, () => {
  test('split 3 | 2: the three go on, the two refuse, and all are equal afterwards', async () => {
    const site = await labSite(5);
    try {
      const workload = await createWorkload(site, new Prng(testSeed()));
      const write = `INSERT INTO list VALUES ((SELECT coalesce(max(id), 0) + 1000 FROM list), '{}')`;
      for (const one of [1, 2, 3]) for (const other of [4, 5]) site.network?.cutLink(one, other);
      await eventually(
        'the three write',
        () =>
          ask(site, 2, 'gateway', write, [], 5000).then(
            () => true,
            () => false,
          ),
        15_000,
      );
      for (const number of [4, 5]) {
        const failure = await failureOf(ask(site, number, 'gateway', 'SELECT count(*) FROM list'));
        expect(failure.code).toBe('57P03');
      }
      site.network?.heal();
      await wholeAgain(site);
      await faultRound(site, workload, { kind: 'kill gateway', node: 4, other: 1, holdMs: 2000, order: [4] });
    } finally {
      await site.stop();
    }
  });
});
