import { describe, expect, test } from 'vitest';
import { ReadOnlyWish, booleanOf } from '../../../../src/core/session/read-only-wish.ts';

function setting(value: string | undefined, local = false) {
  return { kind: 'set-guarded', name: 'default_transaction_read_only', value, local } as const;
}

describe('the read-only default that the client sees', () => {
  test('a SET in a transaction is undone with it', () => {
    const wish = new ReadOnlyWish(false);
    wish.set(setting('on'), true);
    expect(wish.value).toBe(true);
    wish.blockEnded(false);
    expect(wish.value).toBe(false);
    wish.set(setting('on'), true);
    wish.blockEnded(true);
    expect(wish.value).toBe(true);
  });

  test('SET LOCAL ends with the transaction, and does nothing without one', () => {
    const wish = new ReadOnlyWish(false);
    wish.set(setting('on', true), true);
    expect(wish.value).toBe(true);
    wish.blockEnded(true);
    expect(wish.value).toBe(false);
    wish.set(setting('on', true), false);
    expect(wish.value).toBe(false);
  });

  test('RESET returns to what the session began with', () => {
    const wish = new ReadOnlyWish(true);
    wish.set(setting('off'), false);
    expect(wish.value).toBe(false);
    wish.set(setting(undefined), false);
    expect(wish.value).toBe(true);
    wish.set(setting('off'), false);
    wish.reset(false);
    expect(wish.value).toBe(true);
  });

  test('another setting, or a value that is no boolean, changes nothing', () => {
    const wish = new ReadOnlyWish(false);
    wish.set({ ...setting('on'), name: 'transaction_read_only' }, false);
    wish.set(setting('maybe'), false);
    expect(wish.value).toBe(false);
  });

  test.each([
    ['on', true],
    ['TRUE', true],
    ['y', true],
    ['of', false],
    ['0', false],
    ['o', undefined],
    ['', undefined],
    ['2', undefined],
  ])('%j is %s', (text, wanted) => expect(booleanOf(text)).toBe(wanted));
});
