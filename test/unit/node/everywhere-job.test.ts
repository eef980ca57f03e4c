import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { EverywhereKind } from '../../../src/core/statement/everywhere-command.ts';
import { EverywhereJob } from '../../../src/node/everywhere-job.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function job(
  settings: Record<string, string>,
  expired = (): void => undefined,
  what: EverywhereKind = 'create-index',
): EverywhereJob {
  const frame = { target: '', subject: 'relation t', sessionUser: 'u', role: 'none', settings };
  return new EverywhereJob({ id: '1', what, text: 'the command', frame }, expired);
}

describe('a command that runs node by node', () => {
  test.each([
    ['1500ms', 1500],
    ['4s', 4000],
    ['2min', 120_000],
    ['1h', 3_600_000],
  ])('ends after its statement_timeout of %s as a whole', (statement_timeout, ms) => {
    const expired = vi.fn<() => void>();
    const { signal } = job({ statement_timeout }, expired);
    vi.advanceTimersByTime(ms - 1);
    expect(signal.aborted).toBe(false);
    vi.advanceTimersByTime(1);
    expect(expired).toHaveBeenCalledOnce();
    expect(signal.reason).toMatchObject({
      sqlstate: '57014',
      message: expect.stringMatching(/statement timeout/),
    });
  });

  test('without a timeout only its client ends it, and the first reason counts', () => {
    const one = job({ statement_timeout: '0' });
    vi.advanceTimersByTime(10 ** 9);
    expect(one.stopped).toBeUndefined();
    one.stop();
    one.stop({ severity: 'ERROR', sqlstate: '40001', message: 'later' });
    expect(one.stopped).toMatchObject({ sqlstate: '57014' });
  });

  test('waits no longer than lock_timeout, and says who is in the way', async () => {
    const one = job({ lock_timeout: '1s' });
    const work = (): Promise<void> =>
      new Promise((resolve) => one.signal.addEventListener('abort', () => resolve()));
    const waiting = one.waiting(work, () => Promise.resolve('somebody'));
    const failed = expect(waiting).rejects.toMatchObject({
      sqlstate: '55P03',
      message: expect.stringMatching(/relation t.*: somebody/),
    });
    await vi.advanceTimersByTimeAsync(1000);
    await failed;
  });

  test('a REINDEX speaks of invalid indexes only when one may be left', () => {
    const one = job({}, undefined, 'reindex');
    const error = { severity: 'ERROR', sqlstate: '42P01', message: 'there is no such table' } as const;
    expect(one.told(error)).toEqual(error);
    one.unclean = true;
    expect(one.told(error)).toMatchObject({ hint: expect.stringMatching(/_ccnew/) });
  });

  test('of failures at other nodes the first is told, with its node', () => {
    const one = job({});
    one.fails({ severity: 'ERROR', sqlstate: '23505', message: 'twice' }, 3);
    one.fails({ severity: 'ERROR', sqlstate: '57014', message: 'halted' }, 2);
    expect(one.told(one.failure!)).toMatchObject({
      sqlstate: '23505',
      hint: expect.stringMatching(/node 3/),
    });
  });
});
