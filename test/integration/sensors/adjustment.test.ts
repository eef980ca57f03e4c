/** What ddl_command_end does on each node: sequences, replica identity, deferrable constraints. And the installation itself. */
import type { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  adoptObjects,
  ensureSlots,
  installSchema,
  silenceTriggers,
  verifySensors,
} from '../../../src/io/postgres/schema-installer.ts';
import { becomeNode } from '../../../src/io/store/seed.ts';
import { readPosition } from '../../../src/io/store/server-position.ts';
import { openLab, refusalOf, testedMajors, type SensorLab } from './sensor-lab.ts';
import { slotNames } from '../../../src/io/postgres/slot-names.ts';

describe.each(testedMajors)('adjustment on PostgreSQL %i', (major) => {
  let lab: SensorLab;
  let app: Client;

  /** As the place of a node changes in the course of its life. */
  const be = async (myId: number, nodeCount: number): Promise<readonly string[]> => {
    await lab.admin.query('UPDATE mtm.node SET my_id = $1', [myId]);
    await lab.admin.query('UPDATE mtm.sequence_step SET node_count = $1', [nodeCount]);
    return adoptObjects(lab.admin);
  };

  const install = async (myId: number, clusterName = 'sensors'): Promise<readonly string[]> => {
    const position = await readPosition(lab.admin);
    const { timeline } = position;
    const become = async (client: Client): Promise<void> => becomeNode(client, { myId, position });
    return installSchema(lab.admin, { myId, highestNode: 3, clusterName, timeline, become });
  };

  const draw = async (sequence: string, times = 3): Promise<number[]> => {
    const { rows } = await lab.admin.query<{ v: number }>(
      `SELECT nextval('${sequence}')::int AS v FROM generate_series(1, ${times})`,
    );
    return rows.map((row) => row.v);
  };

  const identity = async (table: string): Promise<string | undefined> => {
    const { rows } = await lab.admin.query<{ i: string }>(
      `SELECT relreplident::text AS i FROM pg_class WHERE oid = '${table}'::regclass`,
    );
    return rows[0]?.i;
  };

  beforeAll(async () => {
    lab = await openLab(major);
    app = await lab.connect('app');
  });

  afterAll(async () => {
    await app?.end();
    await lab?.close();
  });

  test('serial and identity: each node its own', async () => {
    for (const [node, values] of [
      [1, [1, 4, 7]],
      [2, [2, 5, 8]],
      [3, [3, 6, 9]],
    ] as const) {
      await be(node, 3);
      await app.query(
        'CREATE TABLE t (id serial, g int GENERATED ALWAYS AS IDENTITY (START 10 INCREMENT 10))',
      );
      expect(await draw('t_id_seq')).toEqual(values);
      expect(await draw('t_g_seq')).toEqual(values.map((v) => v * 10));
      await app.query('TRUNCATE t RESTART IDENTITY');
      expect(await draw('t_id_seq', 1)).toEqual([values[0]]);
      await app.query('ALTER TABLE t ALTER g RESTART');
      expect(await draw('t_g_seq', 1)).toEqual([values[0] * 10]);
      await app.query('ALTER TABLE t ALTER g RESTART WITH 100');
      expect((await draw('t_g_seq', 1))[0]).toBe([100, 110, 120][node - 1]);
      await app.query('ALTER TABLE t ALTER g SET INCREMENT BY 1 SET START 1 RESTART');
      expect(await draw('t_g_seq')).toEqual(values);
      await app.query('CREATE TABLE l (LIKE t INCLUDING ALL)');
      expect(await draw('l_g_seq')).toEqual(values);
      await app.query('DROP TABLE t, l');
    }
    expect((await lab.admin.query('SELECT * FROM mtm.sequence')).rows).toEqual([]);
  });

  test("the parameters stay the user's own through ALTER SEQUENCE", async () => {
    await be(2, 3);
    await app.query('CREATE SEQUENCE s');
    expect(await draw('s', 2)).toEqual([2, 5]);
    await app.query('ALTER SEQUENCE s MAXVALUE 1000');
    await app.query('ALTER SEQUENCE s OWNER TO app');
    expect(await draw('s', 1)).toEqual([8]);
    await app.query('ALTER SEQUENCE s RESTART WITH 30');
    expect(await draw('s', 2)).toEqual([32, 35]);
    await app.query('ALTER SEQUENCE s INCREMENT BY 3 RESTART');
    expect(await draw('s', 2)).toEqual([4, 13]);
    await app.query('ALTER SEQUENCE s START WITH 2 INCREMENT 1 RESTART');
    expect(await draw('s', 2)).toEqual([3, 6]);
    await app.query('CREATE SEQUENCE down INCREMENT -2 START -1');
    expect(await draw('down')).toEqual([-3, -9, -15]);
    await app.query('CREATE SEQUENCE big AS smallint MINVALUE -10 START -10');
    expect(await draw('big', 2)).toEqual([-9, -6]);
    await app.query('DROP SEQUENCE s, down, big');
  });

  test('CYCLE goes on at a value of the node, and small bounds are refused', async () => {
    await be(3, 3);
    await app.query('CREATE SEQUENCE c MINVALUE 1 MAXVALUE 10 START 4 CYCLE');
    expect(await draw('c', 5)).toEqual([6, 9, 3, 6, 9]);
    await app.query('ALTER SEQUENCE c NO CYCLE');
    const { rows } = await lab.admin.query(
      `SELECT seqmin::int, seqstart::int FROM pg_sequence WHERE seqrelid = 'c'::regclass`,
    );
    expect(rows).toEqual([{ seqmin: 1, seqstart: 6 }]);
    await app.query('CREATE SEQUENCE cd INCREMENT -1 MINVALUE 1 MAXVALUE 10 CYCLE');
    expect(await draw('cd', 5)).toEqual([8, 5, 2, 8, 5]);
    expect(await refusalOf(() => app.query('CREATE SEQUENCE small MAXVALUE 2'))).toMatch(
      /^22023 .*no room for the values of 3 nodes/,
    );
    await app.query('CREATE TEMP SEQUENCE small MAXVALUE 2');
    await app.query('DROP SEQUENCE c, cd');
  });

  test('replica identity follows the key', async () => {
    await app.query('CREATE TABLE a (i int NOT NULL, j int NOT NULL UNIQUE)');
    expect(await identity('a')).toBe('f');
    await app.query('ALTER TABLE a ADD CONSTRAINT apk PRIMARY KEY (i)');
    expect(await identity('a')).toBe('d');
    await app.query('ALTER TABLE a DROP CONSTRAINT apk');
    expect(await identity('a')).toBe('f');
    await app.query('ALTER TABLE a REPLICA IDENTITY USING INDEX a_j_key');
    expect(await identity('a')).toBe('i');
    await app.query('ALTER TABLE a DROP CONSTRAINT a_j_key');
    expect(await identity('a')).toBe('f');
    await app.query('ALTER TABLE a REPLICA IDENTITY NOTHING');
    expect(await identity('a')).toBe('n');
    await app.query('ALTER TABLE a ADD k int');
    expect(await identity('a')).toBe('n');
    await app.query('SELECT mtm.full_identities()');
    expect(await identity('a')).toBe('f');
    await app.query('CREATE UNIQUE INDEX aj ON a (j)');
    await app.query('ALTER TABLE a REPLICA IDENTITY USING INDEX aj');
    await app.query('DROP INDEX aj');
    expect(await identity('a')).toBe('f');
    await app.query('CREATE TABLE d (i int PRIMARY KEY DEFERRABLE)');
    expect(await identity('d')).toBe('f');
    await app.query('CREATE TABLE p (i int NOT NULL) PARTITION BY LIST (i)');
    await app.query('CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1)');
    expect([await identity('p'), await identity('p1')]).toEqual(['f', 'f']);
    await app.query('ALTER TABLE p ADD CONSTRAINT ppk PRIMARY KEY (i)');
    expect([await identity('p'), await identity('p1')]).toEqual(['d', 'd']);
    await app.query('ALTER TABLE p DROP CONSTRAINT ppk');
    expect([await identity('p'), await identity('p1')]).toEqual(['f', 'f']);
    await app.query('CREATE TABLE own (i int PRIMARY KEY)');
    await app.query('ALTER TABLE own REPLICA IDENTITY FULL');
    await app.query('ALTER TABLE own ADD j int');
    expect(await identity('own')).toBe('f');
    await app.query('CREATE TABLE made AS SELECT 1 AS i');
    expect(await identity('made')).toBe('f');
    await app.query('DROP TABLE a, d, p, own, made');
    expect((await lab.admin.query('SELECT * FROM mtm.full_identity')).rows).toEqual([]);
  });

  test('deferrable constraints are enforced under apply', async () => {
    await app.query('CREATE TABLE q (i int UNIQUE DEFERRABLE INITIALLY DEFERRED)');
    await app.query('INSERT INTO q VALUES (1)');
    await lab.admin.query('SET session_replication_role = replica');
    expect(await refusalOf(() => lab.admin.query('INSERT INTO q VALUES (1)'))).toMatch(/^23505 /);
    await lab.admin.query('RESET session_replication_role');
    await app.query('DROP TABLE q');
  });

  test('what was there before is adopted, in an applied session everything happens too', async () => {
    await be(1, 3);
    await lab.admin.query('SET session_replication_role = replica');
    await lab.admin.query('CREATE TABLE applied (id serial)');
    await lab.admin.query('RESET session_replication_role');
    expect([await identity('applied'), ...(await draw('applied_id_seq', 2))]).toEqual(['f', 1, 4]);
    await lab.admin.query('DROP TABLE applied');
    const silent = major >= 17 ? 'event_triggers = off' : 'session_replication_role = replica';
    await lab.admin.query('ALTER EVENT TRIGGER "!mtm_end_3_adjust" DISABLE');
    await lab.admin.query(`SET ${silent}`);
    await lab.admin.query('CREATE TABLE before (id serial); CREATE SEQUENCE tiny MAXVALUE 2');
    await lab.admin.query("SELECT nextval('before_id_seq') FROM generate_series(1, 10)");
    await lab.admin.query('RESET ALL');
    await lab.admin.query('ALTER EVENT TRIGGER "!mtm_end_3_adjust" ENABLE ALWAYS');
    expect(await be(2, 3)).toEqual(['public.tiny']);
    expect([await identity('before'), ...(await draw('before_id_seq', 2))]).toEqual(['f', 11, 14]);
    await be(2, 4);
    expect(await draw('before_id_seq', 2)).toEqual([18, 22]);
    await app.query('SELECT 1');
    await lab.admin.query('DROP TABLE before');
    await lab.admin.query('DROP SEQUENCE tiny');
  });

  test('setval: what was stored before calls ours, and the built-in one again when that is wished', async () => {
    await be(2, 3);
    const drawnAfter = async (text: string): Promise<number | undefined> => {
      await lab.admin.query(text);
      return (await draw('sv', 1))[0];
    };
    await lab.trace(app, ['CREATE SEQUENCE sv']);
    await lab.admin.query('SELECT mtm.replicate_setval(false)');
    await lab.trace(app, [
      `CREATE FUNCTION sf(n bigint) RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT setval('public.sv', n); END`,
      'CREATE TABLE st (n bigint)',
      `CREATE RULE st AS ON INSERT TO st DO ALSO SELECT setval('public.sv', NEW.n, true)`,
    ]);
    for (const wanted of [false, true, false, true]) {
      await lab.admin.query('SELECT mtm.replicate_setval($1)', [wanted]);
      if (wanted) await install(2);
      // 101 is the first value of node 2 behind 100; the built-in function goes on by the step.
      const expected = wanted ? 101 : 103;
      expect(await drawnAfter(`SELECT setval('sv', 100)`)).toBe(expected);
      expect(await drawnAfter('SELECT sf(100)')).toBe(expected);
      expect(await drawnAfter('INSERT INTO st VALUES (100)')).toBe(expected);
    }
    await lab.trace(app, [`CREATE VIEW sw AS SELECT setval('sv', 100) AS n`]);
    await lab.admin.query('SELECT mtm.replicate_setval(false)');
    expect(await drawnAfter('SELECT * FROM sw')).toBe(103);
    await install(2);
    expect(await drawnAfter('SELECT * FROM sw')).toBe(101);
    await lab.trace(app, ['DROP VIEW sw', 'DROP FUNCTION sf', 'DROP TABLE st', 'DROP SEQUENCE sv']);
  });

  test('the installation is repeatable and says what is missing', async () => {
    await be(2, 3);
    await install(2);
    await lab.admin.query(`UPDATE mtm.schema_version SET digest = 'older'`);
    await install(2);
    expect(await ensureSlots(lab.admin, slotNames({}))).toEqual([]);
    expect(await verifySensors(lab.admin, slotNames({}))).toEqual([]);
    await lab.admin.query(
      'ALTER EVENT TRIGGER "!mtm_end_2_capture" DISABLE; DROP EVENT TRIGGER "!mtm_rewrite"',
    );
    await lab.admin
      .query(`DO $$ BEGIN EXECUTE (SELECT format('GRANT EXECUTE ON FUNCTION %s TO PUBLIC', oid::regprocedure)
      FROM pg_proc WHERE proname = 'pg_logical_emit_message' LIMIT 1); END $$`);
    expect(await verifySensors(lab.admin, slotNames({}))).toEqual([
      'event trigger !mtm_rewrite is missing',
      'event trigger !mtm_end_2_capture is not enabled always (D)',
      'pg_logical_emit_message can be executed by PUBLIC',
    ]);
    await install(2);
    await lab.admin.query(`UPDATE mtm.schema_version SET digest = 'older'`);
    await install(2);
    expect(await verifySensors(lab.admin, slotNames({}))).toEqual([]);
    expect(await refusalOf(async () => install(1, 'else'))).toMatch(
      /cluster-mismatch .*belongs to the cluster "sensors"/,
    );
    // A wrong line in a configuration file makes no other node of it.
    expect(await refusalOf(async () => install(1))).toMatch(
      /cluster-mismatch this PostgreSQL is that of node 2, not of node 1: it was not promoted since/,
    );
  });

  test('what former versions had goes with the installation, which does not wait for it', async () => {
    await be(2, 3);
    const reinstalled = async (): Promise<boolean> => {
      await lab.admin.query(`UPDATE mtm.schema_version SET digest = 'older'`);
      await install(2);
      const { rows } = await lab.admin.query(`SELECT to_regclass('mtm.ddl_mark') IS NOT NULL AS there`);
      return rows[0]?.there === true;
    };
    await lab.admin.query('BEGIN');
    await silenceTriggers(lab.admin);
    await lab.admin.query('CREATE TABLE mtm.ddl_mark (one boolean PRIMARY KEY)');
    await lab.admin.query('COMMIT');
    await lab.admin.query('BEGIN; LOCK TABLE mtm.ddl_mark IN ROW EXCLUSIVE MODE');
    await lab.admin.query(`SELECT pg_current_xact_id(); PREPARE TRANSACTION 'former'`);
    expect(await reinstalled()).toBe(true);
    await lab.admin.query(`ROLLBACK PREPARED 'former'`);
    expect(await reinstalled()).toBe(false);
    expect(await reinstalled()).toBe(false);
    expect(await verifySensors(lab.admin, slotNames({}))).toEqual([]);
  });

  test('status, nodes, ping and the incarnation', async () => {
    expect((await app.query('SELECT * FROM mtm.status()')).rows[0]).toMatchObject({
      my_node_id: 2,
      status: 'disabled',
    });
    const state = {
      status: {
        status: 'online',
        connected: [1, 3],
        gen_num: 7,
        gen_members: [1, 2, 3],
        gen_members_online: [2],
        gen_configured: [1, 2, 3],
      },
      nodes: [
        { id: 2, conninfo: 'x', is_self: true },
        { id: 1, conninfo: 'y', is_self: false, n_workers: 4, receiver_mode: 'normal', lag: 12 },
      ],
    };
    await lab.admin.query('SELECT mtm.set_runtime($1)', [state]);
    const status = await app.query('SELECT * FROM mtm.status()');
    expect(status.fields.slice(0, 7).map((field) => field.name)).toEqual([
      'my_node_id',
      'status',
      'connected',
      'gen_num',
      'gen_members',
      'gen_members_online',
      'gen_configured',
    ]);
    expect(status.rows).toMatchObject([
      { status: 'online', connected: [1, 3], gen_num: '7', gen_members_online: [2] },
    ]);
    const nodes = await app.query('SELECT * FROM mtm.nodes()');
    expect(nodes.rows).toMatchObject([
      { id: 1, n_workers: 4, lag: '12' },
      { id: 2, is_self: true },
    ]);
    // There is no gateway that could answer.
    expect(await refusalOf(() => app.query('SELECT mtm.ping()'))).toMatch(/^57P03 /);
    const raised = async (holder: string, held: number | null): Promise<number | undefined> => {
      const text = 'SELECT mtm.take_over($1, $2)::int AS i';
      return (await lab.admin.query<{ i: number | null }>(text, [holder, held])).rows[0]?.i ?? undefined;
    };
    const first = (await raised('a', null)) ?? 0;
    expect(await raised('a', first)).toBe(first + 1);
    // What its answer was lost of is its own; what another one has raised is not.
    expect(await raised('a', first)).toBe(first + 2);
    expect(await raised('b', null)).toBe(first + 3);
    expect(await raised('a', first + 2)).toBe(undefined);
    expect(await raised('b', first + 3)).toBe(first + 4);
    // A server that went back is nobody's.
    expect(await raised('a', first + 5)).toBe(first + 5);
    expect(await refusalOf(() => app.query(`UPDATE mtm.node SET my_id = 1`))).toMatch(/^42501 /);
  });
});
