import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CapturedChanges } from '../../../../src/core/commit/captured-changes.ts';

const cut = (data: Uint8Array, lengths: readonly number[]): Uint8Array[] => {
  const pieces: Uint8Array[] = [];
  let at = 0;
  for (const length of lengths) {
    pieces.push(data.subarray(at, at + length));
    at += length;
  }
  return [...pieces, data.subarray(at)];
};

describe('captured changes', () => {
  test('any cut, any number of restarts: the pieces are the data, once and in order', () => {
    const streams = fc.array(fc.array(fc.nat(20), { maxLength: 6 }), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), streams, fc.nat(6), (data, cuts, stopAfter) => {
        const changes = new CapturedChanges(1000);
        cuts.forEach((lengths, index) => {
          if (index > 0) changes.captureRestarted();
          const pieces = cut(data, lengths);
          const shown = index === cuts.length - 1 ? pieces : pieces.slice(0, stopAfter);
          for (const piece of shown) changes.append(piece);
        });
        const pieces = changes.pieces!;
        expect(pieces.flatMap((piece) => [...piece.data])).toEqual([...data]);
        expect(changes.length).toBe(data.length);
        let offset = 0;
        for (const piece of pieces) {
          expect(piece.offset).toBe(offset);
          offset += piece.data.length;
        }
      }),
    );
  });

  test('beyond the limit nothing is kept, and the count goes on', () => {
    const changes = new CapturedChanges(4);
    changes.append(new Uint8Array(3));
    expect(changes.pieces).toHaveLength(1);
    expect(changes.append(new Uint8Array(3))).toMatchObject({ offset: 3 });
    expect(changes.pieces).toBeUndefined();
    expect(changes.length).toBe(6);
  });
});
