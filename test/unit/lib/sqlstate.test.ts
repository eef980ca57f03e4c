import { expect, test } from 'vitest';
import { isSqlstate } from '../../../src/lib/sqlstate.ts';

test.each(['00000', '42P01', 'XX000', 'P0001'])('%s is an SQLSTATE', (code) => {
  expect(isSqlstate(code)).toBe(true);
});

test.each(['EPIPE', 'ECONNRESET', '', '0800', '42p01', undefined, 8000])('%s is none', (code) => {
  expect(isSqlstate(code)).toBe(false);
});
