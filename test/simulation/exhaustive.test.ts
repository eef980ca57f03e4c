/**
 * Small enough to try everything: three nodes, one transaction or two that collide, and a crash at every
 * single step or the break of a link at every single message; then pairs of faults, the second one also in the
 * election that follows the first. SIM_EXHAUSTIVE=1 tries every pair, otherwise every few steps.
 */
import { describe, expect, test } from 'vitest';
import { incrementOf } from './operation.ts';
import { optionsOfSeed } from './options.ts';
import type { RunOptions } from './options.ts';
import { Cluster } from './run.ts';

const options: RunOptions = {
  ...optionsOfSeed(1),
  seed: 1,
  nodes: [1, 2, 3],
  clockDrift: 0,
  waitPeerCommits: true,
  retainBytes: 1_000_000,
  deadlockPrevention: 'smart',
  accounts: 3,
  maxDelayMs: 2,
  faults: [],
};

const warmUpMs = 160;
const windowMs = 75;
/** How long a second fault may follow the first: into the election of the next generation and its settling. */
const electionMs = 200;
const stride = process.env['SIM_EXHAUSTIVE'] === '1' ? 1 : 6;

/** The writers begin; `fault` is called before each step of the window with the number of steps done. */
function run(
  writers: number,
  prepare: (cluster: Cluster) => void,
  fault: (cluster: Cluster, step: number) => void,
  lengthMs = windowMs,
): { steps: number; acknowledged: number } {
  const cluster = new Cluster(options);
  const { scheduler } = cluster;
  scheduler.run(warmUpMs);
  prepare(cluster);
  for (const gateway of cluster.gateways.slice(0, writers)) {
    cluster.runOperation(gateway, incrementOf('c0'), 5, () => {});
  }
  const before = scheduler.executed;
  scheduler.run(warmUpMs + lengthMs, () => {
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
  else if (kind === 'server') cluster.faults.serverCrash(victim, 60);
  else cluster.faults.nodeCrash(victim, 60);
}

describe.each([1, 2])('%i writers on three nodes', (writers) => {
  test.each(kinds)('a %s crash at every step', (kind) => {
    const { steps, acknowledged } = run(writers, nothing, nothing);
    expect(acknowledged, 'without a fault the window is long enough').toBe(writers);
    for (const node of options.nodes) {
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

describe('two faults, the second while the cluster elects', () => {
  const steps = (first: (cluster: Cluster) => void): { readonly before: number; readonly after: number } => {
    const before = run(1, nothing, nothing).steps;
    const inflict = (cluster: Cluster, step: number): void => {
      if (step === 0) first(cluster);
    };
    return { before, after: run(1, nothing, inflict, electionMs).steps };
  };

  const pairs = (first: (cluster: Cluster) => void, second: (cluster: Cluster) => void): void => {
    const { before, after } = steps(first);
    for (let one = 0; one < before; one += stride) {
      for (let other = one; other < after; other += stride) {
        const inflict = (cluster: Cluster, step: number): void => {
          if (step === one) first(cluster);
          if (step === other) second(cluster);
        };
        expect(() => run(1, nothing, inflict, electionMs), `steps ${one} and ${other}`).not.toThrow();
      }
    }
  };

  const crashOf = (kind: (typeof kinds)[number], node: number) => {
    return (cluster: Cluster): void => crash(cluster, kind, node);
  };
  const cutOff = (node: number) => {
    return ({ network }: Cluster): void => {
      for (const other of options.nodes) {
        if (other === node) continue;
        network.cut(node, other, 400);
        network.cut(other, node, 400);
      }
    };
  };

  test('coordinator and member crash', () => pairs(crashOf('gateway', 1), crashOf('gateway', 2)));
  test('a member crashes, then the coordinator with its server', () =>
    pairs(crashOf('gateway', 3), crashOf('node', 1)));
  test('the coordinator is cut off, then a member crashes', () => pairs(cutOff(1), crashOf('node', 2)));
  test('the coordinator crashes, then a member is cut off', () => pairs(crashOf('node', 1), cutOff(3)));
});
