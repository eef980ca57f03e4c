/**
 * What applying costs: microseconds for each TPC-B transaction at one worker, rows per second of bulk
 * changes. Run: node test/bench/apply.ts [transactions] [rows]. Two servers of version 18 in a temporary
 * folder, fsync on and off.
 */
import { Lab, applied, emitHeader } from '../integration/apply/lab.ts';

const transactions = Number(process.argv[2] ?? 1000);
const rows = Number(process.argv[3] ?? 200_000);
const lab = await Lab.start([18, 18]);
const [origin, target] = lab.sites;

async function tpcb(): Promise<string[]> {
  const gids: string[] = [];
  for (let index = 0; index < transactions; index++) {
    const gid = lab.gid(origin);
    const account = 1 + ((index * 7919) % 10_000);
    await origin.admin.query(
      `BEGIN; UPDATE accounts SET balance = balance + 1 WHERE id = ${account}; UPDATE tellers SET balance = balance + 1 WHERE id = 1;
       UPDATE branches SET balance = balance + 1 WHERE id = 1; INSERT INTO history VALUES (1, 1, ${account}, 5, now())`,
    );
    await emitHeader(origin.admin, gid, 'good');
    await origin.admin.query(`PREPARE TRANSACTION '${gid}'`);
    await origin.finish(gid, 'commit');
    gids.push(gid);
  }
  await origin.until(() => origin.prepared.has(gids[gids.length - 1]!));
  return gids;
}

/** One after the other: apply, PREPARE, COMMIT PREPARED. */
async function applyAll(gids: readonly string[]): Promise<[number, number]> {
  let prepare = 0;
  const begun = performance.now();
  for (const gid of gids) {
    const handle = target.applier.open(gid, 'good');
    const result = applied(handle);
    const before = performance.now();
    for (const piece of origin.pieces.get(gid)!) handle.push(piece.data);
    handle.end();
    const { kind } = await result;
    if (kind !== 'prepared') throw new Error(JSON.stringify(await result));
    prepare += performance.now() - before;
    await target.finish(gid, 'commit');
  }
  return [(prepare * 1000) / gids.length, ((performance.now() - begun) * 1000) / gids.length];
}

async function bulk(title: string, statement: string): Promise<void> {
  const gid = await lab.prepare(origin, [statement]);
  const begun = performance.now();
  const result = await lab.apply(origin, target, gid);
  const seconds = (performance.now() - begun) / 1000;
  if (result.kind !== 'prepared') throw new Error(JSON.stringify(result));
  await target.finish(gid, 'commit');
  await origin.finish(gid, 'commit');
  console.log(`${title.padEnd(34)} ${Math.round(rows / seconds)} rows/s`);
}

try {
  await lab.everywhere(
    `
    CREATE TABLE accounts (id int PRIMARY KEY, branch int, balance int, filler char(84)) WITH (fillfactor = 70);
    CREATE TABLE tellers (id int PRIMARY KEY, branch int, balance int, filler char(84));
    CREATE TABLE branches (id int PRIMARY KEY, balance int, filler char(88));
    CREATE TABLE history (tid int, bid int, aid int, delta int, mtime timestamp); ALTER TABLE history REPLICA IDENTITY FULL;
    INSERT INTO accounts SELECT g, 1, 0, '' FROM generate_series(1, 10000) g;
    INSERT INTO tellers VALUES (1, 1, 0, ''); INSERT INTO branches VALUES (1, 0, '');
    CREATE TABLE bulk (id int PRIMARY KEY, a int, t text, d timestamptz DEFAULT now());
    VACUUM ANALYZE`.replace('VACUUM ANALYZE', 'ANALYZE'),
  );
  for (const fsync of ['on', 'off']) {
    await target.admin.query(`ALTER SYSTEM SET fsync = ${fsync}`);
    await target.admin.query('SELECT pg_reload_conf()');
    const [prepare, whole] = await applyAll(await tpcb());
    console.log(
      `TPC-B, one worker, fsync ${fsync.padEnd(3)}: apply and PREPARE ${prepare.toFixed(0)} µs, with COMMIT PREPARED ${whole.toFixed(0)} µs`,
    );
  }
  await bulk(
    'insert',
    `INSERT INTO bulk SELECT g, g % 7, 'some text ' || g FROM generate_series(1, ${rows}) g`,
  );
  await bulk('update', `UPDATE bulk SET a = a + 1`);
  await bulk('delete', `DELETE FROM bulk`);
} finally {
  await lab.stop();
}
