import { describe, expect, test } from 'vitest';
import fc from 'fast-check';
import {
  afterReport,
  clearedUpTo,
  grantInForce,
  judgeGrant,
} from '../../../../src/core/generation/referee-record.ts';
import type { RefereeRecord } from '../../../../src/core/generation/referee-record.ts';

const pair = { low: 3, high: 7 };

function record(change: Partial<RefereeRecord> = {}): RefereeRecord {
  return { winner: 0, generation: 0, onlineLow: 5, onlineHigh: 5, revision: 9, ...change };
}

describe('granting', () => {
  test.each([
    ['the first that asks gets it', record(), { node: 7, generation: 6, since: 5 }, 'granted'],
    ['not from an empty referee', undefined, { node: 7, generation: 6, since: 1 }, 'no-record'],
    ['not for what is cleared', record(), { node: 7, generation: 5, since: 5 }, 'cleared'],
    [
      'not to the other of the winner',
      record({ winner: 3, generation: 6 }),
      { node: 7, generation: 9, since: 5 },
      'other-winner',
    ],
    [
      'to the winner again, complete or not',
      record({ winner: 7, generation: 6 }),
      { node: 7, generation: 8, since: 0 },
      'granted',
    ],
    [
      'to the other once it is cleared',
      record({ winner: 3, generation: 5 }),
      { node: 7, generation: 6, since: 5 },
      'granted',
    ],
    ['not to an incomplete node', record(), { node: 7, generation: 6, since: 0 }, 'incomplete'],
    [
      'not by an older memory than the asker’s',
      record(),
      { node: 7, generation: 9, since: 6 },
      'unconfirmed',
    ],
  ] as const)('%s', (_, before, request, expected) => {
    const verdict = judgeGrant(before, request);
    expect(verdict.kind === 'granted' ? verdict.kind : verdict.refusal).toBe(expected);
    if (verdict.kind === 'granted') {
      expect(grantInForce(verdict.record)).toEqual({ winner: 7, generation: request.generation });
      expect(verdict.record.revision).toBe(10);
    } else expect(verdict.record).toBe(before);
  });

  test('a late question for a lower number takes nothing away from the grant', () => {
    const verdict = judgeGrant(record({ winner: 7, generation: 9 }), { node: 7, generation: 6, since: 0 });
    expect(verdict).toMatchObject({ kind: 'granted', record: { winner: 7, generation: 9 } });
  });
});

describe('reports', () => {
  test('one node alone clears nothing, both together do', () => {
    const won = record({ winner: 3, generation: 6 });
    const one = afterReport(won, pair, { node: 3, generation: 7, revision: 0 });
    expect(grantInForce(one)).toEqual({ winner: 3, generation: 6 });
    const both = afterReport(one, pair, { node: 7, generation: 7, revision: 0 });
    expect(grantInForce(both)).toBeUndefined();
    expect(clearedUpTo(both)).toBe(7);
  });

  test('the first one makes the record; a repeated one changes nothing', () => {
    const first = afterReport(undefined, pair, { node: 7, generation: 1, revision: 0 });
    expect(first).toEqual({ winner: 0, generation: 0, onlineLow: 0, onlineHigh: 1, revision: 1 });
    expect(afterReport(first, pair, { node: 7, generation: 1, revision: 0 })).toBe(first);
  });

  test('an own grant above is given back, but not when it was asked for again in the meantime', () => {
    const won = record({ winner: 3, generation: 8 });
    const back = { node: 3, generation: 5, revision: 9 };
    expect(grantInForce(afterReport(won, pair, back))).toBeUndefined();
    const again = judgeGrant(won, { node: 3, generation: 8, since: 5 });
    expect(again.kind).toBe('granted');
    expect(grantInForce(afterReport(again.record, pair, back))).toEqual({ winner: 3, generation: 8 });
    expect(grantInForce(afterReport(won, pair, { ...back, node: 7 }))).toEqual({ winner: 3, generation: 8 });
  });

  test('property: what is cleared never falls, and revisions tell every change', () => {
    const number = fc.integer({ min: 1, max: 12 });
    const node = fc.constantFrom(pair.low, pair.high);
    const call = fc.oneof(
      fc.record({ kind: fc.constant('ask' as const), node, generation: number, since: fc.nat(12) }),
      fc.record({ kind: fc.constant('report' as const), node, generation: number, revision: fc.nat(9) }),
    );
    fc.assert(
      fc.property(fc.array(call, { maxLength: 30 }), (calls) => {
        let memory: RefereeRecord | undefined;
        for (const one of calls) {
          const before = memory;
          if (one.kind === 'report') memory = afterReport(memory, pair, one);
          else {
            const verdict = judgeGrant(memory, one);
            if (verdict.kind === 'granted') memory = verdict.record;
          }
          if (before === undefined || memory === undefined) continue;
          expect(clearedUpTo(memory)).toBeGreaterThanOrEqual(clearedUpTo(before));
          if (memory.revision === before.revision) expect(memory).toEqual(before);
          const held = grantInForce(before);
          // A winner is replaced only after it was cleared, or after it gave the grant back itself.
          if (held !== undefined && memory.winner !== held.winner)
            expect(clearedUpTo(memory)).toBeGreaterThanOrEqual(held.generation);
        }
      }),
    );
  });
});
