/**
 * The limit: the same transactions driven straight at each of three servers by a pgbench of its own, with the same random
 * numbers: one packet up to PREPARE TRANSACTION, then COMMIT PREPARED. Nothing stands between them and nobody waits for
 * another server, so that no gateway can be faster than the slowest of the three.
 */
import type { Candidate } from './candidate.ts';
import { endSessions, query, type ServerGroup } from './server-group.ts';

const database = 'bench_limit';

/** What a pgbench that was killed has left behind; names of prepared transactions count for the whole server. */
async function rollBackPrepared(servers: Candidate['servers']): Promise<void> {
  await endSessions(servers);
  for (const server of servers) {
    const left = await query(
      server,
      `SELECT format('ROLLBACK PREPARED %L', gid) AS sql FROM pg_prepared_xacts WHERE database = current_database()`,
    );
    for (const { sql } of left) await query(server, String(sql));
  }
}

/** In a database of its own on servers that others may use at other times. */
export async function limitCandidate(group: ServerGroup): Promise<Candidate> {
  for (const server of group.servers) await query(server, `CREATE DATABASE ${database}`);
  const servers = group.servers.map(({ port }) => ({ port, database }));
  return {
    key: 'limit',
    title: 'limit',
    targets: servers,
    servers,
    combine: 'slowest',
    workloads: ['update', 'tpcb'],
    processes: [],
    recover: () => rollBackPrepared(servers),
  };
}
