/**
 * Two gateways (some with their servers) that die at about the same time and come back under load, again and
 * again, and nothing else: each time all nodes must be whole again before the next fault, so that no later one
 * rescues a node that stands still.
 */
import { Prng } from '../../src/lib/prng.ts';
import type { FaultKind, RunOptions } from './options.ts';
import { optionsOfSeed } from './options.ts';
import { Cluster, type Outcome, type RunHooks } from './run.ts';
import { Violation } from './world.ts';

/** From the last start until every node takes writes, virtual ms: ten times the time of silence. */
const wholeMs = 2000;
const strikes = 6;
/** What may happen to a node while it catches up. */
const meanwhile = [
  'slow-disk',
  'link-break',
  'donor-crash',
  'walsender-reconnect',
] as const satisfies FaultKind[];

/** The load of the seed, heavier, on three nodes and sometimes more. */
export function optionsInPairs(seed: number): RunOptions {
  const random = new Prng(Math.imul(seed, 0x27d4eb2f) ^ 0x165667b1);
  const size = random.pick([3, 3, 3, 4, 5]);
  return {
    ...optionsOfSeed(seed),
    nodes: Array.from({ length: size }, (_, index) => index + 1),
    clientsPerNode: 4,
    thinkMs: random.pick([2, 10]),
    accounts: random.pick([4, 20]),
    faults: [],
    // The clients' end.
    durationMs: strikes * 1200,
  };
}

/** Runs one seed. Whatever is thrown is the outcome. */
export function runPairs(options: RunOptions, hooks: RunHooks = {}): Outcome {
  const cluster = new Cluster(options, hooks);
  const random = new Prng(Math.imul(options.seed, 0x85ebca6b));
  cluster.network.lifeLines = true;
  try {
    cluster.startClients(options.durationMs);
    untilWhole(cluster);
    for (let count = 0; count < strikes; count += 1) {
      for (const { server } of cluster.gateways) server.slowness = 1;
      cluster.runFor(random.between(20, 400));
      strike(cluster, random);
      untilWhole(cluster);
    }
    cluster.converge();
    return { violation: undefined, cluster };
  } catch (error) {
    return { violation: error as Error, cluster };
  }
}

function strike(cluster: Cluster, random: Prng): void {
  const { faults, gateways, world } = cluster;
  const [one, other] = random.shuffled(gateways);
  const downMs = random.pick([20, 100, 400, 800]);
  const withServers = random.chance(0.3);
  world.trace?.('fault', `two gateways: ${one!.id} ${other!.id} ${downMs} ms, servers: ${withServers}`);
  for (const [index, victim] of [one!, other!].entries()) {
    victim.server.slowness = random.pick([1, 3, 8]);
    const awayMs = downMs + random.between(0, 60);
    if (withServers) faults.nodeCrash(victim, awayMs);
    else faults.gatewayCrash(victim, awayMs);
    // Time enough, or not, for a generation without the first one.
    if (index === 0) cluster.runFor(random.pick([0, 30, 300]) * random.next());
  }
  cluster.runFor(downMs);
  if (!random.chance(0.3)) return;
  cluster.runFor(random.between(0, 150));
  faults.inflict(random.pick(meanwhile));
}

function untilWhole({ scheduler, gateways }: Cluster): void {
  let lookAt = 0;
  const isWhole = (): boolean => gateways.every((gateway) => gateway.writable);
  scheduler.run(scheduler.now + wholeMs, () => {
    if (scheduler.now < lookAt) return false;
    lookAt = scheduler.now + 10;
    return isWhole();
  });
  if (isWhole()) return;
  const stories = gateways.map(({ id, story }) => `node ${id}: ${story}`).join('; ');
  throw new Violation(`not whole after ${wholeMs} ms: ${stories} (liveness)`);
}
