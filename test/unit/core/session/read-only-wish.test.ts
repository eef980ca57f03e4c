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

  test('SET LOCAL hides what SET has set, until the end of the transaction', () => {
    const wish = new ReadOnlyWish(false);
    wish.set(setting('on'), true);
    wish.set(setting('off', true), true);
    expect(wish.value).toBe(false);
    wish.blockEnded(true);
    expect(wish.value).toBe(true);
  });

  test('what was set behind a savepoint is undone with it', () => {
    const wish = new ReadOnlyWish(false);
    const savepoint = (act: 'savepoint' | 'release' | 'rollback', name: string) =>
      wish.savepoint({ kind: 'savepoint', act, name });
    savepoint('savepoint', 'a');
    wish.set(setting('on'), true);
    savepoint('savepoint', 'b');
    wish.set(setting('off', true), true);
    savepoint('rollback', 'b');
    expect(wish.value).toBe(true);
    savepoint('savepoint', 'c');
    savepoint('release', 'b');
    savepoint('rollback', 'unknown');
    expect(wish.value).toBe(true);
    savepoint('rollback', 'a');
    expect(wish.value).toBe(false);
    wish.set(setting('on'), true);
    savepoint('rollback', 'a');
    wish.blockEnded(true);
    expect(wish.value).toBe(false);
  });

  test('what role and database say is what RESET returns to', () => {
    const wish = new ReadOnlyWish(undefined);
    expect([wish.isKnown, wish.value]).toEqual([false, false]);
    wish.begin(true);
    wish.set(setting('off'), false);
    wish.reset(false);
    expect([wish.isKnown, wish.value]).toEqual([true, true]);
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
