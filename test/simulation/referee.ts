/**
 * The referee of two simulated nodes: a record that survives almost everything (sometimes somebody clears the
 * database), behind a link on which calls and answers are delayed, lost and repeated, that is cut, and that a
 * request may outlive.
 */
import {
  afterReport,
  clearedUpTo,
  grantInForce,
  judgeGrant,
} from '../../src/core/generation/referee-record.ts';
import type { RefereeRecord } from '../../src/core/generation/referee-record.ts';
import type { RefereeAnswer } from '../../src/core/generation/referee.ts';
import type { NodeId } from '../../src/core/identity.ts';
import type { RefereeNews, RefereeTimes } from '../../src/core/node/arbiter.ts';
import type { NodeEffect } from '../../src/core/node/node-event.ts';
import { recvTimeoutMs, sendTimeoutMs } from './world.ts';
import type { World } from './world.ts';

export type RefereeCall = Extract<NodeEffect, { kind: 'request-grant' | 'report-online' }>;

export const refereeTimes: RefereeTimes = {
  callTimeoutMs: recvTimeoutMs / 2,
  retryMs: sendTimeoutMs,
  reportEveryMs: 3 * recvTimeoutMs,
};

/** A gateway as the referee's link sees it. */
interface Caller {
  readonly id: NodeId;
  readonly incarnation: number | undefined;
  /** In this process of the gateway only. */
  later(ms: number, action: () => void): void;
  hears(news: (now: number) => RefereeNews): void;
}

export interface RefereeRules {
  readonly judgeGrant: typeof judgeGrant;
  readonly afterReport: typeof afterReport;
}

const pair = { low: 1, high: 2 };

export class Referee {
  readonly #world: World;
  readonly #maxDelayMs: number;
  readonly #rules: RefereeRules;
  #record: RefereeRecord | undefined;
  /** By node: it cannot be reached before. */
  readonly #cutUntil = new Map<NodeId, number>();
  #over = false;
  /** What was under way when the record was lost is lost with it. */
  #epoch = 0;
  readonly counts = { granted: 0, refused: 0, reported: 0 };

  constructor(world: World, maxDelayMs: number, faultEveryMs: number | undefined) {
    this.#world = world;
    this.#maxDelayMs = maxDelayMs;
    this.#rules = world.sabotage.refereeRules ?? { judgeGrant, afterReport };
    if (faultEveryMs !== undefined) this.#nextCut(faultEveryMs);
  }

  #nextCut(everyMs: number): void {
    const { random, scheduler, trace } = this.#world;
    scheduler.after(random.between(0, 4 * everyMs), () => {
      if (this.#over) return;
      const until = scheduler.now + random.pick([20, 100, 350, 700]) * random.between(0.5, 1.5);
      const nodes = random.pick([[1], [2], [1, 2]]);
      trace?.('fault', `referee out of reach for ${nodes.join()} until ${until.toFixed(0)}`);
      for (const node of nodes) this.#cutUntil.set(node, until);
      if (random.chance(0.15)) {
        trace?.('fault', 'referee loses its record');
        this.#record = undefined;
        this.#epoch += 1;
      }
      this.#nextCut(everyMs);
    });
  }

  heal(): void {
    this.#over = true;
    this.#cutUntil.clear();
  }

  #reached(node: NodeId): boolean {
    return this.#world.scheduler.now >= (this.#cutUntil.get(node) ?? 0);
  }

  #delayMs(): number {
    const { random } = this.#world;
    return random.between(0, this.#maxDelayMs) * (random.chance(0.05) ? 20 : 1);
  }

  /** A process of the node has begun: from now on it keeps up a connection. */
  serve(caller: Caller): void {
    let connected = false;
    const look = (): void => {
      const reached = this.#reached(caller.id);
      if (reached && !connected) caller.hears((now) => ({ kind: 'referee-connected', now }));
      if (!reached && connected)
        caller.hears((now) => ({ kind: 'referee-lost', now, reason: 'it is cut off' }));
      connected = reached;
      caller.later(10, look);
    };
    caller.later(this.#delayMs(), look);
  }

  /** Carries the call out, or loses it, or does it twice; the caller may be gone by then. */
  carryOut(caller: Caller, call: RefereeCall): void {
    const { random, scheduler } = this.#world;
    const { incarnation } = caller;
    const epoch = this.#epoch;
    const times = random.chance(0.05) ? 0 : random.chance(0.05) ? 2 : 1;
    for (let time = 0; time < times; time += 1) {
      scheduler.after(this.#delayMs(), () => {
        if (!this.#reached(caller.id) || this.#epoch !== epoch) return;
        const answer = this.#judge(caller.id, call);
        if (random.chance(0.05) || caller.incarnation !== incarnation) return;
        caller.later(this.#delayMs(), () => {
          if (!this.#reached(caller.id)) return;
          caller.hears((now) => ({ kind: 'referee-answered', now, token: call.token, answer }));
        });
      });
    }
  }

  #judge(node: NodeId, call: RefereeCall): RefereeAnswer {
    if (call.kind === 'report-online') {
      this.counts.reported += 1;
      this.#record = this.#rules.afterReport(this.#record, pair, { ...call, node });
      return { kind: 'reported', record: this.#record };
    }
    const verdict = this.#rules.judgeGrant(this.#record, { ...call, node });
    this.counts[verdict.kind] += 1;
    this.#world.trace?.('referee', `${verdict.kind} ${call.generation} to ${node}`);
    if (verdict.kind === 'granted') this.#record = verdict.record;
    return verdict;
  }

  /** Both nodes have told that they were online in it. */
  get cleared(): number {
    return this.#record === undefined ? 0 : clearedUpTo(this.#record);
  }

  /** The grant that is in force; undefined when there is none. */
  get grant(): ReturnType<typeof grantInForce> {
    return this.#record === undefined ? undefined : grantInForce(this.#record);
  }
}
