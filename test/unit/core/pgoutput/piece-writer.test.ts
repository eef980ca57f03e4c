import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PieceWriter } from '../../../../src/core/pgoutput/piece-writer.ts';
import { visitPiece } from './pieces.ts';

test('what was written is visited, message by message', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 200 }), { maxLength: 20 }), (messages) => {
      const writer = new PieceWriter();
      for (const message of messages) writer.message(Uint8Array.of(9, ...message, 9), 1, message.length + 1);
      const seen: Uint8Array[] = [];
      expect(visitPiece(writer.take(), (buffer, start, end) => seen.push(buffer.slice(start, end)))).toBe(
        true,
      );
      expect(seen).toEqual(messages);
      expect(writer.size).toBe(0);
    }),
  );
});

test('frames that do not fit are noticed', () => {
  const writer = new PieceWriter();
  writer.message(Uint8Array.of(1, 2, 3), 0, 3);
  const data = writer.take();
  for (let end = 1; end < data.length; end++)
    expect(visitPiece(data.subarray(0, end), () => undefined)).toBe(false);
});
