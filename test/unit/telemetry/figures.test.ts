/** What is counted of a node, and what is said of it. */
import { describe, expect, test } from 'vitest';
import { abortReason, abortReasons } from '../../../src/core/commit/abort-reason.ts';
import {
  cancelRefusal,
  chainRefusal,
  conflictRefusal,
  gatewayRefusal,
  generationEnded,
  lockRefusal,
  undecodable,
} from '../../../src/core/commit/refusal.ts';
import { Chronicle } from '../../../src/telemetry/chronicle.ts';
import { durationBounds, Histogram, quantileOf } from '../../../src/telemetry/histogram.ts';
import { History, historySeconds } from '../../../src/telemetry/history.ts';
import { LagEstimate } from '../../../src/telemetry/lag-estimate.ts';
import { createLog } from '../../../src/telemetry/log.ts';
import { NodeTally } from '../../../src/telemetry/node-tally.ts';
import { NodeTelemetry } from '../../../src/telemetry/node-telemetry.ts';

function logWith(lines: string[]) {
  return createLog('info', { write: (line) => void lines.push(line) });
}

const [loser, winner] = ['mtm:1:2:3:4', 'mtm:2:2:3:4'];

describe('why a transaction aborts, told by what its refusal says', () => {
  test.each([
    [conflictRefusal(loser, winner, 2), 'conflict'],
    [chainRefusal(loser, 2), 'gave_way'],
    [lockRefusal(loser, 2, { pid: 7 }), 'lock'],
    [lockRefusal(loser, 2, { prepared: 'x' }), 'lock'],
    [gatewayRefusal('40001', 'node 2, a member of the generation, has restarted', true), 'member'],
    [gatewayRefusal('40001', 'the member lost its server connection: closed', true), 'member'],
    [generationEnded, 'generation'],
    [cancelRefusal(1), 'cancelled'],
    [{ sqlstate: '23505', message: 'duplicate key value' }, 'constraint'],
    [{ sqlstate: '40P01', message: 'deadlock detected' }, 'serialization'],
    [{ sqlstate: '40001', message: 'could not serialize access due to concurrent update' }, 'serialization'],
    [undecodable, 'other'],
    [{ sqlstate: 'XX000', message: "anything; DROP TABLE 'x'" }, 'other'],
  ] as const)('%o', (refusal, reason) => expect(abortReason(refusal)).toBe(reason));
});

describe('durations', () => {
  test('each lands in the first bucket that holds it', () => {
    const histogram = new Histogram();
    for (const ms of [-1, 0, 0.1, 0.11, 1, 40_000]) histogram.addMs(ms);
    expect(histogram.count).toBe(6);
    expect(histogram.sum).toBeCloseTo(40.00121, 5);
    expect([...histogram.counts.slice(0, 4)]).toEqual([3, 1, 0, 1]);
    expect(histogram.counts.at(-1)).toBe(1);
  });

  test('a quantile lies inside its bucket, and none is made of nothing', () => {
    const histogram = new Histogram();
    expect(quantileOf(histogram.counts, 0.5)).toBeUndefined();
    for (let count = 0; count < 99; count++) histogram.addMs(4);
    histogram.addMs(90);
    expect(quantileOf(histogram.counts, 0.5)).toBeGreaterThan(0.003);
    expect(quantileOf(histogram.counts, 0.5)).toBeLessThan(0.005);
    expect(quantileOf(histogram.counts, 0.995)).toBeGreaterThan(0.05);
    histogram.addMs(99_000);
    expect(quantileOf(histogram.counts, 1)).toBe(durationBounds.at(-1));
  });
});

test('the history is of rates, keeps two minutes, and forgets percentiles of what is over', () => {
  const tally = new NodeTally();
  const history = new History(tally, 0);
  for (let second = 1; second <= 200; second++) {
    if (second <= 150) {
      tally.committed += 10;
      tally.session.reads += 33;
      tally.commit.whole.addMs(4);
    }
    history.sample(second * 1000);
    if (second === 150) expect(history.commitQuantileMs(0.5)).toBeGreaterThan(3);
  }
  expect(history.points.length).toBe(historySeconds);
  expect(history.points[0]).toMatchObject({ writes: 10, reads: 33, aborts: 0, commitMs: 4 });
  expect(history.points.at(-1)).toMatchObject({ writes: 0, reads: 0, commitMs: null });
  expect(history.commitQuantileMs(0.5)).toBeNull();
  expect(history.mean(100).writes).toBe(5);
});

describe('how long catching up still takes', () => {
  test('nothing is said of two reports', () => {
    const estimate = new LagEstimate();
    estimate.add(0, 1000);
    estimate.add(500, 900);
    expect(estimate.remainingSeconds).toBeUndefined();
  });

  test('what is written meanwhile is in it, and only the last seconds count', () => {
    const estimate = new LagEstimate();
    for (let at = 0; at <= 60_000; at += 500) estimate.add(at, 1_000_000 - at * (at < 30_000 ? 20 : 2));
    expect(estimate.bytesPerSecond).toBeCloseTo(2000, 0);
    expect(estimate.remainingSeconds).toBeCloseTo(880_000 / 2000, 0);
  });

  test('a lag that grows or stands has no end', () => {
    const estimate = new LagEstimate();
    for (let at = 0; at <= 10_000; at += 500) estimate.add(at, 1_000_000 + at);
    expect(estimate.remainingSeconds).toBe('never');
    estimate.clear();
    for (let at = 0; at <= 10_000; at += 500) estimate.add(at, 1000);
    expect(estimate.remainingSeconds).toBe('never');
    estimate.add(10_500, 0);
    expect(estimate.remainingSeconds).toBe(0);
  });
});

describe('the chronicle', () => {
  test('the newest first, each one line of the log, without passwords', () => {
    const lines: string[] = [];
    const chronicle = new Chronicle(logWith(lines));
    chronicle.tell('info', 'one', 'first', 'a message', { node: 1 });
    chronicle.note('warn', 'two', 'at postgresql://u:secret@host/d');
    expect(chronicle.events.map(({ text }) => text)).toEqual(['at postgresql://u:***@host/d', 'first']);
    expect(lines.map((line) => JSON.parse(line) as object)).toMatchObject([
      { level: 'info', msg: 'a message', node: 1 },
    ]);
  });

  test('bounded, whatever happens how often, and however long a reason is', () => {
    const chronicle = new Chronicle(logWith([]));
    for (let count = 0; count < 1000; count++) chronicle.note('info', 'kind', `event ${count}`);
    expect(chronicle.events.length).toBe(100);
    for (let count = 0; count < 1000; count++) chronicle.note('warn', 'again', 'x'.repeat(100_000));
    expect(chronicle.events[0]).toMatchObject({ times: 1000 });
    expect(chronicle.events[0]!.text.length).toBeLessThan(600);
    expect(chronicle.events[1]).toMatchObject({ text: 'event 999', times: 1 });
  });

  test('of the words for one change of state the last one stays', () => {
    const chronicle = new Chronicle(logWith([]));
    for (const text of ['status isolated', 'status recovery', 'status online'])
      chronicle.note('info', 'status', text);
    expect(chronicle.events.map(({ text }) => text)).toEqual(['status online']);
  });
});

test('a storm of conflicts is told once, and its end', () => {
  const lines: string[] = [];
  const telemetry = new NodeTelemetry(logWith(lines), 0);
  for (let second = 1; second <= 90; second++) {
    telemetry.tally.committed += 50;
    if (second > 30 && second <= 60) telemetry.tally.conflicts.conflict += 50;
    telemetry.sample(second * 1000);
  }
  expect(telemetry.chronicle.events.map(({ kind }) => kind)).toEqual([
    'conflict-storm-over',
    'conflict-storm',
  ]);
  expect(lines.length).toBe(2);
});

test('there is a meaning for each reason, and a counter', () => {
  expect(Object.keys(new NodeTally().conflicts)).toEqual(Object.keys(abortReasons));
});
