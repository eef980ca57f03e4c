/**
 * A transaction larger than any buffer goes through with the source held back, and the stream survives being
 * paused.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Lab, applied, emitHeader } from './lab.ts';

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.start([18, 15]);
});
afterAll(async () => lab?.stop());

for (const [from, to] of [
  [0, 1],
  [1, 0],
] as const) {
  test(`100 000 rows of 500 bytes, from site ${from} to site ${to}, stay within a few megabytes`, async () => {
    const [origin, target] = [lab.sites[from], lab.sites[to]];
    await lab.everywhere(`CREATE TABLE v${from} (id int PRIMARY KEY, t text)`);
    const gid = lab.gid(origin);
    const handle = target.applier.open(gid, 'good');
    const result = applied(handle);
    const limit = 1 << 20;
    let [most, bytes, pauses] = [0, 0, 0];
    let pacing: NodeJS.Timeout | undefined;
    const pace = (): void => {
      if (handle.buffered > limit) return;
      clearInterval(pacing);
      pacing = undefined;
      origin.stream!.resume();
    };
    origin.onPiece = (_, piece) => {
      handle.push(piece.data);
      bytes += piece.data.length;
      most = Math.max(most, handle.buffered);
      if (handle.buffered > limit && pacing === undefined) {
        pauses++;
        origin.stream!.pause();
        pacing = setInterval(pace, 1);
      }
    };
    await origin.admin.query(
      `BEGIN; INSERT INTO v${from} SELECT g, repeat('x', 500) FROM generate_series(1, 100000) g`,
    );
    await origin.admin.query(`UPDATE v${from} SET t = t || 'y' WHERE id % 2 = 0`);
    await emitHeader(origin.admin, gid, 'good');
    await origin.admin.query(`PREPARE TRANSACTION '${gid}'`);
    await origin.until(() => origin.prepared.has(gid));
    origin.onPiece = undefined;
    handle.end();
    expect(await result).toEqual({ kind: 'prepared' });
    expect(origin.prepared.get(gid)).toMatchObject({ rows: 150_000, header: 'verified' });
    await target.finish(gid, 'commit');
    await origin.finish(gid, 'commit');
    expect(bytes).toBeGreaterThan(60_000_000);
    expect(pauses).toBeGreaterThan(0);
    expect(most).toBeLessThan(8 << 20);
    const query = `SELECT count(*)::int, sum(length(t))::int FROM v${from}`;
    expect(await target.rows(query)).toEqual(await origin.rows(query));
  });
}

test('the released position reaches the slot; a stream that is closed begins there again', async () => {
  const [origin] = lab.sites;
  await lab.everywhere('CREATE TABLE r (id int PRIMARY KEY)');
  const first = await lab.prepare(origin, ['INSERT INTO r VALUES (1)']);
  await origin.finish(first, 'commit');
  await origin.until(() => origin.outcomes.get(first) === 'committed');
  const second = await lab.prepare(origin, ['INSERT INTO r VALUES (2)']);
  origin.stream!.release(origin.prepared.get(first)!.endLsn);
  origin.stream!.close();
  await origin.until(() => origin.closed !== '');
  origin.prepared.clear();
  const slot = `SELECT active FROM pg_replication_slots WHERE slot_name = 'mtm_live'`;
  while ((await origin.rows(slot))[0]?.[0] === true);
  await origin.listen();
  await origin.until(() => origin.prepared.has(second));
  expect([...origin.prepared.keys()]).toEqual([second]);
  await origin.finish(second, 'rollback');
});
