import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FrameScanner } from '../../../../src/core/wire/frame-scanner.ts';

const streamed = 0x64; // d
const whole = 0x51; // Q

interface Heard {
  readonly type: number;
  readonly body: string;
}

/** What the scanner hands out for a stream that arrives in these chunks, parts put together. */
function scan(chunks: readonly Uint8Array[]): { heard: Heard[]; result: string; partialLeft: boolean } {
  const heard: Heard[] = [];
  let open: Uint8Array[] | undefined;
  const scanner = new FrameScanner({
    limit: () => 5000,
    streams: (type) => type === streamed,
    message: (type, buffer, start, end) => {
      expect(open).toBeUndefined();
      heard.push({ type, body: Buffer.from(buffer.slice(start, end)).toString('hex') });
    },
    part: (type, buffer, start, end, first, last) => {
      expect(type).toBe(streamed);
      expect(open === undefined).toBe(first);
      open ??= [];
      open.push(buffer.slice(start, end));
      if (!last) return;
      heard.push({ type, body: Buffer.concat(open).toString('hex') });
      open = undefined;
    },
  });
  let result = 'ok';
  for (const chunk of chunks) {
    const { kind } = scanner.push(chunk);
    if (kind !== 'ok') {
      result = kind;
      break;
    }
  }
  return { heard, result, partialLeft: !scanner.idle };
}

const message = fc
  .tuple(fc.constantFrom(streamed, whole, 0x53), fc.uint8Array({ maxLength: 300 }))
  .map(([type, body]) => {
    const head = Buffer.alloc(5);
    head[0] = type;
    head.writeUInt32BE(body.length + 4, 1);
    return Buffer.concat([head, body]);
  });

function cut(stream: Uint8Array, places: readonly number[]): Uint8Array[] {
  const sorted = [...places].map((place) => place % (stream.length + 1)).sort((a, b) => a - b);
  const edges = [0, ...sorted, stream.length];
  return edges.slice(1).map((edge, index) => stream.slice(edges[index], edge));
}

describe('FrameScanner', () => {
  test('any split of a stream gives the same messages as the whole', () => {
    fc.assert(
      fc.property(
        fc.array(message, { maxLength: 12 }),
        fc.array(fc.nat(), { maxLength: 30 }),
        (list, places) => {
          const stream = Buffer.concat(list);
          const wanted = list.map((bytes) => ({ type: bytes[0], body: bytes.toString('hex') }));
          expect(scan([stream]).heard).toEqual(wanted);
          const pieces = scan(cut(stream, places));
          expect(pieces.heard).toEqual(wanted);
          expect(pieces.partialLeft).toBe(false);
          expect(scan([...stream].map((byte) => Uint8Array.of(byte))).heard).toEqual(wanted);
        },
      ),
      { numRuns: 200 },
    );
  });

  test('random bytes never throw; a length that is too small or too large is a violation', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 400 }),
        fc.array(fc.nat(), { maxLength: 8 }),
        (bytes, places) => {
          const whole = scan([bytes]);
          expect(['ok', 'violation']).toContain(whole.result);
          expect(scan(cut(bytes, places)).result).toBe(whole.result);
        },
      ),
    );
    expect(scan([Uint8Array.of(0x51, 0, 0, 0, 3)]).result).toBe('violation');
    expect(scan([Uint8Array.of(0x51, 0xff, 0xff, 0xff, 0xff)]).result).toBe('violation');
    expect(scan([Uint8Array.of(0x51, 0, 0, 0x13, 0x89)]).result).toBe('violation');
  });

  test('nothing is handed out after halt', () => {
    const types: number[] = [];
    const scanner: FrameScanner = new FrameScanner({
      limit: () => 100,
      streams: () => false,
      message: (type) => {
        types.push(type);
        scanner.halt();
      },
      part: () => undefined,
    });
    const sync = [0x53, 0, 0, 0, 4];
    scanner.push(Uint8Array.from([...sync, ...sync]));
    scanner.push(Uint8Array.from(sync));
    expect(types).toEqual([0x53]);
  });
});
