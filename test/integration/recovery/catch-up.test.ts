/** A node that was away replays what the others did: 18 → 15 → 18, so that both ends run on both. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RecoveryLab } from './lab.ts';
import { fingerprint } from './site.ts';

let lab: RecoveryLab;
let generation = 0;
beforeAll(async () => {
  lab = await RecoveryLab.start([18, 15, 18]);
});
afterAll(async () => lab?.stop());

/** Site `to` catches up from site `from` to a new mark; resolves with the gids that were replayed. */
async function catchUp(from: number, to: number): Promise<readonly string[]> {
  generation++;
  await lab.sites[from]!.goOnline(generation);
  const watched = await lab.sites[to]!.recover(from + 1, generation);
  expect(await watched.ended).toBe(`reached ${generation}`);
  await lab.sites[to]!.goOnline(generation);
  return watched.replayed;
}

async function expectSame(table: string, sites: readonly number[]): Promise<void> {
  const [first, ...others] = await Promise.all(
    sites.map((index) => lab.sites[index]!.rows(fingerprint(table))),
  );
  for (const other of others) expect(other).toEqual(first);
}

test('20,000 transactions made while others are replayed, faster than they were made', async () => {
  const [a, b] = [lab.sites[0]!, lab.sites[1]!];
  await a.commit('CREATE TABLE account (id int PRIMARY KEY, v text, n int)');
  const insert = (index: number): string =>
    `INSERT INTO account VALUES (${index}, 'some text ${index}', 0);
     UPDATE account SET n = n + 1 WHERE id = ${Math.max(0, index - 10)}`;
  const madePerSecond = await a.load(20_000, insert);
  const began = performance.now();
  const watched = await b.recover(1);
  // New ones keep coming until the node is nearly level.
  const more = a.load(3_000, (index) => insert(20_000 + index));
  await new Promise<void>((resolve) => {
    watched.onProgress = ({ transactions }) => transactions >= 20_001 && resolve();
  });
  const replayedPerSecond = Math.round(20_001 / ((performance.now() - began) / 1000));
  await more;
  await new Promise<void>((resolve) => {
    watched.onProgress = ({ transactions, lagBytes }) =>
      transactions === 23_001 && lagBytes !== undefined && lagBytes < 65_536 && resolve();
  });
  generation = 1;
  await a.goOnline(1);
  watched.recovery!.follow(1);
  expect(await watched.ended).toBe('reached 1');
  await b.goOnline(1);
  console.log(`made ${madePerSecond}/s by 8 clients; replayed ${replayedPerSecond}/s while 8 clients write`);
  expect(watched.replayed.length).toBe(23_001);
  await expectSame('account', [0, 1]);
  expect(replayedPerSecond).toBeGreaterThan(madePerSecond);
  expect((await b.outcomes()).length).toBe(23_001);
});

test('what is known already is not replayed', async () => {
  const [a, b] = [lab.sites[0]!, lab.sites[1]!];
  // Half of them also went the usual way, before the node was lost.
  for (let index = 0; index < 200; index++) {
    const statement = `INSERT INTO account VALUES (${100_000 + index}, 'overlap', 0)`;
    const gid = await a.commit(statement);
    if (index % 2 === 0) await b.commit(statement, b.admin, gid);
  }
  b.known = new Set(await b.outcomes());
  const replayed = await catchUp(0, 1);
  expect(replayed.length).toBe(100);
  await expectSame('account', [0, 1]);
});

test('commands, the rows around them and the roles that ran them', async () => {
  const [a] = [lab.sites[0]!];
  for (const { admin } of lab.sites) await admin.query('CREATE ROLE somebody');
  await a.commit('GRANT CREATE ON SCHEMA public TO somebody');
  await a.commit('CREATE TABLE shape (id int PRIMARY KEY, v text)');
  await a.commit("INSERT INTO shape VALUES (1, 'one')");
  await a.commit(
    "INSERT INTO shape VALUES (2, 'two'); ALTER TABLE shape ADD COLUMN more int DEFAULT 7; " +
      "INSERT INTO shape VALUES (3, 'three', 8); UPDATE shape SET more = 9 WHERE id = 1",
  );
  await a.commit("INSERT INTO shape VALUES (4, 'four', 10)");
  await a.commit(
    'SET LOCAL ROLE somebody; CREATE TABLE of_somebody (id int); INSERT INTO of_somebody VALUES (1)',
  );
  await a.commit('TRUNCATE of_somebody; INSERT INTO of_somebody VALUES (2)');
  await a.commit('ALTER TABLE shape DROP COLUMN v; INSERT INTO shape VALUES (5, 11)');
  await catchUp(0, 1);
  await expectSame('shape', [0, 1]);
  await expectSame('of_somebody', [0, 1]);
  const owner = "SELECT tableowner::text FROM pg_tables WHERE tablename = 'of_somebody'";
  expect(await lab.sites[1]!.rows(owner)).toEqual([['somebody']]);
});

test('deferrable keys, deletes and foreign keys in the order of the commits', async () => {
  const [a] = [lab.sites[0]!];
  await a.commit(
    'CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY, p int REFERENCES parent); ' +
      'CREATE TABLE swap (id int PRIMARY KEY, u int UNIQUE DEFERRABLE)',
  );
  for (let index = 0; index < 20; index++) {
    await a.commit(`INSERT INTO parent VALUES (${index}); INSERT INTO child VALUES (${index}, ${index})`);
    await a.commit(`INSERT INTO swap VALUES (${index}, ${index})`);
  }
  await a.commit('UPDATE swap SET u = 19 - u');
  await a.commit('DELETE FROM child WHERE id < 10; DELETE FROM parent WHERE id < 10');
  await catchUp(0, 1);
  for (const table of ['parent', 'child', 'swap']) await expectSame(table, [0, 1]);
});

test('writes that went past the gateways are left out and counted; marks and own tables are not', async () => {
  const a = lab.sites[0]!;
  await a.commit('CREATE TABLE side (id int PRIMARY KEY)');
  await a.admin.query('INSERT INTO side VALUES (1)');
  await a.retained.moveTo(a.retained.syncpoint.position, { generation: 0, counters: new Map() });
  generation++;
  const watched = await lab.sites[1]!.recover(1);
  await new Promise<void>((resolve) => {
    watched.onProgress = ({ lagBytes }) => lagBytes === 0 && resolve();
  });
  expect(a.donor.sessions.map(({ unsupervised }) => unsupervised)).toEqual([1]);
  await a.goOnline(generation);
  watched.recovery!.follow(generation);
  expect(await watched.ended).toBe(`reached ${generation}`);
  expect(await lab.sites[1]!.rows('SELECT * FROM side')).toEqual([]);
  await a.admin.query('DELETE FROM side');
});

test('a node that caught up is a donor itself: its commits are cut into transactions again', async () => {
  const [, b, c] = lab.sites;
  const replayed = await catchUp(1, 2);
  const memory = new Set(await b!.outcomes());
  expect(new Set(replayed)).toEqual(memory);
  for (const table of ['account', 'shape', 'of_somebody', 'parent', 'child', 'swap']) {
    await expectSame(table, [0, 1, 2]);
  }
  expect(new Set(await c!.outcomes())).toEqual(memory);
});
