import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { OutcomeMemory } from '../../../../src/core/commit/outcome-memory.ts';
import type { Floor } from '../../../../src/core/commit/outcome-memory.ts';
import { formatGid, parseGid } from '../../../../src/core/identity.ts';
import type { Gid } from '../../../../src/core/identity.ts';

const gid = (node: number, generation: number, counter: number): Gid => {
  return formatGid({ node, generation, incarnation: 1, counter });
};
const floor = (generation: number, counters: Record<number, number> = {}): Floor => {
  return { generation, counters: new Map(Object.entries(counters).map(([node, at]) => [Number(node), at])) };
};

describe('outcome memory', () => {
  test('knows what was committed, at the start and since', () => {
    const memory = new OutcomeMemory(undefined, [gid(1, 1, 1)]);
    memory.committed(gid(2, 1, 9));
    expect([...memory.gids()]).toEqual([gid(1, 1, 1), gid(2, 1, 9)]);
    expect(memory.outcomeOf(gid(1, 1, 1), 1)).toBe('committed');
    expect(memory.outcomeOf(gid(1, 1, 2), 1), 'may still be on its way').toBe('unknown');
    expect(memory.outcomeOf(gid(1, 1, 2), 2), 'its generation is over').toBe('aborted');
    expect(memory.outcomeOf('something else', 2)).toBe('unknown');
  });

  test('below the floor nothing is an outcome', () => {
    const memory = new OutcomeMemory(undefined, [gid(1, 2, 1), gid(1, 2, 5), gid(2, 2, 1), gid(1, 1, 7)]);
    memory.raise(floor(2, { 1: 5 }));
    expect(memory.outcomeOf(gid(1, 2, 4), 3)).toBe('forgotten');
    expect(memory.outcomeOf(gid(1, 2, 1), 3)).toBe('forgotten');
    expect(memory.outcomeOf(gid(1, 2, 5), 3)).toBe('committed');
    expect(memory.outcomeOf(gid(2, 2, 1), 3), 'its origin has no floor yet').toBe('committed');
    expect(memory.outcomeOf(gid(1, 1, 7), 3)).toBe('forgotten');
    expect(memory.isKnown(gid(1, 2, 4))).toBe(true);
    expect(memory.isKnown(gid(1, 2, 6))).toBe(false);
    memory.committed(gid(1, 2, 2));
    expect([...memory.gids()], 'nothing is remembered below').not.toContain(gid(1, 2, 2));
    expect(() => memory.raise(floor(1))).toThrow(/never sinks/);
  });

  test('a straggler stays until the next floor; that harms nobody', () => {
    const memory = new OutcomeMemory(undefined, [gid(1, 1, 9), gid(1, 1, 2)]);
    memory.raise(floor(1, { 1: 5 }));
    expect(memory.outcomeOf(gid(1, 1, 2), 1)).toBe('committed');
    memory.raise(floor(1, { 1: 10 }));
    expect([...memory.gids()]).toEqual([]);
  });

  test('against a set that forgets nothing: never wrong about what is at or above the floor', () => {
    const parts = fc.record({
      node: fc.integer({ min: 1, max: 3 }),
      generation: fc.integer({ min: 1, max: 3 }),
      counter: fc.nat(9),
    });
    const step = fc.oneof(
      fc.record({ commit: parts }),
      fc.record({
        raise: fc.record({ by: fc.nat(1), counters: fc.array(fc.nat(9), { minLength: 3, maxLength: 3 }) }),
      }),
    );
    fc.assert(
      fc.property(fc.array(step), (steps) => {
        const memory = new OutcomeMemory();
        const all = new Set<Gid>();
        for (const one of steps) {
          if ('commit' in one) {
            const { node, generation, counter } = one.commit;
            memory.committed(gid(node, generation, counter));
            all.add(gid(node, generation, counter));
          } else {
            const { by, counters } = one.raise;
            memory.raise(
              floor(memory.floor.generation + by, { 1: counters[0]!, 2: counters[1]!, 3: counters[2]! }),
            );
          }
        }
        for (const one of all) {
          const { node, generation, counter } = parseGid(one)!;
          const { floor: low } = memory;
          const below =
            generation < low.generation ||
            (generation === low.generation && counter < low.counters.get(node)!);
          expect(memory.isBelowFloor(one)).toBe(below);
          expect(memory.isKnown(one)).toBe(true);
        }
        for (const one of memory.gids()) expect(all.has(one)).toBe(true);
      }),
    );
  });
});
