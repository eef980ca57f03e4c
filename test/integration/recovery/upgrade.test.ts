/**
 * PostgreSQL 15 becomes 18 under load, node by node, as config/README.md tells it: the gateway is stopped, the node leaves
 * its server (mtm-gateway prepare-upgrade), a new server takes over what is in the old one, the gateway is started again.
 * Rule: what was acknowledged is there once, and the nodes are equal. Prints figures.
 *
 * In CI one node, by dump and restore. MTM_TEST_UPGRADE=all: every node; MTM_TEST_PG_UPGRADE=DIR (the programs of a whole
 * PostgreSQL 18, with pg_upgrade): by pg_upgrade, which needs Debian's PostgreSQL 15 for the old server.
 */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chownSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { serverAccount } from '../../../src/io/launcher/account.ts';
import { startNode, stopNode } from '../../../src/io/launcher/embedded-cluster.ts';
import { embeddedDatabase, embeddedHost, type NodeLayout } from '../../../src/io/launcher/node-layout.ts';
import {
  createDatabases,
  initServer,
  startServer,
  stopServer,
} from '../../../src/io/launcher/postgres-server.ts';
import { serverBinaries } from '../../../src/io/launcher/server-binaries.ts';
import { isSqlstate } from '../../../src/lib/sqlstate.ts';
import { startCluster, type Cluster, type SqlFailure } from '../../support/cluster.ts';
import { ledgerHolds, type LedgerEntry } from '../../support/ledger.ts';
import { eventually } from '../../support/polling.ts';
import { findProgram, needs, runProgram } from '../../support/programs.ts';

const main = fileURLToPath(new URL('../../../src/main.ts', import.meta.url));
const pgUpgrade = process.env['MTM_TEST_PG_UPGRADE'];
const upgraded = process.env['MTM_TEST_UPGRADE'] === 'all' ? [1, 2, 3] : [2];
const way = pgUpgrade === undefined ? 'dump' : 'pg_upgrade';
let cluster: Cluster;

interface Run {
  readonly code: number | null;
  readonly output: string;
}

async function execute(command: string, args: readonly string[], user = false, cwd = '/'): Promise<Run> {
  const account = user ? serverAccount() : undefined;
  const ids = account === undefined ? {} : { uid: account.uid, gid: account.gid };
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], cwd, ...ids });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  return { code, output };
}

const prepare = (node: NodeLayout, ...args: string[]): Promise<Run> =>
  execute(process.execPath, [main, 'prepare-upgrade', '--config', node.configFile, ...args]);

const address = (node: NodeLayout): string[] => [
  '-h',
  embeddedHost,
  '-p',
  String(node.postgresPort),
  '-U',
  'postgres',
];

async function succeeded(
  run: Promise<{ code: number | null; stderr: string; stdout: string }>,
): Promise<string> {
  const { code, stderr, stdout } = await run;
  expect(code, stderr).toBe(0);
  return stdout;
}

/** The server of the node is one of 18 with the same settings; the files of the old one lie beside it. */
async function replaceServer(old: NodeLayout): Promise<void> {
  const node: NodeLayout = { ...old, major: 18 };
  const dump = join(old.folder, 'app.dump');
  const roles =
    pgUpgrade === undefined
      ? await succeeded(runProgram('pg_dumpall', [...address(old), '--globals-only']))
      : '';
  if (pgUpgrade === undefined)
    await succeeded(runProgram('pg_dump', [...address(old), '-Fc', '-f', dump, embeddedDatabase]));
  await stopServer(old);
  const former = join(old.folder, 'data-15');
  renameSync(old.dataFolder, former);
  if (pgUpgrade === undefined) {
    await initServer(node);
    await startServer(node);
    await createDatabases(node, [embeddedDatabase]);
    // "role postgres already exists" is all that may go wrong.
    await runProgram('psql', ['-X', '-q', ...address(node), 'postgres'], roles);
    await succeeded(runProgram('pg_restore', [...address(node), '-e', '-d', embeddedDatabase, dump]));
  } else {
    await runPgUpgrade(node, former, pgUpgrade);
    await startServer(node);
  }
  rmSync(dump, { force: true });
}

async function runPgUpgrade(node: NodeLayout, former: string, binaries: string): Promise<void> {
  const work = join(node.folder, 'pg_upgrade');
  mkdirSync(work, { recursive: true });
  const account = serverAccount();
  if (account !== undefined) chownSync(work, account.uid, account.gid);
  const args = [
    '-D',
    node.dataFolder,
    '-U',
    'postgres',
    '-A',
    'trust',
    '--encoding=UTF8',
    '--locale=C.UTF-8',
  ];
  mkdirSync(node.dataFolder, { mode: 0o700 });
  if (account !== undefined) chownSync(node.dataFolder, account.uid, account.gid);
  const made = await execute(join(serverBinaries(18), 'initdb'), [...args, '--no-data-checksums'], true);
  expect(made.code, made.output).toBe(0);
  const old = '/usr/lib/postgresql/15/bin';
  const run = await execute(
    join(binaries, 'pg_upgrade'),
    [
      '-b',
      old,
      '-B',
      binaries,
      '-d',
      former,
      '-D',
      node.dataFolder,
      '-U',
      'postgres',
      '-s',
      work,
      '-p',
      '14488',
      '-P',
      '14489',
    ],
    true,
    work,
  );
  expect(run.code, run.output).toBe(0);
}

/** The folder of the cluster knows the version. */
function noteMajor(number: number): void {
  const file = join(cluster.folder.folder, 'cluster.json');
  const said = JSON.parse(readFileSync(file, 'utf8')) as { nodes: { node: number; pg: number }[] };
  for (const node of said.nodes) if (node.node === number) node.pg = 18;
  writeFileSync(file, JSON.stringify(said));
  cluster.refresh();
}

/** What the last of a client's answers were apart, at most, ms. */
interface Told {
  readonly entries: LedgerEntry[];
  longestMs: number;
}

/** Two rows in a transaction, again and again; away from a node that does not serve. */
async function write(home: number, told: Told, goOn: () => boolean): Promise<void> {
  let number = home;
  let client: Client | undefined;
  for (let last = performance.now(); goOn();) {
    const id = randomUUID();
    try {
      client ??= await cluster.client(number);
      await client.query('BEGIN');
      await client.query(`INSERT INTO ledger VALUES ($1, 'in', $2)`, [id, home]);
      await client.query(`INSERT INTO ledger VALUES ($1, 'out', $2)`, [id, home]);
      await client.query('UPDATE account SET balance = balance + 1 WHERE id = $1', [home]);
      await client.query('COMMIT');
      told.entries.push({ id, outcome: 'acknowledged' });
      told.longestMs = Math.max(told.longestMs, performance.now() - last);
      last = performance.now();
    } catch (error) {
      const { code } = error as SqlFailure;
      const known = isSqlstate(code) && code !== '08007';
      told.entries.push({ id, outcome: known ? 'refused' : 'unknown' });
      await client?.end().catch(() => undefined);
      client = undefined;
      number = 1 + (number % 3);
      await pause(20);
    }
  }
  await client?.end().catch(() => undefined);
}

describe.skipIf(findProgram('pg_dump') === undefined)(`15 becomes 18 by ${way}${needs('pg_dump')}`, () => {
  beforeAll(async () => {
    const why = 'their versions differ';
    const majors = upgraded.length === 3 ? ([15, 15, 15] as const) : ([18, 15, 18] as const);
    cluster = await startCluster({ majors, unequal: [{ versions: true, why }] });
    for (const text of schema) await cluster.query(1, text);
  });

  afterAll(async () => {
    await cluster?.stop();
  });

  test('a node that the others are not online without does not leave its server', async () => {
    await stopNode(cluster.node(3), ['gateway']);
    const running = await prepare(cluster.node(2), '--wait', '2');
    expect(running).toMatchObject({ code: 1 });
    expect(running.output).toContain('the gateway of this node still runs');
    await stopNode(cluster.node(2), ['gateway']);
    const refused = await prepare(cluster.node(2), '--wait', '2');
    expect(refused).toMatchObject({ code: 1 });
    expect(refused.output).toContain('cannot leave its server');
    await startNode(cluster.node(2), ['gateway']);
    await startNode(cluster.node(3), ['gateway']);
    await cluster.whole();
  });

  test('what was prepared can be undone; until then no gateway works with the server', async () => {
    const node = cluster.node(2);
    await stopNode(node, ['gateway']);
    const done = await prepare(node, '--for', way);
    expect(done.code, done.output).toBe(0);
    const again = await prepare(node);
    expect(again.code, again.output).toBe(0);
    await cluster.query(1, `UPDATE account SET balance = balance + 5 WHERE id = 1`);
    await expect(startNode(node, ['gateway'])).rejects.toThrow(/was prepared for an upgrade/);
    expect((await prepare(node, '--undo')).output).toContain('the node stays: app');
    await startNode(node, ['gateway']);
    await cluster.whole();
  });

  test(`nodes ${upgraded.join(', ')} under load`, { timeout: 600_000 }, async () => {
    const told: Told[] = cluster.numbers.map(() => ({ entries: [], longestMs: 0 }));
    await cluster.query(
      1,
      `BEGIN; INSERT INTO ledger VALUES ('by a client', 'in', 0), ('by a client', 'out', 0)`,
    );
    await cluster.query(1, `PREPARE TRANSACTION 'by a client'`);
    let goOn = true;
    const writers = Promise.all(told.map((each, index) => write(index + 1, each, () => goOn)));
    try {
      for (const number of upgraded) await upgradeOne(number, told);
    } finally {
      goOn = false;
      await writers;
    }
    await cluster.query(upgraded[0]!, `COMMIT PREPARED 'by a client'`);
    const entries = told.flatMap((each) => each.entries);
    const there = await ledgerHolds(cluster, entries, upgraded[0]!);
    expect(there.has('by a client')).toBe(true);
    const refused = entries.filter(({ outcome }) => outcome !== 'acknowledged').length;
    process.stdout.write(
      `upgrade by ${way}: ${entries.length - refused} transactions, ${refused} repeated; longest gap of a client ` +
        `${told.map(({ longestMs }) => `${Math.round(longestMs)} ms`).join(', ')}\n`,
    );
  });

  async function upgradeOne(number: number, told: readonly Told[]): Promise<void> {
    const done = (): number => told.reduce((sum, { entries }) => sum + entries.length, 0);
    const before = done();
    await eventually('they write', () => done() > before + 60, 60_000);
    const node = cluster.node(number);
    const begin = performance.now();
    const first = done();
    await stopNode(node, ['gateway']);
    const prepared = await prepare(node, '--for', way);
    expect(prepared.code, prepared.output).toBe(0);
    const left = performance.now();
    await replaceServer(node);
    const replaced = performance.now();
    noteMajor(number);
    await startNode(cluster.node(number), ['gateway'], 120_000);
    await cluster.whole(120_000);
    const seconds = (from: number, to: number): string => `${((to - from) / 1000).toFixed(1)} s`;
    process.stdout.write(
      `node ${number}: away for ${seconds(begin, performance.now())} (prepared ${seconds(begin, left)}, new server ` +
        `${seconds(left, replaced)}, caught up ${seconds(replaced, performance.now())}); ${done() - first} transactions meanwhile\n`,
    );
  }

  test('what the node knew it knows: sequences, local tables, rules of its tables', async () => {
    const number = upgraded[0]!;
    const drawn = await cluster.query<{ id: number }>(
      number,
      `INSERT INTO entry (note) VALUES ('x') RETURNING id`,
    );
    expect((drawn[0]!.id - number) % 3).toBe(0);
    await cluster.query(number, `INSERT INTO unkeyed VALUES (1), (1)`);
    await cluster.query(number, `DELETE FROM unkeyed`);
    await cluster.query(number, `UPDATE turn SET place = 3 - place`);
    const before = await cluster.onAllServers<{ n: number }>('SELECT count(*)::int AS n FROM here');
    await cluster.query(number, 'INSERT INTO here VALUES (99)');
    const after = await cluster.onAllServers<{ n: number }>('SELECT count(*)::int AS n FROM here');
    expect(after.map(([row]) => row!.n)).toEqual(
      before.map(([row], index) => row!.n + (index + 1 === number ? 1 : 0)),
    );
    await cluster.query(1, 'TRUNCATE here');
    await cluster.query(number, 'CREATE TABLE made_on_18 (id int PRIMARY KEY)');
    await cluster.query(number, `SELECT setval('entry_id_seq', 1000)`);
    expect(await cluster.query(number, `SELECT told()`)).toHaveLength(1);
  });

  test('the former server is refused for ever', async () => {
    const node = cluster.node(upgraded[0]!);
    await stopNode(node, ['gateway', 'postgres']);
    const present = join(node.folder, 'data-18');
    renameSync(node.dataFolder, present);
    // pg_upgrade in its usual mode leaves it as it was, and so does a dump.
    const former = join(node.folder, 'data-15');
    renameSync(former, node.dataFolder);
    const old: NodeLayout = { ...node, major: 15 };
    await startServer(old);
    expect((await prepare(old, '--undo')).code).toBe(0);
    await expect(startNode(old, ['gateway'])).rejects.toThrow(/another PostgreSQL|further ahead/);
    await stopServer(old);
    renameSync(node.dataFolder, former);
    renameSync(present, node.dataFolder);
    await startNode(node, ['postgres', 'gateway']);
    await cluster.whole();
  });
});

const schema = [
  `CREATE TABLE ledger (id text, side text, node int, PRIMARY KEY (id, side))`,
  `CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL)`,
  `INSERT INTO account SELECT g, 0 FROM generate_series(1, 3) AS g`,
  `CREATE TABLE entry (id serial PRIMARY KEY, note text)`,
  `INSERT INTO entry (note) VALUES ('a'), ('b')`,
  `CREATE TABLE unkeyed (n int)`,
  `INSERT INTO unkeyed VALUES (1), (2)`,
  `CREATE TABLE turn (id int PRIMARY KEY, place int UNIQUE DEFERRABLE)`,
  `INSERT INTO turn VALUES (1, 1), (2, 2)`,
  `CREATE TABLE here (id int PRIMARY KEY)`,
  `SELECT mtm.make_table_local('here')`,
  `CREATE ROLE clerk LOGIN PASSWORD 'secret'`,
  `GRANT SELECT ON ledger TO clerk`,
  `CREATE FUNCTION told() RETURNS void LANGUAGE sql BEGIN ATOMIC SELECT pg_notify('told', 'x'); END`,
  `CREATE VIEW next_entry AS SELECT setval('entry_id_seq', 500) AS n`,
];
