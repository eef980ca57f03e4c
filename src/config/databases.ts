/**
 * A gateway of several databases: to the outside one node, inside one node for each database, with streams,
 * elections and a status of its own. A database's number keeps apart what belongs to the whole server: slots,
 * replication origins and the ids of prepared transactions.
 * Rule: the number comes from the name, so it is the same on all nodes, whatever order they list them in.
 */
import type { GatewayConfig } from './schema.ts';

/**
 * Whoever connects to a database of this name talks to the gateway itself: its own name, as `pgbouncer` is
 * PgBouncer's, because no application has a database that is called so.
 */
export const consoleDatabase = 'mtm_gateway';

const numbers = 997;
/** Of a cluster's name in a handshake between gateways. */
const maxClusterNameBytes = 63;

/** 1…997 for one of postgres.more_databases (FNV-1a); the first database has 0. */
export function databaseNumber(name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return 1 + (hash % numbers);
}

/** What the gateways of this database call their cluster in handshakes and at the referee. */
function clusterOf(clusterName: string, database: string): string {
  return `${clusterName}/${database}`;
}

/** What is wrong with the list of more databases, one sentence each. */
export function databaseProblems(clusterName: string, first: string, more: readonly string[]): string[] {
  const problems: string[] = [];
  const names = new Map<number, string>();
  if ([first, ...more].includes(consoleDatabase))
    problems.push(`a database of the cluster cannot be called ${consoleDatabase}: that is the admin console`);
  if (more.length > 0 && clusterName.includes('/')) problems.push('cluster_name must not contain a slash');
  for (const name of more) {
    const number = databaseNumber(name);
    const other = names.get(number);
    names.set(number, name);
    if (name === first || name === other) problems.push(`postgres.more_databases: "${name}" is there twice`);
    else if (other !== undefined)
      problems.push(`postgres.more_databases: "${name}" and "${other}" need the same number: rename one`);
    if (new TextEncoder().encode(clusterOf(clusterName, name)).length > maxClusterNameBytes)
      problems.push(`cluster_name and the name of database "${name}" are longer than 63 bytes together`);
  }
  return problems;
}

/** The configuration of each database's node, the first database's first. */
export function configsByDatabase(config: GatewayConfig): readonly [GatewayConfig, ...GatewayConfig[]] {
  const more = config.moreDatabases.map((database) => ({
    ...config,
    clusterName: clusterOf(config.clusterName, database),
    postgres: { ...config.postgres, database, number: databaseNumber(database) },
  }));
  return [config, ...more];
}
