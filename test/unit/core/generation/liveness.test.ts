/**
 * Properties of the liveness machine under any interleaving, against bookkeeping that is as dumb as possible.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { HybridClock } from '../../../../src/core/generation/hybrid-clock.ts';
import { Liveness } from '../../../../src/core/generation/liveness.ts';
import type { LivenessEffect, LivenessEvent } from '../../../../src/core/generation/liveness-event.ts';

const recvTimeoutMs = 2000;
const sendTimeoutMs = 200;

function liveness(size: number): Liveness {
  const nodes = Array.from({ length: size }, (_, index) => index + 1);
  const generation = { number: 1, configured: nodes, members: nodes };
  const clock = new HybridClock();
  const machine = new Liveness({ self: 1, configured: nodes, sendTimeoutMs, recvTimeoutMs, clock, now: 0 });
  const standing = { generation, maxVoted: 1, lastOnline: 1, online: true, level: false };
  machine.step({ kind: 'standing-changed', now: 0, standing });
  machine.step({ kind: 'local-health-changed', now: 0, health: { healthy: true } });
  return machine;
}

/** A step of a schedule: some time passes, then something happens at or with `peer`. */
const step = fc.record({
  wait: fc.oneof(
    { weight: 8, arbitrary: fc.integer({ min: 0, max: 150 }) },
    { weight: 1, arbitrary: fc.integer({ min: 151, max: 5000 }) },
  ),
  what: fc.constantFrom(
    ...(['tick', 'tick', 'tick', 'answer', 'answer', 'answer', 'heartbeat', 'heartbeat'] as const),
    ...([
      'answer-voted',
      'answer-forged',
      'link-up',
      'link-up',
      'link-down',
      'healthy',
      'unhealthy',
      'restart',
    ] as const),
  ),
  peer: fc.nat(5),
  /**
   * Which of the heartbeats that the peer was sent is answered, counted from the latest: any, any number of
   * times.
   */
  back: fc.oneof(fc.constant(0), fc.nat(12)),
});

/** What an onlooker writes down: every heartbeat sent, and for each who has answered it. */
class Onlooker {
  readonly #answers = new Map<number, Set<number>>();
  readonly #sentTo = new Map<number, number[]>();
  readonly #claims = new Set<number>();

  see(effects: readonly LivenessEffect[]): void {
    for (const effect of effects) {
      if (effect.kind !== 'send' || effect.message.kind !== 'heartbeat') continue;
      if (effect.message.onlineIn !== 0) this.#claims.add(effect.message.sentAt);
      this.#sentTo.set(effect.to, [...(this.#sentTo.get(effect.to) ?? []), effect.message.sentAt]);
    }
  }

  sentTo(peer: number, back: number): number | undefined {
    return this.#sentTo.get(peer)?.at(-1 - back);
  }

  claimed(sentAt: number): boolean {
    return this.#claims.has(sentAt);
  }

  answered(peer: number, sentAt: number): void {
    const peers = this.#answers.get(sentAt) ?? new Set([1]);
    this.#answers.set(sentAt, peers.add(peer));
  }

  /** The sending time of the latest heartbeat such that a majority answered it or a later one. */
  latestMajority(size: number): number {
    const times = [...this.#answers.keys()].sort((a, b) => b - a);
    const peers = new Set([1]);
    for (const time of times) {
      for (const peer of this.#answers.get(time) ?? []) peers.add(peer);
      if (peers.size * 2 > size) return time;
    }
    return -Infinity;
  }
}

type Step = { wait: number; what: string; peer: number; back: number };

function eventOf(
  { what, back }: Step,
  peer: number,
  now: number,
  onlooker: Onlooker,
): LivenessEvent | undefined {
  const sentAt = onlooker.sentTo(peer, back);
  switch (what) {
    case 'tick':
      return { kind: 'ticked', now, wallMs: now };
    case 'answer':
    case 'answer-voted': {
      if (sentAt === undefined) return undefined;
      const maxVoted = what === 'answer' ? 1 : 2;
      if (what === 'answer' && onlooker.claimed(sentAt)) onlooker.answered(peer, sentAt);
      const message = { kind: 'heartbeat-answer', sentAt, maxVoted, withheld: false, clock: 0 } as const;
      return { kind: 'heartbeat-answer-received', now, from: peer, message };
    }
    case 'answer-forged': {
      const message = {
        kind: 'heartbeat-answer',
        sentAt: now + 0.5 - back * 100,
        maxVoted: 1,
        withheld: false,
        clock: 0,
      } as const;
      return { kind: 'heartbeat-answer-received', now, from: peer, message };
    }
    case 'heartbeat': {
      const healthy = back < 6;
      const fixed = {
        generation: 1,
        maxVoted: 1,
        lastOnline: 1,
        onlineIn: healthy ? 1 : 0,
        level: false,
        connected: [],
        healthy,
        reason: '',
        clock: 0,
      };
      const message = { kind: 'heartbeat', sentAt: now, ...fixed } as const;
      return { kind: 'heartbeat-received', now, from: peer, message };
    }
    case 'link-up':
      return { kind: 'link-up', now, to: peer };
    case 'link-down':
      return { kind: 'link-down', now, to: peer, reason: 'cut' };
    case 'restart':
      return { kind: 'peer-introduced', now, from: peer, incarnation: Math.floor(now) };
    case 'healthy':
      return { kind: 'local-health-changed', now, health: { healthy: true } };
    default:
      return {
        kind: 'local-health-changed',
        now,
        health: { healthy: false, status: 'disabled', reason: 'down' },
      };
  }
}

/** Plays a schedule and calls `check` at every step with the time and what has been seen. */
function run(
  size: number,
  steps: readonly Step[],
  check: (machine: Liveness, now: number, onlooker: Onlooker, effects: readonly LivenessEffect[]) => void,
): void {
  const machine = liveness(size);
  const onlooker = new Onlooker();
  let now = 0;
  for (const one of steps) {
    now += one.wait;
    // Also before the event: a session may ask at any time.
    check(machine, now, onlooker, []);
    const event = eventOf(one, 2 + (one.peer % (size - 1)), now, onlooker);
    if (event === undefined) continue;
    const effects = machine.step(event);
    onlooker.see(effects);
    check(machine, now, onlooker, effects);
  }
}

const steps = fc.array(step, { maxLength: 80 });
const sizes = fc.integer({ min: 2, max: 6 });

describe('a lease', () => {
  test('never outlives recv_timeout from the sending of the last heartbeat that a majority answered', () => {
    fc.assert(
      fc.property(sizes, steps, (size, schedule) => {
        run(size, schedule, (machine, now, onlooker) => {
          // Also asked about the very instant at which it must have ended, when that is still to come.
          const end = onlooker.latestMajority(size) + recvTimeoutMs;
          expect(machine.hasLease(Math.max(now, end))).toBe(false);
          expect(machine.hasLease(now, 2)).toBe(false);
        });
      }),
      { numRuns: 1000 },
    );
  });

  test('holds as long as a majority answers and the process is not held up', () => {
    fc.assert(
      fc.property(
        sizes,
        fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 30, maxLength: 60 }),
        (size, waits) => {
          const machine = liveness(size);
          const onlooker = new Onlooker();
          const peers = Array.from({ length: Math.floor(size / 2) }, (_, index) => index + 2);
          for (const to of peers) onlooker.see(machine.step({ kind: 'link-up', now: 0, to }));
          let now = 0;
          for (const wait of waits) {
            now += wait;
            onlooker.see(machine.step({ kind: 'ticked', now, wallMs: now }));
            for (const from of peers) {
              const message = {
                kind: 'heartbeat-answer',
                sentAt: onlooker.sentTo(from, 0) ?? 0,
                maxVoted: 1,
                withheld: false,
                clock: 0,
              } as const;
              machine.step({ kind: 'heartbeat-answer-received', now, from, message });
            }
            expect(machine.hasLease(now)).toBe(true);
          }
        },
      ),
    );
  });
});

test('what was reported is what a query says: members lost and back', () => {
  fc.assert(
    fc.property(sizes, steps, (size, schedule) => {
      const back = new Set<number>();
      run(size, schedule, (machine, now, _onlooker, effects) => {
        for (const effect of effects) {
          if (effect.kind === 'member-back')
            expect(back.has(effect.node) || !back.add(effect.node)).toBe(false);
          if (effect.kind === 'member-lost') expect(back.delete(effect.node)).toBe(true);
        }
        if (effects.length === 0) return;
        const missing = machine.unreachableMembers(now).filter(({ node }) => node !== 1);
        expect(missing.length + back.size).toBe(size - 1);
      });
    }),
    { numRuns: 300 },
  );
});

test('heartbeats leave once per send timeout and at once when the health changes', () => {
  const machine = liveness(2);
  machine.step({ kind: 'link-up', now: 0, to: 2 });
  const sent: number[] = [];
  for (let now = 50; now <= 2050; now += 50) {
    for (const effect of machine.step({ kind: 'ticked', now, wallMs: now }))
      if (effect.kind === 'send') sent.push(now);
  }
  expect(sent).toEqual(Array.from({ length: 11 }, (_, index) => 50 + index * 200));
  const effects = machine.step({ kind: 'local-health-changed', now: 2060, health: { healthy: true } });
  expect(effects).toContainEqual(expect.objectContaining({ kind: 'send', to: 2 }));
});
