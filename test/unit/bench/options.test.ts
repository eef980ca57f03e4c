import { expect, test } from 'vitest';
import { isPlanned } from '../../bench/plan.ts';
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

test('--table measures reads at all numbers of clients, and writes at those of the goals', () => {
  const options = readOptions(['--table', '--rounds', '1'])!;
  expect(options).toMatchObject({ rounds: 1, seconds: 2, scale: 50, table: true, candidates: candidateKeys });
  expect(options.parts).toEqual(['memory', 'bulk', 'latency', 'apart', 'nodes', 'sessions']);
  expect(isPlanned(options, 'select', 'pgbouncer', 1)).toBe(true);
  expect(isPlanned(options, 'select', 'streaming', 8)).toBe(false);
  expect(isPlanned(options, 'update', 'limit', 32)).toBe(true);
  expect(isPlanned(options, 'update', 'limit', 1)).toBe(false);
  expect(isPlanned(options, 'tpcb', 'gateways')).toBe(true);
  expect(isPlanned(options, 'tpcb-extended', 'gateway')).toBe(false);
  expect(isPlanned(readOptions([])!, 'update', 'limit', 1)).toBe(true);
});
