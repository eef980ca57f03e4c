import { expect, test } from 'vitest';
import { CapturedChanges } from '../../../../src/core/commit/captured-changes.ts';
import type { CommitEffect } from '../../../../src/core/commit/event.ts';
import { MemberMessages } from '../../../../src/core/commit/member-messages.ts';
import { maxDataBytes } from '../../../../src/core/peer/frame.ts';

test('a piece that is longer than a message may be goes in several, at their places', () => {
  const sent: CommitEffect[] = [];
  const messages = new MemberMessages([1, 2], 1, (effect) => void sent.push(effect));
  const changes = new CapturedChanges(10 * maxDataBytes);
  changes.append(Uint8Array.of(1, 2, 3));
  const piece = changes.append(new Uint8Array(2 * maxDataBytes + 5).fill(7));
  messages.piece('mtm:1:1:1:1', piece!);
  const parts = sent.map((effect) => {
    if (effect.kind !== 'send' || effect.message.kind !== 'transaction-data') throw new Error(effect.kind);
    return [effect.to, effect.message.offset, effect.message.data.length];
  });
  expect(parts).toEqual([
    [2, 3, maxDataBytes],
    [2, 3 + maxDataBytes, maxDataBytes],
    [2, 3 + 2 * maxDataBytes, 5],
  ]);
});
