/**
 * Small enough to try everything: three nodes, one transaction or two that collide, and a crash at every
 * single step or the break of a link at every single message.
 */
import { describe, expect, test } from 'vitest';
import { incrementOf } from './operation.ts';
import { optionsOfSeed } from './options.ts';
import type { RunOptions } from './options.ts';
import { Cluster } from './run.ts';

const options: RunOptions = {
  ...optionsOfSeed(1),
  seed: 1,
  members: [1, 2, 3],
  blockingSize: 2,
  waitPeerCommits: true,
  retainBytes: 1_000_000,
  deadlockPrevention: 'smart',
  accounts: 3,
  maxDelayMs: 2,
  faults: [],
};

const warmUpMs = 130;
const windowMs = 45;

/** The writers begin; `fault` is called before each step of the window with the number of steps done. */
function run(
  writers: number,
  prepare: (cluster: Cluster) => void,
  fault: (cluster: Cluster, step: number) => void,
): { steps: number; acknowledged: number } {
  const cluster = new Cluster(options);
  const { scheduler } = cluster;
  scheduler.run(warmUpMs);
  prepare(cluster);
  for (const gateway of cluster.gateways.slice(0, writers)) {
    cluster.runOperation(gateway, incrementOf('c0'), 5, () => {});
  }
  const before = scheduler.executed;
  scheduler.run(warmUpMs + windowMs, () => {
    fault(cluster, scheduler.executed - before);
    return false;
  });
  const steps = scheduler.executed - before;
  const acknowledged = cluster.checker.acknowledged.length;
  cluster.converge();
  return { steps, acknowledged };
}

const nothing = (): void => {};
const kinds = ['gateway', 'server', 'node'] as const;

function crash(cluster: Cluster, kind: (typeof kinds)[number], node: number): void {
  const victim = cluster.gateways[node - 1]!;
  if (kind === 'gateway') cluster.faults.gatewayCrash(victim, 60);
  else if (kind === 'server') victim.serverCrash(60);
  else cluster.faults.nodeCrash(victim, 60);
}

describe.each([1, 2])('%i writers on three nodes', (writers) => {
  test.each(kinds)('a %s crash at every step', (kind) => {
    const { steps, acknowledged } = run(writers, nothing, nothing);
    expect(acknowledged, 'without a fault the window is long enough').toBe(writers);
    for (const node of options.members) {
      for (let at = 0; at < steps; at += 1) {
        const inflict = (cluster: Cluster, step: number): void => {
          if (step === at) crash(cluster, kind, node);
        };
        expect(() => run(writers, nothing, inflict), `node ${node}, step ${at}`).not.toThrow();
      }
    }
  });

  test('a link that breaks at every message', () => {
    let messages = 0;
    const count = ({ network }: Cluster): void => {
      network.onSend = () => (messages += 1);
    };
    run(writers, count, nothing);
    expect(messages).toBeGreaterThan(10);
    for (let at = 1; at <= Math.min(messages, 400); at += 1) {
      const lose = ({ network }: Cluster): void => {
        const before = network.sent;
        network.onSend = (from, to, sent) => {
          if (sent === before + at) network.break(from, to);
        };
      };
      expect(() => run(writers, lose, nothing), `message ${at}`).not.toThrow();
    }
  });
});

test('two gateways crash, at every pair of steps', () => {
  const { steps } = run(1, nothing, nothing);
  for (let first = 0; first < steps; first += 1) {
    for (let second = 0; second < steps; second += 1) {
      const inflict = (cluster: Cluster, step: number): void => {
        if (step === first) crash(cluster, 'gateway', 1);
        if (step === second) crash(cluster, 'gateway', 2);
      };
      expect(() => run(1, nothing, inflict), `steps ${first} and ${second}`).not.toThrow();
    }
  }
});
