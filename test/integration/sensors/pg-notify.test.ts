/** mtm.replicate_pg_notify(): the built-in function gives its name away and gets it back, on 15–18. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { installSchema } from '../../../src/io/postgres/schema-installer.ts';
import { openLab, testedMajors, type SensorLab } from './sensor-lab.ts';

describe.each(testedMajors)('pg_notify on PostgreSQL %i', (major) => {
  let lab: SensorLab;

  beforeAll(async () => {
    lab = await openLab(major);
  });

  afterAll(async () => {
    await lab?.close();
  });

  /** As a gateway that starts. */
  const swap = async (wanted: boolean): Promise<void> => {
    const become = (): Promise<void> => Promise.reject(new Error('this server is no copy'));
    const place = { myId: 2, highestNode: 3, clusterName: 'sensors', timeline: 1, become };
    await installSchema(lab.admin, { ...place, replicatePgNotify: wanted });
  };

  const one = async (text: string): Promise<unknown> => {
    const { rows } = await lab.admin.query<Record<string, unknown>>(text);
    return Object.values(rows[0] ?? {})[0];
  };

  /** Names, and the definitions of what calls it. */
  const state = async (): Promise<unknown> =>
    one(`SELECT jsonb_build_object(
      'names', (SELECT jsonb_agg(jsonb_build_array(proname, oid = 3036, pronamespace::regnamespace, proacl) ORDER BY proname)
        FROM pg_proc WHERE proname ~ 'pg_notify' AND pronamespace <> 'mtm'::regnamespace),
      'atomic', pg_get_functiondef('atomic'::regproc),
      'rule', (SELECT pg_get_ruledef(oid) FROM pg_rewrite WHERE rulename = 'tells'))`);

  test('it comes back as it was, and stored expressions follow it both ways', async () => {
    const { admin } = lab;
    await admin.query(`CREATE FUNCTION atomic() RETURNS void BEGIN ATOMIC SELECT pg_notify('c', 'p'); END`);
    await admin.query('CREATE TABLE t (id int)');
    await admin.query(`CREATE RULE tells AS ON INSERT TO t DO ALSO SELECT pg_notify('c', new.id::text)`);
    const before = await state();
    for (let round = 0; round < 2; round++) {
      await swap(true);
      await swap(true); // as a second start
      expect(await one('SELECT proname FROM pg_proc WHERE oid = 3036')).toBe('pg_notify_local');
      expect(
        await one(
          `SELECT count(*)::int FROM pg_depend WHERE refobjid = 'pg_notify(text,text)'::regprocedure`,
        ),
      ).toBe(2);
      expect(await state()).toMatchObject({
        atomic: expect.stringContaining('SELECT pg_notify('),
        rule: expect.stringContaining('SELECT pg_notify('),
      });
      await swap(false);
      expect(await state()).toEqual(before);
    }
  });

  test('what a view depends on stays, out of the way', async () => {
    const { admin } = lab;
    await swap(true);
    await admin.query(`CREATE VIEW v AS SELECT 1 AS one FROM pg_notify('c', 'p')`);
    await swap(false);
    expect(await one('SELECT proname FROM pg_proc WHERE oid = 3036')).toBe('pg_notify');
    expect(await one('SELECT one FROM v')).toBe(1);
    await admin.query('DROP VIEW v');
    await swap(true);
    await swap(false);
    expect(await one('SELECT proname FROM pg_proc WHERE oid = 3036')).toBe('pg_notify');
  });

  test('the setting of the session says who calls', async () => {
    const { admin } = lab;
    await swap(true);
    const heard: unknown[] = [];
    admin.on('notification', ({ payload }) => heard.push(payload));
    await admin.query('LISTEN c');
    for (const setting of ['', 'off', 'on', 'nobody']) {
      await admin.query(`BEGIN; SET LOCAL multimaster.replicate_pg_notify = '${setting}'`);
      await admin.query(`SELECT pg_notify('c', $1)`, [setting]);
      await admin.query('INSERT INTO t VALUES (1)');
      await admin.query('SELECT atomic()');
      await admin.query('COMMIT');
    }
    expect(heard).toEqual(['', '1', 'p', 'off', '1', 'p']);
    const { rows } = await admin.query(
      `SELECT 1 FROM pg_logical_slot_peek_binary_changes('mtm_live', NULL, NULL, 'proto_version', '1',
         'publication_names', 'mtm', 'messages', 'true') WHERE position('mtm-notify'::bytea IN data) > 0`,
    );
    expect(rows).toHaveLength(3);
    await swap(false);
  });

  test('errors are those of the built-in function, without a context', async () => {
    const { admin } = lab;
    const failures = async (): Promise<unknown[]> => {
      const all: unknown[] = [];
      for (const call of [`('', 'x')`, `(NULL, 'x')`, `(repeat('c', 64), 'x')`, `('c', repeat('x', 8000))`]) {
        const failure = await admin.query(`SELECT pg_notify${call}`).then(
          () => undefined,
          (error: unknown) => error,
        );
        const { code, message, where, routine } = failure as Record<string, unknown>;
        all.push({ code, message, where, routine });
      }
      return all;
    };
    await swap(false);
    const before = await failures();
    await swap(true);
    await admin.query(`SET multimaster.replicate_pg_notify = 'on'`);
    expect(await failures()).toEqual(before);
    await admin.query('RESET multimaster.replicate_pg_notify');
    await swap(false);
  });
});
