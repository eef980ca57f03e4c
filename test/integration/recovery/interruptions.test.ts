/** What goes wrong while a node catches up: big transactions, dying donors, crashes, data that do not fit. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RecoveryLab } from './lab.ts';
import { fingerprint } from './site.ts';

let lab: RecoveryLab;
let generation = 0;
beforeAll(async () => {
  lab = await RecoveryLab.start([18, 18]);
  await lab.sites[0]!.commit('CREATE TABLE t (id int PRIMARY KEY, v text)');
  await catchUp();
});
afterAll(async () => lab?.stop());

/** Site 1 catches up from site 0 to a new mark; resolves with the gids that were replayed. */
async function catchUp(): Promise<readonly string[]> {
  generation++;
  await lab.sites[0]!.goOnline(generation);
  const watched = await lab.sites[1]!.recover(1, generation);
  expect(await watched.ended).toBe(`reached ${generation}`);
  await lab.sites[1]!.goOnline(generation);
  return watched.replayed;
}

async function expectSame(table = 't'): Promise<void> {
  expect(await lab.sites[1]!.rows(fingerprint(table))).toEqual(await lab.sites[0]!.rows(fingerprint(table)));
}

test('a transaction of 75 MB sits nowhere whole, known or not', async () => {
  const [a, b] = [lab.sites[0]!, lab.sites[1]!];
  const rows = "SELECT g, repeat('x', 1500) FROM generate_series(1000001, 1050000) g";
  const first = await a.commit(`INSERT INTO t ${rows}`);
  await a.commit('UPDATE t SET v = left(v, 10) WHERE id > 1000000');
  await a.commit("INSERT INTO t VALUES (1, 'behind')");
  let most = 0;
  const timer = setInterval(() => {
    const waiting = (b.recovery?.buffered ?? 0) + (a.donor.sessions[0]?.buffered ?? 0);
    most = Math.max(most, waiting);
  }, 1);
  const replayed = await catchUp();
  expect(replayed.length).toBe(3);
  expect(replayed[0]).toBe(first);
  await expectSame();
  // Once more, with everything known: applying it fails at its first row, which is of no consequence.
  expect(await catchUp()).toEqual([]);
  // And with only the later ones forgotten: the big ones are rolled back, the small one is replayed again.
  await b.admin.query('DELETE FROM t WHERE id = 1');
  b.known.delete(replayed[2]!);
  expect(await catchUp()).toEqual([replayed[2]]);
  clearInterval(timer);
  await expectSame();
  console.log(`at most ${(most / 1_048_576).toFixed(1)} MB waited at both ends together`);
  expect(most).toBeGreaterThan(0);
  expect(most).toBeLessThan(16 * 1_048_576);
});

test('a donor that dies in the middle: from the retained slot again, nothing twice', async () => {
  const [a, b] = [lab.sites[0]!, lab.sites[1]!];
  await a.load(3_000, (index) => `INSERT INTO t VALUES (${2_000_000 + index}, 'load')`);
  generation++;
  await a.goOnline(generation);
  const watched = await b.recover(1, generation);
  const half = new Promise<void>((resolve) => {
    watched.onProgress = ({ transactions }) => transactions > 300 && resolve();
  });
  await Promise.race([half, watched.ended]);
  a.donor.cutOff(0xffff_ffff_ffffn, 'the test ends it');
  const end = await watched.ended;
  // On a fast machine it was through already.
  if (end !== `reached ${generation}`) expect(end).toMatch(/^donor: node 1: /);
  const again = await b.recover(1, generation);
  expect(await again.ended).toBe(`reached ${generation}`);
  await b.goOnline(generation);
  expect(watched.replayed.length + again.replayed.length).toBe(3_000);
  await expectSame();
});

test('both servers are killed in the middle: what was not flushed comes again, nothing twice', async () => {
  let [a, b] = [lab.sites[0]!, lab.sites[1]!];
  await a.load(3_000, (index) => `INSERT INTO t VALUES (${3_000_000 + index}, 'load')`);
  const watched = await b.recover(1);
  await new Promise<void>((resolve) => {
    watched.onProgress = ({ transactions }) => transactions > 300 && resolve();
  });
  await lab.kill(1);
  expect(await watched.ended).toMatch(/^local: /);
  b = await lab.restart(1);
  const remembered = new Set(await b.outcomes());
  const [[there]] = (await b.rows('SELECT count(*)::int FROM t WHERE id >= 3000000')) as [[number]];
  const lastLoad = watched.replayed.filter((gid) => remembered.has(gid)).length;
  expect(there).toBeGreaterThanOrEqual(lastLoad);
  const second = await b.recover(1);
  await lab.kill(0);
  expect(await second.ended).toMatch(/^donor: /);
  a = await lab.restart(0);
  await catchUp();
  await expectSame();
  expect(await b.rows('SELECT count(*)::int FROM t WHERE id >= 3000000')).toEqual([[3_000]]);
  expect(new Set(await b.outcomes())).toEqual(new Set(await a.outcomes()));
});

test('stopped and begun again, nothing is committed after the stop', async () => {
  const [a, b] = [lab.sites[0]!, lab.sites[1]!];
  await a.load(2_000, (index) => `INSERT INTO t VALUES (${4_000_000 + index}, 'load')`);
  const watched = await b.recover(1);
  await new Promise<void>((resolve) => {
    watched.onProgress = ({ transactions }) => transactions > 0 && resolve();
  });
  await watched.recovery!.stop();
  const count = 'SELECT count(*)::int FROM t WHERE id >= 4000000';
  const stoppedAt = watched.replayed.length;
  expect(await b.rows(count)).toEqual([[stoppedAt]]);
  expect((await catchUp()).length).toBe(2_000 - stoppedAt);
  await expectSame();
});

test('data that do not fit fail loudly and change nothing', async () => {
  const [a, b] = [lab.sites[0]!, lab.sites[1]!];
  const gid = await a.commit("UPDATE t SET v = 'changed' WHERE id = 1");
  await a.commit("UPDATE t SET v = 'changed' WHERE id = 2000001");
  await b.admin.query('DELETE FROM t WHERE id = 1');
  generation++;
  await a.goOnline(generation);
  const watched = await b.recover(1, generation);
  const end = await watched.ended;
  expect(end).toMatch(/^diverged: /);
  expect(end).toContain(gid);
  expect(watched.replayed).toEqual([]);
  await b.admin.query("INSERT INTO t VALUES (1, 'behind')");
  expect((await catchUp()).length).toBe(2);
  await expectSame();
});

test('a donor that is none, or gave up what is needed, refuses with the reason', async () => {
  const [a, b] = [lab.sites[0]!, lab.sites[1]!];
  a.unfit = 'not online';
  expect(await (await b.recover(1)).ended).toBe('donor: not online');
  a.unfit = undefined;
  await a.commit("INSERT INTO t VALUES (5000000, 'given up')");
  expect(await a.retained.retainedBytes()).toBeGreaterThan(0);
  const floor = { generation: 1, counters: new Map([[1, a.counter + 1]]) };
  await a.retained.giveUp(await a.retained.walEnd(), floor, generation + 1);
  const end = await (await b.recover(1)).ended;
  expect(end).toMatch(
    /^reseed: .*was last online in generation \d+, .* is not kept any more \(max_retained_wal\)$/,
  );
  // A node that was online since is served.
  await b.goOnline(generation + 1);
  generation++;
  expect(await catchUp()).toEqual([]);
});
