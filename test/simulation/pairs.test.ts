/**
 * Two gateways at a time die and come back under load: no node may stand still, whatever comes next. SIM_RUNS,
 * SIM_SEED: how many seeds (12), from which.
 */
import { expect, test, vi } from 'vitest';
import { optionsInPairs, runPairs } from './pairs.ts';

vi.setConfig({ testTimeout: 600_000 });

const firstSeed = Number(process.env['SIM_SEED'] ?? 100_001);
const runs = Number(process.env['SIM_RUNS'] ?? 12);

function fails(seed: number): string | undefined {
  const { violation } = runPairs(optionsInPairs(seed));
  return violation && `seed ${seed}: ${violation.message} (npm run sim -- --pairs --seed ${seed})`;
}

test(`two gateways at a time: ${runs} seeds from ${firstSeed}`, () => {
  for (let seed = firstSeed; seed < firstSeed + runs; seed += 1) expect(fails(seed)).toBeUndefined();
});

test.each([['a replay ended with a mark while it was told of a higher one', 230]])(
  'once failed: %s',
  (_why, seed) => {
    expect(fails(seed)).toBeUndefined();
  },
);
