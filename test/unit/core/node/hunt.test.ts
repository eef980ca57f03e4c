import { expect, test, vi } from 'vitest';
import { Exclusion } from '../../../../src/core/generation/exclusion.ts';
import { Lease } from '../../../../src/core/generation/lease.ts';
import { play } from './faults.ts';

const seeds = Array.from({length: 8000}, (_, i) => i + 1000);

test('whatever fails, nothing is lost and nobody serves too long', () => {
  let generations = 0;
  let committed = 0;
  for (const seed of seeds) {
    try {
      const run = play(seed);
      generations += run.generations;
      committed += run.written.filter(
        ({ home, gid }) => run.cluster.node(home).answers.get(gid) === 'committed',
      ).length;
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
  }


});

/** The first seed that shows it. */
function violation(): string | undefined {
  for (const seed of seeds) {
    try {
      play(seed);
    } catch (error) {
      return (error as Error).message;
    }
  }
  return undefined;
}

