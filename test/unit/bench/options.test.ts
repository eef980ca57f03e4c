import { expect, test } from 'vitest';
import { candidateKeys, readOptions, UsageError, workloadKeys } from '../../bench/options.ts';

const chosen = (only: string) => {
  const { candidates, workloads, parts } = readOptions(only === '' ? [] : ['--only', only])!;
  return { candidates, workloads, parts };
};

test('without --only: everything but what has clusters of its own', () => {
  expect(chosen('')).toEqual({
    candidates: candidateKeys,
    workloads: workloadKeys,
    parts: ['memory', 'bulk', 'latency'],
  });
});

test('candidates restrict the parts to those that can be done with them', () => {
  expect(chosen('gateway,limit')).toEqual({
    candidates: ['gateway', 'limit'],
    workloads: workloadKeys,
    parts: ['memory', 'latency'],
  });
  expect(chosen('streaming').parts).toEqual([]);
});

test('a workload alone runs on every candidate and without parts', () => {
  expect(chosen('select-new')).toEqual({ candidates: candidateKeys, workloads: ['select-new'], parts: [] });
});

test('a part alone brings the candidates that it needs, and no workload', () => {
  expect(chosen('latency')).toEqual({ candidates: ['gateway', 'limit'], workloads: [], parts: ['latency'] });
  expect(chosen('endurance')).toEqual({ candidates: [], workloads: [], parts: ['endurance'] });
  expect(chosen('update,memory').candidates).toEqual(candidateKeys);
});

test('what nobody knows is refused by name', () => {
  expect(() => chosen('gatway')).toThrow(/not gatway$/);
  expect(() => readOptions(['--minutes', '0'])).toThrow(UsageError);
});
