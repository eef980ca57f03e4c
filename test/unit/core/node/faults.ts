/**
 * Random crashes, pauses and cuts. Checked at every moment: nobody serves in a generation while somebody is
 * online in a higher one. Checked at the end, when all is healed: every node has the same commits, all that
 * was acknowledged among them, and nothing is left prepared.
 */
import { expect } from 'vitest';
import { Prng } from '../../../../src/lib/prng.ts';
import { Cluster } from './cluster.ts';

export class Run {
  readonly cluster: Cluster;
  readonly random: Prng;
  readonly written: { readonly home: number; readonly gid: string }[] = [];
  /** Answers survive the process that gave them. */
  generations = 0;

  constructor(seed: number) {
    this.random = new Prng(seed);
    this.cluster = new Cluster(this.random.pick([1, 2, 3, 3, 3, 4, 5]));
    this.cluster.random = () => this.random.next();
    this.cluster.watch = () => this.#nobodyServesBehind();
    this.cluster.start(...this.cluster.ids);
  }

  #nobodyServesBehind(): void {
    const { cluster } = this;
    let highest = 0;
    for (const { machine } of cluster.nodes) highest = Math.max(highest, machine?.liveness.onlineIn ?? 0);
    this.generations = highest;
    for (const { id, machine } of cluster.nodes) {
      if (machine?.liveness.hasLease(cluster.now) !== true || machine.liveness.onlineIn === highest) continue;
      throw new Error(
        `node ${id} serves in ${machine.liveness.onlineIn} while ${highest} is online, at ${cluster.now}`,
      );
    }
  }

  fault(): void {
    const { cluster, random } = this;
    const node = random.pick(cluster.nodes);
    const dice = random.next();
    if (dice < 0.25) cluster.crash(node.id, random.chance(0.5));
    else if (dice < 0.55 && node.machine === undefined) cluster.start(node.id);
    else if (dice < 0.65) cluster.pause(node.id);
    else if (dice < 0.8) cluster.resume(node.id);
    else if (dice < 0.9) this.#cut();
    else this.#join();
  }

  #join(): void {
    this.cluster.cut = () => false;
    this.cluster.relink();
  }

  #cut(): void {
    this.#join();
    const pairs = new Set<string>();
    const { ids } = this.cluster;
    for (const from of ids) {
      for (const to of ids) if (this.random.chance(0.3)) pairs.add(`${from} ${to}`);
    }
    const oneWay = this.random.chance(0.3);
    this.cluster.cut = (from, to) => pairs.has(`${from} ${to}`) || (!oneWay && pairs.has(`${to} ${from}`));
  }

  write(): void {
    const { cluster } = this;
    const node = this.random.pick(cluster.nodes);
    if (node.inbox !== undefined || !cluster.serving(node.id) || !cluster.writable(node.id)) return;
    this.written.push({ home: node.id, gid: cluster.write(node.id) });
  }

  heal(): void {
    const { cluster } = this;
    this.#join();
    for (const id of cluster.ids) cluster.resume(id);
    cluster.run(50);
    for (const { id, machine } of cluster.nodes) if (machine === undefined) cluster.start(id);
    cluster.until(() => cluster.writable(...cluster.ids) && cluster.serving(...cluster.ids), 30_000);
    cluster.run(2000);
  }

  check(): void {
    const { cluster } = this;
    const [first, ...others] = cluster.nodes.map((node) => [...new Set(node.committed)].sort());
    for (const other of others) expect(other).toEqual(first);
    for (const node of cluster.nodes) {
      expect(node.committed.length).toBe(first!.length);
      expect([...node.disk.prepared]).toEqual([]);
      expect(node.alarms).toEqual([]);
    }
    for (const { home, gid } of this.written) {
      const answer = cluster.node(home).answers.get(gid);
      if (answer === 'committed') expect(first).toContain(gid);
      if (answer === 'aborted') expect(first).not.toContain(gid);
    }
  }
}

/** One run; throws what was violated. */
export function play(seed: number): Run {
  const run = new Run(seed);
  for (let turn = 0; turn < 60; turn += 1) {
    run.cluster.run(run.random.between(10, 700));
    for (let count = run.random.below(4); count > 0; count -= 1) run.write();
    if (run.random.chance(0.3)) run.fault();
  }
  run.heal();
  run.check();
  return run;
}
