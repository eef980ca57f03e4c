/** What a person reads of a comparison. */
import { expect, test } from 'vitest';
import { inDatabase } from '../../../src/cli/compare.ts';
import { newsText, verdictText } from '../../../src/cli/comparison-text.ts';

const row = { kind: 'row', table: 'public.t', keyed: true, columns: [] } as const;

test('rows that differ, with their keys and nodes', () => {
  expect(
    newsText(
      {
        ...row,
        key: ['7', "it's", null],
        versions: [
          { nodes: [1, 3], rows: 1 },
          { nodes: [2], rows: 1 },
        ],
        columns: ['v', 'w'],
      },
      false,
    ),
  ).toBe(`    key (7, 'it''s', NULL): nodes 1, 3 against node 2 differ in v, w`);
  const lacking = [
    { nodes: [1], rows: 1 },
    { nodes: [2, 3], rows: 0 },
  ];
  expect(newsText({ ...row, key: ['7'], versions: lacking }, false)).toBe(
    '    key (7): missing on nodes 2, 3',
  );
  expect(
    newsText(
      {
        ...row,
        keyed: false,
        key: ['(1,x)'],
        versions: [
          { nodes: [1], rows: 2 },
          { nodes: [2], rows: 1 },
        ],
      },
      false,
    ),
  ).toBe('    row (1,x): 2 times on node 1, once on node 2');
});

test('tables are told when they differ, or when everything is', () => {
  const equal = { kind: 'table', table: 'public.t', equal: true, rows: { 1: '3', 2: '3' } } as const;
  expect(newsText(equal, false)).toBeUndefined();
  expect(newsText(equal, true)).toBe('equal: public.t, 3 rows');
  expect(newsText({ ...equal, equal: false, rows: { 1: '3', 2: '4' } }, false)).toBe(
    'DIFFERENT: public.t: 3 on node 1, 4 on node 2',
  );
  expect(newsText({ ...equal, equal: false }, false)).toBe(
    'DIFFERENT: public.t: 3 rows on each node, not the same',
  );
});

test('the verdict never hides that something is missing', () => {
  const end = { kind: 'end', equal: true, whole: false, ms: 1500 } as const;
  expect(verdictText(end, [])).toBe(
    'no difference was found (1.5 s); not everything was compared, see above',
  );
  expect(verdictText({ ...end, equal: false, whole: true }, ['public.t'])).toBe(
    'the nodes DIFFER in public.t (1.5 s)',
  );
});

test('a database is chosen among those of the gateway, or put into the address', () => {
  const target = { host: 'a', port: 1, encrypted: false, user: 'u', password: undefined, database: 'app' };
  expect(inDatabase(target, 'app')).toBe(target);
  expect(inDatabase(target, 'other')).toBeUndefined();
  expect(inDatabase({ url: 'postgresql://u@a:1/app?x=1' }, 'o d')).toEqual({
    url: 'postgresql://u@a:1/o%20d?x=1',
  });
});
