/** The judge against histories at random: right ones please it, spoilt ones do not, and it is fast enough for a long test. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Prng } from '../../../src/lib/prng.ts';
import { checkHistory } from '../../support/history/check.ts';
import type { MicroOperation, Operation } from '../../support/history/operation.ts';
import { snapshotHistory } from './snapshot-database.ts';

const seeds = fc.integer({ min: 0, max: 2 ** 31 });

function kinds(history: readonly Operation[], final: ReadonlyMap<number, readonly number[]>): string[] {
  return [...checkHistory(history, { realTime: true, final }).counts.keys()];
}

describe('right histories', () => {
  test('serial ones pass, and have nothing to allow', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const { history, final } = snapshotHistory(new Prng(seed), { operations: 120, clients: 1 });
        const verdict = checkHistory(history, { realTime: true, final });
        expect(verdict.anomalies).toEqual([]);
        expect(verdict.allowed).toEqual({ gSingle: 0, g2: 0, g2Example: undefined });
      }),
    );
  });

  test('those of a database with snapshots pass', () => {
    let skew = 0;
    fc.assert(
      fc.property(seeds, fc.integer({ min: 2, max: 12 }), (seed, clients) => {
        const { history, final } = snapshotHistory(new Prng(seed), { operations: 150, clients });
        const verdict = checkHistory(history, { realTime: true, final });
        expect(verdict.anomalies).toEqual([]);
        skew += verdict.allowed.g2;
      }),
      { numRuns: 150 },
    );
    expect(skew, 'write skew was among them').toBeGreaterThan(0);
  });
});

describe('spoilt histories', () => {
  /** A history, and the acknowledged appends that somebody has read after they were acknowledged. */
  function material(seed: number) {
    const random = new Prng(seed);
    const { history, final } = snapshotHistory(random, { operations: 150, clients: 4 });
    return { random, history, final };
  }

  function replace(
    history: readonly Operation[],
    index: number,
    micro: readonly MicroOperation[],
  ): Operation[] {
    return history.map((operation, place) => (place === index ? { ...operation, micro } : operation));
  }

  test('a read that misses its last element is noticed', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const { random, history, final } = material(seed);
        // An element that was acknowledged before the reader began.
        const candidates = history.flatMap((operation, index) =>
          operation.micro.flatMap((step, place) => {
            if (step.kind !== 'read') return [];
            const last = step.values.at(-1);
            const writer = history.find(({ micro }) =>
              micro.some(
                (other) => other.kind === 'append' && other.key === step.key && other.value === last,
              ),
            );
            const stale = writer?.outcome === 'ok' && writer.endedMs < operation.invokedMs;
            return stale ? [{ index, place, step }] : [];
          }),
        );
        const { index, place, step } = random.pick(candidates);
        const micro = (history[index] as Operation).micro.with(place, {
          ...step,
          values: step.values.slice(0, -1),
        });
        expect(kinds(replace(history, index, micro), final)).not.toEqual([]);
      }),
    );
  });

  test('a lost row is noticed', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const { random, history, final } = material(seed);
        const acknowledged = new Set(
          history.flatMap(({ outcome, micro }) =>
            outcome === 'ok' ? micro.flatMap((step) => (step.kind === 'append' ? [step.value] : [])) : [],
          ),
        );
        const rows = [...final].flatMap(([key, values]) =>
          values.filter((value) => acknowledged.has(value)).map((value) => ({ key, value })),
        );
        const { key, value } = random.pick(rows);
        const spoilt = new Map(final).set(
          key,
          (final.get(key) ?? []).filter((other) => other !== value),
        );
        expect(kinds(history, spoilt)).toContain('lost-append');
      }),
    );
  });

  test('a row of a refused transaction is noticed', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const { random, history, final } = material(seed);
        const refused = history.flatMap(({ outcome, micro }) =>
          outcome === 'fail' ? micro.filter((step) => step.kind === 'append') : [],
        );
        const { key, value } = random.pick(refused);
        expect(kinds(history, new Map(final).set(key, [...(final.get(key) ?? []), value]))).toContain('G1a');
      }),
    );
  });

  test('two elements that changed places are noticed', () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const { random, history, final } = material(seed);
        const readLengths = new Set(
          history.flatMap(({ micro, outcome }) =>
            micro.flatMap((step) =>
              step.kind === 'read' && outcome === 'ok' ? [`${step.key} ${step.values.length}`] : [],
            ),
          ),
        );
        // Somebody whose commit was acknowledged has read the list when it ended between the two.
        const places = [...final].flatMap(([key, values]) =>
          [...values.keys()]
            .filter((place) => place > 0 && readLengths.has(`${key} ${place}`))
            .map((place) => ({ key, place })),
        );
        const { key, place } = random.pick(places);
        const swapped = [...(final.get(key) ?? [])];
        [swapped[place - 1], swapped[place]] = [swapped[place] as number, swapped[place - 1] as number];
        expect(kinds(history, new Map(final).set(key, swapped))).not.toEqual([]);
      }),
    );
  });
});

test('50,000 transactions take seconds', () => {
  const { history, final } = snapshotHistory(new Prng(1), {
    operations: 50_000,
    clients: 20,
    appendsOfAKey: 60,
  });
  const begin = process.cpuUsage(); // Of this process: others have the machine, too.
  const verdict = checkHistory(history, { realTime: true, final });
  const seconds = process.cpuUsage(begin).user / 1_000_000;
  expect(verdict.anomalies).toEqual([]);
  expect(verdict.statistics.ok).toBeGreaterThan(10_000);
  expect(seconds).toBeLessThan(15);
  process.stdout.write(
    `judged ${history.length} transactions, ${verdict.statistics.edges} edges in ${seconds.toFixed(2)} s; ` +
      `allowed: ${verdict.allowed.gSingle} read skews at READ COMMITTED, ${verdict.allowed.g2} knots of G2\n`,
  );
});
