/** Many writers and few rows under each deadlock_prevention: nothing is lost, and nobody waits for ever. */
import { describe, expect, test } from 'vitest';
import { optionsOfSeed } from './options.ts';
import { runSeed } from './run.ts';

const seeds = Array.from({ length: 25 }, (_, index) => 7001 + index);

describe.each(['off', 'simple', 'smart'] as const)('deadlock_prevention %s', (deadlockPrevention) => {
  const wishes = { nodes: [1, 2, 3], accounts: 2, clientsPerNode: 3, thinkMs: 2, deadlockPrevention };

  test('hot rows, without faults', () => {
    for (const seed of seeds) {
      const { violation } = runSeed({ ...optionsOfSeed(seed), ...wishes, faults: [] });
      expect(violation?.message, `seed ${seed}`).toBeUndefined();
    }
  });

  test('hot rows, with faults', () => {
    for (const seed of seeds) {
      const { violation } = runSeed({ ...optionsOfSeed(seed), ...wishes });
      expect(violation?.message, `seed ${seed}`).toBeUndefined();
    }
  });
});
