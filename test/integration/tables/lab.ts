/**
 * A cluster for the tests of tables and types: statements go to the nodes in turn, and afterwards every node is the same.
 * Rule: the OIDs of users' objects differ between the nodes, as they do in the course of a cluster's life.
 */
import type { Client } from 'pg';
import type { PostgresMajor } from '../../../src/io/launcher/server-binaries.ts';
import { failureOf, startCluster, type Cluster, type SqlFailure } from '../../support/cluster.ts';
import { equalEverywhere, noPrepared } from '../../support/convergence.ts';

/** 18 with what only it has, and a cluster with both, where there are two of the oldest, too. */
export const clusters: readonly (readonly [string, readonly PostgresMajor[]])[] = [
  ['18', [18, 18, 18]],
  ['15 and 18', [15, 18, 15]],
];

/** Values print in other ways under these, in the client's session and in what the server takes for its default. */
export const hostileSettings: readonly (readonly [string, string])[] = [
  ['DateStyle', 'SQL, DMY'],
  ['IntervalStyle', 'sql_standard'],
  ['TimeZone', 'Asia/Kolkata'],
  ['bytea_output', 'escape'],
  ['extra_float_digits', '-10'],
  ['xmlbinary', 'hex'],
  ['array_nulls', 'off'],
  ['quote_all_identifiers', 'on'],
  ['default_text_search_config', 'pg_catalog.german'],
  ['transform_null_equals', 'on'],
  ['lc_monetary', 'C.UTF-8'],
  ['lc_numeric', 'C.UTF-8'],
];

export class TableLab {
  readonly cluster: Cluster;
  #turn = 0;

  private constructor(cluster: Cluster) {
    this.cluster = cluster;
  }

  static async start(majors: readonly PostgresMajor[]): Promise<TableLab> {
    const lab = new TableLab(await startCluster({ majors }));
    for (const number of lab.cluster.numbers) await lab.#useOids(number, 10 * number);
    return lab;
  }

  /** Nobody else sees temporary tables, but their OIDs come from the same counter. */
  async #useOids(number: number, times: number): Promise<void> {
    const client = await this.cluster.direct(number);
    const make = `CREATE TEMP TABLE used (t text); DROP TABLE used;`;
    await client.query(make.repeat(times));
    await client.end();
  }

  get oldest(): number {
    return Math.min(...this.cluster.nodes.map(({ major }) => major));
  }

  /** Each on the next node. */
  async run(...statements: readonly string[]): Promise<void> {
    for (const text of statements) {
      const number = this.#next();
      await this.cluster.query(number, text).catch((error: unknown) => {
        throw new Error(`node ${number}: ${text.slice(0, 200)}: ${String(error)}`, { cause: error });
      });
    }
  }

  #next(): number {
    const { numbers } = this.cluster;
    return numbers[this.#turn++ % numbers.length]!;
  }

  /** In one transaction on the next node. */
  async transaction(...statements: readonly string[]): Promise<void> {
    const client = await this.cluster.client(this.#next());
    await client.query('BEGIN');
    for (const text of statements) await client.query(text);
    await client.query('COMMIT');
    await client.end();
  }

  /** The same rows on all nodes, past the gateways; those of the first. */
  async everywhere(text: string): Promise<unknown[]> {
    const answers = await this.cluster.onAllServers(text);
    for (const [index, answer] of answers.entries()) {
      if (JSON.stringify(answer) !== JSON.stringify(answers[0]))
        throw new Error(
          `node ${index + 1} says ${JSON.stringify(answer)}, not ${JSON.stringify(answers[0])}`,
        );
    }
    return answers[0] ?? [];
  }

  async failure(text: string): Promise<SqlFailure> {
    return failureOf(this.cluster.query(this.#next(), text), text);
  }

  async hostile(number: number): Promise<Client> {
    const client = await this.cluster.client(number);
    for (const [name, value] of hostileSettings) await client.query(`SET ${name} = '${value}'`);
    return client;
  }

  /** After each test: rows, schema, nothing prepared; then a clean slate. */
  async equal(): Promise<void> {
    await noPrepared(this.cluster);
    await equalEverywhere(this.cluster);
  }

  async clear(): Promise<void> {
    await this.cluster.query(1, 'DROP SCHEMA public CASCADE');
    await this.cluster.query(1, 'CREATE SCHEMA public');
    await this.cluster.query(1, 'GRANT ALL ON SCHEMA public TO public');
  }

  async stop(): Promise<void> {
    await this.cluster.stop();
  }
}
