/**
 * Are the nodes equal after the run? Rows, catalog, sequences, nothing prepared; looked at past the gateways.
 * As support/convergence.ts, but outside of vitest and with a list of what differs as the answer.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { setTimeout as pause } from 'node:timers/promises';
import type { NodeLayout } from '../../src/io/launcher/node-layout.ts';
import { query } from './regression-cluster.ts';

const schemaQuery = readFileSync(
  fileURLToPath(new URL('../support/schema-fingerprint.sql', import.meta.url)),
  'utf8',
);

const pinned = `SET search_path = pg_catalog; SET timezone = 'UTC'; SET extra_float_digits = 1; SET datestyle = ISO;`;

/** Rows of unlogged tables are each node's own. */
const tablesQuery = `
  SELECT c.oid::regclass::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p' AND c.relispopulated AND n.nspname <> 'mtm'
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY 1`;

/** Where it starts and what it has reached is each node's own. */
const sequencesQuery = `
  SELECT format('sequence %I.%I as %s by %s cache %s cycle %s owner %s', schemaname, sequencename, data_type,
    increment_by, cache_size, cycle, sequenceowner) AS line
  FROM pg_sequences WHERE schemaname <> 'mtm' ORDER BY 1`;

async function pinnedQuery<R extends Record<string, unknown>>(node: NodeLayout, text: string): Promise<R[]> {
  // The last statement of the string has the answer.
  return query<R>(node.postgresPort, `${pinned} ${text}`);
}

/** Everything about a node that must be the same on all, one line each. */
async function linesOf(node: NodeLayout): Promise<string[]> {
  const lines: string[] = [];
  for (const { name } of await pinnedQuery<{ name: string }>(node, tablesQuery)) {
    const [row] = await pinnedQuery<{ count: string; hash: string | null }>(
      node,
      `SELECT count(*) AS count, md5(string_agg(md5(t::text), '' ORDER BY t::text COLLATE "C")) AS hash
       FROM ONLY ${name} AS t`,
    );
    lines.push(`rows of ${name}: ${row?.count}, ${row?.hash ?? 'empty'}`);
  }
  for (const text of [schemaQuery, sequencesQuery]) {
    for (const { line } of await pinnedQuery<{ line: string }>(node, text)) lines.push(line);
  }
  const prepared = await pinnedQuery<{ gid: string }>(node, 'SELECT gid FROM pg_prepared_xacts');
  return [...lines, ...prepared.map(({ gid }) => `prepared: ${gid}`)];
}

/** What is on one node and not on the first, or the other way round. */
export async function differencesBetweenNodes(nodes: readonly NodeLayout[]): Promise<string[]> {
  await pause(2000); // what ended with its client may still be finishing
  const [first, ...others] = await Promise.all(nodes.map(linesOf));
  const known = new Set(first);
  const left = (first ?? []).filter((line) => line.startsWith('prepared: '));
  for (const [index, other] of others.entries()) {
    const there = new Set(other);
    for (const line of other) if (!known.has(line)) left.push(`only on node ${index + 2}: ${line}`);
    for (const line of known) if (!there.has(line)) left.push(`not on node ${index + 2}: ${line}`);
  }
  return left;
}
