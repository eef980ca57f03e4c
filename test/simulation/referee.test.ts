/** Two nodes and a referee that cannot be relied upon: the same checkers, and who decides alone is alone. */
import { describe, expect, test, vi } from 'vitest';
import { CommitMachine } from '../../src/core/commit/machine.ts';
import { Exclusion } from '../../src/core/generation/exclusion.ts';
import { afterReport, judgeGrant } from '../../src/core/generation/referee-record.ts';
import { Lease } from '../../src/core/generation/lease.ts';
import type { NodeEvent } from '../../src/core/node/node-event.ts';
import { optionsWithReferee } from './options.ts';
import { realMachine, runSeed, type RunHooks } from './run.ts';
import type { MachineMaker } from './world.ts';

vi.setConfig({ testTimeout: 120_000 });

const firstSeed = Number(process.env['SIM_SEED'] ?? 100_001);
const runs = Number(process.env['SIM_RUNS'] ?? 600);

test(`two nodes and a referee: ${runs} seeds from ${firstSeed}`, () => {
  const counts = { granted: 0, refused: 0, reported: 0 };
  for (let seed = firstSeed; seed < firstSeed + runs; seed += 1) {
    const { violation, cluster } = runSeed(optionsWithReferee(seed));
    const again = `npm run sim -- --referee --seed ${seed}`;
    expect(violation && `seed ${seed}: ${violation.message} (${again})`).toBeUndefined();
    for (const key of ['granted', 'refused', 'reported'] as const)
      counts[key] += cluster.referee!.counts[key];
  }
  // Each run ends with one node alone, twice.
  expect(counts.granted).toBeGreaterThan(2 * runs);
  expect(counts.refused).toBeGreaterThan(0);
});

test.each([
  ['the other is stuck with a promise, and the referee has lost its record', 305_639],
  ['the winner votes for itself, its referee forgets, and it vouches for what was before', 500_997],
])('once failed: %s', (_why, seed) => {
  expect(runSeed(optionsWithReferee(seed)).violation).toBeUndefined();
});

/** The real machine with something between it and the world. */
function between(hear: (event: NodeEvent) => NodeEvent): RunHooks {
  const makeMachine: MachineMaker = (options) => {
    const machine = realMachine(options);
    const step = machine.step.bind(machine);
    machine.step = (event) => step(hear(event));
    return machine;
  };
  return { makeMachine };
}

/** The first violation within so many seeds. */
function caught(within: number, hooks: RunHooks): string | undefined {
  for (let seed = 1; seed <= within; seed += 1) {
    const { violation } = runSeed(optionsWithReferee(seed), hooks);
    if (violation !== undefined) return violation.message;
  }
  return undefined;
}

describe('what is broken is caught', () => {
  test('a referee that grants to anybody', () => {
    const generous: typeof judgeGrant = (record, request) => {
      const verdict = judgeGrant(record, request);
      if (verdict.kind === 'granted' || record === undefined) return verdict;
      const { node, generation } = request;
      return { kind: 'granted', record: { ...record, winner: node, generation } };
    };
    expect(caught(300, { sabotage: { refereeRules: { judgeGrant: generous, afterReport } } })).toBeDefined();
  });

  test('a referee that takes the word of one node for both', () => {
    const gullible: typeof afterReport = (record, pair, report) => {
      const { generation } = report;
      const after = afterReport(record, pair, report);
      return { ...after, onlineLow: generation, onlineHigh: generation };
    };
    expect(caught(300, { sabotage: { refereeRules: { judgeGrant, afterReport: gullible } } })).toBeDefined();
  });

  test('a node that takes a refusal for a grant', () => {
    const deaf = between((event) => {
      if (event.kind !== 'referee-answered' || event.answer.kind !== 'refused') return event;
      const { record } = event.answer;
      if (record === undefined) return event;
      return { ...event, answer: { kind: 'granted', record } };
    });
    expect(caught(300, deaf)).toBeDefined();
  });

  test('a node that keeps its lease without answers while it is not alone', () => {
    const spy = vi.spyOn(Lease.prototype, 'until', 'get').mockReturnValue(Infinity);
    try {
      expect(caught(300, {})).toBeDefined();
    } finally {
      spy.mockRestore();
    }
  });

  test('a coordinator that announces an abort when only it has rolled back', () => {
    const makeMachine: MachineMaker = (options) =>
      realMachine({
        ...options,
        makeMachine: (commit) => new CommitMachine({ ...commit, blockingSize: 1 }),
      });
    expect(caught(600, { makeMachine })).toBeDefined();
  });

  test('a node that goes on alone while the other may still hold its lease', () => {
    const spy = vi.spyOn(Exclusion.prototype, 'blockedBy').mockReturnValue(undefined);
    try {
      expect(caught(600, {})).toBeDefined();
    } finally {
      spy.mockRestore();
    }
  });
});
