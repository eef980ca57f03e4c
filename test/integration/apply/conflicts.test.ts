/**
 * What must not slip through: orphans, missing constraints, cancelled transactions, deadlocks, forged or lost
 * commands.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatGid } from '../../../src/core/identity.ts';
import type { DdlMessage } from '../../../src/core/apply/ddl-message.ts';
import { eventually } from '../../support/polling.ts';
import { Lab, applied } from './lab.ts';
import type { Site } from './lab.ts';

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.start([18, 15]);
});
afterAll(async () => lab?.stop());

const prepared = { kind: 'prepared' };

async function waitsForLock(site: Site, pid: () => number | undefined): Promise<void> {
  await eventually('it waits for a lock', async () => {
    const [row] = await site.rows(
      `SELECT count(*)::int FROM pg_locks WHERE NOT granted AND pid = ${pid() ?? 0}`,
    );
    return row?.[0] === 1;
  });
}

for (const direction of ['18 to 15', '15 to 18'] as const) {
  describe(direction, () => {
    let origin: Site;
    let target: Site;
    const s = direction === '18 to 15' ? 'c' : 'd';
    beforeAll(() => {
      [origin, target] = direction === '18 to 15' ? lab.sites : [lab.sites[1], lab.sites[0]];
    });

    test('foreign keys: parents are locked, orphans are refused with the constraint', async () => {
      await lab.everywhere(`
        CREATE TABLE ${s}p (a int, b text, PRIMARY KEY (a, b));
        CREATE TABLE ${s}k (id int PRIMARY KEY, a int, b varchar(9), CONSTRAINT ${s}_fk FOREIGN KEY (a, b) REFERENCES ${s}p)`);
      const insert = [
        `INSERT INTO ${s}p VALUES (1, 'x"y\\'), (2, 'y'), (3, 'z')`,
        `INSERT INTO ${s}k VALUES (1, 1, 'x"y\\'), (2, NULL, 'q')`,
      ];
      expect(await lab.carry(origin, target, insert)).toEqual(prepared);
      // The parent disappears at the target only: the child that comes is an orphan there.
      await target.admin.query(`DELETE FROM ${s}p WHERE a = 2`);
      expect(await lab.carry(origin, target, [`INSERT INTO ${s}k VALUES (3, 2, 'y')`])).toMatchObject({
        refusal: { sqlstate: '23503', constraint: `${s}_fk`, table: `${s}k`, retryable: false },
      });
      // A child appears at the target only: the parent that goes would leave it behind.
      await target.admin.query(`INSERT INTO ${s}k VALUES (4, 3, 'z')`);
      for (const statement of [`DELETE FROM ${s}p WHERE a = 3`, `UPDATE ${s}p SET b = 'new' WHERE a = 3`]) {
        expect(await lab.carry(origin, target, [statement])).toMatchObject({
          refusal: { sqlstate: '23503', constraint: `${s}_fk` },
        });
      }
      // Within one transaction: child before it goes again, parent and child together.
      const both = [
        `INSERT INTO ${s}p VALUES (9, 'n')`,
        `INSERT INTO ${s}k VALUES (9, 9, 'n')`,
        `DELETE FROM ${s}k WHERE id = 9`,
        `DELETE FROM ${s}p WHERE a = 9`,
      ];
      expect(await lab.carry(origin, target, both)).toEqual(prepared);
      expect(
        await lab.carry(origin, target, [`DELETE FROM ${s}k WHERE id = 1`, `DELETE FROM ${s}p WHERE a = 1`]),
      ).toEqual(prepared);
    });

    test('foreign keys: insert of a child here against delete of its parent there', async () => {
      await lab.everywhere(`
        CREATE TABLE ${s}p2 (id int PRIMARY KEY);
        CREATE TABLE ${s}k2 (id int PRIMARY KEY, p int REFERENCES ${s}p2)`);
      await lab.carry(origin, target, [`INSERT INTO ${s}p2 VALUES (1), (2)`]);
      // The parent's deletion is prepared at the target when the child arrives: it waits, then there is no
      // parent.
      await target.admin.query(`BEGIN; DELETE FROM ${s}p2 WHERE id = 1; PREPARE TRANSACTION 'alien'`);
      const gid = await lab.prepare(origin, [`INSERT INTO ${s}k2 VALUES (1, 1)`]);
      const handle = target.applier.open(gid, 'good');
      const result = applied(handle);
      for (const piece of origin.pieces.get(gid)!) handle.push(piece.data);
      handle.end();
      await waitsForLock(target, () => handle.pid);
      await target.admin.query(`COMMIT PREPARED 'alien'`);
      expect(await result).toMatchObject({ refusal: { sqlstate: '23503' } });
      await origin.finish(gid, 'rollback');
      // The child is prepared at the target when the parent's deletion arrives: the child's lock on the
      // parent holds it up.
      await lab.carry(origin, target, [`DELETE FROM ${s}p2 WHERE id = 2`, `INSERT INTO ${s}p2 VALUES (2)`]);
      const childGid = await lab.prepare(origin, [`INSERT INTO ${s}k2 VALUES (2, 2)`]);
      expect(await lab.apply(origin, target, childGid)).toEqual(prepared);
      const remover = target.client();
      await remover.connect();
      const deletion = remover.query(`DELETE FROM ${s}p2 WHERE id = 2`).then(
        () => 'deleted',
        (error: Error) => error.message,
      );
      await target.finish(childGid, 'commit');
      await origin.finish(childGid, 'commit');
      expect(await deletion).toContain('violates foreign key');
      await remover.end();
    });

    test('foreign keys: partitions, self-reference, unique key that is not the identity, deferred', async () => {
      await lab.everywhere(
        `
        CREATE TABLE ${s}p3 (id int PRIMARY KEY, code text UNIQUE, up int REFERENCES ${s}p3) PARTITION BY RANGE (id)`.replace(
          ' PARTITION BY RANGE (id)',
          '',
        ) +
          `;
        CREATE TABLE ${s}k3 (id int PRIMARY KEY, code text REFERENCES ${s}p3 (code) ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED);
        CREATE TABLE ${s}p4 (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE ${s}p4a PARTITION OF ${s}p4 FOR VALUES FROM (0) TO (10);
        CREATE TABLE ${s}k4 (id int, p int CONSTRAINT ${s}k4_fk REFERENCES ${s}p4, PRIMARY KEY (id)) PARTITION BY RANGE (id);
        CREATE TABLE ${s}k4a PARTITION OF ${s}k4 FOR VALUES FROM (0) TO (10)`,
      );
      const tree = [
        `INSERT INTO ${s}k3 VALUES (1, 'c1')`,
        `INSERT INTO ${s}p3 VALUES (1, 'c1', 1), (2, 'c2', 1)`,
        `INSERT INTO ${s}p4 VALUES (1), (2)`,
        `INSERT INTO ${s}k4 VALUES (1, 1)`,
      ];
      expect(await lab.carry(origin, target, tree)).toEqual(prepared);
      expect(await lab.carry(origin, target, [`UPDATE ${s}p3 SET code = 'cx' WHERE id = 1`])).toEqual(
        prepared,
      );
      await target.admin.query(`INSERT INTO ${s}k3 VALUES (5, 'c2'); INSERT INTO ${s}k4 VALUES (5, 2)`);
      expect(await lab.carry(origin, target, [`DELETE FROM ${s}p3 WHERE id = 2`])).toMatchObject({
        refusal: { sqlstate: '23503' },
      });
      expect(await lab.carry(origin, target, [`UPDATE ${s}p3 SET code = 'cy' WHERE id = 2`])).toMatchObject({
        refusal: { sqlstate: '23503' },
      });
      expect(await lab.carry(origin, target, [`DELETE FROM ${s}p4 WHERE id = 2`])).toMatchObject({
        refusal: { constraint: `${s}k4_fk` },
      });
      await target.admin.query(`DELETE FROM ${s}k4; DELETE FROM ${s}p4`);
      expect(await lab.carry(origin, target, [`INSERT INTO ${s}k4 VALUES (6, 2)`])).toMatchObject({
        refusal: { constraint: `${s}k4_fk` },
      });
    });

    test('foreign keys of a large transaction are checked in bounded memory', async () => {
      await lab.everywhere(`
        CREATE TABLE ${s}p5 (id int PRIMARY KEY);
        CREATE TABLE ${s}k5 (id int PRIMARY KEY, p int REFERENCES ${s}p5 DEFERRABLE INITIALLY DEFERRED)`);
      const rows = [
        `INSERT INTO ${s}k5 SELECT g, g FROM generate_series(1, 50000) g`,
        `INSERT INTO ${s}p5 SELECT generate_series(1, 50000)`,
      ];
      expect(await lab.carry(origin, target, rows)).toEqual(prepared);
      await target.admin.query(
        `ALTER TABLE ${s}p5 DISABLE TRIGGER ALL; DELETE FROM ${s}p5 WHERE id = 77; ALTER TABLE ${s}p5 ENABLE TRIGGER ALL`,
      );
      expect(
        await lab.carry(origin, target, [
          `INSERT INTO ${s}k5 SELECT g + 100000, g FROM generate_series(1, 30000) g`,
        ]),
      ).toMatchObject({
        refusal: { sqlstate: '23503' },
      });
    });

    test('a unique violation, and a deferred one when its trigger is always on', async () => {
      await lab.everywhere(`
        CREATE TABLE ${s}u (id int PRIMARY KEY, n int, CONSTRAINT ${s}_u UNIQUE (n) DEFERRABLE INITIALLY DEFERRED);
        DO $$ DECLARE t text; BEGIN FOR t IN SELECT tgname FROM pg_trigger WHERE tgrelid = '${s}u'::regclass LOOP
          EXECUTE format('ALTER TABLE ${s}u ENABLE ALWAYS TRIGGER %I', t); END LOOP; END $$`);
      await target.admin.query(`INSERT INTO ${s}u VALUES (1, 10)`);
      for (const values of ['(1, 11)', '(2, 10)']) {
        expect(await lab.carry(origin, target, [`INSERT INTO ${s}u VALUES ${values}`])).toMatchObject({
          refusal: { sqlstate: '23505' },
        });
      }
      expect(await target.rows('SELECT gid FROM pg_prepared_xacts')).toEqual([]);
    });

    test('cancel: while queued, while waiting for a lock, and after PREPARE was sent', async () => {
      await lab.everywhere(`CREATE TABLE ${s}c (id int PRIMARY KEY, v int)`);
      await lab.carry(origin, target, [`INSERT INTO ${s}c VALUES (1, 1)`]);
      const reason = { sqlstate: '40001', message: 'an older one wins', node: 1, retryable: true };
      await target.admin.query(`BEGIN; UPDATE ${s}c SET v = 2`);
      const gid = await lab.prepare(origin, [`UPDATE ${s}c SET v = 3`]);
      const handle = target.applier.open(gid, 'good');
      const result = applied(handle);
      for (const piece of origin.pieces.get(gid)!) handle.push(piece.data);
      handle.end();
      await waitsForLock(target, () => handle.pid);
      handle.cancel(reason);
      expect(await result).toEqual({ kind: 'refused', refusal: reason });
      await target.admin.query('ROLLBACK');
      await origin.finish(gid, 'rollback');
      // At any moment: the gid is never prepared after a refusal, and the worker goes on.
      const seen = new Set<string>();
      for (let round = 0; round < 60; round++) {
        const next = await lab.prepare(origin, [`INSERT INTO ${s}c VALUES (${round + 100}, 0)`]);
        const running = target.applier.open(next, 'good');
        const end = applied(running);
        for (const piece of origin.pieces.get(next)!) running.push(piece.data);
        running.end();
        if (round % 3 === 0) await new Promise<void>((resolve) => setImmediate(resolve));
        if (round % 3 === 1) await new Promise<void>((resolve) => setTimeout(resolve, round % 5));
        running.cancel(reason);
        const outcome = await end;
        seen.add(outcome.kind);
        const rows = await target.rows(`SELECT count(*)::int FROM pg_prepared_xacts WHERE gid = '${next}'`);
        expect(rows).toEqual([[outcome.kind === 'prepared' ? 1 : 0]]);
        if (outcome.kind === 'prepared') await target.finish(next, 'rollback');
        await origin.finish(next, 'rollback');
      }
      expect(seen).toContain('refused');
      expect(await lab.carry(origin, target, [`UPDATE ${s}c SET v = 9`])).toEqual(prepared);
    });

    test('cancel: while a COPY waits for its next piece', async () => {
      await lab.everywhere(`CREATE TABLE ${s}cp (id int PRIMARY KEY, t text)`);
      const rows = `INSERT INTO ${s}cp SELECT g, repeat('x', 100) FROM generate_series(1, 3000) g`;
      const gid = await lab.prepare(origin, [rows]);
      const pieces = origin.pieces.get(gid)!;
      expect(pieces.length).toBeGreaterThan(2);
      const handle = target.applier.open(gid, 'good');
      const result = applied(handle);
      for (const piece of pieces.slice(0, 2)) handle.push(piece.data);
      const waits = `SELECT pid FROM pg_stat_activity WHERE query LIKE 'COPY%' AND wait_event = 'ClientRead'`;
      await expect.poll(() => target.rows(waits), { timeout: 20_000 }).toEqual([[handle.pid]]);
      const reason = { sqlstate: '40001', message: 'an older one wins', node: 1, retryable: true };
      handle.cancel(reason);
      expect(await result).toEqual({ kind: 'refused', refusal: reason });
      expect(await lab.apply(origin, target, gid)).toEqual(prepared);
      await target.finish(gid, 'commit');
      await origin.finish(gid, 'commit');
      const sums = `SELECT count(*)::int, sum(id)::int, sum(length(t))::int FROM ${s}cp`;
      expect(await target.rows(sums)).toEqual(await origin.rows(sums));
    });

    test('a connection that dies is reported as lost, and the next transaction gets another', async () => {
      await lab.everywhere(`CREATE TABLE ${s}l (id int PRIMARY KEY)`);
      await target.admin.query(`BEGIN; LOCK TABLE ${s}l`);
      const gid = await lab.prepare(origin, [`INSERT INTO ${s}l VALUES (1)`]);
      const handle = target.applier.open(gid, 'good');
      const result = applied(handle);
      for (const piece of origin.pieces.get(gid)!) handle.push(piece.data);
      handle.end();
      await waitsForLock(target, () => handle.pid);
      await target.admin.query(`SELECT pg_terminate_backend(${handle.pid})`);
      expect(await result).toMatchObject({ kind: 'lost' });
      await target.admin.query('COMMIT');
      expect(await lab.apply(origin, target, gid)).toEqual(prepared);
      await target.finish(gid, 'commit');
      await origin.finish(gid, 'commit');
      expect(await target.finish(gid, 'commit')).toEqual({ missing: true });
    });

    test('a deadlock inside the server is refused as retryable', async () => {
      await lab.everywhere(`CREATE TABLE ${s}d (id int PRIMARY KEY, v int)`);
      await lab.carry(origin, target, [`INSERT INTO ${s}d VALUES (1, 1), (2, 2)`]);
      const session = target.client();
      await session.connect();
      await session.query(`SET deadlock_timeout = '1min'; BEGIN; UPDATE ${s}d SET v = 5 WHERE id = 2`);
      const gid = await lab.prepare(origin, [
        `UPDATE ${s}d SET v = 7 WHERE id = 1`,
        `UPDATE ${s}d SET v = 7 WHERE id = 2`,
      ]);
      const handle = target.applier.open(gid, 'good');
      const result = applied(handle);
      for (const piece of origin.pieces.get(gid)!) handle.push(piece.data);
      handle.end();
      await waitsForLock(target, () => handle.pid);
      const other = session.query(`UPDATE ${s}d SET v = 5 WHERE id = 1`);
      expect(await result).toMatchObject({ refusal: { sqlstate: '40P01', retryable: true } });
      await other;
      await session.query('ROLLBACK');
      await session.end();
      await origin.finish(gid, 'rollback');
    });

    test('DDL runs as the user whose it is, between the rows, and cannot become superuser', async () => {
      await lab.everywhere(`
        DO $$ BEGIN CREATE ROLE ${s}_owner; CREATE ROLE ${s}_login IN ROLE ${s}_owner; END $$;
        CREATE SCHEMA ${s}_s AUTHORIZATION ${s}_owner`);
      const ddl = (command: string, sessionUser = `${s}_login`): string => {
        const message: DdlMessage = {
          command,
          tag: 'X',
          sessionUser,
          role: sessionUser === 'postgres' ? 'none' : `${s}_owner`,
          settings: { search_path: `${s}_s`, check_function_bodies: 'on' },
        };
        return `SELECT pg_logical_emit_message(true, 'mtm-ddl', $j$${JSON.stringify(message)}$j$)`;
      };
      const both = (command: string) => [`SET LOCAL search_path = ${s}_s`, command, ddl(command)];
      const created = await lab.carry(origin, target, [
        ...both('CREATE TABLE t (id int PRIMARY KEY, v text)'),
        `INSERT INTO ${s}_s.t VALUES (1, 'a')`,
        ...both('ALTER TABLE t ADD w int DEFAULT 5'),
        `INSERT INTO ${s}_s.t VALUES (2, 'b', 6)`,
        `UPDATE ${s}_s.t SET w = 7 WHERE id = 1`,
      ]);
      expect(created).toEqual(prepared);
      expect(await target.rows(`SELECT * FROM ${s}_s.t ORDER BY id`)).toEqual([
        [1, 'a', 7],
        [2, 'b', 6],
      ]);
      expect(
        await target.rows(`SELECT relowner::regrole::text FROM pg_class WHERE oid = '${s}_s.t'::regclass`),
      ).toEqual([[`${s}_owner`]]);
      target.applier.invalidate();
      // CREATE TABLE AS: the rows come first, then the definition.
      const rows = `CREATE TABLE t2 AS SELECT g AS id, 'r' || g AS v FROM generate_series(1, 3000) g`;
      const held = [
        `SET LOCAL search_path = ${s}_s`,
        rows,
        ddl('CREATE TABLE t2 (id int, v text)'),
        'INSERT INTO t2 VALUES (0)',
      ];
      expect(await lab.carry(origin, target, held)).toEqual(prepared);
      expect(await target.rows(`SELECT count(*)::int, sum(id)::int FROM ${s}_s.t2`)).toEqual([
        [3001, 4501500],
      ]);
      target.applier.invalidate();
      expect(
        await lab.carry(origin, target, [
          ddl(`CREATE ROLE ${s}_new`, 'postgres'),
          `INSERT INTO ${s}_s.t VALUES (3)`,
        ]),
      ).toEqual(prepared);
      // What the user may not do here is refused, and the next transaction is the superuser's again.
      expect(await lab.carry(origin, target, [ddl(`CREATE ROLE ${s}_evil`)])).toMatchObject({
        refusal: { sqlstate: '42501' },
      });
      for (const trick of [
        "set_config('session_authorization', 'postgres', true)",
        "set_config('role', 'none', true)",
      ]) {
        const command = `DO $x$ BEGIN PERFORM ${trick}; CREATE ROLE ${s}_evil; END $x$`;
        expect(await lab.carry(origin, target, [ddl(command)])).toMatchObject({ kind: 'refused' });
      }
      expect(
        await target.rows(`SELECT rolname FROM pg_roles WHERE rolname IN ('${s}_evil', '${s}_new')`),
      ).toEqual([[`${s}_new`]]);
      expect(
        await target.rows(
          `SELECT proname FROM pg_proc WHERE proname LIKE 'run\\_%' AND pronamespace = 'mtm'::regnamespace`,
        ),
      ).toEqual([]);
      expect(await lab.carry(origin, target, [`UPDATE ${s}_s.t SET v = 'z'`])).toEqual(prepared);
    });

    test('the stream: headers, outcomes, unsupervised writes', async () => {
      const forged = await lab.prepare(origin, ['SELECT txid_current()'], 'bad');
      expect(origin.prepared.get(forged)).toMatchObject({ header: 'forged', rows: 0 });
      await origin.finish(forged, 'commit');
      await origin.until(() => origin.outcomes.get(forged) === 'committed');
      const before = origin.unsupervised.length;
      await origin.admin.query(
        `CREATE TABLE ${s}w (id int PRIMARY KEY); CREATE TABLE mtm.${s}own (id int PRIMARY KEY)`,
      );
      await origin.admin.query(`INSERT INTO mtm.${s}own VALUES (1)`);
      await origin.admin.query(
        `BEGIN; INSERT INTO ${s}w VALUES (1); INSERT INTO mtm.${s}own VALUES (2); COMMIT`,
      );
      await origin.admin.query(`BEGIN; INSERT INTO ${s}w VALUES (2); PREPARE TRANSACTION 'somebody'`);
      await origin.admin.query(`COMMIT PREPARED 'somebody'`);
      await origin.until(() => origin.unsupervised.length >= before + 2);
      expect(origin.unsupervised.slice(before)).toMatchObject([
        { relations: [`public.${s}w`], rows: 1, gid: undefined },
        { relations: [`public.${s}w`], rows: 1, gid: 'somebody' },
      ]);
      const own = formatGid({ node: target.node, generation: 1, incarnation: 9, counter: s === 'c' ? 1 : 2 });
      await target.admin.query(
        `BEGIN; CREATE TABLE IF NOT EXISTS ${s}w2 (id int PRIMARY KEY); INSERT INTO ${s}w2 VALUES (1)`,
      );
      await target.admin.query(`PREPARE TRANSACTION '${own}'`);
      await target.until(() => target.prepared.has(own));
      expect(target.prepared.get(own)).toMatchObject({ header: 'missing', rows: 1 });
      await target.finish(own, 'rollback');
      await target.until(() => target.outcomes.get(own) === 'rolled-back');
    });
  });
}
