import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Refusal } from '../../../../src/core/identity.ts';
import { maxBodyBytes, maxDataBytes, maxFrameBytes, maxTextLength } from '../../../../src/core/peer/frame.ts';
import type { PeerMessage } from '../../../../src/core/peer/message.ts';
import { MessageReader, type CodecError } from '../../../../src/core/peer/message-reader.ts';
import { encodeMessage, MessageWriter } from '../../../../src/core/peer/message-writer.ts';
import { anyMessage } from './message-arbitrary.ts';

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

function readAll(chunks: readonly Uint8Array[], reader = new MessageReader()): (PeerMessage | CodecError)[] {
  const read: (PeerMessage | CodecError)[] = [];
  for (const chunk of chunks) {
    reader.push(chunk);
    for (let message = reader.next(); message !== undefined; message = reader.next()) {
      read.push(message);
      if (message.kind === 'codec-error') return read;
    }
  }
  return read;
}

/** Cuts at the given places, taken modulo the length. */
function split(bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...places].map((start, index) => bytes.slice(start, places[index] ?? bytes.length));
}

function frame(type: number, sequence: number, body: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(9 + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 5 + body.length);
  view.setUint8(4, type);
  view.setUint32(5, sequence);
  bytes.set(body, 9);
  return bytes;
}

const u53 = (value: number): number[] => [0, 0, 0, 0, 0, 0, 0, value];

const refusal: Refusal = { sqlstate: '23505', message: 'duplicate key', node: 2, retryable: false };

describe('encode then decode', () => {
  test('gives every message back, for any split of the byte stream', () => {
    fc.assert(
      fc.property(
        fc.array(anyMessage, { maxLength: 12 }),
        fc.array(fc.nat(), { maxLength: 12 }),
        (messages, cuts) => {
          const writer = new MessageWriter();
          for (const message of messages) writer.write(message);
          const pending = writer.pendingBytes;
          const bytes = concat(writer.take());
          expect(bytes.length).toBe(pending);
          expect(writer.pendingBytes).toBe(0);
          expect(readAll(split(bytes, cuts))).toEqual(messages);
        },
      ),
    );
  });

  test('also byte by byte', () => {
    fc.assert(
      fc.property(fc.array(anyMessage, { maxLength: 3 }), (messages) => {
        const writer = new MessageWriter();
        for (const message of messages) writer.write(message);
        const bytes = concat(writer.take());
        expect(readAll([...bytes].map((byte) => Uint8Array.of(byte)))).toEqual(messages);
      }),
      { numRuns: 30 },
    );
  });

  test('segments that were taken are not written again', () => {
    fc.assert(
      fc.property(fc.array(fc.array(anyMessage, { maxLength: 5 }), { maxLength: 8 }), (turns) => {
        const writer = new MessageWriter();
        const segments: Uint8Array[] = [];
        for (const messages of turns) {
          for (const message of messages) writer.write(message);
          segments.push(...writer.take());
        }
        expect(readAll(segments)).toEqual(turns.flat());
      }),
    );
  });

  test('a refusal keeps which of its texts are absent', () => {
    const message: PeerMessage = {
      kind: 'vote',
      gid: 'mtm:1:1:1:1',
      refusal: { ...refusal, detail: '', table: 't' },
    };
    expect(readAll([encodeMessage(message)])).toEqual([message]);
    expect(readAll([encodeMessage({ kind: 'vote', gid: 'mtm:1:1:1:1', refusal })])).toEqual([
      { kind: 'vote', gid: 'mtm:1:1:1:1', refusal },
    ]);
  });

  test('error fields of any length are cut so that they fit', () => {
    const detail = 'ü'.repeat(maxFrameBytes);
    const [vote] = readAll([
      encodeMessage({ kind: 'vote', gid: 'mtm:1:1:1:1', refusal: { ...refusal, detail } }),
    ]);
    expect(vote).toMatchObject({ refusal: { detail: 'ü'.repeat(maxTextLength) } });
  });

  test('large data are passed on without a copy, and read into memory that nobody else has', () => {
    const data = new Uint8Array(maxDataBytes).fill(7);
    const writer = new MessageWriter();
    writer.write({ kind: 'transaction-data', gid: 'mtm:1:1:1:1', offset: 0, data });
    const segments = writer.take();
    expect(segments.at(-1)).toBe(data);
    const chunk = concat(segments);
    const [message] = readAll([chunk]);
    chunk.fill(0);
    expect(message?.kind === 'transaction-data' && message.data.every((byte) => byte === 7)).toBe(true);
  });

  test('data read across chunks stay as they are when more comes', () => {
    const writer = new MessageWriter();
    for (const fill of [1, 2, 3]) {
      const data = new Uint8Array(300).fill(fill);
      writer.write({ kind: 'transaction-data', gid: 'mtm:1:1:1:1', offset: 0, data });
    }
    const bytes = concat(writer.take());
    const messages = readAll(split(bytes, [100, 350, 700, 900]));
    const fills = messages.map((message) => message.kind === 'transaction-data' && new Set(message.data));
    expect(fills).toEqual([new Set([1]), new Set([2]), new Set([3])]);
  });

  test('bodies of questions may be long, up to a limit', () => {
    const message: PeerMessage = { kind: 'reply', id: 7, ok: true, body: 'x'.repeat(maxBodyBytes) };
    expect(readAll([encodeMessage(message)])).toEqual([message]);
    expect(() => encodeMessage({ ...message, body: `${message.body}x` })).toThrow();
    // 'ü' takes two bytes: the reader counts bytes.
    expect(readAll([encodeMessage({ ...message, body: 'ü'.repeat(maxBodyBytes) })])).toMatchObject([
      { kind: 'codec-error', reason: 'malformed-body' },
    ]);
  });

  test('data longer than a piece are a bug of ours', () => {
    const data = new Uint8Array(maxDataBytes + 1);
    const writer = new MessageWriter();
    expect(() => writer.write({ kind: 'transaction-data', gid: 'mtm:1:1:1:1', offset: 0, data })).toThrow();
  });
});

describe('what a peer must not send is an error value', () => {
  test('random bytes: never an exception, and after an error only that error', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 10 }), (chunks) => {
        const reader = new MessageReader();
        const last = readAll(chunks, reader).at(-1);
        if (last?.kind !== 'codec-error') return;
        reader.push(encodeMessage({ kind: 'finished', gid: 'mtm:1:1:1:1' }));
        expect(reader.next()).toBe(last);
      }),
    );
  });

  test('a damaged stream: never an exception, never a message more than was sent', () => {
    const damage = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(fc.array(anyMessage, { minLength: 1, maxLength: 5 }), damage, (messages, flips) => {
        const writer = new MessageWriter();
        for (const message of messages) writer.write(message);
        const bytes = concat(writer.take());
        for (const [place, value] of flips) bytes[place % bytes.length] = value;
        expect(readAll([bytes]).length).toBeLessThanOrEqual(messages.length + 1);
      }),
    );
  });

  test('random bodies in sound frames', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 27 }), fc.uint8Array({ maxLength: 80 }), (type, body) => {
        expect(readAll([frame(type, 0, [...body])])).toHaveLength(1);
      }),
      { numRuns: 500 },
    );
  });

  test.each([
    ['a claimed length beyond the limit', [Uint8Array.of(0xff, 0xff, 0xff, 0xff)], 'frame-length'],
    ['a claimed length below the head', [Uint8Array.of(0, 0, 0, 4, 1, 0, 0, 0)], 'frame-length'],
    ['an unknown type', [frame(99, 0, [])], 'unknown-type'],
    ['a frame that is missing', [frame(0x80 + 99, 1, [])], 'out-of-sequence'],
    ['a frame that comes twice', [frame(0x80 + 99, 0, []), frame(0x80 + 99, 0, [])], 'out-of-sequence'],
    ['a body that is too short', [frame(5, 0, [0, 0, 0, 9, 65])], 'malformed-body'],
    ['a body that is too long', [frame(5, 0, [0, 0, 0, 1, 65, 0])], 'malformed-body'],
    ['a text that is not UTF-8', [frame(5, 0, [0, 0, 0, 1, 0xff])], 'malformed-body'],
    ['an empty gid', [frame(5, 0, [0, 0, 0, 0])], 'malformed-body'],
    ['a boolean that is neither', [frame(9, 0, [0, 0, 0, 1, 65, 2])], 'malformed-body'],
    ['a count of four billion', [frame(11, 0, [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 65])], 'malformed-body'],
    [
      'a node 0',
      [frame(3, 0, [0, 0, 0, 1, 65, ...Array<number>(8).fill(0), 0, 1, 0, 0, 0, 0, 0])],
      'malformed-body',
    ],
    [
      'a time that is not a number',
      [frame(2, 0, [0x7f, 0xf8, ...Array<number>(22).fill(0)])],
      'malformed-body',
    ],
    ['a type of a former version', [frame(13, 0, [0, 0, 0, 0])], 'unknown-type'],
    [
      'a record without a proposer',
      [frame(22, 0, [...u53(1), 0, 0, 0, 0, ...Array<number>(8).fill(0)])],
      'malformed-body',
    ],
    [
      'a record of generation 0',
      [frame(22, 0, [...u53(0), 1, 0, 0, 0, ...Array<number>(8).fill(0)])],
      'malformed-body',
    ],
    ['a ballot of a node that cannot be', [frame(20, 0, [...u53(1), 65])], 'malformed-body'],
  ] as const)('%s', (_name, chunks, reason) => {
    expect(readAll(chunks).at(-1)).toMatchObject({ kind: 'codec-error', reason });
  });

  test('a gid longer than PostgreSQL allows', () => {
    expect(() => encodeMessage({ kind: 'finished', gid: 'x'.repeat(200) })).toThrow();
    const body = [0, 0, 0, 200, ...Array<number>(200).fill(65)];
    expect(readAll([frame(10, 0, body)])).toMatchObject([{ reason: 'malformed-body' }]);
  });
});

test('an unknown message that is flagged optional is skipped', () => {
  const known: PeerMessage = { kind: 'finished', gid: 'mtm:1:1:1:1' };
  const later = encodeMessage(known);
  new DataView(later.buffer).setUint32(5, 1);
  expect(readAll(split(concat([frame(0x80 + 99, 0, [1, 2, 3]), later]), [6, 11]))).toEqual([known]);
});
