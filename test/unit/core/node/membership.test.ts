/** Nodes that come and go while the others work, as the node machines agree on it. */
import { describe, expect, test } from 'vitest';
import { Cluster } from './cluster.ts';

function started(size: number): Cluster {
  const cluster = new Cluster(size);
  cluster.start(...cluster.ids);
  cluster.until(() => cluster.writable(...cluster.ids) && cluster.serving(...cluster.ids), 1000);
  return cluster;
}

const address = (id: number) => ({ id, host: `h${id}`, port: 7300 + id, conninfo: `host=h${id}` });
const configurationAt = (cluster: Cluster, id: number) => cluster.node(id).machine!.configuration;
const membersAt = (cluster: Cluster, id: number) => cluster.node(id).machine!.generation?.members;

function write(cluster: Cluster, id: number): string {
  const gid = cluster.write(id);
  cluster.until(() => cluster.node(id).answers.has(gid), 1000);
  expect(cluster.node(id).answers.get(gid)).toBe('committed');
  return gid;
}

function join(cluster: Cluster, id: number, by: number): void {
  cluster.wish(by, { kind: 'add', node: address(id) });
  cluster.copy(id, by);
  cluster.start(id);
  cluster.until(() => membersAt(cluster, by)?.includes(id) === true, 5000);
  const { ids } = cluster;
  cluster.until(() => cluster.writable(...ids) && cluster.serving(...ids), 5000);
}

describe('a node is added', () => {
  test('it joins, is kept history for, and is admitted when it is level', () => {
    const cluster = started(3);
    const before = write(cluster, 2);
    cluster.wish(2, { kind: 'add', node: address(4) });
    cluster.until(() => cluster.writable(1, 2, 3), 1000);
    for (const id of [1, 2, 3]) {
      const { configured, joining, added } = configurationAt(cluster, id);
      expect({ configured, joining }).toEqual({ configured: [1, 2, 3], joining: [4] });
      expect(added).toEqual([{ ...address(4), since: 2 }]);
      expect(cluster.node(id).machine!.takeSyncpoint(), 'its history is kept').toBeUndefined();
    }
    cluster.copy(4, 2);
    const behind = write(cluster, 1);
    cluster.start(4);
    cluster.until(() => cluster.writable(1, 2, 3, 4) && cluster.serving(1, 2, 3, 4), 5000);
    expect(configurationAt(cluster, 1)).toMatchObject({ configured: [1, 2, 3, 4], joining: [] });
    expect(cluster.node(4).committed).toEqual([before, behind]);
    const own = write(cluster, 4);
    cluster.run(500);
    for (const node of cluster.nodes) expect(node.committed).toEqual([before, behind, own]);
    expect(cluster.nodes.flatMap(({ alarms }) => alarms)).toEqual([]);
  });

  test('a joining node counts for no majority', () => {
    const cluster = started(3);
    cluster.wish(1, { kind: 'add', node: address(4) });
    cluster.copy(4, 1);
    cluster.crash(2, true);
    cluster.crash(3, true);
    cluster.start(4);
    cluster.run(10_000);
    expect(cluster.serving(1)).toBe(false);
    expect(cluster.serving(4)).toBe(false);
    expect(configurationAt(cluster, 4).joining).toEqual([4]);
  });

  test('from one to five, one after the other; then three of five are a majority, and two are not', () => {
    const cluster = started(1);
    for (const id of [2, 3, 4, 5]) join(cluster, id, 1);
    expect(configurationAt(cluster, 5).configured).toEqual([1, 2, 3, 4, 5]);
    cluster.crash(1, true);
    cluster.crash(2, true);
    cluster.until(() => cluster.writable(3, 4, 5) && cluster.serving(3, 4, 5), 5000);
    cluster.crash(3, true);
    cluster.run(10_000);
    expect(cluster.serving(4) || cluster.serving(5)).toBe(false);
  });
});

describe('a node is dropped', () => {
  test('it is dead: the others need it no more, and go on when another one is lost', () => {
    const cluster = started(3);
    cluster.crash(3, true);
    cluster.until(() => cluster.writable(1, 2), 1000);
    cluster.wish(1, { kind: 'drop', node: 3 });
    cluster.until(() => cluster.writable(1, 2) && cluster.serving(1, 2), 1000);
    expect(configurationAt(cluster, 2)).toMatchObject({ configured: [1, 2], joining: [], added: [] });
    expect(cluster.node(1).machine!.takeSyncpoint(), 'nothing is kept for it').toBeDefined();
    cluster.start(3);
    cluster.run(5000);
    expect(cluster.serving(3), 'nobody lets it in').toBe(false);
    expect(membersAt(cluster, 1)).toEqual([1, 2]);
  });

  test('nobody is dropped while a member is behind: it may have no other donor', () => {
    const cluster = started(3);
    cluster.crash(2, true);
    cluster.until(() => cluster.writable(1, 3), 1000);
    for (let counter = 1; counter <= 10_000; counter += 1) {
      const gid = `mtm:1:2:1:${counter}`;
      for (const id of [1, 3]) cluster.node(id).disk.history.push({ kind: 'commit', gid });
    }
    cluster.crash(3, true);
    cluster.start(2);
    cluster.until(() => membersAt(cluster, 1)?.join() === '1,2', 5000);
    const wish = { kind: 'drop', node: 3 } as const;
    cluster.step(cluster.node(1), { kind: 'configuration-wished', now: cluster.now, wish });
    cluster.run(300);
    expect(cluster.node(2).committed.length, 'it is behind').toBeLessThan(10_000);
    expect(configurationAt(cluster, 1).configured).toEqual([1, 2, 3]);
    cluster.until(() => configurationAt(cluster, 1).configured.join() === '1,2', 20_000);
    expect(cluster.node(2).committed.length).toBe(10_000);
  });

  test('nobody drops a node that is heard', () => {
    const cluster = started(3);
    const wish = { kind: 'drop', node: 3 } as const;
    cluster.step(cluster.node(1), { kind: 'configuration-wished', now: cluster.now, wish });
    cluster.run(5000);
    expect(configurationAt(cluster, 1).configured).toEqual([1, 2, 3]);
    expect(cluster.writable(1, 2, 3)).toBe(true);
  });

  test('its id is given to another one', () => {
    const cluster = started(3);
    cluster.crash(3, true);
    cluster.until(() => cluster.writable(1, 2), 1000);
    cluster.wish(1, { kind: 'drop', node: 3 });
    cluster.until(() => cluster.writable(1, 2), 1000);
    join(cluster, 3, 2);
    expect(configurationAt(cluster, 1)).toMatchObject({
      configured: [1, 2, 3],
      added: [{ id: 3, host: 'h3' }],
    });
    const own = write(cluster, 3);
    cluster.run(500);
    for (const node of cluster.nodes) expect(node.committed).toEqual([own]);
  });

  test('without a majority of those before nothing changes', () => {
    const cluster = started(3);
    cluster.crash(2, true);
    cluster.crash(3, true);
    cluster.run(3000);
    const wish = { kind: 'drop', node: 3 } as const;
    cluster.step(cluster.node(1), { kind: 'configuration-wished', now: cluster.now, wish });
    cluster.run(10_000);
    expect(configurationAt(cluster, 1).configured).toEqual([1, 2, 3]);
    expect(cluster.serving(1)).toBe(false);
  });
});

test('who missed both hears of another node behind the id: what was known of the former one is forgotten', () => {
  const cluster = new Cluster(5);
  cluster.node(5).disk.incarnation = 7;
  cluster.start(...cluster.ids);
  cluster.until(() => cluster.writable(1, 2, 3, 4, 5) && cluster.serving(1, 2, 3, 4, 5), 1000);
  cluster.crash(5, true);
  cluster.cut = (from, to) => (from === 3) !== (to === 3);
  cluster.until(() => membersAt(cluster, 1)?.join() === '1,2,4', 10_000);
  // Node 3 is away while the id is given to another node, whose processes begin with lower incarnations.
  cluster.wish(1, { kind: 'drop', node: 5 });
  cluster.wish(1, { kind: 'add', node: address(5) });
  cluster.until(() => cluster.writable(1, 2, 4) && cluster.serving(1, 2, 4), 5000);
  cluster.copy(5, 1);
  cluster.start(5);
  cluster.until(() => membersAt(cluster, 1)?.join() === '1,2,4,5', 5000);
  cluster.cut = () => false;
  cluster.relink();
  const { ids } = cluster;
  cluster.until(() => cluster.writable(...ids) && cluster.serving(...ids), 10_000);
  expect(cluster.node(3).machine!.incarnations.get(5)).toBe(1);
  const own = write(cluster, 5);
  cluster.run(500);
  for (const node of cluster.nodes) expect(node.committed).toEqual([own]);
});
