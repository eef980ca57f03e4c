/**
 * One server with the schema mtm installed, and a view of what a transaction leaves in the stream.
 * The server is started through src/io/launcher; MTM_TEST_PG15=port (…PG18) takes a running one of one's own instead,
 * on which nobody else may use the slots mtm_live and mtm_retain.
 */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, type DatabaseError } from 'pg';
import type { DdlMessage } from '../../../src/core/apply/ddl-message.ts';
import { decodePgoutput } from '../../../src/core/pgoutput/decoder.ts';
import { clusterLayout } from '../../../src/io/launcher/node-layout.ts';
import { startServer, stopServer } from '../../../src/io/launcher/postgres-server.ts';
import type { PostgresMajor } from '../../../src/io/launcher/server-binaries.ts';
import { ensureSlots, installSchema } from '../../../src/io/postgres/schema-installer.ts';
import { slotNames } from '../../../src/io/postgres/slot-names.ts';
import { freePort } from '../../support/free-port.ts';
import { makeServer } from '../../support/server-template.ts';

export const testedMajors: readonly PostgresMajor[] = [15, 16, 17, 18];

/** What one transaction left: the header's answer and, when it was prepared, the stream between `b` and `P`. */
export interface Trace {
  readonly header: string;
  /** `ddl TAG`, `insert schema.table`, `truncate …`, `follow rows schema.table`, `header gid`. */
  readonly stream: readonly string[];
  readonly ddl: readonly DdlMessage[];
}

export interface SensorLab {
  readonly major: PostgresMajor;
  /** Superuser. */
  readonly admin: Client;
  connect(user: string, database?: string): Promise<Client>;
  /** BEGIN, the statements, the header, PREPARE, COMMIT PREPARED (or COMMIT when there is nothing to prepare). */
  trace(client: Client, statements: readonly string[], headerCall?: string): Promise<Trace>;
  close(): Promise<void>;
}

interface ProvidedServer {
  readonly port: number;
  /** Somebody else's: it is there afterwards, too. */
  readonly stays: boolean;
  readonly stop: () => Promise<void>;
}

async function provideServer(major: PostgresMajor): Promise<ProvidedServer> {
  const given = process.env[`MTM_TEST_PG${major}`];
  if (given !== undefined) return { port: Number(given), stays: true, stop: async () => {} };
  const folder = mkdtempSync(join(tmpdir(), `mtm-sensors-${major}-`));
  chmodSync(folder, 0o755); // as root the server runs as another user
  const [layout] = clusterLayout(folder, 1, [major]);
  if (layout === undefined) throw new Error('a cluster of one node has a node');
  const node = { ...layout, postgresPort: await freePort() };
  await makeServer(node);
  await startServer(node);
  const stop = async (): Promise<void> => {
    await stopServer(node);
    rmSync(folder, { recursive: true, force: true });
  };
  return { port: node.postgresPort, stays: false, stop };
}

/** The stream of one prepared transaction in words. */
async function readStream(admin: Client): Promise<Pick<Trace, 'stream' | 'ddl'>> {
  const { rows } = await admin.query<{ data: Buffer }>(
    `SELECT data FROM pg_logical_slot_get_binary_changes('mtm_live', NULL, NULL,
       'proto_version', '3', 'publication_names', 'mtm', 'messages', 'true')`,
  );
  const relations = new Map<number, string>();
  const stream: string[] = [];
  const ddl: DdlMessage[] = [];
  const add = (word: string, relation: number): void => {
    const name = relations.get(relation) ?? '?';
    if (!name.startsWith('mtm.')) stream.push(`${word} ${name}`);
  };
  for (const { data } of rows) {
    const message = decodePgoutput(data);
    if (message.kind === 'relation') relations.set(message.oid, `${message.schema}.${message.name}`);
    else if (message.kind === 'insert' || message.kind === 'update' || message.kind === 'delete') {
      add(message.kind, message.relation);
    } else if (message.kind === 'truncate') for (const one of message.relations) add('truncate', one);
    else if (message.kind === 'logical-message') {
      const text = new TextDecoder().decode(message.content);
      if (message.prefix === 'mtm-ddl') {
        const command = JSON.parse(text) as DdlMessage;
        ddl.push(command);
        stream.push(`ddl ${command.tag}`);
      } else if (message.prefix === 'mtm-follow') {
        const { do: what, name } = JSON.parse(text) as { readonly do: string; readonly name: string };
        stream.push(`follow ${what} ${name}`);
      } else if (message.prefix === 'mtm') {
        stream.push(`header ${(JSON.parse(text) as { gid: string }).gid}`);
      }
    } else if (message.kind === 'malformed') throw new Error(message.reason);
  }
  return { stream, ddl };
}

export async function openLab(major: PostgresMajor): Promise<SensorLab> {
  const server = await provideServer(major);
  try {
    return await equipServer(major, server);
  } catch (error) {
    await server.stop();
    throw error;
  }
}

async function equipServer(major: PostgresMajor, server: ProvidedServer): Promise<SensorLab> {
  const connect = async (user: string, database = 'sensors'): Promise<Client> => {
    const client = new Client({ host: '127.0.0.1', port: server.port, user, database, ssl: false });
    client.on('error', () => undefined); // A broken connection fails the next query.
    await client.connect();
    return client;
  };
  const maintenance = await connect('postgres', 'postgres');
  await maintenance.query('CREATE DATABASE sensors TEMPLATE template0');
  const admin = await connect('postgres');
  await installSchema(admin, {
    myId: 2,
    highestNode: 3,
    clusterName: 'sensors',
    timeline: 1,
    become: () => Promise.reject(new Error('this server is no copy')),
  });
  await ensureSlots(admin, slotNames({}));
  await admin.query('CREATE ROLE app LOGIN');
  await admin.query('GRANT CREATE ON SCHEMA public TO app');
  await admin.query('GRANT CREATE ON DATABASE sensors TO app');
  let counter = 0;
  const trace: SensorLab['trace'] = async (client, statements, headerCall = `mtm.header($1, 'seal')`) => {
    await readStream(admin);
    counter += 1;
    const gid = `mtm:2:1:1:${counter}`;
    // What other tests have committed plainly in this session would still be in its counters.
    await client.query('SELECT pg_stat_force_next_flush()');
    await client.query('BEGIN READ WRITE');
    try {
      for (const text of statements) await client.query(text);
      const { rows } = await client.query<{ header: string }>(`SELECT ${headerCall} AS header`, [gid]);
      const header = rows[0]?.header ?? '';
      if (header !== 'write') {
        await client.query('COMMIT');
        return { header, stream: [], ddl: [] };
      }
      await client.query(`PREPARE TRANSACTION '${gid}'`);
      const seen = await readStream(admin);
      await admin.query(`COMMIT PREPARED '${gid}'`);
      return { header, ...seen };
    } catch (error) {
      await client.query('ROLLBACK');
      throw error;
    }
  };
  /** A server of one's own is left as it was. */
  const clean = async (): Promise<void> => {
    await admin.query(
      `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name LIKE 'mtm\\_%'`,
    );
    // What the tests have done to event triggers a moment ago is not this transaction's.
    await admin.query('SELECT pg_stat_force_next_flush()');
    await admin.query('DROP OWNED BY app');
    await maintenance.query('DROP DATABASE sensors WITH (FORCE)');
    await maintenance.query('DROP ROLE app');
  };
  const close = async (): Promise<void> => {
    try {
      if (server.stays) await clean();
    } finally {
      await Promise.allSettled([admin.end(), maintenance.end()]);
      await server.stop();
    }
  };
  return { major, admin, connect, trace, close };
}

/** Runs it and returns PostgreSQL's error as `SQLSTATE message`; `none` when it succeeds. */
export async function refusalOf(run: () => Promise<unknown>): Promise<string> {
  try {
    await run();
    return 'none';
  } catch (error) {
    const { code, message } = error as DatabaseError;
    return `${code ?? 'no code'} ${message}`;
  }
}
