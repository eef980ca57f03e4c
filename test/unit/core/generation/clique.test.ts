import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { candidates, electionReason } from '../../../../src/core/generation/candidates.ts';
import { bestClique } from '../../../../src/core/generation/clique.ts';
import { initialConfiguration } from '../../../../src/core/generation/configuration.ts';
import type { Contact } from '../../../../src/core/generation/liveness-event.ts';
import type { GenerationRecord } from '../../../../src/core/generation/record.ts';

/** All subsets, one by one. */
function slowClique(nodes: readonly number[], linked: (a: number, b: number) => boolean): number[] {
  let best: number[] = [];
  for (let bits = 0; bits < 1 << nodes.length; bits += 1) {
    const set = nodes.filter((_, index) => (bits & (1 << index)) !== 0);
    if (!set.every((a) => set.every((b) => a === b || linked(a, b)))) continue;
    const smaller = set.length === best.length && compare(set, best) < 0;
    if (set.length > best.length || smaller) best = set;
  }
  return best;
}

function compare(a: readonly number[], b: readonly number[]): number {
  for (const [index, node] of a.entries()) if (node !== b[index]) return node - b[index]!;
  return 0;
}

describe('the best clique', () => {
  test('is what trying all subsets gives', () => {
    const graph = fc.record({
      size: fc.integer({ min: 0, max: 7 }),
      broken: fc.array(fc.tuple(fc.nat(6), fc.nat(6)), { maxLength: 16 }),
    });
    fc.assert(
      fc.property(graph, ({ size, broken }) => {
        const nodes = Array.from({ length: size }, (_, index) => index + 1);
        const cut = new Set(broken.flatMap(([a, b]) => [`${a + 1} ${b + 1}`, `${b + 1} ${a + 1}`]));
        const linked = (a: number, b: number): boolean => !cut.has(`${a} ${b}`);
        expect(bestClique(nodes, linked)).toEqual(slowClique(nodes, linked));
      }),
      { numRuns: 500 },
    );
  });
  test('ends in any case: 64 nodes, every second link broken', () => {
    const nodes = Array.from({ length: 64 }, (_, index) => index + 1);
    const clique = bestClique(nodes, (a, b) => Math.ceil(a / 2) !== Math.ceil(b / 2));
    expect(clique.length).toBe(32);
  });
});

function contact(node: number, connected: number[], more: Partial<Contact> = {}): Contact {
  const usual = { healthy: true, generation: 4, maxVoted: 4, lastOnline: 4, onlineIn: 4, level: false };
  return { node, connected, ...usual, ...more };
}

const all = [1, 2, 3];
const configuration = initialConfiguration(all);
const chosen: GenerationRecord = {
  number: 4,
  proposer: 1,
  members: [1, 2, 3],
  ...configuration,
  donors: [1, 2],
  commits: [],
};

describe('candidates', () => {
  test('A–B–C without A–C: everybody picks A and B', () => {
    const a = contact(1, [1, 2]);
    const b = contact(2, [1, 2, 3]);
    const c = contact(3, [2, 3]);
    expect(candidates(1, [a, b], configuration, chosen)).toEqual([1, 2]);
    expect(candidates(2, [b, a, c], configuration, chosen)).toEqual([1, 2]);
    expect(candidates(3, [c, b], configuration, chosen)).toEqual([2, 3]);
  });
  test('one that hears but is not heard is left out', () => {
    const view = [contact(1, [1, 2, 3]), contact(2, [1, 2, 3]), contact(3, [3])];
    expect(candidates(1, view, configuration, chosen)).toEqual([1, 2]);
  });
  test('no majority: none', () => {
    expect(candidates(1, [contact(1, [1])], configuration, chosen)).toBeUndefined();
  });
  test('the unhealthy are left out', () => {
    const view = [contact(1, all), contact(2, all), contact(3, all, { healthy: false })];
    expect(candidates(1, view, configuration, chosen)).toEqual([1, 2]);
    expect(candidates(3, view, configuration, chosen)).toBeUndefined();
  });
  test('one that is behind is in when it is level, or when there is no majority without it', () => {
    const others = [contact(1, all), contact(2, all)];
    const behind = contact(3, all, { lastOnline: 2, level: false });
    expect(candidates(1, [...others, behind], configuration, chosen)).toEqual([1, 2]);
    expect(candidates(1, [...others, { ...behind, level: true }], configuration, chosen)).toEqual(all);
    expect(
      candidates(1, [contact(1, [1, 3]), contact(3, [1, 3], { lastOnline: 2 })], configuration, chosen),
    ).toEqual([1, 3]);
  });
  test('a donor of the latest generation counts as complete before it says so', () => {
    const view = [contact(1, all), contact(2, all, { lastOnline: 3 }), contact(3, all, { lastOnline: 3 })];
    expect(candidates(1, view, configuration, chosen)).toEqual([1, 2]);
  });
});

describe('whether an election is needed', () => {
  const view = all.map((node) => contact(node, all));
  test('not while all members are there', () => {
    expect(electionReason(all, view, chosen, true, true)).toBeUndefined();
  });
  test('without a generation, or when this node is in none', () => {
    expect(electionReason(all, view, undefined, false, true)).toContain('no generation yet');
    expect(electionReason(all, view, chosen, false, true)).toContain('in no generation');
  });
  test('at once when a member is lost; later when somebody fits in or has restarted', () => {
    expect(electionReason([1, 2], view.slice(0, 2), chosen, true, false)).toContain('lost node 3');
    const two = { ...chosen, members: [1, 2] };
    expect(electionReason(all, view, two, true, false)).toBeUndefined();
    expect(electionReason(all, view, two, true, true)).toContain('fit together');
    const restarted = [...view.slice(0, 2), contact(3, all, { generation: 0, onlineIn: 0 })];
    expect(electionReason(all, restarted, chosen, true, false)).toBeUndefined();
    expect(electionReason(all, restarted, chosen, true, true)).toContain('node 3 is not in generation 4');
  });
});
