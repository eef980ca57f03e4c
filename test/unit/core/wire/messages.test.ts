import fc from 'fast-check';
import { parse as parseStream, serialize } from 'pg-protocol';
import { Readable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import {
  closePortal,
  closeStatement,
  commandComplete,
  copyDataHead,
  copyFail,
  cstringAt,
  cstringEnd,
  errorFields,
  errorResponse,
  parameterStatus,
  parse,
  query,
  readyForQuery,
  withErrorFields,
  withText,
} from '../../../../src/core/wire/messages.ts';
import { frontend } from '../../../../src/core/wire/codes.ts';

const text = fc.string({ unit: 'grapheme', maxLength: 60 }).filter((value) => !value.includes('\0'));
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** An independent implementation reads what we wrote. */
async function read(bytes: Uint8Array): Promise<Record<string, unknown>> {
  let message: Record<string, unknown> = {};
  const stream = Readable.from([Buffer.from(bytes)], { objectMode: false });
  await parseStream(stream, (each) => (message = each as unknown as Record<string, unknown>));
  return message;
}

describe('frontend messages equal those of pg-protocol', () => {
  test('Query, Parse, Close, CopyFail, CopyData', () => {
    fc.assert(
      fc.property(text, text, (one, other) => {
        expect(hex(query(one))).toBe(hex(serialize.query(one)));
        expect(hex(parse(one, other))).toBe(hex(serialize.parse({ name: one, text: other })));
        expect(hex(closeStatement(one))).toBe(hex(serialize.close({ type: 'S', name: one })));
        expect(hex(closePortal(one))).toBe(hex(serialize.close({ type: 'P', name: one })));
        expect(hex(copyFail(one))).toBe(hex(serialize.copyFail(one)));
        const data = Buffer.from(other);
        expect(hex(Buffer.concat([copyDataHead(data.length), data]))).toBe(hex(serialize.copyData(data)));
      }),
    );
  });

  test('withText keeps bytes that are no UTF-8', () => {
    const nothing = new Uint8Array(0);
    expect(hex(withText(frontend.query, nothing, Uint8Array.of(0xe4, 0x41), nothing))).toBe(
      '510000000' + '7e44100',
    );
  });
});

describe('backend messages are read by pg-protocol', () => {
  test('CommandComplete, ReadyForQuery, ParameterStatus', async () => {
    expect(await read(commandComplete('INSERT 0 1'))).toMatchObject({
      name: 'commandComplete',
      text: 'INSERT 0 1',
    });
    expect(await read(readyForQuery(0x54))).toMatchObject({ name: 'readyForQuery', status: 'T' });
    const reported = { parameterName: 'TimeZone', parameterValue: 'UTC' };
    expect(await read(parameterStatus('TimeZone', 'UTC'))).toMatchObject(reported);
  });

  test('ErrorResponse with all fields, NoticeResponse', async () => {
    await fc.assert(
      fc.asyncProperty(text, text, async (message, detail) => {
        const error = { severity: 'ERROR' as const, sqlstate: '40001', message, detail, table: 't' };
        const wanted = { name: 'error', severity: 'ERROR', code: '40001', table: 't' };
        expect(await read(errorResponse(error))).toMatchObject(wanted);
      }),
      { numRuns: 30 },
    );
    const notice = errorResponse({ severity: 'WARNING', sqlstate: '01000', message: 'oh' });
    expect(await read(notice)).toMatchObject({ name: 'notice', severity: 'WARNING' });
  });
});

describe('error fields', () => {
  test('are read as they were written, some replaced', () => {
    const bytes = errorResponse({ severity: 'ERROR', sqlstate: '42601', message: 'ä', hint: 'h' });
    const moved = withErrorFields(bytes, 0, bytes.length, new Map([['P', '17']]));
    expect(Object.fromEntries(errorFields(moved, 0, moved.length))).toEqual({
      S: 'ERROR',
      V: 'ERROR',
      C: '42601',
      M: 'ä',
      H: 'h',
      P: '17',
    });
  });

  test('random bytes never throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 5, maxLength: 80 }), (bytes) => {
        errorFields(bytes, 0, bytes.length);
        cstringAt(bytes, 3, bytes.length);
      }),
    );
  });
});

test('the end of a string of any length is its first zero byte before the limit, or the limit', () => {
  fc.assert(
    fc.property(fc.nat(200), fc.nat(200), fc.nat(20), fc.nat(5), (length, beyond, at, zeros) => {
      const bytes = new Uint8Array(at + length + zeros + beyond).fill(65);
      bytes.fill(0, at + length, at + length + zeros);
      const end = at + length + Math.min(beyond, 3);
      expect(cstringEnd(bytes, at, end)).toBe(zeros === 0 ? end : Math.min(at + length, end));
    }),
  );
});
