/**
 * A schema of real life (shop.sql), dumped from a single server and restored through a gateway by PostgreSQL's own
 * programs: in one session, then by several at once. Rule: a restored database is the same as the dumped one.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { embeddedDatabase, embeddedHost } from '../../../src/io/launcher/node-layout.ts';
import { startCluster, type Cluster } from '../../support/cluster.ts';
import { equalEverywhere, noPrepared, schemaDump, tableHashes } from '../../support/convergence.ts';
import { findProgram, needs, psql, runProgram, type ProgramRun } from '../../support/programs.ts';

const shopSql = readFileSync(fileURLToPath(new URL('shop.sql', import.meta.url)), 'utf8');
/** On the server of node 1, where no gateway looks. */
const source = 'shop';
/** pg_dump of Debian 12 reads servers up to 15: so there are two of them, to be compared by it. */
const majors = [15, 18, 15] as const;

let cluster: Cluster;

beforeAll(async () => {
  const why =
    "what extensions have, what partitions inherit and names of their foreign keys are the version's own";
  cluster = await startCluster({ majors, unequal: [{ versions: true, why }] });
});

afterAll(async () => {
  await cluster?.stop();
});

function succeeded(run: ProgramRun): string {
  expect(run.stderr.split('\n').filter((line) => /error|fatal/i.test(line))).toEqual([]);
  expect(run.code).toBe(0);
  return run.stdout;
}

const address = (port: number): string[] => ['-h', embeddedHost, '-p', String(port), '-U', 'postgres'];

/** What the gateway adds: its triggers, its publication, an identity for tables without a key, one right less. */
const added = [
  /^\s*(CREATE|ALTER) (EVENT TRIGGER "!mtm|PUBLICATION mtm)/,
  /^\s*ALTER TABLE ONLY \S+ REPLICA IDENTITY FULL$/,
  /^\s*REVOKE ALL ON FUNCTION pg_catalog\.pg_logical_emit_message/,
];

/** Without that, and without the steps of sequences, which the gateway multiplies. */
function asOnOneServer(dump: string): string[] {
  const statements = dump.replaceAll(/^ +(INCREMENT BY|NO MINVALUE).*\n/gm, '').split(/;\n/);
  return statements.filter((statement) => !added.some((pattern) => pattern.test(statement)));
}

/** The data and the schema of every node are those of the source. */
async function sameAsSource(): Promise<void> {
  await equalEverywhere(cluster);
  await noPrepared(cluster);
  const first = cluster.node(1);
  expect(await tableHashes(first)).toEqual(await tableHashes(first, source));
  expect(asOnOneServer(await schemaDump(first))).toEqual(asOnOneServer(await schemaDump(first, source)));
}

/** Tables whose key comes from a sequence, and how a row is added. */
const numbered = [
  [
    'shop.customer',
    `(login, email, password, name) VALUES ($1::text, replace($1::text, ' ', '.') || '@example.org', '', '')`,
  ],
  ['shop.category', `(name) VALUES ($1)`],
  ['shop.product', `(sku, title) VALUES ($1::text, $1::text)`],
  ['shop."order"', `(customer, placed, remarks) VALUES (1500, '2025-02-03', $1)`],
  ['shop.staff', `(login) VALUES ($1)`],
  ['forum.thread', `(board, title) VALUES (1, $1)`],
  ['forum.post', `(thread, author, body) VALUES (1, 1500, $1)`],
] as const;

async function goesOn(): Promise<void> {
  for (const number of cluster.numbers) {
    for (const [table, row] of numbered) {
      const name = `new of ${number}`;
      const [made] = await cluster.query<{ id: number }>(number, `INSERT INTO ${table} ${row} RETURNING id`, [
        name,
      ]);
      const above = `SELECT count(*)::int AS n FROM ${table} WHERE id = $1`;
      expect(await cluster.query(number, above, [made?.id]), table).toEqual([{ n: 1 }]);
    }
  }
  // Triggers ran once: the forum counts its posts.
  const counts = `SELECT posts FROM forum.board WHERE id = 1`;
  const real = `SELECT count(*)::int AS posts FROM forum.post p JOIN forum.thread t ON t.id = p.thread WHERE t.board = 1`;
  expect(await cluster.query(2, counts)).toEqual(await cluster.query(3, real));
  await equalEverywhere(cluster);
}

async function clear(number: number): Promise<void> {
  await cluster.query(number, 'DROP SCHEMA shop, forum CASCADE');
  await cluster.query(number, 'DROP PUBLICATION shop_feed');
  await cluster.query(number, 'DROP EXTENSION citext, pgcrypto, pg_trgm, btree_gist');
}

describe(`a shop${needs('pg_dump')}`, { skip: findProgram('pg_dump') === undefined }, () => {
  let dump: string;

  beforeAll(async () => {
    for (const role of ['shop_owner', 'shop_clerk', 'shop_reader'])
      await cluster.query(1, `CREATE ROLE ${role}`);
    await cluster.directly(1, `CREATE DATABASE ${source}`);
    const server = address(cluster.node(1).postgresPort);
    succeeded(
      await runProgram('psql', ['-X', '-q', '-v', 'ON_ERROR_STOP=1', ...server, '-d', source], shopSql),
    );
    dump = succeeded(await runProgram('pg_dump', [...server, source]));
  });

  test('restored by psql, and it goes on', async () => {
    succeeded(await psql(cluster.node(1), ['-q', '-o', '/dev/null'], dump));
    await sameAsSource();
    await goesOn();
    await clear(3);
    await equalEverywhere(cluster);
  });

  test(`restored by pg_restore with four sessions, and it goes on${needs('pg_restore')}`, async () => {
    const file = join(cluster.folder.folder, 'shop.dump');
    succeeded(
      await runProgram('pg_dump', [...address(cluster.node(1).postgresPort), '-Fc', '-f', file, source]),
    );
    const to = [...address(cluster.node(2).gatewayPort), '-d', embeddedDatabase];
    succeeded(await runProgram('pg_restore', ['-j', '4', '--exit-on-error', ...to, file]));
    await sameAsSource();
    await goesOn();
  });

  test('dumped through a gateway as from its server, also by several sessions', async () => {
    const { gatewayPort, postgresPort } = cluster.node(3);
    const plain = async (port: number): Promise<string[]> => {
      const text = await runProgram('pg_dump', [...address(port), '--exclude-schema=mtm', embeddedDatabase]);
      return succeeded(text)
        .split('\n')
        .filter((line) => !/^\\(un)?restrict/.test(line));
    };
    expect(await plain(gatewayPort)).toEqual(await plain(postgresPort));
    const folder = join(cluster.folder.folder, 'shop.folder');
    const many = ['-j', '3', '-Fd', '-f', folder, '--exclude-schema=mtm', embeddedDatabase];
    succeeded(await runProgram('pg_dump', [...address(gatewayPort), ...many]));
    const listed = succeeded(await runProgram('pg_restore', ['--list', folder]));
    expect(listed).toMatch(/TABLE DATA shop order_2025_1 /);
  });
});
