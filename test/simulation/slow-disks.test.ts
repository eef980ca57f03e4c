/**
 * Disks so slow, for good, that one round of an election takes longer than a node may be silent: three writes
 * follow each other in it. The nodes must come to a generation all the same, at the start and when one is gone.
 */
import { expect, test } from 'vitest';
import { optionsInPairs } from './pairs.ts';
import { Cluster } from './run.ts';
import { recvTimeoutMs } from './world.ts';

const seeds = 20;

/** Whether the nodes that are up take writes within the time, virtual ms. */
function isWritable({ scheduler, gateways }: Cluster, withinMs: number): boolean {
  const up = gateways.filter(({ incarnation }) => incarnation !== undefined);
  let lookAt = 0;
  let found = false;
  scheduler.run(scheduler.now + withinMs, () => {
    if (scheduler.now < lookAt) return false;
    lookAt = scheduler.now + 10;
    found = up.every(({ writable }) => writable);
    return found;
  });
  return found;
}

/** A write of a healthy disk takes 2.25 ms in the mean, and five follow each other until a node is online. */
test.each([
  [20, 20],
  [60, 60],
  [120, 200],
])('disks %i times as slow: writes within %i times the time of silence', (slowness, limit) => {
  for (let seed = 1; seed <= seeds; seed += 1) {
    const options = { ...optionsInPairs(seed), clientsPerNode: 0 };
    const cluster = new Cluster(options);
    cluster.network.lifeLines = true;
    for (const { server } of cluster.gateways) server.slowness = slowness;
    expect(isWritable(cluster, limit * recvTimeoutMs), `seed ${seed}, at the start`).toBe(true);
    cluster.gateways[0]!.crash();
    cluster.runFor(5);
    expect(isWritable(cluster, limit * recvTimeoutMs), `seed ${seed}, one is gone`).toBe(true);
  }
});
