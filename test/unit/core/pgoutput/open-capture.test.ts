import { describe, expect, test } from 'vitest';
import { OpenCapture, type OpenCaptureEnd } from '../../../../src/core/pgoutput/open-capture.ts';
import { visitPiece } from './pieces.ts';

const gid = 'mtm:1:2:3:4';
const top = 700;

function bytes(...parts: (number | string | readonly number[])[]): number[] {
  return parts.flatMap((part) =>
    typeof part === 'string'
      ? [...new TextEncoder().encode(part), 0]
      : typeof part === 'number'
        ? [part]
        : part,
  );
}

const uint32 = (value: number): number[] => [
  value >>> 24,
  (value >>> 16) & 255,
  (value >>> 8) & 255,
  value & 255,
];
const lsn = [0, 0, 0, 0, 0, 0, 0, 1];
const start = bytes(0x53, uint32(top), 1);
const stop = bytes(0x45);
const type = (letter: string): number => letter.charCodeAt(0);

/** Relation `oid` with the column id, as a change of `xid`. */
function relation(xid: number, oid: number): number[] {
  const column = bytes(1, 'id', uint32(23), uint32(0xffffffff));
  return bytes(type('R'), uint32(xid), uint32(oid), 'public', `t${oid}`, type('d'), 0, 1, column);
}

function insert(xid: number, oid: number, value: string): number[] {
  const text = [...new TextEncoder().encode(value)];
  return bytes(type('I'), uint32(xid), uint32(oid), type('N'), 0, 1, type('t'), uint32(text.length), text);
}

function message(xid: number, prefix: string, content: string): number[] {
  const text = [...new TextEncoder().encode(content)];
  return bytes(type('M'), uint32(xid), 1, lsn, prefix, uint32(text.length), text);
}

const header = message(top, 'mtm', JSON.stringify({ gid, hmac: 'right' }));
const end = message(top, 'mtm-open', '   ');
const abort = (xid: number): number[] => bytes(0x41, uint32(top), uint32(xid));

/** What the peers get, as letters and values, and how it ended. */
function capture(
  messages: readonly number[][],
  limit?: number,
): { told: string[]; end: OpenCaptureEnd; early: number } {
  const told: string[] = [];
  let ended = false;
  let early = 0;
  const captured = new OpenCapture(
    gid,
    top,
    {
      verifyHeader: (named, hmac) => named === gid && hmac === 'right',
      piece: ({ data }) => {
        if (!ended) early++;
        visitPiece(data, (buffer, from, to) => {
          const letter = String.fromCharCode(buffer[from]!);
          told.push(letter + new TextDecoder().decode(buffer.subarray(from, to)).slice(-1));
        });
      },
    },
    limit,
  );
  for (const each of messages) captured.message(Uint8Array.from(each), 0, each.length);
  ended = true;
  return { end: captured.end(), told, early };
}

describe('the changes of an open transaction', () => {
  test('are those of any other stream, without the ids and the boundaries', () => {
    const { told, end: how } = capture([
      start,
      relation(top, 9),
      insert(top, 9, 'a'),
      insert(top, 9, 'b'),
      header,
      end,
      stop,
    ]);
    expect(how).toEqual({ kind: 'complete' });
    expect(told.map((line) => line[0])).toEqual(['R', 'I', 'I']);
    expect(told.slice(1)).toEqual(['Ia', 'Ib']);
  });

  test('lack what was rolled back after it came, in its order', () => {
    const { told, end: how } = capture([
      start,
      relation(top, 9),
      insert(top, 9, 'a'),
      insert(701, 9, 'x'),
      insert(702, 9, 'c'),
      stop,
      abort(701),
      start,
      insert(top, 9, 'd'),
      header,
      end,
      stop,
    ]);
    expect(how).toEqual({ kind: 'complete' });
    expect(told.slice(1)).toEqual(['Ia', 'Ic', 'Id']);
  });

  test('a relation that was described in what was rolled back is known all the same', () => {
    const rolledBack = [relation(701, 9), insert(701, 9, 'x')];
    const { told, end: how } = capture([
      start,
      ...rolledBack,
      stop,
      abort(701),
      start,
      insert(top, 9, 'a'),
      header,
      end,
      stop,
    ]);
    expect(how).toEqual({ kind: 'complete' });
    expect(told.map((line) => line[0])).toEqual(['R', 'I']);
  });

  test('definitions that were rolled back after they came are refused', () => {
    const ddl = message(701, 'mtm-ddl', '{}');
    expect(capture([start, ddl, stop, abort(701), start, header, end, stop]).end.kind).toBe(
      'definitions-rolled-back',
    );
  });

  test.each<[string, number[][], OpenCaptureEnd['kind']]>([
    ['without its end', [start, relation(top, 9), insert(top, 9, 'a'), header, stop], 'incomplete'],
    ['without its header', [start, relation(top, 9), insert(top, 9, 'a'), end, stop], 'incomplete'],
    ['with nothing at all', [], 'incomplete'],
    ['rolled back as a whole', [start, header, stop, abort(top)], 'incomplete'],
    [
      'with a forged header',
      [start, message(top, 'mtm', JSON.stringify({ gid, hmac: 'no' })), end],
      'forged',
    ],
    ['with a row of an unknown relation', [start, insert(top, 9, 'a'), header, end], 'malformed'],
    ['cut short', [start, [type('I'), 0]], 'malformed'],
    ['with a short abort', [start, [0x41, 0]], 'malformed'],
  ])('are not complete %s', (_what, messages, kind) => {
    expect(capture(messages).end.kind).toBe(kind);
  });

  test('are kept back only behind a change of a subtransaction, and not without limit', () => {
    const row = insert(top, 9, 'v'.repeat(40_000));
    const rows = Array.from({ length: 10 }, () => [...row]);
    const plain = capture([start, relation(top, 9), ...rows, header, end], 50_000);
    expect(plain.end).toEqual({ kind: 'complete' });
    expect(plain.early).toBeGreaterThan(2);
    const kept = capture([start, relation(top, 9), insert(701, 9, 's'), ...rows, header, end], 50_000);
    expect(kept.end).toEqual({ kind: 'too-large' });
    expect(kept.told).toEqual([]);
  });
});
