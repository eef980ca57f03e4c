import { expect, test } from 'vitest';
import { commonLines, differences } from '../../support/agreement.ts';

const nodes = [{ node: 1 }, { node: 2 }, { node: 4 }];

function held(majors: readonly number[], ...lists: readonly string[][]) {
  return lists.map((lines, index) => ({ major: majors[index]!, lines }));
}

test('a line that not all have is told with the node that has it', () => {
  const lists = held(
    [18, 18, 18],
    ['a', 'rows of t: 1, x'],
    ['a', 'rows of t: 1, x'],
    ['a', 'rows of t: 2, y'],
  );
  expect(differences(nodes, lists)).toEqual([
    'node 1: rows of t: 1, x',
    'node 2: rows of t: 1, x',
    'node 4: rows of t: 2, y',
  ]);
  expect(differences(nodes, held([18, 18, 18], ['a'], ['a'], ['a']))).toEqual([]);
});

test('versions print some lines in their own way: those compare within a version only', () => {
  const constraint = 'constraint c on t: NOT NULL n valid t deferrable f f';
  expect(differences(nodes, held([15, 18, 18], [], [constraint], [constraint]))).toEqual([]);
  expect(differences(nodes, held([15, 18, 18], [], [constraint], []))).toEqual([`node 2: ${constraint}`]);
  expect(commonLines(['relation t acl {postgres=arwdDxtm/postgres}'])).toEqual([
    'relation t acl {postgres=arwdDxt/postgres}',
  ]);
  const view = 'rule CREATE RULE "_RETURN" AS\n    ON SELECT TO public.v DO INSTEAD  SELECT ';
  expect(differences(nodes, held([15, 18, 18], [`${view}t.n`], [`${view}n`], [`${view}n`]))).toEqual([]);
  expect(differences(nodes, held([15, 15, 18], [`${view}t.n`], [`${view}m`], [`${view}n`]))).toHaveLength(2);
});

test('of a gateway nothing may be left prepared, even when it is on all nodes', () => {
  const lists = held([18, 18, 18], ['prepared mtm:1'], ['prepared mtm:1'], ['prepared mtm:1']);
  expect(differences(nodes, lists)).toHaveLength(3);
  const clients = held([18, 18, 18], ['prepared mine'], ['prepared mine'], ['prepared mine']);
  expect(differences(nodes, clients)).toEqual([]);
  expect(differences(nodes, held([18, 18, 18], ['prepared mine'], [], ['prepared mine']))).toHaveLength(2);
});
