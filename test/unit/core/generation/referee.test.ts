import { describe, expect, test } from 'vitest';
import fc from 'fast-check';
import { RefereeMachine } from '../../../../src/core/generation/referee.ts';
import type { RefereeEffect, RefereeSituation } from '../../../../src/core/generation/referee.ts';
import { afterReport, judgeGrant } from '../../../../src/core/generation/referee-record.ts';
import type { RefereeRecord } from '../../../../src/core/generation/referee-record.ts';
import { Prng } from '../../../../src/lib/prng.ts';
import { World } from './referee-world.ts';
import type { Rules, Site } from './referee-world.ts';

function machine(): RefereeMachine {
  return new RefereeMachine({ self: 1, other: 2, callTimeoutMs: 100, retryMs: 50, reportEveryMs: 1000 });
}

const level: RefereeSituation = { promised: 4, lastOnline: 4, lastOnlineFull: true, wanted: undefined };
const ticked = (now: number, situation: RefereeSituation) => ({ kind: 'ticked', now, situation }) as const;

function record(change: Partial<RefereeRecord> = {}): RefereeRecord {
  return { winner: 0, generation: 0, onlineLow: 4, onlineHigh: 4, revision: 2, ...change };
}

/** A machine in contact that has reported generation 4. */
function reported(): RefereeMachine {
  const one = machine();
  one.step(ticked(0, level));
  const [report] = one.step({ kind: 'referee-connected', now: 0 });
  expect(report).toEqual({ kind: 'report-online', token: 1, generation: 4, revision: 0 });
  one.step({ kind: 'referee-answered', now: 1, token: 1, answer: { kind: 'reported', record: record() } });
  return one;
}

const alone = { ...level, wanted: 5 };

describe('what the machine orders', () => {
  test('nothing before there is contact, and that is told', () => {
    const one = machine();
    expect(one.step(ticked(0, alone))).toEqual([]);
    expect(one.reason).toBe('no contact with the referee: not connected yet');
  });

  test('a report comes before the question', () => {
    const one = machine();
    one.step(ticked(0, alone));
    expect(one.step({ kind: 'referee-connected', now: 0 })).toEqual([
      { kind: 'report-online', token: 1, generation: 4, revision: 0 },
      { kind: 'referee-changed', reason: '' },
    ]);
    const answer = { kind: 'reported', record: record() } as const;
    expect(one.step({ kind: 'referee-answered', now: 1, token: 1, answer })).toEqual([
      { kind: 'request-grant', token: 2, generation: 5, since: 4 },
    ]);
  });

  test('a grant holds for its number until the node is online in it', () => {
    const one = reported();
    expect(one.step(ticked(2, alone))).toEqual([
      { kind: 'request-grant', token: 2, generation: 5, since: 4 },
    ]);
    expect(one.grant).toBeUndefined();
    const granted = { kind: 'granted', record: record({ winner: 1, generation: 5, revision: 3 }) } as const;
    expect(one.step({ kind: 'referee-answered', now: 3, token: 2, answer: granted })).toEqual([
      { kind: 'grant-gained', generation: 5 },
    ]);
    one.step(ticked(4, { ...level, promised: 5 }));
    expect(one.grant).toBe(5);
    expect(one.step(ticked(5, { ...level, promised: 5, lastOnline: 5, lastOnlineFull: false }))).toEqual([]);
    expect(one.grant).toBeUndefined();
  });

  test('no answer in time is no grant, with a reason; the late answer is not believed; it asks again', () => {
    const one = reported();
    one.step(ticked(2, alone));
    expect(one.step(ticked(102, alone))).toEqual([
      { kind: 'referee-changed', reason: 'the referee does not answer: no answer within 100 ms' },
    ]);
    const granted = { kind: 'granted', record: record({ winner: 1, generation: 5, revision: 3 }) } as const;
    expect(one.step({ kind: 'referee-answered', now: 103, token: 2, answer: granted })).toEqual([]);
    expect(one.grant).toBeUndefined();
    expect(one.step(ticked(152, alone))).toEqual([
      { kind: 'request-grant', token: 3, generation: 5, since: 4 },
    ]);
  });

  test('an answer to a question of before a vote or a generation is not believed', () => {
    for (const since of [
      { ...level, promised: 5, wanted: 6 },
      { promised: 5, lastOnline: 5, lastOnlineFull: true, wanted: undefined },
    ]) {
      const one = reported();
      one.step(ticked(2, alone));
      one.step(ticked(3, since));
      const granted = { kind: 'granted', record: record({ winner: 1, generation: 5 }) } as const;
      one.step({ kind: 'referee-answered', now: 4, token: 2, answer: granted });
      expect(one.grant).toBeUndefined();
    }
  });

  test('a node that voted higher than it was online asks for its own grant only', () => {
    const one = reported();
    expect(one.step(ticked(2, { ...level, promised: 6, wanted: 7 }))).toEqual([
      { kind: 'request-grant', token: 2, generation: 7, since: 0 },
    ]);
    const refused = { kind: 'refused', refusal: 'incomplete', record: record() } as const;
    one.step({ kind: 'referee-answered', now: 3, token: 2, answer: refused });
    expect(one.reason).toBe('this node voted for generation 6 and was last online in 4: node 2 is needed');
  });

  test('the loser is told whom it needs', () => {
    const one = reported();
    one.step(ticked(2, alone));
    const refused = {
      kind: 'refused',
      refusal: 'other-winner',
      record: record({ winner: 2, generation: 5 }),
    } as const;
    expect(one.step({ kind: 'referee-answered', now: 3, token: 2, answer: refused })).toEqual([
      { kind: 'referee-changed', reason: 'the referee chose node 2 in generation 5: start node 2' },
    ]);
    expect(one.step(ticked(52, alone))).toEqual([]);
    expect(one.step(ticked(53, alone))).toHaveLength(1);
  });

  test('a number that is cleared is followed by the next one at once', () => {
    const one = reported();
    one.step(ticked(2, alone));
    const refused = {
      kind: 'refused',
      refusal: 'cleared',
      record: record({ onlineLow: 8, onlineHigh: 8 }),
    } as const;
    expect(one.step({ kind: 'referee-answered', now: 3, token: 2, answer: refused })).toContainEqual({
      kind: 'request-grant',
      token: 3,
      generation: 9,
      since: 8,
    });
  });

  test('a grant that was never used is given back, unless a ballot may have been begun with it', () => {
    for (const promised of [4, 9]) {
      const one = machine();
      one.step(ticked(0, { ...level, promised }));
      one.step({ kind: 'referee-connected', now: 0 });
      const own = record({ winner: 1, generation: 9, revision: 7 });
      const effects = one.step({
        kind: 'referee-answered',
        now: 1,
        token: 1,
        answer: { kind: 'reported', record: own },
      });
      expect(effects).toEqual(
        promised === 4 ? [{ kind: 'report-online', token: 2, generation: 4, revision: 7 }] : [],
      );
    }
  });

  test('it reports from time to time, and says when the other never does', () => {
    const one = machine();
    one.step(ticked(0, level));
    one.step({ kind: 'referee-connected', now: 0 });
    let changes: RefereeEffect[] = [];
    let reports = 1;
    let token = 1;
    for (let now = 1; now < 3500; now += 10) {
      const answer = { kind: 'reported', record: record({ onlineHigh: 0 }) } as const;
      const effects = one.step({ kind: 'referee-answered', now, token, answer });
      effects.push(...one.step(ticked(now, level)));
      for (const effect of effects) {
        if (effect.kind === 'report-online') {
          token = effect.token;
          reports++;
        } else changes = [...changes, effect];
      }
    }
    expect(reports).toBe(4);
    expect(changes).toEqual([
      {
        kind: 'referee-changed',
        reason:
          'the referee has not heard from node 2 in generation 4: both nodes must have the same referee_connstring',
      },
    ]);
  });

  test('a lost contact ends the call and is the reason; a new one begins with a report', () => {
    const one = reported();
    one.step(ticked(2, alone));
    expect(one.step({ kind: 'referee-lost', now: 3, reason: 'ECONNRESET' })).toEqual([
      { kind: 'referee-changed', reason: 'no contact with the referee: ECONNRESET' },
    ]);
    expect(one.step(ticked(500, alone))).toEqual([]);
    expect(one.step({ kind: 'referee-connected', now: 501 })).toContainEqual(
      expect.objectContaining({ kind: 'report-online', generation: 4 }),
    );
  });
});

/** Two nodes that have worked together. */
function together(): World {
  const world = new World();
  world.calm();
  for (const site of world.sites) expect(world.commit(site)).toBe(true);
  return world;
}

const works = (world: World, site: Site) => {
  const worked = world.commit(site);
  expect(world.violation).toBeUndefined();
  return worked;
};

describe('the cases of the reference', () => {
  for (const [winner, loser] of [
    [1, 2],
    [2, 1],
  ] as const) {
    const setting = () => {
      const world = together();
      return { world, first: world.site(winner), second: world.site(loser) };
    };

    test(`neighbour ${loser} restarts or crashes: the other goes on, then both`, () => {
      const { world, first, second } = setting();
      world.crash(second);
      world.calm();
      expect(works(world, first)).toBe(true);
      world.start(second);
      world.calm();
      expect([works(world, first), works(world, second)]).toEqual([true, true]);
      expect(second.data).toEqual(first.data);
      world.crash(first);
      world.calm();
      expect(works(world, second)).toBe(true);
    });

    test(`partition, ${winner} asks first: exactly one goes on`, () => {
      const { world, first, second } = setting();
      world.linked = false;
      world.tick(first);
      world.calm();
      expect([works(world, first), works(world, second)]).toEqual([true, false]);
      expect(second.process?.machine.reason).toMatch(/^the referee chose node/);
      world.linked = true;
      world.calm();
      expect([works(world, first), works(world, second)]).toEqual([true, true]);
    });

    test(`double failure: node ${loser} and the referee: nobody, until one of them is back`, () => {
      const { world, first, second } = setting();
      world.referee(false);
      world.crash(second);
      world.calm();
      expect(works(world, first)).toBe(false);
      expect(first.process?.machine.reason).toMatch(/^no contact with the referee/);
      world.referee(true);
      world.calm();
      expect(works(world, first)).toBe(true);
    });

    test(`saved decision: winner ${winner} stopped, the loser stays refused also after its restart`, () => {
      const { world, first, second } = setting();
      world.crash(second);
      world.calm();
      expect(works(world, first)).toBe(true);
      world.crash(first);
      world.start(second);
      world.calm();
      expect(works(world, second)).toBe(false);
      world.crash(second);
      world.start(second);
      world.calm();
      expect(works(world, second)).toBe(false);
      world.start(first);
      world.calm();
      expect([works(world, first), works(world, second)]).toEqual([true, true]);
    });

    test(`winner ${winner} restarts or crashes: it gets its own grant back`, () => {
      const { world, first, second } = setting();
      world.crash(second);
      world.calm();
      for (let restart = 0; restart < 3; restart++) {
        world.crash(first);
        world.calm();
        world.start(first);
        world.calm();
        expect(works(world, first)).toBe(true);
      }
    });

    test(`consecutive shutdown: ${loser}, then ${winner}; ${loser} alone is refused, both work`, () => {
      const { world, first, second } = setting();
      world.crash(second);
      world.calm();
      world.crash(first);
      world.start(second);
      world.calm();
      expect(works(world, second)).toBe(false);
      world.start(first);
      world.calm();
      expect([works(world, first), works(world, second)]).toEqual([true, true]);
    });

    test(`a winner that dies in the middle of its election goes on with it`, () => {
      for (const steps of [1, 2, 3]) {
        const { world, first, second } = setting();
        world.crash(second);
        while (first.process?.machine.grant === undefined) {
          world.tick(first);
          world.handle(0, false);
          world.arrive(0, false);
        }
        for (let step = 0; step < steps; step++) world.advance(first);
        world.crash(first);
        world.start(second);
        world.calm();
        expect(works(world, second)).toBe(false);
        world.crash(second);
        world.start(first);
        world.calm();
        expect(works(world, first)).toBe(true);
      }
    });
  }

  test('a fresh cluster begins with both nodes', () => {
    const world = new World();
    world.linked = false;
    world.calm();
    expect(world.sites.map((site) => works(world, site))).toEqual([false, false]);
    expect(world.sites[0].process?.machine.reason).toMatch(/^the referee does not know this cluster yet/);
    world.linked = true;
    world.calm();
    expect(world.sites.map((site) => works(world, site))).toEqual([true, true]);
  });

  test('a referee that lost its record chooses nobody until both were online again', () => {
    const world = together();
    world.linked = false;
    world.calm();
    const winner = world.sites.find((site) => site.process?.alone === true);
    expect(winner).toBeDefined();
    world.record = undefined;
    world.calm();
    for (const site of world.sites) {
      world.crash(site);
      world.start(site);
    }
    world.calm();
    expect(world.sites.map((site) => works(world, site))).toEqual([false, false]);
    world.linked = true;
    world.calm();
    world.crash(world.sites[0]);
    world.calm();
    expect(works(world, world.sites[1])).toBe(true);
  });

  test('while both work a referee that lost its record learns it again', () => {
    const world = together();
    world.record = undefined;
    world.calm();
    world.crash(world.sites[1]);
    world.calm();
    expect(works(world, world.sites[0])).toBe(true);
  });
});

/** One random story; the world afterwards. */
function story(seed: number, rules?: Rules): World {
  const random = new Prng(seed);
  const world = new World(rules);
  if (random.chance(0.8)) world.calm();
  for (let step = 0; step < 300 && world.violation === undefined; step++) {
    const site = random.pick(world.sites);
    const kind = random.below(100);
    // The oldest are forgotten, or nearly everything that arrives would be stale.
    world.calls.splice(0, world.calls.length - 4);
    world.answers.splice(0, world.answers.length - 4);
    if (kind < 4) world.calm(1 + random.below(6));
    else if (kind < 30) {
      world.now += random.below(8);
      world.tick(site);
    } else if (kind < 45) world.handle(random.below(world.calls.length + 1), random.chance(0.3));
    else if (kind < 60) world.arrive(random.below(world.answers.length + 1), random.chance(0.3));
    else if (kind < 70) world.advance(site);
    else if (kind < 76) world.elect(site, random.chance(0.7) ? 4 : random.below(5));
    else if (kind < 82) world.join(site);
    else if (kind < 88) world.commit(site);
    else if (kind < 91) world.crash(site);
    else if (kind < 95 && site.process === undefined) world.start(site);
    else if (kind < 97) world.linked = random.chance(0.5);
    else if (kind < 98) world.referee(random.chance(0.7));
    else if (kind < 99) world.calls.splice(random.below(world.calls.length + 1), 1);
    else world.answers.splice(random.below(world.answers.length + 1), 1);
  }
  return world;
}

describe('an unreliable referee', () => {
  test('property: who decides alone has everything that was decided, and nobody else works', () => {
    const sum = { reigns: 0, refusals: 0, full: 0, returned: 0, ignored: 0 };
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const world = story(seed);
        expect(world.violation).toBeUndefined();
        for (const key of Object.keys(sum) as (keyof typeof sum)[]) sum[key] += world.seen[key];
      }),
      { numRuns: 1500 },
    );
    for (const count of Object.values(sum)) expect(count).toBeGreaterThan(20);
  });

  test('property: after the storm each node can survive the other', () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const world = story(seed);
        world.referee(true);
        world.linked = true;
        for (const site of world.sites) if (site.process === undefined) world.start(site);
        world.calm(80);
        expect(world.sites.map((site) => world.commit(site))).toEqual([true, true]);
        expect(world.sites[0].data).toEqual(world.sites[1].data);
        const [dies, lives] = seed % 2 === 0 ? world.sites : [...world.sites].reverse();
        world.crash(dies!);
        world.calm();
        expect(world.commit(lives!)).toBe(true);
        expect(world.violation).toBeUndefined();
      }),
      { numRuns: 300 },
    );
  });

  const broken: Record<string, Partial<Rules>> = {
    'grants to whoever asks': {
      judgeGrant: (old, request) =>
        old === undefined
          ? judgeGrant(old, request)
          : { kind: 'granted', record: { ...old, winner: request.node, generation: request.generation } },
    },
    'forgets its winner when one node reports': {
      afterReport: (old, pair, report) =>
        afterReport(old === undefined ? old : { ...old, generation: 0 }, pair, report),
    },
    'does not ask whether the node is complete': {
      judgeGrant: (old, request) => judgeGrant(old, { ...request, since: Math.min(1, request.generation) }),
      afterReport: (old, _, report) =>
        afterReport(
          afterReport(old, { low: 1, high: 2 }, { ...report, node: 1 }),
          { low: 1, high: 2 },
          {
            ...report,
            node: 2,
          },
        ),
    },
  };

  test.each(Object.entries(broken))('a referee that %s is caught', (_, change) => {
    let caught = 0;
    for (let seed = 1; seed <= 4000 && caught === 0; seed++) {
      if (story(seed, { judgeGrant, afterReport, ...change }).violation !== undefined) caught++;
    }
    expect(caught).toBe(1);
  });
});
