import { describe, expect, test } from 'vitest';
import { Intake } from '../../../../src/core/session/intake.ts';

const message = (type: number, size: number) => ({ type, bytes: new Uint8Array(size) });

describe('Intake', () => {
  test('messages come out in their order; what is put back comes first', () => {
    const intake = new Intake(1000);
    for (const type of [1, 2, 3]) intake.put(message(type, 5));
    const first = intake.take();
    intake.putBack([message(9, 5), first]);
    const types: number[] = [];
    while (intake.waiting) types.push(intake.take().type);
    expect(types).toEqual([9, 1, 2, 3]);
    expect(intake.bytes).toBe(0);
  });

  test('small messages count with what they cost', () => {
    const intake = new Intake(1000);
    for (let count = 0; count < 200; count++) intake.put(message(0x53, 5));
    expect(intake.bytes).toBeGreaterThan(10_000);
  });

  test('a group that grows beyond the limit is handed out', () => {
    const intake = new Intake(1000);
    expect(intake.collect(message(0x42, 500))).toBeUndefined();
    expect(intake.collect(message(0x42, 500))).toMatchObject({ end: 'part', last: undefined });
    expect(intake.collecting).toBe(false);
  });
});
