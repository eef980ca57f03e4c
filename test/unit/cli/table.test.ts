import { expect, test } from 'vitest';
import { listText, objectsOf, tableText } from '../../../src/cli/table.ts';

const answer = {
  columns: ['id', 'conninfo', 'connected', 'members', 'seen'],
  rows: [
    [1, 'host=a', true, [1, 12], new Date(0)],
    [12, 'host=long', false, [], null],
  ],
};

test('a table: numbers at the right, nothing behind the last word', () => {
  expect(tableText(answer).split('\n')).toEqual([
    'id  conninfo   connected  members  seen',
    ' 1  host=a     yes        1,12     1970-01-01T00:00:00.000Z',
    '12  host=long  no',
  ]);
  expect(tableText({ columns: ['id'], rows: [] })).toBe('id');
});

test('a list of one row', () => {
  expect(listText(answer).split('\n').slice(0, 2)).toEqual(['id         1', 'conninfo   host=a']);
});

test('objects for programs', () => {
  expect(objectsOf(answer)[1]).toEqual({
    id: 12,
    conninfo: 'host=long',
    connected: false,
    members: [],
    seen: null,
  });
});
