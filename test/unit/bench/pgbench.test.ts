import { expect, test } from 'vitest';
import { combined } from '../../bench/measurement.ts';
import { slowAnswers, timesOf } from '../../bench/percentile.ts';
import { readReport, type PgbenchResult } from '../../bench/pgbench.ts';
import { twoPhaseScript } from '../../bench/workload.ts';

const none = { p50Ms: undefined, p99Ms: undefined, p999Ms: undefined };

const printed = `transaction type: /tmp/x.sql
number of transactions actually processed: 1234
number of failed transactions: 2 (0.162%)
total number of retries: 7
latency average = 2.500 ms
initial connection time = 4.0 ms
tps = 617.250000 (without initial connection time)
`;
const steps = `statement latencies in milliseconds, failures and retries:
         0.002           0           0  \\set aid random(1, 100000 * :scale)
         0.812           0           0  PREPARE TRANSACTION 'limit_:client_id';
`;
/** Without --max-tries there is no column of retries, before version 15 none of failures. */
const formerSteps = `statement latencies in milliseconds:
         0.002  \\set aid random(1, 100000 * :scale)
         0.812  PREPARE TRANSACTION 'limit_:client_id';
`;

test('the report of pgbench is read, with the times of its steps in any version', () => {
  for (const tail of [steps, formerSteps]) {
    expect(readReport(printed + tail, none)).toEqual({
      kind: 'measured',
      steps: [
        { text: '\\set aid random(1, 100000 * :scale)', ms: 0.002 },
        { text: `PREPARE TRANSACTION 'limit_:client_id';`, ms: 0.812 },
      ],
      slow: none,
      transactionsPerSecond: 617.25,
      transactions: 1234,
      latencyMs: 2.5,
      retries: 7,
      failed: 2,
    });
  }
  expect(readReport('pgbench: nothing', none).kind).toBe('broken');
});

test('the log has a time in the third word, or why there is none', () => {
  expect(timesOf('0 1 2500 0 1175850568 995598 1\n1 1 serialization 0 1175850568 998079\n')).toEqual([2.5]);
});

test('a percentile is told only where something is beyond it', () => {
  const times = Array.from({ length: 1000 }, (_, index) => 1000 - index);
  expect(slowAnswers(times)).toEqual({ p50Ms: 501, p99Ms: 991, p999Ms: 1000 });
  expect(slowAnswers(times.slice(0, 999)).p999Ms).toBeUndefined();
  expect(slowAnswers([])).toEqual(none);
});

const result = (transactionsPerSecond: number, p99Ms: number | undefined): PgbenchResult => ({
  kind: 'measured',
  steps: [],
  slow: { ...none, p99Ms },
  transactionsPerSecond,
  transactions: 100,
  latencyMs: 2,
  retries: 3,
  failed: 0,
});

test('speeds of one candidate add up, those of the limit are the slowest one', () => {
  const three = [result(300, 4), result(100, 9), result(200, 5)];
  expect(combined('sum', three)).toMatchObject({
    transactionsPerSecond: 600,
    retries: 9,
    slow: { p99Ms: 9 },
  });
  expect(combined('slowest', three)).toEqual(three[1]);
  expect(combined('slowest', [...three, { kind: 'hung' }])).toEqual({ kind: 'hung' });
  expect(combined('sum', [result(1, 4), result(1, undefined)])).toMatchObject({ slow: none });
});

test('the limit sends everything up to PREPARE TRANSACTION in one packet', () => {
  expect(twoPhaseScript(['\\set a 1'], ['SELECT :a', 'SELECT 2'])).toEqual([
    '\\set a 1',
    `BEGIN\\; SELECT :a\\; SELECT 2\\; PREPARE TRANSACTION 'limit_:client_id';`,
    `COMMIT PREPARED 'limit_:client_id';`,
  ]);
});
