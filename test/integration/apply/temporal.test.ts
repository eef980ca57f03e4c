/** Keys WITHOUT OVERLAPS and foreign keys with PERIOD (from 18 on): found by equality, parents checked as a union. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Lab } from './lab.ts';

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.start([18, 18]);
});
afterAll(async () => lab?.stop());

test('temporal keys', async () => {
  const [origin, target] = lab.sites;
  await lab.everywhere(`
    CREATE TABLE p (id int4range, v daterange, n int, PRIMARY KEY (id, v WITHOUT OVERLAPS));
    CREATE TABLE c (k int PRIMARY KEY, id int4range, v daterange,
      CONSTRAINT fk FOREIGN KEY (id, PERIOD v) REFERENCES p (id, PERIOD v))`);
  const [y20, y21] = ['[2020-01-01,2021-01-01)', '[2021-01-01,2022-01-01)'];
  const rows = [
    `INSERT INTO p VALUES ('[1,2)', '${y20}', 0), ('[1,2)', '${y21}', 0), ('[2,3)', '${y20}', 0)`,
    `INSERT INTO c VALUES (1, '[1,2)', '[2020-06-01,2021-06-01)')`,
  ];
  expect(await lab.carry(origin, target, rows)).toEqual({ kind: 'prepared' });
  const changes = [`UPDATE p SET n = 5 WHERE id = '[1,2)'`, `DELETE FROM p WHERE id = '[2,3)'`];
  expect(await lab.carry(origin, target, changes)).toEqual({ kind: 'prepared' });
  // Only the target still has the child.
  await origin.admin.query(
    `SET session_replication_role = replica; DELETE FROM c; RESET session_replication_role`,
  );
  const orphan = { refusal: { sqlstate: '23503', constraint: 'fk' } };
  expect(await lab.carry(origin, target, [`DELETE FROM p WHERE v = '${y20}'`])).toMatchObject(orphan);
  // Only the origin still has the second half of the parent.
  await target.admin.query(`DELETE FROM c; DELETE FROM p WHERE v = '${y21}'`);
  expect(await lab.carry(origin, target, [rows[1]!.replace('(1,', '(2,')])).toMatchObject(orphan);
  expect(await target.rows('SELECT n FROM p')).toEqual([[5]]);
});
