/** A server is copied while it is written to, and the copy becomes a server of its own exactly where it ends. */
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { CopyProgress } from '../../../src/io/recovery/base-backup-receiver.ts';
import { removeRestoreSettings, restoreSignal } from '../../../src/io/recovery/restore-settings.ts';
import { formatLsn } from '../../../src/io/postgres/lsn-text.ts';
import { serverAccount } from '../../../src/io/launcher/account.ts';
import { startServer, stopServer } from '../../../src/io/launcher/postgres-server.ts';
import { connectTo, CopyLab } from './copy-lab.ts';
import { eventually } from '../../support/polling.ts';

/** Writes until it is told to stop; every row knows its transaction. */
class Writer {
  readonly #client: Client;
  readonly #done: Promise<void>;
  #stopping = false;
  written = 0;

  constructor(client: Client) {
    this.#client = client;
    this.#done = this.#run();
  }

  async #run(): Promise<void> {
    while (!this.#stopping) {
      await this.#client.query("INSERT INTO load (note) VALUES (repeat('x', 200))");
      this.written++;
    }
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#done;
    await this.#client.end();
  }
}

/** The transactions whose commit ends at or before `end`, as the source's own decoding tells them. */
async function committedBefore(sql: Client, end: string): Promise<Set<string>> {
  const { rows } = await sql.query<{ xid: string }>(
    `SELECT xid::text FROM pg_logical_slot_peek_binary_changes('witness', NULL, NULL,
       'proto_version', '1', 'publication_names', 'witness')
     WHERE get_byte(data, 0) = ascii('C')
       AND '0/0'::pg_lsn + ('x' || encode(substr(data, 11, 8), 'hex'))::bit(64)::bigint <= $1::pg_lsn`,
    [end],
  );
  return new Set(rows.map(({ xid }) => xid));
}

describe.each([15, 18] as const)('PostgreSQL %i', (major) => {
  let lab: CopyLab;
  beforeAll(async () => {
    lab = await CopyLab.start(major);
    await lab.sql.query(
      'CREATE TABLE load (id bigserial PRIMARY KEY, tx xid DEFAULT pg_current_xact_id()::xid, note text)',
    );
    await lab.sql.query(
      'CREATE TABLE ballast AS SELECT g, repeat(md5(g::text), 30) FROM generate_series(1, 40000) g',
    );
    await lab.sql.query('CREATE PUBLICATION witness FOR TABLE load');
    await lab.sql.query("SELECT pg_create_logical_replication_slot('witness', 'pgoutput')");
  });
  afterAll(async () => lab?.stop());

  test('under write load: the rows are those that were committed before its end', async () => {
    const writers = [new Writer(await connectTo(lab.source)), new Writer(await connectTo(lab.source))];
    await lab.sql.query('BEGIN');
    await lab.sql.query("INSERT INTO load (note) VALUES ('prepared')");
    await lab.sql.query("PREPARE TRANSACTION 'left over'");
    const progress: CopyProgress[] = [];
    await eventually('a load', () => writers.every(({ written }) => written > 20));
    const before = writers.map(({ written }) => written);
    const copy = await lab.copy({ progressed: (now) => void progress.push(now) });
    const during = writers.map(({ written }, index) => written - before[index]!);
    await Promise.all(writers.map((writer) => writer.stop()));
    expect(Math.min(...during)).toBeGreaterThan(0);
    expect(copy).toMatchObject({ source: 1, major, timeline: 1 });
    expect(progress.at(-1)?.received).toBe(copy.bytes);
    expect(progress.at(-1)!.expected).toBeGreaterThan(40_000_000);

    const { dataFolder } = lab.target;
    expect(statSync(dataFolder).mode & 0o777).toBe(0o700);
    expect(existsSync(join(dataFolder, restoreSignal))).toBe(true);
    const client = await lab.startCopy();
    const end = formatLsn(copy.end).toUpperCase();
    expect(lab.lastHistoryLine().slice(0, 2)).toEqual(['1', end]);
    const expected = await committedBefore(lab.sql, end);
    const { rows } = await client.query<{ tx: string }>('SELECT tx::text FROM load');
    const there = new Set(rows.map(({ tx }) => tx));
    expect([...there].filter((tx) => !expected.has(tx))).toEqual([]);
    const inserts = await lab.sql.query<{ tx: string }>('SELECT tx::text FROM load');
    expect(inserts.rows.filter(({ tx }) => expected.has(tx) && !there.has(tx))).toEqual([]);
    expect(inserts.rows.length).toBeGreaterThan(rows.length); // the load went on behind the copy
    const left = await client.query('SELECT gid FROM pg_prepared_xacts');
    expect(left.rows).toEqual([{ gid: 'left over' }]);
    const ballast = 'SELECT count(*), md5(string_agg(b::text, chr(10) ORDER BY g)) FROM ballast b';
    expect((await client.query(ballast)).rows).toEqual((await lab.sql.query(ballast)).rows);
    await client.end();
    await lab.sql.query("COMMIT PREPARED 'left over'");
  });

  test('the settings of the recovery are taken out, and the server starts again without them', async () => {
    const { dataFolder } = lab.target;
    const file = join(dataFolder, 'postgresql.auto.conf');
    expect(readFileSync(file, 'utf8')).toContain("recovery_target = 'immediate'");
    removeRestoreSettings(dataFolder);
    expect(readFileSync(file, 'utf8')).not.toMatch(/recovery|restore|mtm/);
    expect(existsSync(join(dataFolder, restoreSignal))).toBe(false);
    await stopServer(lab.target);
    await startServer(lab.target);
    const client = await connectTo(lab.target);
    const { rows } = await client.query<{ timeline: number }>(
      'SELECT timeline_id AS timeline FROM pg_control_checkpoint()',
    );
    expect(rows[0]?.timeline).toBe(2);
    await client.end();
    await lab.removeTarget();
  });

  test('a directory that is not empty is refused and left alone', async () => {
    const { dataFolder } = lab.target;
    mkdirSync(dataFolder);
    writeFileSync(join(dataFolder, 'mine'), 'x');
    await expect(lab.copy()).rejects.toThrow(`the directory ${dataFolder} is not empty`);
    expect(readdirSync(dataFolder)).toEqual(['mine']);
    rmSync(dataFolder, { recursive: true });
    writeFileSync(dataFolder, 'x');
    await expect(lab.copy()).rejects.toThrow('is not a directory');
    rmSync(dataFolder);
  });

  test('one copy at a time, and one that is broken off leaves nothing', async () => {
    const stopping = new AbortController();
    let underWay = false;
    const first = lab.copy({
      signal: stopping.signal,
      progressed: ({ received }) => {
        if (received === 0 || underWay) return;
        underWay = true;
        lab.sockets.at(-1)?.pause(); // hears nothing of the end that soon
      },
    });
    const outcome = first.then(
      () => 'complete',
      (error: Error) => error.message,
    );
    await eventually('a copy under way', () => lab.donor.copying !== undefined && underWay);
    const second = lab.copy({ folder: join(lab.target.folder, 'other') });
    await expect(second).rejects.toThrow('node 1 gives no copy now: it is being copied for node 2');
    expect(existsSync(join(lab.target.folder, 'other'))).toBe(false);
    stopping.abort(new Error('enough'));
    expect(await outcome).toContain('enough');
    expect(existsSync(lab.target.dataFolder)).toBe(false);
    lab.sockets.at(-2)?.resume();
    await eventually('the backup ended in the server', async () => {
      const { rows } = await lab.sql.query('SELECT 1 FROM pg_stat_progress_basebackup');
      return rows.length === 0 && lab.donor.copying === undefined;
    });
  });

  test('what is left of a receiver that was killed is cleared by the next', async () => {
    const { dataFolder } = lab.target;
    mkdirSync(join(dataFolder, 'base/1'), { recursive: true });
    writeFileSync(join(dataFolder, 'mtm-copy.unfinished'), '');
    writeFileSync(join(dataFolder, 'base/1/half'), 'of a file');
    const copy = await lab.copy();
    expect(copy.bytes).toBeGreaterThan(40_000_000);
    expect(existsSync(join(dataFolder, 'mtm-copy.unfinished'))).toBe(false);
    expect(existsSync(join(dataFolder, 'base/1/half'))).toBe(false);
    expect(existsSync(join(dataFolder, 'base/1/PG_VERSION'))).toBe(true);
    await lab.removeTarget();
  });

  test('a node that is unfit gives none', async () => {
    lab.unfit = 'it is not online';
    await expect(lab.copy()).rejects.toThrow('node 1 gives no copy now: it is not online');
    lab.unfit = undefined;
    expect(existsSync(lab.target.dataFolder)).toBe(false);
  });

  test('a tablespace outside of the data directory is refused with a sentence', async () => {
    const place = join(lab.source.folder, 'elsewhere');
    const account = serverAccount();
    mkdirSync(place);
    if (account !== undefined) chownSync(place, account.uid, account.gid);
    await lab.sql.query(`CREATE TABLESPACE elsewhere LOCATION '${place}'`);
    await expect(lab.copy()).rejects.toThrow(
      `the server of node 1 has tablespaces outside of its data directory (${place}): such a server is not copied`,
    );
    expect(existsSync(lab.target.dataFolder)).toBe(false);
    await lab.sql.query('DROP TABLESPACE elsewhere');
  });

  test('a tablespace inside of it is copied', async () => {
    // The server that recovers needs it as well: a copy has the settings of ALTER SYSTEM.
    await lab.sql.query('ALTER SYSTEM SET allow_in_place_tablespaces = on');
    await lab.sql.query('SET allow_in_place_tablespaces = on');
    await lab.sql.query("CREATE TABLESPACE inside LOCATION ''");
    await lab.sql.query('CREATE TABLE in_it TABLESPACE inside AS SELECT generate_series(1, 1000) AS g');
    await lab.copy();
    const client = await lab.startCopy();
    expect((await client.query('SELECT count(*)::int AS n FROM in_it')).rows).toEqual([{ n: 1000 }]);
    await client.end();
    await lab.removeTarget();
  });

  test('a server that is killed in the middle: a clear error, and nothing is left', async () => {
    let killed = false;
    const copy = lab.copy({
      progressed: ({ received }) => {
        if (received < 10_000_000 || killed) return;
        killed = true;
        lab.killSource();
      },
    });
    await expect(copy).rejects.toThrow(/^the server of node 1 cannot be copied: .+/);
    expect(killed).toBe(true);
    expect(existsSync(lab.target.dataFolder)).toBe(false);
  });
});
