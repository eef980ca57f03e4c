import { expect, test } from 'vitest';
import { summariseCommits } from '../../bench/commit-latency.ts';
import { judgeEndurance } from '../../bench/endurance-judgement.ts';
import type { Slice } from '../../bench/endurance.ts';
import { judgeSpeeds } from '../../bench/goals.ts';
import type { Sample } from '../../bench/measurement.ts';
import { summariseNodeCount } from '../../bench/node-count.ts';
import type { CandidateKey, WorkloadKey } from '../../bench/options.ts';

function sample(
  workload: WorkloadKey,
  candidate: CandidateKey,
  transactionsPerSecond: number,
  round = 1,
): Sample {
  return {
    round,
    workload,
    clients: 8,
    candidate,
    cpuUs: 20,
    result: {
      kind: 'measured',
      steps: [],
      slow: { p50Ms: 1, p99Ms: 2, p999Ms: 3 },
      transactionsPerSecond,
      transactions: 100,
      latencyMs: 1,
      retries: 4,
      failed: 0,
    },
  };
}

const texts = (samples: readonly Sample[]) =>
  judgeSpeeds(samples, [8]).map(({ text, met }) => `${met ? 'met' : 'not'}: ${text}`);

test('a goal is judged by the median of the ratios within the rounds', () => {
  const samples = [
    sample('update', 'gateway', 600, 1),
    sample('update', 'limit', 1000, 1),
    sample('update', 'gateway', 400, 2),
    sample('update', 'limit', 500, 2),
    sample('update', 'gateway', 700, 3),
    sample('update', 'limit', 1000, 3),
  ];
  expect(texts(samples)).toEqual([
    'not: single-row update, 8 clients: gateway 0.70 × limit (aim: at least 0.75)',
  ]);
});

test('what was not measured is not judged; whoever hangs is slower', () => {
  expect(texts([sample('update', 'gateway', 600)])).toEqual([]);
  const hung: Sample = { ...sample('update', 'pgpool-snapshot', 0), result: { kind: 'hung' } };
  expect(texts([sample('update', 'gateway', 600), hung])).toEqual([
    'met: single-row update, 8 clients: gateway 600/s, hung: Pgpool snapshot (aim: at least 2)',
  ]);
});

test('beside a ratio stands what belongs to it: CPU, retries, the server itself', () => {
  expect(texts([sample('select', 'gateway', 90), sample('select', 'pgbouncer', 100)])).toEqual([
    'not: select-only, prepared, 8 clients: gateway 0.90 × PgBouncer (aim: at least 1); CPU of the proxy 20 against 20 µs each',
  ]);
  expect(texts([sample('tpcb', 'gateways', 90), sample('tpcb', 'pgpool-native', 40)])).toEqual([
    'met: TPC-B, simple, 8 clients at each: 3 gateways 2.25 × Pgpool native (aim: at least 2); 90 committed per second, 4 retries, 0 given up',
  ]);
  const reads = (['gateway', 'direct'] as const).flatMap((candidate) => [
    sample('select', candidate, 100),
    sample('select-new', candidate, 70),
  ]);
  expect(texts(reads)).toEqual([
    'not: select-only, simple, new texts, 8 clients: gateway 0.70 × prepared (aim: at least 0.8); at the server itself 0.70 ×',
  ]);
});

test('a commit is compared with the sum of its steps round by round', () => {
  const round = (commit: number, localPrepare: number) => ({
    commit,
    localPrepare,
    peerPrepare: 1,
    commitPrepared: 0.5,
  });
  expect(summariseCommits([round(3, 1), round(8, 6), round(3.4, 1)])).toEqual({
    commit: 3.4,
    localPrepare: 1,
    peerPrepare: 1,
    commitPrepared: 0.5,
    above: 0.5,
  });
});

test('with cores for every node a write takes longer by what its home does more', () => {
  const three = { latencyMs: 2, homeCpuUs: 500, homeWrites: 6 };
  const five = { latencyMs: 4, homeCpuUs: 700, homeWrites: 10 };
  expect(summariseNodeCount([{ three, five }])).toEqual({ three, five, measured: 2, expected: 1.1 });
});

function slices(memory: (index: number) => number): Slice[] {
  return Array.from({ length: 60 }, (_, index) => ({
    at: index * 60,
    perSecond: 500,
    retries: 0,
    p50Ms: 1,
    p99Ms: 5,
    p999Ms: 9,
    megabytes: [memory(index)],
    history: { tables: 3, retained: 40 },
  }));
}

test('memory that climbs is told from memory that has settled', () => {
  const notMet = (memory: (index: number) => number) =>
    judgeEndurance({ slices: slices(memory), agree: true })
      .filter(({ met }) => !met)
      .map(({ text }) => text);
  expect(notMet((index) => 120 + (index % 7))).toEqual([]);
  expect(notMet((index) => (index < 12 ? 80 + index * 4 : 128))).toEqual([]);
  expect(notMet((index) => 100 + index)).toEqual([
    'endurance, memory of gateway 1: 137.00 MB, by its slope +44.00 MB during the run (flat: at most 5 % or 5 MB)',
  ]);
});
