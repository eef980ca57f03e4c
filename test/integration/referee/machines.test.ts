/** Two machines with their contacts at a real Redis: what a pair of gateways does, without the gateways. */
import { afterAll, describe, expect, test } from 'vitest';
import { RefereeMachine } from '../../../src/core/generation/referee.ts';
import type { RefereeEvent, RefereeSituation } from '../../../src/core/generation/referee.ts';
import { RefereeContact } from '../../../src/io/referee/referee-contact.ts';
import { eventually } from '../../support/polling.ts';
import { addressOf, freshCluster } from './contact-lab.ts';
import { needsRedis, redisProgram, RedisServer } from './redis-server.ts';

const timing = { callTimeoutMs: 1000, retryMs: 50, reportEveryMs: 300 };

/** One gateway as far as the referee is concerned. */
class Gateway {
  readonly machine: RefereeMachine;
  readonly contact: RefereeContact;
  readonly reasons: string[] = [];
  situation: RefereeSituation = { promised: 0, lastOnline: 0, lastOnlineFull: false, wanted: undefined };
  readonly #timer: NodeJS.Timeout;

  constructor(port: number, self: number, clusterName: string) {
    const other = 3 - self;
    this.machine = new RefereeMachine({ self, other, ...timing });
    this.contact = new RefereeContact({
      address: addressOf(`redis://127.0.0.1:${port}`),
      cluster: { clusterName, clusterSecret: 'a secret of the cluster' },
      self,
      other,
      timeoutMs: timing.callTimeoutMs,
      onConnected: () => this.#step({ kind: 'referee-connected', now: performance.now() }),
      onLost: (reason) => this.#step({ kind: 'referee-lost', now: performance.now(), reason }),
      onAnswer: (token, answer) =>
        this.#step({ kind: 'referee-answered', now: performance.now(), token, answer }),
    });
    this.#timer = setInterval(() => {
      this.#step({ kind: 'ticked', now: performance.now(), situation: this.situation });
    }, 20);
  }

  #step(event: RefereeEvent): void {
    for (const effect of this.machine.step(event)) {
      if (effect.kind === 'request-grant' || effect.kind === 'report-online') this.contact.carryOut(effect);
      else if (effect.kind === 'referee-changed') this.reasons.push(effect.reason);
    }
  }

  /** Online in a generation of both. */
  together(generation: number): void {
    this.situation = {
      promised: generation,
      lastOnline: generation,
      lastOnlineFull: true,
      wanted: undefined,
    };
  }

  alone(generation: number): void {
    this.situation = {
      promised: generation,
      lastOnline: generation,
      lastOnlineFull: false,
      wanted: undefined,
    };
  }

  wants(generation: number): void {
    this.situation = { ...this.situation, wanted: generation };
  }

  stop(): void {
    clearInterval(this.#timer);
    this.contact.stop();
  }
}

describe.skipIf(redisProgram === undefined)(`two gateways and a referee${needsRedis}`, () => {
  const gateways: Gateway[] = [];
  let redis: RedisServer | undefined;
  afterAll(async () => {
    for (const gateway of gateways) gateway.stop();
    await redis?.remove();
  });

  test('the first one wins, keeps its grant over a restart, and after both were online the other can win', async () => {
    redis = await RedisServer.start();
    const name = freshCluster();
    const start = async (self: number, situation?: RefereeSituation) => {
      const gateway = new Gateway(redis!.port, self, name);
      if (situation !== undefined) gateway.situation = situation;
      gateways.push(gateway);
      await gateway.contact.start();
      return gateway;
    };
    let first = await start(1);
    const second = await start(2);
    first.together(1);
    second.together(1);
    first.wants(2);
    await eventually('node 1 has the grant', () => first.machine.grant === 2);
    second.wants(2);
    await eventually('node 2 is refused', () => second.machine.reason.startsWith('the referee chose node 1'));

    first.alone(2);
    first.stop();
    first = await start(1, { ...first.situation, wanted: 3 });
    await eventually('node 1 has its grant again', () => first.machine.grant === 3);
    expect(second.machine.grant).toBeUndefined();

    first.together(4);
    second.together(4);
    await eventually('node 2 has nothing to say', () => second.machine.reason === '');
    second.wants(5);
    await eventually('node 2 has the grant', () => second.machine.grant === 5);

    // The winner does not need it after all and gives it back; node 1 wins again.
    second.together(4);
    first.wants(5);
    await eventually('node 1 has the grant again', () => (first.machine.grant ?? 0) >= 5);
    await redis!.kill();
    await eventually('both say it', () => {
      return [first, second].every(({ machine }) => machine.reason.startsWith('no contact with the referee'));
    });
  });
});
