/**
 * What one seed stands for: the cluster, the load and the faults of a run. Each seed takes another subset of
 * faults ("swarm testing"): a fault that never rests hides what happens without it.
 */
import type { DeadlockPrevention } from '../../src/core/commit/machine.ts';
import type { NodeId } from '../../src/core/identity.ts';
import { Prng } from '../../src/lib/prng.ts';

const faultKinds = [
  'link-break',
  'one-way-cut',
  'isolate',
  'gateway-crash',
  'server-crash',
  'node-crash',
  'two-crashes',
  'pause',
  'slow-disk',
  'slow-prepare',
  'refusing-server',
  'donor-crash',
  'isolate-and-crash',
  'walsender-reconnect',
] as const;

export type FaultKind = (typeof faultKinds)[number];

export interface MembershipOptions {
  readonly maxNodes: number;
  /** Machines, those of dropped nodes included. */
  readonly maxPlaces: number;
  /** Mean time between two deeds of whoever adds and drops nodes, ms. */
  readonly everyMs: number;
}

export interface RunOptions {
  readonly seed: number;
  /** The configured nodes. */
  readonly nodes: readonly NodeId[];
  readonly waitPeerCommits: boolean;
  readonly retainBytes: number;
  readonly deadlockPrevention: DeadlockPrevention;
  readonly clientsPerNode: number;
  readonly thinkMs: number;
  readonly accounts: number;
  readonly faults: readonly FaultKind[];
  /** Mean time between two faults, ms. */
  readonly faultEveryMs: number;
  readonly maxDelayMs: number;
  /** How much faster or slower than the others a node's clock may run: 0.02 are 2 %. */
  readonly clockDrift: number;
  /** Length of phase 1, ms. */
  readonly durationMs: number;
  /** Nodes come and go. */
  readonly membership?: MembershipOptions;
  /** Two nodes with a referee. */
  readonly referee?: boolean;
  /** How many of the writes cannot be prepared at home: their origin commits last. */
  readonly openShare?: number;
}

/** The same load and the same faults for nodes that commit much of it last. */
export function optionsWithOpen(seed: number): RunOptions {
  const random = new Prng(Math.imul(seed, 0xc2b2ae35) ^ 0x165667b1);
  const size = random.pick([1, 2, 3, 3, 3, 4, 5]);
  const nodes = Array.from({ length: size }, (_, index) => index + 1);
  return { ...optionsOfSeed(seed), nodes, openShare: random.pick([0.15, 0.5, 0.9]) };
}

/** The same load and the same faults for two nodes and a referee. */
export function optionsWithReferee(seed: number): RunOptions {
  return { ...optionsOfSeed(seed), nodes: [1, 2], referee: true };
}

/** The same load and the same faults while nodes come and go, from one to four of them. */
export function optionsWithMembership(seed: number): RunOptions {
  const random = new Prng(Math.imul(seed, 0x85ebca6b) ^ 0x27d4eb2f);
  const size = random.pick([1, 2, 3, 3, 4]);
  return {
    ...optionsOfSeed(seed),
    nodes: Array.from({ length: size }, (_, index) => index + 1),
    clientsPerNode: random.pick([1, 1, 2]),
    durationMs: random.pick([1500, 3000, 5000]),
    faultEveryMs: random.pick([60, 150, 400]),
    membership: {
      maxNodes: random.pick([3, 4, 5, 5, 6]),
      maxPlaces: size + random.pick([2, 4, 7]),
      everyMs: random.pick([60, 200, 500]),
    },
  };
}

export function optionsOfSeed(seed: number): RunOptions {
  const random = new Prng(Math.imul(seed, 0x9e3779b1) ^ 0x5bd1e995);
  const size = random.pick([1, 2, 3, 3, 3, 3, 3, 4, 5]);
  const share = random.pick([0.2, 0.4, 0.7]);
  return {
    seed,
    nodes: Array.from({ length: size }, (_, index) => index + 1),
    waitPeerCommits: random.chance(0.8),
    retainBytes: random.pick([60, 1_000_000, 1_000_000, 1_000_000]),
    deadlockPrevention: random.pick(['smart', 'smart', 'smart', 'simple']),
    clientsPerNode: 1 + random.below(3),
    thinkMs: random.pick([2, 10, 30]),
    accounts: 2 + random.below(6),
    faults: faultKinds.filter(() => random.chance(share)),
    faultEveryMs: random.pick([40, 100, 250]),
    maxDelayMs: random.pick([1, 4, 15]),
    clockDrift: random.pick([0, 0, 0.005, 0.015]),
    durationMs: random.pick([800, 1500, 2500]),
  };
}
