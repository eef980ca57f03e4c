import fc from 'fast-check';
import { expect, test } from 'vitest';
import { HybridClock } from '../../../../src/core/generation/hybrid-clock.ts';

test('is the maximum of what it read and saw, and never goes back', () => {
  const step = fc.record({ own: fc.boolean(), time: fc.nat() });
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const clock = new HybridClock();
      let highest = 0;
      for (const { own, time } of steps) {
        highest = Math.max(highest, time);
        if (own) expect(clock.read(time)).toBe(highest);
        else clock.observe(time);
        expect(clock.latest).toBe(highest);
      }
    }),
  );
});
