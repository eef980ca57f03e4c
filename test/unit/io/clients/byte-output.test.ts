import type { Socket } from 'node:net';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ByteOutput } from '../../../../src/io/clients/byte-output.ts';

class FakeSocket {
  destroyed = false;
  readonly writes: Uint8Array[] = [];
  corks = 0;

  write(bytes: Uint8Array): void {
    this.writes.push(Uint8Array.from(bytes));
  }
  cork(): void {
    this.corks++;
  }
  uncork(): void {
    this.corks--;
  }
}

function output(): { socket: FakeSocket; out: ByteOutput } {
  const socket = new FakeSocket();
  return { socket, out: new ByteOutput(socket as unknown as Socket) };
}

test('neighbouring messages of one chunk leave as the chunk, also when each is a view of its own', () => {
  const { socket, out } = output();
  const chunk = Uint8Array.from({ length: 9000 }, (_, index) => index);
  for (let at = 0; at < chunk.length; at += 100) {
    const message = chunk.subarray(at, at + 100);
    out.add(message, 0, message.length);
  }
  out.flush();
  expect(socket.writes).toEqual([chunk]);
});

test('a few small pieces of different memory leave in one write', () => {
  const { socket, out } = output();
  out.add(Uint8Array.of(1, 2, 3), 0, 2);
  out.add(Uint8Array.of(4, 5), 1, 2);
  out.flush();
  expect(socket.writes).toEqual([Uint8Array.of(1, 2, 5)]);
  expect(out.empty).toBe(true);
});

test('what may be gathered waits for more than PostgreSQL would gather', () => {
  const { socket, out } = output();
  out.add(new Uint8Array(5000), 0, 5000);
  out.flush(true);
  out.add(new Uint8Array(3000), 0, 3000);
  out.flush(true);
  expect(socket.writes).toEqual([]);
  out.add(new Uint8Array(192), 0, 192);
  out.flush(true);
  out.add(Uint8Array.of(1), 0, 1);
  out.flush();
  const lengths = socket.writes.map((bytes) => bytes.length);
  expect(lengths.reduce((sum, length) => sum + length, 0)).toBe(8193);
  expect(lengths.at(-1)).toBe(1);
});

test('any ranges of any memory, flushed at any time, arrive whole and in order', () => {
  const range = fc.record({
    memory: fc.nat(2),
    start: fc.nat(3000),
    length: fc.nat(3000),
    flush: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(range), (ranges) => {
      const memories = [0, 1, 2].map((seed) =>
        Uint8Array.from({ length: 6000 }, (_, index) => index * 7 + seed),
      );
      const { socket, out } = output();
      const expected: number[] = [];
      for (const { memory, start, length, flush } of ranges) {
        out.add(memories[memory]!, start, start + length);
        expected.push(...memories[memory]!.subarray(start, start + length));
        if (flush) out.flush();
      }
      out.flush();
      expect(socket.writes.flatMap((bytes) => [...bytes])).toEqual(expected);
      expect(socket.corks).toBe(0);
    }),
  );
});

test('nothing is written to a socket that is gone', () => {
  const { socket, out } = output();
  socket.destroyed = true;
  out.add(Uint8Array.of(1), 0, 1);
  out.flush();
  expect(socket.writes).toEqual([]);
});
