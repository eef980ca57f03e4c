import { describe, expect, test } from 'vitest';
import { Cluster, recvTimeoutMs } from './cluster.ts';

function started(size: number): Cluster {
  const cluster = new Cluster(size);
  cluster.start(...cluster.ids);
  cluster.until(() => cluster.writable(...cluster.ids) && cluster.serving(...cluster.ids), 1000);
  return cluster;
}

/** Every node has the same, and nothing is left. */
function expectEqual(cluster: Cluster): void {
  const [first] = cluster.nodes;
  for (const node of cluster.nodes) {
    expect(new Set(node.committed)).toEqual(new Set(first!.committed));
    expect(new Set(node.committed).size).toBe(node.committed.length);
    expect([...node.disk.prepared]).toEqual([]);
    expect(node.alarms).toEqual([]);
  }
}

/** Until these nodes, and only these, are online members of a generation and can write. */
function untilAmong(cluster: Cluster, ids: readonly number[], limitMs: number): number {
  const among = (): boolean => cluster.node(ids[0]!).machine!.generation?.members.join() === ids.join();
  return cluster.until(() => among() && cluster.writable(...ids) && cluster.serving(...ids), limitMs);
}

const answerOf = (cluster: Cluster, gid: string): string | undefined =>
  cluster.node(Number(gid.split(':')[1])).answers.get(gid);

describe('a cluster that begins', () => {
  test('one node elects itself', () => {
    const cluster = started(1);
    const gid = cluster.write(1);
    cluster.until(() => answerOf(cluster, gid) === 'committed', 200);
    expect(cluster.node(1).status).toBe('online: ');
  });

  test('of two nodes both are needed; the one says who is missing and what to do', () => {
    const cluster = new Cluster(2);
    cluster.start(1);
    cluster.run(10_000);
    expect(cluster.node(1).status).toBe(
      'isolated: 2 of 2 nodes must be in contact; missing: node 2 (not connected yet); ' +
        'start them or restore their links',
    );
    cluster.start(2);
    cluster.until(() => cluster.writable(1, 2) && cluster.serving(1, 2), 1000);
  });

  test('two of three wait until the third has certainly not been answered, and it comes in later', () => {
    const cluster = new Cluster(3);
    cluster.start(1, 3);
    const ms = cluster.until(() => cluster.writable(1, 3) && cluster.serving(1, 3), 5000);
    expect(ms).toBeGreaterThan(recvTimeoutMs);
    const gid = cluster.write(3);
    cluster.until(() => answerOf(cluster, gid) === 'committed', 500);
    cluster.start(2);
    cluster.until(() => cluster.writable(1, 2, 3) && cluster.serving(1, 2, 3), 2000);
    expect(cluster.node(2).committed).toEqual([gid]);
    expectEqual(cluster);
  });

  test('the generation is stamped on the gid, and every node knows the outcome', () => {
    const cluster = started(3);
    const gid = cluster.write(2);
    expect(gid).toBe('mtm:2:1:1:1');
    cluster.until(() => answerOf(cluster, gid) === 'committed', 500);
    cluster.run(200);
    for (const { machine } of cluster.nodes) expect(machine!.outcomeOf(gid)).toBe('committed');
    expect(cluster.node(1).machine!.outcomeOf('mtm:2:1:1:9')).toBe('unknown');
  });
});

describe('a node is lost', () => {
  test('its process ended: the others write again within a second', () => {
    const cluster = started(3);
    cluster.crash(3, true);
    expect(cluster.until(() => cluster.writable(1, 2) && cluster.serving(1, 2), 1000)).toBeLessThan(1000);
    cluster.run(100);
    expect(cluster.node(1).status).toBe('online: generation 2 goes on without node 3 (connection refused)');
  });

  test('it is cut off: the others write again within the timeout and a second, it serves nobody by then', () => {
    const cluster = started(3);
    cluster.cut = (from, to) => (from === 3) !== (to === 3);
    const ms = untilAmong(cluster, [1, 2], 5000);
    expect(ms).toBeLessThan(recvTimeoutMs + 1000);
    expect(cluster.serving(3)).toBe(false);
    expect(cluster.node(3).status).toContain('isolated: 2 of 3 nodes must be in contact; missing: node 1');
  });

  test('a write that waits for its vote is aborted, everywhere', () => {
    const cluster = started(3);
    cluster.cut = (from, to) => from === 3 || to === 3;
    const gid = cluster.write(1);
    cluster.until(() => answerOf(cluster, gid) !== undefined, 5000);
    expect(answerOf(cluster, gid)).toBe('aborted');
    cluster.cut = () => false;
    cluster.relink();
    cluster.until(() => cluster.writable(1, 2, 3), 5000);
    expectEqual(cluster);
    for (const { machine } of cluster.nodes) expect(machine!.outcomeOf(gid)).not.toBe('committed');
  });

  test('a write that waits for its confirmation is committed, and its client hears so', () => {
    const cluster = started(3);
    const gid = cluster.write(1);
    cluster.until(() => cluster.nodes.every(({ disk }) => disk.prepared.has(gid)), 500);
    cluster.run(10);
    cluster.crash(3, true);
    cluster.until(() => answerOf(cluster, gid) !== undefined, 1000);
    expect(answerOf(cluster, gid)).toBe('committed');
    cluster.start(3);
    cluster.until(() => cluster.writable(1, 2, 3), 5000);
    expectEqual(cluster);
  });

  test('a switch ends what is being applied, and waits for its end', () => {
    const cluster = started(3);
    cluster.holdApply = true;
    const gid = cluster.write(1);
    cluster.run(50);
    cluster.crash(3, true);
    untilAmong(cluster, [1, 2], 1000);
    cluster.run(200);
    expect(answerOf(cluster, gid)).toBe('aborted');
    expect([...cluster.node(1).disk.prepared, ...cluster.node(2).disk.prepared]).toEqual([]);
  });

  test('the coordinator died after its PREPARE: the others decide, and it agrees when it is back', () => {
    const cluster = started(3);
    const gid = cluster.write(1);
    cluster.until(() => cluster.nodes.every(({ disk }) => disk.prepared.has(gid)), 500);
    cluster.crash(1, true);
    cluster.until(() => cluster.writable(2, 3) && cluster.serving(2, 3), 1000);
    expect(cluster.node(2).committed).toEqual([gid]);
    cluster.start(1);
    cluster.until(() => cluster.writable(1, 2, 3), 3000);
    expectEqual(cluster);
    expect(cluster.node(1).machine!.outcomeOf(gid)).toBe('committed');
  });

  test('the minority tells its clients that the outcome is unknown', () => {
    const cluster = started(3);
    const gid = cluster.write(3);
    cluster.run(20);
    cluster.cut = (from, to) => from === 3 || to === 3;
    cluster.until(() => answerOf(cluster, gid) !== undefined, 3 * recvTimeoutMs);
    expect(answerOf(cluster, gid)).toBe('unknown');
  });

  test('it comes back while the others write: it catches up, is voted in, and all are equal', () => {
    const cluster = started(3);
    cluster.crash(3, true);
    cluster.until(() => cluster.writable(1, 2) && cluster.serving(1, 2), 1000);
    for (let count = 0; count < 100; count += 1) {
      cluster.write(1 + (count % 2));
      cluster.run(10);
    }
    cluster.start(3);
    for (let count = 0; count < 20; count += 1) {
      if (cluster.writable(1)) cluster.write(1);
      cluster.run(20);
    }
    cluster.until(() => cluster.writable(1, 2, 3) && cluster.serving(1, 2, 3), 2000);
    cluster.run(500);
    expect(cluster.node(3).statuses.some((status) => status.startsWith('catchup'))).toBe(true);
    expect(cluster.node(3).committed.length).toBeGreaterThan(99);
    expectEqual(cluster);
  });
});

describe('links', () => {
  test('A–B–C with the link A–C cut: A and B go on, C serves nobody, and it stays so', () => {
    const cluster = started(3);
    cluster.cut = (from, to) => from !== 2 && to !== 2;
    expect(untilAmong(cluster, [1, 2], 10_000)).toBeLessThan(recvTimeoutMs + 1000);
    const { number } = cluster.node(1).machine!.generation!;
    cluster.run(20_000);
    expect(cluster.serving(3)).toBe(false);
    expect(cluster.writable(1, 2) && cluster.serving(1, 2)).toBe(true);
    expect(cluster.node(1).machine!.generation!.number).toBe(number);
    cluster.cut = () => false;
    cluster.relink();
    cluster.until(() => cluster.writable(1, 2, 3) && cluster.serving(1, 2, 3), 10_000);
  });

  test('five nodes split three to two: the three go on', () => {
    const cluster = started(5);
    cluster.cut = (from, to) => from > 3 !== to > 3;
    untilAmong(cluster, [1, 2, 3], 4000);
    expect(cluster.nodes.map(({ id }) => cluster.serving(id))).toEqual([true, true, true, false, false]);
    const gid = cluster.write(2);
    cluster.until(() => answerOf(cluster, gid) === 'committed', 500);
    cluster.cut = () => false;
    cluster.relink();
    cluster.until(() => cluster.writable(...cluster.ids) && cluster.serving(...cluster.ids), 5000);
    expectEqual(cluster);
  });
});

describe('all nodes were down', () => {
  test.each([
    [1, 2, 3],
    [3, 2, 1],
    [2, 3, 1],
  ])('and are started in the order %d %d %d', (...order) => {
    const cluster = started(3);
    cluster.crash(3, true);
    cluster.until(() => cluster.writable(1, 2) && cluster.serving(1, 2), 1000);
    const gids = [cluster.write(1), cluster.write(2), cluster.write(1)];
    cluster.run(25);
    cluster.crash(1, true);
    cluster.crash(2, true);
    for (const id of order) {
      cluster.start(id);
      cluster.run(3000);
    }
    cluster.until(() => cluster.writable(1, 2, 3) && cluster.serving(1, 2, 3), 5000);
    cluster.run(500);
    expectEqual(cluster);
    const { committed } = cluster.node(1);
    for (const gid of gids) {
      const outcome = committed.includes(gid) ? 'committed' : 'aborted';
      for (const { machine } of cluster.nodes) expect(machine!.outcomeOf(gid)).toBe(outcome);
    }
  });
});

describe('the syncpoint', () => {
  test('is passed when every origin has said that all before it is finished everywhere', () => {
    const cluster = started(3);
    const gids = cluster.ids.map((id) => cluster.write(id));
    cluster.run(30);
    const { machine } = cluster.node(1);
    const syncpoint = machine!.takeSyncpoint();
    expect(syncpoint?.counters).toEqual(new Map([1, 2, 3].map((id) => [id, 1])));
    expect(machine!.passedFloor(syncpoint!)).toBeUndefined();
    cluster.until(() => gids.every((gid) => answerOf(cluster, gid) === 'committed'), 500);
    cluster.run(200);
    const floor = machine!.passedFloor(syncpoint!);
    expect(floor).toEqual({ generation: 1, counters: new Map([1, 2, 3].map((id) => [id, 2])) });
    if (floor === undefined || floor === 'void') return;
    cluster.step(cluster.node(1), { kind: 'floor-raised', floor });
    expect(machine!.outcomeOf(gids[0]!)).toBe('forgotten');
    expect(machine!.isKnown(gids[0]!)).toBe(true);
  });

  test('is taken only while all configured nodes are members, and void in another generation', () => {
    const cluster = started(3);
    const { machine } = cluster.node(1);
    const syncpoint = machine!.takeSyncpoint();
    cluster.crash(3, true);
    cluster.until(() => cluster.writable(1, 2) && cluster.serving(1, 2), 1000);
    expect(machine!.takeSyncpoint()).toBeUndefined();
    expect(machine!.passedFloor(syncpoint!)).toBe('void');
  });

  test('of the members only: what is finished on them, while a configured node is away', () => {
    const cluster = started(3);
    const { machine } = cluster.node(1);
    cluster.crash(3, true);
    cluster.until(() => cluster.writable(1, 2) && cluster.serving(1, 2), 1000);
    const gids = [1, 2].map((id) => cluster.write(id));
    cluster.run(30);
    const syncpoint = machine!.takeSyncpoint('members');
    expect(new Set(syncpoint!.counters.keys())).toEqual(new Set([1, 2]));
    expect(machine!.passedFloor(syncpoint!)).toBeUndefined();
    cluster.until(() => gids.every((gid) => answerOf(cluster, gid) === 'committed'), 500);
    cluster.run(200);
    const floor = machine!.passedFloor(syncpoint!);
    if (floor === undefined || floor === 'void') throw new Error(`the floor is ${floor}`);
    expect(floor.generation).toBe(2);
    cluster.step(cluster.node(1), { kind: 'floor-raised', floor });
    for (const gid of gids) expect(machine!.isKnown(gid)).toBe(true);
  });
});

test('messages of a generation without a part of this node go nowhere', () => {
  const cluster = started(3);
  const { machine } = cluster.node(1);
  const { now } = cluster;
  for (const generation of [0, 2, 99]) {
    const gid = `mtm:2:${generation}:1:1`;
    const start = {
      kind: 'transaction-start',
      gid,
      startTime: 1,
      ddl: false,
      members: [1, 2],
      deps: [],
    } as const;
    for (const message of [start, { kind: 'rollback-request', gid } as const]) {
      expect(machine!.step({ kind: 'message-received', now, from: 2, message })).toEqual([]);
    }
  }
});
