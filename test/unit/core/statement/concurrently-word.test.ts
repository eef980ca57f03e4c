/** The word CONCURRENTLY is found where it is the command's, and nowhere else. */
import { describe, expect, test } from 'vitest';
import { withIndexName, withoutConcurrently } from '../../../../src/core/statement/concurrently-word.ts';

describe('without the word', () => {
  test.each([
    ['create index concurrently i on t (a)', 'create index  i on t (a)'],
    ['CREATE UNIQUE INDEX CONCURRENTLY\n ON t (a)', 'CREATE UNIQUE INDEX \n ON t (a)'],
    [
      '/* concurrently /* concurrently */ */ create -- concurrently\n index Concurrently "concurrently" on t (a)',
      '/* concurrently /* concurrently */ */ create -- concurrently\n index  "concurrently" on t (a)',
    ],
    ['refresh materialized view/**/concurrently v', 'refresh materialized view/**/ v'],
    ['create index "concurrently" on t (a)', 'create index "concurrently" on t (a)'],
    ['create index concurrentlyé on t (a)', 'create index concurrentlyé on t (a)'],
    ['create index /* never closed', 'create index /* never closed'],
  ])('%s', (text, expected) => {
    expect(withoutConcurrently(text)).toBe(expected);
  });
});

test('a name stands behind it', () => {
  expect(withIndexName('create index concurrently on t (a)', '"T"')).toBe(
    'create index concurrently "T"  on t (a)',
  );
});
