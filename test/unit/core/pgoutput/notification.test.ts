import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Notifications, readNotification } from '../../../../src/core/pgoutput/notification.ts';

const bytes = (value: unknown): Uint8Array =>
  new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value));

describe('what a message may say', () => {
  test.each([
    { channel: 'c', payload: '' },
    { channel: 'c'.repeat(63), payload: 'x'.repeat(7999) },
    { channel: 'ж'.repeat(31), payload: 'ж'.repeat(3999) },
    { channel: `it's \\ "`, payload: '\n\u0001𝄞' },
  ])('%j', (notification) => {
    expect(readNotification(bytes({ ...notification, more: 1 }))).toEqual(notification);
  });

  test.each([
    'no JSON',
    'null',
    '7',
    [],
    {},
    { channel: 'c' },
    { payload: 'p' },
    { channel: 7, payload: 'p' },
    { channel: 'c', payload: null },
    { channel: '', payload: 'p' },
    { channel: 'c'.repeat(64), payload: 'p' },
    { channel: 'ж'.repeat(32), payload: 'p' },
    { channel: 'c', payload: 'x'.repeat(8000) },
    { channel: 'c', payload: 'ж'.repeat(4000) },
    { channel: 'c\0', payload: 'p' },
    { channel: 'c', payload: '\ud800' },
  ])('is none: %j', (content) => {
    expect(readNotification(bytes(content))).toBeUndefined();
  });

  test('no bytes stop anybody', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (content) => {
        readNotification(content);
      }),
    );
  });
});

describe('those of one transaction', () => {
  test('keep their order; a repeated one counts once', () => {
    const all = new Notifications();
    expect(all.isEmpty).toBe(true);
    for (const payload of ['b', 'a', 'b', '', 'a']) all.add(bytes({ channel: 'c', payload }));
    all.add(bytes({ channel: 'd', payload: 'a' }));
    all.add(bytes('forged'));
    expect(all.list.map(({ channel, payload }) => channel + payload)).toEqual(['cb', 'ca', 'c', 'da']);
    expect([all.size, all.dropped]).toEqual([4, 1]);
  });

  test('are bounded', () => {
    const all = new Notifications();
    for (let index = 0; index < 6000; index++)
      all.add(bytes({ channel: 'c', payload: `${index}`.padEnd(7990, 'x') }));
    expect(all.size).toBeLessThan(4300);
    expect(all.size + all.dropped).toBe(6000);
  });
});
