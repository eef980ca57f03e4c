import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FrameReader, encodeFrame } from '../../../../src/io/recovery/stream-frame.ts';
import type { Frame } from '../../../../src/io/recovery/stream-frame.ts';

const lsn = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn });
const gid = fc.tuple(fc.nat(64), fc.nat(), fc.nat(), fc.nat()).map((parts) => `mtm:${parts.join(':')}`);
const data = fc.uint8Array({ maxLength: 300 });
const frame: fc.Arbitrary<Frame> = fc.oneof(
  fc.record({ kind: fc.constant('request' as const), lastOnline: fc.maxSafeNat(), copyEnd: lsn }),
  fc.record({ kind: fc.constant('refused' as const), reseed: fc.boolean(), reason: fc.string() }),
  fc.record({ kind: fc.constant('started' as const), position: lsn }),
  fc.record({ kind: fc.constant('unit' as const), gid, ddl: fc.boolean(), position: lsn, data }),
  fc.constant({ kind: 'begin' as const }),
  fc.record({ kind: fc.constant('piece' as const), data }),
  fc.record({
    kind: fc.constant('end' as const),
    gid: fc.option(gid, { nil: undefined }),
    ddl: fc.boolean(),
    position: lsn,
  }),
  fc.record({ kind: fc.constant('mark' as const), generation: fc.maxSafeNat() }),
  fc.record({ kind: fc.constant('position' as const), position: lsn, walEnd: lsn }),
  fc.record({ kind: fc.constant('flushed' as const), position: lsn }),
);

function read(bytes: Buffer, cut: number): Frame[] {
  const reader = new FrameReader();
  const frames: Frame[] = [];
  for (let at = 0; at < bytes.length; at += cut) {
    reader.push(bytes.subarray(at, at + cut));
    for (let next = reader.next(); next !== undefined; next = reader.next()) {
      frames.push('data' in next ? { ...next, data: Uint8Array.from(next.data) } : next);
    }
  }
  return frames;
}

test('frames come out as they went in, however the bytes are cut', () => {
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 8 }), fc.integer({ min: 1, max: 700 }), (frames, cut) => {
      expect(read(Buffer.concat(frames.flatMap(encodeFrame)), cut)).toEqual(frames);
    }),
    { numRuns: 200 },
  );
});

test('what is no frame is not taken for one', () => {
  expect(() => read(Buffer.from([0, 0, 0, 0, 1]), 5)).toThrow('a frame of 0 bytes');
  expect(() => read(Buffer.from([0, 0, 0, 1, 99]), 5)).toThrow('unknown kind 99');
  expect(() => read(Buffer.from([0xff, 0, 0, 1, 99]), 5)).toThrow('a frame of');
  expect(() => read(Buffer.from([0, 0, 0, 3, 0, 1, 2]), 9)).toThrow();
});
