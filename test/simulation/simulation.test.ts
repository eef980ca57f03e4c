import { describe, expect, test } from 'vitest';
import { caughtAt, mutants } from './mutants.ts';
import { optionsOfSeed } from './options.ts';
import { runSeed } from './run.ts';
import kept from './seeds.json' with { type: 'json' };

const firstSeed = Number(process.env['SIM_SEED'] ?? 100_001);
const runs = Number(process.env['SIM_RUNS'] ?? 2000);

function fails(seed: number): string | undefined {
  const { violation } = runSeed(optionsOfSeed(seed));
  return violation === undefined
    ? undefined
    : `seed ${seed}: ${violation.message} (npm run sim -- --seed ${seed})`;
}

describe('simulation', () => {
  test(`${runs} seeds from ${firstSeed}`, () => {
    for (let seed = firstSeed; seed < firstSeed + runs; seed += 1) expect(fails(seed)).toBeUndefined();
  });

  const { note: _note, ...keptSeeds } = kept;
  test.each(Object.entries(keptSeeds))('once failed: %s', (_why, seeds) => {
    for (const seed of seeds) expect(fails(seed)).toBeUndefined();
  });

  test('the same seed tells the same story', () => {
    const story = (): string[] => {
      const lines: string[] = [];
      runSeed(optionsOfSeed(4), { trace: (at, who, text) => lines.push(`${at} ${who} ${text}`) });
      return lines;
    };
    expect(story()).toEqual(story());
  });
});

describe('broken nodes are caught', () => {
  test.each(mutants)('$name: within $within seeds', (mutant) => {
    expect(caughtAt(mutant)).toBeDefined();
  });
});
