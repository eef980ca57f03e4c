import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PieceQueue } from '../../../../src/core/apply/piece-queue.ts';
import { PieceWriter, frameEnd } from '../../../../src/core/pgoutput/piece-writer.ts';

/** Every message that can be read now. */
function readAll(queue: PieceQueue): number[][] {
  const messages: number[][] = [];
  for (let piece = queue.current(); piece !== undefined; piece = queue.current()) {
    const end = frameEnd(piece, queue.at);
    messages.push([...piece.subarray(queue.at + 4, end)]);
    queue.at = end;
  }
  return messages;
}

test('any cut of the bytes: the messages are read whole, each as soon as it is there', () => {
  const message = fc.uint8Array({ minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(fc.array(message, { maxLength: 8 }), fc.array(fc.nat(9)), (messages, cuts) => {
      const writer = new PieceWriter();
      for (const one of messages) writer.message(one, 0, one.length);
      const bytes = writer.take();
      const queue = new PieceQueue();
      const read: number[][] = [];
      let at = 0;
      for (const cut of [...cuts, bytes.length]) {
        queue.push(bytes.subarray(at, at + cut));
        at = Math.min(bytes.length, at + cut);
        read.push(...readAll(queue));
      }
      expect(read).toEqual(messages.map((one) => [...one]));
      expect(queue.empty).toBe(true);
      expect(queue.bytes).toBe(0);
    }),
  );
});

test('what is put back comes before what is left', () => {
  const framed = (...values: number[]): Uint8Array => {
    const writer = new PieceWriter();
    for (const value of values) writer.message(Uint8Array.of(value), 0, 1);
    return writer.take();
  };
  const queue = new PieceQueue();
  queue.push(framed(1, 2));
  const piece = queue.current()!;
  queue.at = frameEnd(piece, queue.at);
  queue.insert(framed(8, 9));
  expect(readAll(queue)).toEqual([[8], [9], [2]]);
  expect(queue.empty).toBe(true);
});

test('a message that never becomes whole stays', () => {
  const queue = new PieceQueue();
  queue.push(Uint8Array.of(0, 0, 0, 9, 1, 2));
  expect(queue.current()).toBeUndefined();
  expect(queue.empty).toBe(false);
});
