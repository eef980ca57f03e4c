/**
 * Every command of PostgreSQL in every form, on nodes of different versions: done on all of them, on one by a documented
 * rule, refused by one, or PostgreSQL's own error. The table of test/README.md is made here.
 * MTM_TEST_STATEMENTS=16,17 runs all of it on clusters of these versions, too.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startCluster, type Cluster } from '../../support/cluster.ts';
import { noPrepared } from '../../support/convergence.ts';
import type { PostgresMajor } from '../../../src/io/launcher/server-binaries.ts';
import { expectAgreement } from '../../support/agreement.ts';
import { manualCommands } from './manual-commands.ts';
import { renderCounts, renderTable, tableInReadme, writeTable } from './readme-table.ts';
import { readGroups, titleOf } from './statement-cases.ts';
import { commonSetUp, forms } from './statement-forms.ts';
import { runGroup, type Cell } from './statement-matrix.ts';
import { reasonFor } from './statement-rules.ts';
import { startStockServer, type StockServer } from './stock-server.ts';

const groups = readGroups();
const all: readonly number[] = [15, 16, 17, 18];

interface Run {
  readonly title: string;
  readonly majors: readonly PostgresMajor[];
  /** The statements that came with one of these versions. */
  readonly since: readonly number[];
}

const longer = (process.env['MTM_TEST_STATEMENTS'] ?? '').split(',').filter((major) => major !== '');
const runs: readonly Run[] = [
  { title: 'PostgreSQL 15 and 18', majors: [15, 18], since: [15] },
  { title: 'what came after 15, on 18', majors: [18, 18], since: [16, 17, 18] },
  ...longer.map((major) => ({
    title: `PostgreSQL ${major} alone`,
    majors: [Number(major), Number(major)] as PostgresMajor[],
    since: all.filter((one) => one <= Number(major)),
  })),
];

const table: Cell[] = [];

describe.each(runs)('$title', ({ majors, since, title }) => {
  const cells: Cell[] = [];
  let cluster: Cluster;
  let stock: StockServer;

  beforeAll(async () => {
    [cluster, stock] = await Promise.all([startCluster({ majors }), startStockServer(majors[1]!)]);
    const admin = await stock.connect('postgres');
    // Nothing crashes here: what a disk costs is not what is tested.
    for (const text of [
      'ALTER SYSTEM SET fsync = off',
      'ALTER SYSTEM SET autovacuum = off',
      'SELECT pg_reload_conf()',
    ]) {
      await cluster.onAllServers(text);
      await admin.query(text);
    }
    for (const text of commonSetUp) {
      await cluster.query(1, text);
      await admin.query(text);
    }
    await admin.end();
  });

  afterAll(async () => {
    await Promise.all([cluster?.stop(), stock?.stop()]);
  });

  describe.each(groups)('$name', (group) => {
    test.each(forms.map((form, index) => ({ form, node: 1 + (index % 2) })))(
      '$form.name',
      async ({ form, node }) => {
        const open = (user: string) => stock.connect(user);
        cells.push(...(await runGroup({ cluster, stock: open }, group, { form, node, majors: since })));
      },
    );

    test('the nodes agree', async () => {
      const own = `SELECT gid FROM pg_prepared_xacts WHERE gid LIKE 'mine%'`;
      for (const { gid } of await cluster.directly<{ gid: string }>(1, own))
        await cluster.query(2, `ROLLBACK PREPARED '${gid}'`);
      await noPrepared(cluster);
      await expectAgreement(cluster.nodes);
    });
  });

  test('nothing is local or refused without a rule', () => {
    if (runs.findIndex((run) => run.title === title) < 2) table.push(...cells);
    const lawless = cells.filter((cell) => reasonFor(cell) === undefined);
    expect(lawless.map(({ title: what, form, outcome }) => ({ what, form, ...outcome }))).toEqual([]);
  });
});

test('the table has every command of the manual', () => {
  const known = new Set(groups.flatMap(({ cases }) => cases.map(({ command }) => command)));
  expect(manualCommands.filter((command) => !known.has(command))).toEqual([]);
});

test('the table in test/README.md is this one', () => {
  const text = `${renderCounts(table)}\n\n${renderTable(
    groups.flatMap(({ cases }) => cases.map(titleOf)),
    table,
  )}`;
  if (process.env['UPDATE_GOLDEN'] !== undefined) writeTable(text);
  expect(tableInReadme()).toBe(text);
});
