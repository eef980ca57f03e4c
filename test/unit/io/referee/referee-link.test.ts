import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { RefereeAnswer } from '../../../../src/core/generation/referee.ts';
import { GatewayError } from '../../../../src/lib/gateway-error.ts';
import { RefereeLink } from '../../../../src/io/referee/referee-link.ts';
import type { RefereeSession } from '../../../../src/io/referee/session.ts';

const ask = { kind: 'request-grant', token: 1, generation: 5, since: 4 } as const;
const report = { kind: 'report-online', token: 2, generation: 4, revision: 0 } as const;
const answer: RefereeAnswer = { kind: 'refused', refusal: 'no-record', record: undefined };

class FakeSession implements RefereeSession {
  closed = false;
  readonly calls: unknown[] = [];
  result: () => Promise<RefereeAnswer> = () => Promise.resolve(answer);

  requestGrant(...call: number[]): Promise<RefereeAnswer> {
    this.calls.push(['grant', ...call]);
    return this.result();
  }
  reportOnline(...call: number[]): Promise<RefereeAnswer> {
    this.calls.push(['report', ...call]);
    return this.result();
  }
  close(): void {
    this.closed = true;
  }
}

const never = () => new Promise<never>(() => undefined);

/** What the link told, and the sessions that it was given. */
function bench(openings: (() => Promise<RefereeSession>)[]) {
  const told: string[] = [];
  const losers: ((reason: string) => void)[] = [];
  const link = new RefereeLink({
    open: (onLost) => {
      losers.push(onLost);
      const next = openings.shift();
      return next === undefined ? Promise.reject(new Error('nobody there')) : next();
    },
    timeoutMs: 100,
    waitMs: { first: 10, longest: 40 },
    onConnected: () => void told.push('connected'),
    onLost: (reason) => void told.push(`lost: ${reason}`),
  });
  return { link, told, losers };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('RefereeLink', () => {
  test('calls reach the session', async () => {
    const session = new FakeSession();
    const { link, told } = bench([() => Promise.resolve(session)]);
    await link.start();
    expect(await link.call(ask)).toBe(answer);
    await link.call(report);
    expect(session.calls).toEqual([
      ['grant', 5, 4],
      ['report', 4, 0],
    ]);
    expect(told).toEqual(['connected']);
    link.stop();
    expect(session.closed).toBe(true);
    expect(await link.call(ask)).toEqual({ kind: 'failed', reason: 'there is no contact' });
  });

  test('one that is not there is tried again, more and more slowly, and told about', async () => {
    const session = new FakeSession();
    const refused = () => Promise.reject(new Error('connect ECONNREFUSED'));
    const { link, told, losers } = bench([
      refused,
      refused,
      refused,
      refused,
      () => Promise.resolve(session),
    ]);
    await link.start();
    const attempts: number[] = [];
    for (let ms = 0; ms < 130; ms += 10) {
      attempts.push(losers.length);
      await vi.advanceTimersByTimeAsync(10);
    }
    expect(attempts).toEqual([1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5]);
    expect(told).toEqual([...Array.from({ length: 4 }, () => 'lost: connect ECONNREFUSED'), 'connected']);
    link.stop();
  });

  test('one that is unsuitable at the start is an error, later it is a loss', async () => {
    const unsuitable = () => Promise.reject(new GatewayError('referee-unsuitable', 'the Redis is a slave'));
    const first = bench([unsuitable]);
    await expect(first.link.start()).rejects.toThrow('the Redis is a slave');
    await vi.advanceTimersByTimeAsync(1000);
    expect(first.losers).toHaveLength(1);

    const session = new FakeSession();
    session.result = unsuitable;
    const later = bench([() => Promise.resolve(session)]);
    await later.link.start();
    expect(await later.link.call(ask)).toEqual({ kind: 'failed', reason: 'the Redis is a slave' });
    expect(later.told).toEqual(['connected', 'lost: the Redis is a slave']);
    later.link.stop();
  });

  test('a call without an answer fails in time and ends the session', async () => {
    const silent = new FakeSession();
    silent.result = never;
    const second = new FakeSession();
    const { link, told } = bench([() => Promise.resolve(silent), () => Promise.resolve(second)]);
    await link.start();
    const call = link.call(ask);
    await vi.advanceTimersByTimeAsync(100);
    expect(await call).toEqual({ kind: 'failed', reason: 'no answer within 100 ms' });
    expect(silent.closed).toBe(true);
    await vi.advanceTimersByTimeAsync(10);
    expect(told).toEqual(['connected', 'lost: no answer within 100 ms', 'connected']);
    expect(await link.call(ask)).toBe(answer);
    link.stop();
  });

  test('opening has a limit too, and what opens after it is closed', async () => {
    const late = new FakeSession();
    let open: (session: RefereeSession) => void = () => undefined;
    const { link, told } = bench([() => new Promise((resolve) => (open = resolve))]);
    const start = link.start();
    await vi.advanceTimersByTimeAsync(100);
    await start;
    expect(told).toEqual(['lost: no contact within 100 ms']);
    open(late);
    await vi.advanceTimersByTimeAsync(1);
    expect(late.closed).toBe(true);
    link.stop();
  });

  test('a session that is lost is replaced; an old one cannot end the new one', async () => {
    const sessions = [new FakeSession(), new FakeSession()];
    const { link, told, losers } = bench(sessions.map((session) => () => Promise.resolve(session)));
    await link.start();
    losers[0]!('ECONNRESET');
    await vi.advanceTimersByTimeAsync(10);
    losers[0]!('again');
    expect(told).toEqual(['connected', 'lost: ECONNRESET', 'connected']);
    expect(sessions.map((session) => session.closed)).toEqual([true, false]);
    link.stop();
  });

  test('stopped while it opens: the session is closed', async () => {
    const session = new FakeSession();
    const { link, told } = bench([() => Promise.resolve(session)]);
    const start = link.start();
    link.stop();
    await start;
    expect(session.closed).toBe(true);
    expect(told).toEqual([]);
  });
});
