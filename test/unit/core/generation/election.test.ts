import { describe, expect, test } from 'vitest';
import { Network, type Mutant } from './election-network.ts';

const steps = 1500;

/** The first seed whose run ends in a violation, with what was seen. */
function violation(seeds: number, mutant?: Mutant): { seed: number; text: string } | undefined {
  for (let seed = 1; seed <= seeds; seed += 1) {
    try {
      new Network(seed, mutant).run(steps);
    } catch (error) {
      return { seed, text: (error as Error).message };
    }
  }
  return undefined;
}

test('elections among any losses: one record per number, no commit lost or undone', () => {
  expect(violation(400)).toBeUndefined();
});

test('the runs go somewhere: generations, commits, aborts', () => {
  let online = 0;
  let committed = 0;
  let aborted = 0;
  for (let seed = 1; seed <= 50; seed += 1) {
    const checker = new Network(seed).run(steps);
    online += checker.online;
    committed += checker.committed.size;
    aborted += checker.aborted.size;
  }
  expect(online).toBeGreaterThan(200);
  expect(committed).toBeGreaterThan(30);
  expect(aborted).toBeGreaterThan(30);
});

describe('without a rule', () => {
  test.each<Mutant>([
    'promise-forgotten',
    'vote-while-preparing',
    'behind-counts',
    'silence-does-not-bind',
    'decides-after-the-vote',
    'told-before-durable',
    'forgotten-early',
    'nothing-carried',
  ])(
    '%s: the checker sees it',
    (mutant) => {
      expect(violation(600, mutant)).toBeDefined();
    },
    30_000,
  );
});
