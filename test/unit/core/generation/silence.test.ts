import { describe, expect, test } from 'vitest';
import fc from 'fast-check';
import { SilenceWatch } from '../../../../src/core/generation/silence.ts';
import { HybridClock } from '../../../../src/core/generation/hybrid-clock.ts';
import { Liveness } from '../../../../src/core/generation/liveness.ts';
import type { LivenessEvent } from '../../../../src/core/generation/liveness-event.ts';

const recvTimeoutMs = 100;
const sendTimeoutMs = 10;

function watch(configured: readonly number[], now = 0): SilenceWatch {
  return new SilenceWatch({ self: 1, configured, recvTimeoutMs, sendTimeoutMs, now });
}

describe('SilenceWatch', () => {
  test('a member that the only witness still hears is not silent, however long this node does not hear it', () => {
    const silence = watch([1, 2, 3]);
    for (let now = 0; now <= 5000; now += 10) silence.heartbeat(2, [1, 2, 3], now);
    expect(silence.isSilent(3, 5000)).toBe(false);
  });

  test('a member that nobody of a majority has heard for long is silent', () => {
    const silence = watch([1, 2, 3]);
    for (let now = 0; now <= 400; now += 10) silence.heartbeat(2, [1, 2], now);
    expect(silence.isSilent(3, 200)).toBe(false);
    expect(silence.isSilent(3, 400)).toBe(true);
  });

  test('an answer of this node starts the wait anew', () => {
    const silence = watch([1, 2, 3]);
    for (let now = 0; now <= 400; now += 10) silence.heartbeat(2, [1, 2], now);
    silence.answered(3, 300);
    expect(silence.isSilent(3, 400)).toBe(false);
  });

  test('a witness that was not heard itself for a term begins anew', () => {
    const silence = watch([1, 2, 3]);
    silence.heartbeat(2, [1, 2], 0);
    silence.heartbeat(2, [1, 2], 400);
    expect(silence.isSilent(3, 401)).toBe(false);
  });

  test('without a majority of witnesses nobody is silent', () => {
    const silence = watch([1, 2, 3, 4, 5]);
    for (let now = 0; now <= 900; now += 10) silence.heartbeat(2, [1, 2], now);
    expect(silence.isSilent(3, 900)).toBe(false);
  });

  test('property: who is taken for silent has lost its lease since it was last heard by a majority', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(2), fc.nat(2), fc.boolean()), { maxLength: 12 }), (cuts) => {
        expect(lapsedBeforeSilent(cuts)).toBe(true);
      }),
      { numRuns: 300 },
    );
  });
});

/** Three real liveness machines whose links are cut and healed; false: node 3 was taken for silent without a lapse. */
function lapsedBeforeSilent(cuts: readonly (readonly [number, number, boolean])[]): boolean {
  const nodes = [1, 2, 3];
  const generation = { number: 1, members: nodes, configured: nodes };
  const machines = nodes.map(
    (self) => new Liveness({ self, generation, sendTimeoutMs, recvTimeoutMs, clock: new HybridClock() }),
  );
  const silence = watch(nodes);
  const cut = new Set<string>();
  let lapses = 0;
  let seen = 0;
  const run = (at: number, event: LivenessEvent): void => {
    for (const effect of machines[at]!.step(event)) {
      if (at === 2 && effect.kind === 'lease-lost') lapses++;
      if (effect.kind !== 'send') continue;
      const to = effect.to - 1;
      if (at === 0 && effect.message.kind === 'heartbeat-answer') silence.answered(effect.to, event.now);
      if (cut.has(`${at}${to}`)) continue;
      const { message } = effect;
      if (to === 0 && message.kind === 'heartbeat') silence.heartbeat(at + 1, message.connected, event.now);
      const from = at + 1;
      if (message.kind === 'heartbeat')
        run(to, { kind: 'heartbeat-received', now: event.now, from, message });
      else run(to, { kind: 'heartbeat-answer-received', now: event.now, from, message });
    }
  };
  for (const at of [0, 1, 2]) {
    for (const to of nodes) if (to !== at + 1) run(at, { kind: 'link-up', now: 0, to });
  }
  for (let now = 0; now < 250 * (cuts.length + 1); now += 5) {
    const change = now % 250 === 0 ? cuts[now / 250] : undefined;
    if (change !== undefined) {
      const [from, to, broken] = change;
      if (broken) cut.add(`${from}${to}`);
      else cut.delete(`${from}${to}`);
    }
    for (const at of [0, 1, 2]) run(at, { kind: 'ticked', now, wallMs: now });
    const silent = silence.isSilent(3, now);
    // Each time it becomes silent there must have been a lapse since the time before.
    if (silent && seen === 0 && lapses === 0 && machines[2]!.hasLease(now)) return false;
    if (silent) seen = 1;
    else if (seen === 1) {
      seen = 0;
      lapses = 0;
    }
  }
  return true;
}
