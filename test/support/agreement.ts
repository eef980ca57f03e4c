/**
 * Do servers hold the same, whatever their versions? Everything that makes up the schema, the rows of all logged tables, what
 * is prepared; pg_dump says it once more where it can. Every cluster of the tests is asked this when it stops.
 * Rule: what is left out here is left out for all tests: each line says why. A single test names what it leaves out.
 */
import { Client } from 'pg';
import { expect } from 'vitest';
import { gidPrefix } from '../../src/core/identity.ts';
import { embeddedDatabase, embeddedHost, type NodeLayout } from '../../src/io/launcher/node-layout.ts';
import { canDump, schemaDump, schemaQuery, sequencesQuery, tablesQuery } from './convergence.ts';
import { settled } from './polling.ts';

/** What the nodes need not agree on, and why. */
export interface Difference {
  readonly why: string;
  /** Lines of the comparison. */
  readonly lines?: RegExp;
  /** Definitions of nodes of other versions; rows are compared all the same. */
  readonly versions?: true;
  /** Nodes that are away for good. */
  readonly away?: readonly number[];
}

export interface AgreementWishes {
  readonly databases?: readonly string[];
  /** Where the servers listen. */
  readonly host?: string;
  readonly except?: readonly Difference[];
  readonly limitMs?: number;
}

/** What one server holds, line by line. */
export interface Held {
  readonly major: number;
  readonly lines: readonly string[];
}

/** The lines that all versions print alike. */
export function commonLines(lines: readonly string[]): string[] {
  return lines
    .filter((line) => !/^constraint .*: NOT NULL /s.test(line)) // 18 has constraints for NOT NULL
    .filter((line) => !/^role pg_|^member pg_/.test(line)) // newer versions bring more of them
    .map(
      (line) =>
        line
          .replace(/^(rule CREATE RULE "_RETURN" AS\s+ON SELECT TO \S+)[^]*$/, '$1') // 16 leaves out names of tables
          .replaceAll(/(=[a-zA-Z*]*t?)m(\*?\/)/g, '$1$2'), // 17 knows MAINTAIN
    );
}

/** Rows stay where they were written: core/apply/facts.ts. */
const localTables = `
  SELECT c.oid::regclass::text AS name FROM pg_class c WHERE c.relkind = 'r' AND c.oid >= 16384 AND (EXISTS (
    SELECT FROM mtm.local_table t WHERE t.relid = c.oid OR t.relid IN (SELECT pg_partition_ancestors(c.oid)))
    OR (EXISTS (SELECT FROM mtm.node n WHERE n.ignore_tables_without_pk)
      AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)))`;

/** Of a gateway nothing may be left; what clients have prepared is prepared on all nodes. */
const preparedQuery = `SELECT 'prepared ' || gid AS line FROM pg_prepared_xacts WHERE database = current_database() ORDER BY 1`;

async function heldBy(node: NodeLayout, host: string, database: string): Promise<Held> {
  const client = new Client({ ssl: false, host, port: node.postgresPort, user: 'postgres', database });
  client.on('error', () => undefined); // A broken connection fails the query.
  await client.connect();
  const column = async (text: string, name: string): Promise<string[]> =>
    (await client.query<Record<string, string>>(text)).rows.map((row) => row[name]!);
  try {
    // Every name comes qualified, and values print the same whatever the database's settings are.
    await client.query(`SET search_path = pg_catalog; SET timezone = 'UTC'; SET extra_float_digits = 1`);
    const lines = [...(await column(schemaQuery, 'line')), ...(await column(sequencesQuery, 'line'))];
    const local = new Set(await column(localTables, 'name'));
    const { rows } = await client.query<{ name: string; populated: boolean }>(tablesQuery);
    for (const { name, populated } of rows) {
      if (local.has(name)) continue;
      if (!populated) {
        lines.push(`rows of ${name}: not populated`);
        continue;
      }
      const hash = `SELECT count(*) || ', ' || coalesce(md5(string_agg(md5("the row"::text), ''
        ORDER BY "the row"::text COLLATE "C")), 'none') AS line FROM ONLY ${name} AS "the row"`; // no column is called so
      lines.push(`rows of ${name}: ${(await column(hash, 'line')).join()}`);
    }
    return { major: node.major, lines: [...lines, ...(await column(preparedQuery, 'line'))] };
  } finally {
    await client.end();
  }
}

function difference(lists: readonly (readonly string[])[], names: readonly string[]): string[] {
  const all = lists.map((list) => new Set(list));
  return lists.flatMap((list, index) =>
    list.filter((line) => !all.every((other) => other.has(line))).map((line) => `${names[index]}: ${line}`),
  );
}

/** Line by line, with the number of the node that has what not all others have. */
export function differences(
  nodes: readonly Pick<NodeLayout, 'node'>[],
  held: readonly Held[],
  versions = true,
): string[] {
  const names = nodes.map(({ node }) => `node ${node}`);
  const found = held.flatMap(({ lines }, index) =>
    lines
      .filter((line) => line.startsWith(`prepared ${gidPrefix}`))
      .map((line) => `${names[index]}: ${line}`),
  );
  const across = held.map(({ lines }) =>
    versions ? commonLines(lines) : lines.filter((line) => line.startsWith('rows of ')),
  );
  found.push(...difference(across, names));
  for (const group of Map.groupBy(held.keys(), (index) => held[index]!.major).values()) {
    const lists = group.map((index) => held[index]!.lines);
    const own = group.map((index) => names[index]!);
    found.push(...difference(lists, own));
  }
  return [...new Set(found)];
}

async function dumpDifferences(nodes: readonly NodeLayout[], database: string): Promise<string[]> {
  const found: string[] = [];
  for (const group of Map.groupBy(nodes.filter(canDump), ({ major }) => major).values()) {
    if (group.length < 2) continue;
    const dumps = await Promise.all(group.map((node) => schemaDump(node, database)));
    const names = group.map(({ node }) => `pg_dump of node ${node}`);
    if (!dumps.every((dump) => dump === dumps[0]))
      found.push(
        ...difference(
          dumps.map((dump) => dump.split('\n')),
          names,
        ),
        'pg_dump of the nodes',
      );
  }
  return found;
}

/** The same schema, the same rows and the same prepared transactions on all nodes, whatever their versions. */
export async function expectAgreement(
  nodes: readonly NodeLayout[],
  wishes: AgreementWishes = {},
): Promise<void> {
  const { databases = [embeddedDatabase], host = embeddedHost, except = [], limitMs = 10_000 } = wishes;
  const versions = !except.some((one) => one.versions === true);
  const excepted = (line: string): boolean => except.some(({ lines }) => lines?.test(line) === true);
  for (const database of databases) {
    const read = async (): Promise<string[]> => {
      const held = await Promise.all(nodes.map((node) => heldBy(node, host, database)));
      return differences(nodes, held, versions).filter((line) => !excepted(line));
    };
    const found = await settled(read, (lines) => lines.length === 0, limitMs);
    expect(found, `differences between nodes in ${database}`).toEqual([]);
    if (host !== embeddedHost) continue; // programs run here, not on the nodes' hosts
    const dumped = (await dumpDifferences(nodes, database)).filter((line) => !excepted(line));
    expect(dumped, `differences of pg_dump in ${database}`).toEqual([]);
  }
}
