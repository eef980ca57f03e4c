import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CopyFrameReader, encodeCopyFrame, type CopyFrame } from '../../../../src/io/recovery/copy-frame.ts';

const frames = fc.array(
  fc.oneof(
    fc.constantFrom<CopyFrame>({ kind: 'request' }, { kind: 'alive' }),
    fc.record({
      kind: fc.constantFrom('refused', 'failed', 'waiting', 'archive' as const),
      text: fc.string({ unit: 'grapheme' }),
    }),
    fc.record({ kind: fc.constantFrom('started', 'done' as const), json: fc.record({ n: fc.integer() }) }),
    fc.record({ kind: fc.constant('data' as const), bytes: fc.uint8Array({ maxLength: 300 }) }),
  ) as fc.Arbitrary<CopyFrame>,
);

const plain = (frame: CopyFrame) => ('bytes' in frame ? { ...frame, bytes: [...frame.bytes] } : frame);

test('what is written is read again, however it is cut', () => {
  fc.assert(
    fc.property(frames, fc.integer({ min: 1, max: 700 }), (sent, step) => {
      const bytes = Buffer.concat(sent.map(encodeCopyFrame));
      const reader = new CopyFrameReader();
      const read: CopyFrame[] = [];
      for (let at = 0; at < bytes.length; at += step)
        read.push(...reader.push(bytes.subarray(at, at + step)));
      expect(read.map(plain)).toEqual(sent.map(plain));
    }),
  );
});

test('what is no frame ends the stream', () => {
  expect(() => [...new CopyFrameReader().push(Buffer.from([0, 0, 0, 0, 1]))]).toThrow('a frame of 0 bytes');
  expect(() => [...new CopyFrameReader().push(Buffer.from([0, 32, 0, 0, 1]))]).toThrow(
    'a frame of 2097152 bytes',
  );
  expect(() => [...new CopyFrameReader().push(Buffer.from([0, 0, 0, 1, 99]))]).toThrow('unknown kind 99');
});
