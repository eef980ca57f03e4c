/**
 * Are the nodes of a cluster equal? Looked at from outside, past the gateways: rows, sequences, schema, prepared transactions.
 * Rule: names instead of OIDs, and nothing of the gateway's own schema mtm.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Client } from 'pg';
import { expect } from 'vitest';
import { embeddedDatabase, embeddedHost, type NodeLayout } from '../../src/io/launcher/node-layout.ts';
import type { Cluster } from './cluster.ts';
import { settled } from './polling.ts';
import { findProgram, runProgram } from './programs.ts';

/** Everything that makes up a schema; see there. */
export const schemaQuery = readFileSync(
  fileURLToPath(new URL('schema-fingerprint.sql', import.meta.url)),
  'utf8',
);

/** User tables with rows of their own. */
export const tablesQuery = `
  SELECT c.oid::regclass::text AS name, c.relispopulated AS populated
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p' AND n.nspname <> 'mtm'
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY 1`;

/** Where it starts and what it has reached is each node's own. */
export const sequencesQuery = `
  SELECT format('sequence %I.%I as %s by %s cache %s cycle %s owner %s', schemaname, sequencename, data_type,
    increment_by, cache_size, cycle, sequenceowner) AS line
  FROM pg_sequences WHERE schemaname <> 'mtm' ORDER BY 1`;

async function withServer<T>(
  node: NodeLayout,
  work: (client: Client) => Promise<T>,
  database = embeddedDatabase,
): Promise<T> {
  const { postgresPort: port } = node;
  const client = new Client({
    ssl: false,
    host: embeddedHost,
    port,
    user: 'postgres',
    database,
  });
  await client.connect();
  try {
    // Every name comes qualified, and values print the same whatever the database's settings are.
    await client.query(`SET search_path = pg_catalog; SET timezone = 'UTC'; SET extra_float_digits = 1`);
    return await work(client);
  } finally {
    await client.end();
  }
}

/**
 * `table: rows, hash` for every user table, materialised views too, rows ordered by their text. The rows of an
 * unlogged table are each node's own.
 */
export async function tableHashes(node: NodeLayout, database = embeddedDatabase): Promise<string[]> {
  const work = async (client: Client): Promise<string[]> => {
    const hashes: string[] = [];
    const tables = await client.query<{ name: string; populated: boolean }>(tablesQuery);
    for (const { name, populated } of tables.rows) {
      if (!populated) {
        hashes.push(`${name}: not populated`);
        continue;
      }
      const { rows } = await client.query<{ count: string; hash: string | null }>(
        `SELECT count(*) AS count, md5(string_agg(md5("the row"::text), ''
           ORDER BY "the row"::text COLLATE "C")) AS hash
         FROM ONLY ${name} AS "the row"`, // no column is called so
      );
      hashes.push(`${name}: ${rows[0]?.count} rows, ${rows[0]?.hash ?? 'empty'}`);
    }
    return hashes;
  };
  return withServer(node, work, database);
}

/** The schema in sorted lines, from the catalog. */
export async function schemaLines(node: NodeLayout): Promise<string[]> {
  return withServer(node, async (client) => {
    const schema = await client.query<{ line: string }>(schemaQuery);
    const sequences = await client.query<{ line: string }>(sequencesQuery);
    return [...schema.rows, ...sequences.rows].map(({ line }) => line);
  });
}

/** pg_dump --schema-only without what is each node's own: comments, the session's key, where sequences start. */
export async function schemaDump(node: NodeLayout, database = embeddedDatabase): Promise<string> {
  const dump = await runProgram('pg_dump', [
    ...['-h', embeddedHost, '-p', String(node.postgresPort), '-U', 'postgres', '-d', database],
    ...['--schema-only', '--exclude-schema=mtm'],
  ]);
  if (dump.code !== 0) throw new Error(`pg_dump: ${dump.stderr}`);
  return dump.stdout
    .replaceAll(/^(--.*|\\(un)?restrict .*|)\n/gm, '')
    .replaceAll(/^ +(START WITH|(NO )?MINVALUE)\b.*\n/gm, '');
}

/** pg_dump refuses servers newer than itself. */
export function canDump(node: NodeLayout): boolean {
  return dumpMajor !== undefined && dumpMajor >= node.major;
}

const dumpMajor = await (async () => {
  if (findProgram('pg_dump') === undefined) return undefined;
  const { stdout } = await runProgram('pg_dump', ['--version']);
  return Number(/ (\d+)[.\w]/.exec(stdout)?.[1]);
})();

function isSame(values: readonly unknown[]): boolean {
  return values.every((value) => JSON.stringify(value) === JSON.stringify(values[0]));
}

/**
 * Every row on every server is the same. With wait_peer_commits an answered write is everywhere; what was in flight when its
 * client went away may still be finishing, hence the deadline.
 */
export async function equalRows(cluster: Cluster, limitMs = 30_000): Promise<void> {
  const hashes = await settled(
    () => Promise.all(cluster.nodes.map((node) => tableHashes(node))),
    isSame,
    limitMs,
  );
  for (const [index, other] of hashes.entries())
    expect(other, `rows of node ${index + 1}`).toEqual(hashes[0]);
}

/** The schema on every server is the same. The catalogs of different versions print differently: only equal ones compare. */
export async function equalSchemas(cluster: Cluster, limitMs = 30_000): Promise<void> {
  const groups = Map.groupBy(cluster.nodes, ({ major }) => major);
  for (const nodes of groups.values()) {
    const lines = await settled(() => Promise.all(nodes.map(schemaLines)), isSame, limitMs);
    for (const [index, other] of lines.entries()) {
      expect(other, `schema of node ${nodes[index]?.node}`).toEqual(lines[0]);
    }
    const dumped = nodes.filter(canDump);
    const dumps = await Promise.all(dumped.map((node) => schemaDump(node)));
    for (const [index, other] of dumps.entries()) {
      expect(other, `pg_dump of node ${dumped[index]?.node}`).toBe(dumps[0]);
    }
  }
}

export async function equalEverywhere(cluster: Cluster): Promise<void> {
  await equalRows(cluster);
  await equalSchemas(cluster);
}

/** No prepared transaction is left on any server. */
export async function noPrepared(cluster: Cluster, limitMs = 30_000): Promise<void> {
  const left = await settled(
    () => Promise.all(cluster.nodes.map(preparedOn)),
    (lists) => lists.every((list) => list.length === 0),
    limitMs,
  );
  expect(left, 'prepared transactions').toEqual(cluster.nodes.map(() => []));
}

function preparedOn(node: NodeLayout): Promise<string[]> {
  return withServer(node, async (client) => {
    const { rows } = await client.query<{ gid: string }>('SELECT gid FROM pg_prepared_xacts ORDER BY gid');
    return rows.map(({ gid }) => gid);
  });
}
