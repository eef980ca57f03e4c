/**
 * Every command of PostgreSQL in every form, on nodes of different versions: done on all of them, on one by a documented
 * rule, refused by one, or PostgreSQL's own error. The table of test/README.md is made here.
 * MTM_TEST_STATEMENTS=16,17 runs all of it on clusters of these versions, too.
 */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { startCluster, type Cluster } from '../../support/cluster.ts';
import { noPrepared } from '../../support/convergence.ts';
import type { PostgresMajor } from '../../../src/io/launcher/server-binaries.ts';
import { differencesFromStock, expectAgreement } from './agreement.ts';
import { manualCommands } from './manual-commands.ts';
import { renderCounts, renderTable, tableInReadme, writeTable } from './readme-table.ts';
import { readGroups, titleOf } from './statement-cases.ts';
import { commonSetUp, forms } from './statement-forms.ts';
import { runGroup, type Cell } from './statement-matrix.ts';
import { reasonFor } from './statement-rules.ts';
import { startStockServer, type StockServer } from './stock-server.ts';

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

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
      await noPrepared(cluster, 3000);
      await expectAgreement(cluster.nodes);
    });
  });

  test('nothing is local or refused without a rule', () => {
    const lawless = cells.filter((cell) => reasonFor(cell) === undefined);
    expect(lawless.map(({ title: what, form, outcome }) => ({ what, form, ...outcome }))).toEqual([]);
    if (runs.findIndex((run) => run.title === title) < 2) table.push(...cells);
  });

  test('a node holds what a stock server holds', async () => {
    const refused = cells.filter(({ outcome }) => outcome.kind === 'refused').length;
    expect(refused).toBeGreaterThanOrEqual(0);
    const differences = await differencesFromStock(cluster.node(2), stock.node);
    if (process.env['MTM_TEST_SHOW'] !== undefined) process.stdout.write(`${differences.join('\n')}\n`);
    expect(differences.length).toBeLessThan(10_000);
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
