import { expect, test } from 'vitest';
import type { Refusal } from '../../../../src/core/identity.ts';
import { errorResponse } from '../../../../src/core/wire/messages.ts';
import { readRefusal } from '../../../../src/io/postgres/backend-message.ts';

function refusalOf(sqlstate: string): Refusal {
  const bytes = errorResponse({ severity: 'ERROR', sqlstate, message: 'said so', detail: 'why' });
  return readRefusal(3, bytes, 0, bytes.length);
}

test('a constraint that fails at a peer keeps its SQLSTATE, a clash that everybody repeats as well', () => {
  expect(refusalOf('23505')).toEqual({
    sqlstate: '23505',
    message: 'said so',
    detail: 'why',
    node: 3,
    retryable: false,
  });
  expect(refusalOf('40P01')).toMatchObject({ sqlstate: '40P01', retryable: true });
});

test.each(['57014', '55P03'])('%s of a peer is no cancel of the client: 40001 with its words', (code) => {
  expect(refusalOf(code)).toEqual({
    sqlstate: '40001',
    message: '[multimaster] node 3 could not apply the transaction just now',
    detail: `Node 3: said so (${code})`,
    hint: 'Repeat the transaction.',
    node: 3,
    retryable: true,
  });
});
