/**
 * Do servers of different versions hold the same? The fingerprint of the schema without what the versions print in their
 * own way, and the rows of all tables that are logged.
 * Rule: what is left out here is left out for all statements: each line says why.
 */
import { Client } from 'pg';
import { expect } from 'vitest';
import { embeddedDatabase, embeddedHost, type NodeLayout } from '../../../src/io/launcher/node-layout.ts';
import { schemaLines } from '../../support/convergence.ts';
import { settled } from '../../support/polling.ts';

/** The lines that all versions print alike. */
export function commonLines(lines: readonly string[]): string[] {
  return lines
    .filter((line) => !/^constraint .*: NOT NULL /.test(line)) // 18 has constraints for NOT NULL
    .map(
      (line) =>
        line
          .replace(/^(rule CREATE RULE "_RETURN" AS\s+ON SELECT TO \S+)[^]*$/, '$1') // 16 leaves out names of tables
          .replaceAll(/(=[a-zA-Z*]*t?)m(\*?\/)/g, '$1$2'), // 17 knows MAINTAIN
    );
}

const tables = `
  SELECT c.oid::regclass::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p' AND c.relispopulated AND n.nspname ~ '^(m_|public$)' ORDER BY 1`;

/** One line for each table that is logged: rows and their hash. */
export async function rowLines(node: NodeLayout): Promise<string[]> {
  const { postgresPort: port } = node;
  const client = new Client({
    ssl: false,
    host: embeddedHost,
    port,
    user: 'postgres',
    database: embeddedDatabase,
  });
  await client.connect();
  try {
    await client.query(`SET search_path = pg_catalog; SET timezone = 'UTC'; SET extra_float_digits = 1`);
    const names = (await client.query<{ name: string }>(tables)).rows.map(({ name }) => name);
    const lines: string[] = [];
    for (const name of names) {
      const { rows } = await client.query<{ line: string }>(
        `SELECT count(*) || ' rows ' || coalesce(md5(string_agg(t::text, ',' ORDER BY t::text COLLATE "C")), '') AS line
         FROM ONLY ${name} AS t`,
      );
      lines.push(`${name}: ${rows[0]!.line}`);
    }
    return lines;
  } finally {
    await client.end();
  }
}

function difference(lists: readonly (readonly string[])[]): string[] {
  const all = lists.map((list) => new Set(list));
  return lists.flatMap((list, index) =>
    list.filter((line) => !all.every((other) => other.has(line))).map((line) => `${index + 1}: ${line}`),
  );
}

/** The same schema and the same rows on all nodes, whatever their versions. */
export async function expectAgreement(nodes: readonly NodeLayout[]): Promise<void> {
  const read = async (): Promise<string[]> => {
    const lists = await Promise.all(
      nodes.map(async (node) => [...commonLines(await schemaLines(node)), ...(await rowLines(node))]),
    );
    return difference(lists);
  };
  expect(await settled(read, (lines) => lines.length === 0), 'differences between nodes').toEqual([]);
}
