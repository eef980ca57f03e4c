import { expect, test, vi } from 'vitest';
import { Exclusion } from '../../../../src/core/generation/exclusion.ts';
import { Lease } from '../../../../src/core/generation/lease.ts';
import { play } from './faults.ts';

const seeds = Array.from({ length: 60 }, (_, index) => index + 1);

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
  expect(generations).toBeGreaterThan(3 * seeds.length);
  expect(committed).toBeGreaterThan(5 * seeds.length);
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

test('whoever votes to leave out a node that it answered is found out', () => {
  const spy = vi.spyOn(Exclusion.prototype, 'blockedBy').mockReturnValue(undefined);
  expect(violation()).toMatch(/serves in \d+ while \d+ is online/);
  spy.mockRestore();
});

test('a lease that is renewed by any answer is found out', () => {
  const spy = vi.spyOn(Lease.prototype, 'until', 'get').mockReturnValue(Infinity);
  expect(violation()).toMatch(/serves in \d+ while \d+ is online/);
  spy.mockRestore();
});
