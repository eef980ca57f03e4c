/** The judge of histories against hand-made ones: each anomaly is found and named, and only it; what is allowed is not. */
import { describe, expect, test } from 'vitest';
import { anomalyKinds, type AnomalyKind } from '../../support/history/anomaly.ts';
import { checkHistory } from '../../support/history/check.ts';
import { finalFrom, historyFrom } from './history-text.ts';

interface Bad {
  readonly kind: AnomalyKind;
  readonly what: string;
  readonly history: string;
  readonly final?: string;
  readonly realTime?: boolean;
  /** What the same fault cannot but show as well. */
  readonly also?: readonly AnomalyKind[];
}

const bad: readonly Bad[] = [
  { kind: 'unexpected-value', what: 'an element from nowhere', history: '1 rc ok 0-1: r1=7' },
  {
    kind: 'duplicate-element',
    what: 'an append applied twice',
    history: `
      1 rc ok 0-1: a1:1
      2 rc ok 2-3: r1=1.1`,
  },
  {
    kind: 'duplicate-element',
    what: 'an append applied twice, seen only at the end',
    history: `
      1 rc ok 0-1: a1:1
      2 rc ok 2-3: a1:2`,
    final: '1=1.2.1',
    also: ['G0'],
  },
  {
    kind: 'incompatible-order',
    what: 'two nodes with different orders',
    history: `
      1 rc ok 0-1: a1:1
      2 rc ok 0-1: a1:2
      3 rc ok 2-3: r1=1.2
      4 rc ok 2-3: r1=2.1`,
  },
  {
    kind: 'incompatible-order',
    what: 'its own append in another order than all the others saw',
    history: `
      1 rc ok 0-1: a1:1
      2 rc ok 0-1: a1:2 r1=1.2
      3 rc ok 2-3: r1=2.1`,
  },
  {
    kind: 'internal',
    what: 'the own write is not seen',
    history: `
      1 rc ok 0-1: a1:1 r1=`,
  },
  {
    kind: 'internal',
    what: 'a snapshot that changes',
    history: `
      1 rc ok 0-1: a1:1
      2 rr ok 0-5: r1= r1=1`,
    also: ['G-single'],
  },
  {
    kind: 'internal',
    what: 'what was read is gone',
    history: `
      1 rc ok 0-1: a1:1
      2 rc ok 0-5: r1=1 r1=`,
  },
  {
    kind: 'internal',
    what: 'somebody else behind the own append, in the same transaction',
    history: `
      1 rc ok 0-2: a1:1
      2 rc ok 0-5: a1:2 r1=2.1`,
  },
  {
    kind: 'G1a',
    what: 'a refused append is read',
    history: `
      1 rc fail 0-1: a1:1
      2 rc ok 2-3: r1=1`,
  },
  {
    kind: 'G1a',
    what: 'a refused append is there at the end',
    history: `
      1 rc fail 0-1: a1:1
      2 rc ok 2-3: a1:2`,
    final: '1=1.2',
  },
  {
    kind: 'G1b',
    what: 'half of a transaction is read',
    history: `
      1 rc ok 0-9: a1:1 a1:2
      2 rc ok 2-3: r1=1
      3 rc ok 10-11: r1=1.2`,
  },
  {
    kind: 'G0',
    what: 'writes of two transactions interleave',
    history: `
      1 rc ok 0-5: a1:1 a2:1
      2 rc ok 0-5: a1:2 a2:2
      3 rc ok 6-7: r1=1.2
      3 rc ok 8-9: r2=2.1`,
  },
  {
    kind: 'G1c',
    what: 'two transactions that have seen each other',
    history: `
      1 rc ok 0-5: a1:1 r2=2
      2 rc ok 0-5: a2:2 r1=1`,
  },
  {
    kind: 'G1c',
    what: 'three in a circle, one of them through a write',
    history: `
      1 rc ok 0-5: a1:1 r3=3
      2 rc ok 0-5: a1:2 a2:2
      3 rc ok 0-5: r2=2 a3:3
      4 rc ok 6-7: r1=1.2`,
  },
  {
    kind: 'lost-append',
    what: 'acknowledged, and not there at the end',
    history: `
      1 rc ok 0-1: a1:1
      2 rc ok 2-3: a1:2`,
    final: '1=2',
  },
  {
    kind: 'lost-append',
    what: 'read by somebody, and not there at the end',
    history: `
      1 rc info 0-1: a1:1
      2 rc ok 2-3: r1=1`,
    final: '1=',
  },
  {
    kind: 'half-committed',
    what: 'one row of two of an unknown outcome',
    history: '1 rc info 0-1: a1:1 a2:2',
    final: '1=1',
  },
  {
    kind: 'wrong-outcome',
    what: 'said to be committed, and not there',
    history: '1 rc info-committed 0-1: a1:1',
    final: '1=',
  },
  {
    kind: 'wrong-outcome',
    what: 'said to be aborted, and there',
    history: '1 rc info-aborted 0-1: a1:1',
    final: '1=1',
  },
  {
    kind: 'G-single',
    what: 'read skew: the new value of one key and the old one of another',
    history: `
      1 rc ok 0-9: a1:1 a2:1
      2 rr ok 0-9: r1=1 r2=
      3 rc ok 10-11: r2=1`,
  },
  {
    kind: 'G-single',
    what: 'a snapshot that has the effect without its cause',
    history: `
      1 rc ok 0-1: a1:1
      2 rc ok 2-3: r1=1 a2:2
      3 rr ok 4-5: r2=2 r1=`,
  },
  {
    kind: 'lost-update',
    what: 'two read the same and both write',
    history: `
      1 rr ok 0-9: r1= a1:1
      2 rr ok 0-9: r1= a1:2
      3 rc ok 10-11: r1=1.2`,
    also: ['G-single'],
  },
  {
    kind: 'G0-realtime',
    what: 'written later, ordered earlier',
    history: `
      1 rc ok 0-1: a1:1
      2 rc ok 2-3: a1:2
      3 rc ok 4-5: r1=2.1`,
    realTime: true,
  },
  {
    kind: 'G1c-realtime',
    what: 'read before it was written',
    history: `
      1 rc ok 0-1: a1:1 r2=2
      2 rc ok 2-3: a2:2`,
    realTime: true,
  },
  {
    kind: 'stale-read',
    what: 'an acknowledged write is not seen by a later read, READ COMMITTED',
    history: `
      1 rc ok 0-1: a1:1
      2 rc ok 2-3: r1=
      3 rc ok 4-5: r1=1`,
    realTime: true,
  },
  {
    kind: 'stale-read',
    what: 'nor by a later one that failed in the end',
    history: `
      1 rc ok 0-1: a1:1
      2 rr fail 2-3: r1= a2:2
      3 rc ok 4-5: r1=1`,
    realTime: true,
  },
  {
    kind: 'stale-read',
    what: 'an older write is not seen although the acknowledged one came later',
    history: `
      1 rc info 0-9: a1:1
      2 rc ok 1-2: r1=1 a2:2
      3 rc ok 3-4: r1=
      4 rc ok 5-6: r2=2`,
    realTime: true,
  },
];

describe('what must never appear', () => {
  test.each(bad)('$kind: $what', ({ kind, history, final, realTime = false, also = [] }) => {
    const verdict = checkHistory(historyFrom(history), {
      realTime,
      ...(final === undefined ? {} : { final: finalFrom(final) }),
    });
    expect([...verdict.counts.keys()].sort()).toEqual([kind, ...also].sort());
    expect(verdict.anomalies.find((anomaly) => anomaly.kind === kind)?.text).toMatch(/key|process/);
  });

  test('every kind has a history that shows it', () => {
    expect(new Set(bad.map(({ kind }) => kind))).toEqual(new Set(anomalyKinds));
  });
});

interface Good {
  readonly what: string;
  readonly history: string;
  readonly final?: string;
  readonly realTime?: boolean;
  readonly gSingle?: number;
  readonly g2?: number;
}

const good: readonly Good[] = [
  {
    what: 'one after the other',
    history: `
      1 rr ok 0-1: a1:1 r1=1
      2 rr ok 2-3: r1=1 a1:2 r1=1.2
      3 rc ok 4-5: r1=1.2 r2=`,
    final: '1=1.2',
    realTime: true,
  },
  {
    what: 'an unknown outcome that has happened',
    history: `
      1 rc info 0-1: a1:1 a2:1
      2 rc ok 2-3: r1=1`,
    final: '1=1 2=1',
  },
  { what: 'an unknown outcome that has not', history: '1 rc info 0-1: a1:1 a2:1', final: '1= 2=' },
  { what: 'found out: aborted', history: '1 rc info-aborted 0-1: a1:1', final: '1=' },
  {
    what: 'a refused transaction had seen its own append, and nobody else',
    history: `
      1 rc fail 0-1: a1:1 r1=1
      2 rc ok 2-3: a1:2 r1=2`,
    final: '1=2',
  },
  {
    what: 'READ COMMITTED sees more when it looks again',
    history: `
      1 rc ok 0-1: a1:1
      2 rc ok 0-5: r1= r1=1`,
    gSingle: 1,
  },
  {
    what: 'READ COMMITTED may read, think and write',
    history: `
      1 rc ok 0-9: r1= a1:1
      2 rc ok 0-9: r1= a1:2
      3 rc ok 10-11: r1=1.2`,
    gSingle: 1,
  },
  {
    what: 'the first of two writers was READ COMMITTED and had not seen the second',
    history: `
      1 rr ok 0-9: r1= a1:1
      2 rc ok 0-9: r1= a1:2
      3 rc ok 10-11: r1=1.2`,
    gSingle: 1,
  },
  {
    what: 'write skew',
    history: `
      1 rr ok 0-9: r1= a2:2
      2 rr ok 0-9: r2= a1:1
      3 rc ok 10-11: r1=1 r2=2`,
    g2: 1,
    realTime: true,
  },
  {
    what: 'a long fork',
    history: `
      1 rc ok 0-9: a1:1
      2 rc ok 0-9: a2:2
      3 rr ok 0-9: r1=1 r2=
      4 rr ok 0-9: r1= r2=2
      5 rc ok 10-11: r1=1 r2=2`,
    g2: 1,
    realTime: true,
  },
  {
    what: 'an old read that was begun before the answer',
    history: `
      1 rc ok 0-3: a1:1
      2 rr ok 2-9: r1=
      3 rc ok 10-11: r1=1`,
    realTime: true,
  },
  {
    what: 'an unknown outcome is promised to nobody',
    history: `
      1 rc info 0-1: a1:1
      2 rr ok 2-3: r1=
      3 rc ok 10-11: r1=1`,
    realTime: true,
  },
  {
    what: 'a read that was answered promises nothing about other nodes',
    history: `
      1 rc ok 0-9: a1:1
      2 rc ok 1-2: r1=1
      3 rr ok 3-4: r1=
      4 rc ok 10-11: r1=1`,
    realTime: true,
  },
];

describe('what may appear', () => {
  test.each(good)('$what', ({ history, final, realTime = false, gSingle = 0, g2 = 0 }) => {
    const verdict = checkHistory(historyFrom(history), {
      realTime,
      ...(final === undefined ? {} : { final: finalFrom(final) }),
    });
    expect(verdict.anomalies).toEqual([]);
    expect({ gSingle: verdict.allowed.gSingle, g2: verdict.allowed.g2 }).toEqual({ gSingle, g2 });
  });
});

test('the same append twice is not a history', () => {
  expect(() => checkHistory(historyFrom('1 rc ok 0-1: a1:1\n2 rc ok 0-1: a1:1'))).toThrow(/not a history/);
});

test('a cycle is told with its transactions and what ties them', () => {
  const history = historyFrom(bad.find(({ kind }) => kind === 'G-single')?.history ?? '');
  const [anomaly] = checkHistory(history).anomalies;
  expect(anomaly?.text)
    .toBe(`process 2 on node 3 (repeatable read, ok, 0.0–9.0 ms): read(1) = [1], read(2) = []
      ── rw on key 2 ─▶
  process 1 on node 2 (read committed, ok, 0.0–9.0 ms): append(1, 1), append(2, 1)
      ── wr on key 1 ─▶
  process 2 on node 3 (repeatable read, ok, 0.0–9.0 ms): read(1) = [1], read(2) = []`);
});
