/** Bisecting: it finds all rows that differ, asks for little at once, and says when there are more. */
import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { versionsOf } from '../../../../src/core/comparison/news.ts';
import {
  hashesAtOnce,
  rowsAtOnce,
  searchRows,
  type Found,
  type Question,
} from '../../../../src/core/comparison/row-search.ts';
import { Prng } from '../../../../src/lib/prng.ts';

interface Row {
  readonly key: string;
  readonly value: string;
}

function hashOf(text: string, seed: number): bigint {
  return createHash('md5').update(`${seed}:${text}`).digest().readBigInt64BE();
}

/** What a server answers (row-sql.ts). */
function answered(rows: readonly Row[], question: Question): string[][] {
  const bits = question.kind === 'rows' ? 64 : question.bits;
  const mask = (hash: bigint, count: number): bigint =>
    count >= 64 ? hash : hash & ((1n << BigInt(count)) - 1n);
  const groups = new Map<string, { key: string; rows: bigint; first: bigint; second: bigint }>();
  for (const { key, value } of rows) {
    const hash = hashOf(key, 7);
    const { within } = question;
    if (within !== undefined && !within.values.includes(String(mask(hash, within.bits)))) continue;
    const name = String(mask(hash, bits));
    const text = `${key} ${value}`;
    const former = groups.get(name) ?? { key: JSON.stringify([key]), rows: 0n, first: 0n, second: 0n };
    groups.set(name, {
      key: former.key,
      rows: former.rows + 1n,
      first: former.first + hashOf(text, 0),
      second: former.second + hashOf(text, 1),
    });
  }
  return [...groups].map(([name, { key, rows: count, first, second }]) =>
    question.kind === 'rows'
      ? [name, key, String(count), String(first), String(second)]
      : [name, String(count), String(first), String(second)],
  );
}

function search(nodes: readonly (readonly Row[])[], most: number): Found & { readonly questions: number } {
  const machine = searchRows(most);
  let questions = 0;
  for (let step = machine.next(), count = 0; ; count++) {
    if (step.done === true) return { ...step.value, questions };
    if (count > 200) throw new Error('it does not end');
    const question = step.value;
    const answers = nodes.map((rows) => answered(rows, question));
    const limit = question.kind === 'rows' ? rowsAtOnce : hashesAtOnce;
    for (const rows of answers) expect(rows.length).toBeLessThanOrEqual(limit);
    questions++;
    step = machine.next(answers);
  }
}

function table(count: number): Row[] {
  return Array.from({ length: count }, (_, index) => ({ key: `k${index}`, value: 'v' }));
}

const keysOf = ({ keys }: Found): string[] =>
  keys.map(({ key }) => (JSON.parse(key) as string[])[0]!).toSorted();

describe('rows that differ', () => {
  test('there are none in equal tables, in whatever order', () => {
    expect(search([table(500), table(500).toReversed(), table(500)], 10)).toMatchObject({
      keys: [],
      more: false,
    });
    expect(search([[], [], []], 10)).toMatchObject({ keys: [], more: false });
  });

  test.each([1, 2, 3, 4, 5])('all are found, changed, missing and added ones: seed %i', (seed) => {
    const random = new Prng(seed);
    const nodes = [table(6000), table(6000), table(6000)];
    const expected = new Set<string>();
    for (let count = 0; count < 12; count++) {
      const node = Math.floor(random.next() * 3);
      const at = Math.floor(random.next() * nodes[node]!.length);
      const row = nodes[node]![at]!;
      if (count % 3 === 0) nodes[node]![at] = { ...row, value: `changed ${count}` };
      else if (count % 3 === 1) nodes[node]!.splice(at, 1);
      else nodes[node]!.push({ key: `new ${count}`, value: 'v' });
      expected.add(count % 3 === 2 ? `new ${count}` : row.key);
    }
    const found = search(nodes, 100);
    expect(keysOf(found)).toEqual([...expected].toSorted());
    expect(found.more).toBe(false);
    expect(found.questions).toBeLessThan(8); // each reads the whole table
  });

  test('when everything differs it stops at what is wanted, and says that there is more', () => {
    const other = table(6000).map(({ key }) => ({ key, value: 'w' }));
    const found = search([table(6000), other], 10);
    expect(found.keys).toHaveLength(10);
    expect(found.more).toBe(true);
    expect(found.questions).toBeLessThan(8); // each reads the whole table
  });

  test('a table that is empty on one node', () => {
    const found = search([table(1000), []], 1000);
    expect(keysOf(found)).toEqual(
      table(1000)
        .map(({ key }) => key)
        .toSorted(),
    );
    expect(found.more).toBe(false);
  });

  test('rows that are the same many times are counted', () => {
    const many = Array.from({ length: 5000 }, () => ({ key: 'same', value: '' }));
    const found = search([many, [...many, many[0]!], many], 10);
    expect(found.keys).toHaveLength(1);
    expect(versionsOf(found.keys[0]!, [1, 2, 3])).toEqual([
      { nodes: [1, 3], rows: 5000 },
      { nodes: [2], rows: 5001 },
    ]);
  });
});

test('who lacks a row stands last', () => {
  const sums = [0n, 1n, 1n, 2n].map((first) => ({ rows: first === 0n ? 0n : 1n, first, second: 0n }));
  expect(versionsOf({ hash: '1', key: '[]', sums }, [1, 2, 3, 4])).toEqual([
    { nodes: [2, 3], rows: 1 },
    { nodes: [4], rows: 1 },
    { nodes: [1], rows: 0 },
  ]);
});
