/**
 * Does a PostgreSQL server suit as a node? One finding for each thing that was looked at; `mtm-gateway
 * check` prints them, the gateway refuses to start when one is a must. Rule: it only reads.
 */
import { Client } from 'pg';
import { consoleDatabase } from '../config/databases.ts';
import { GatewayError } from '../lib/gateway-error.ts';
import { isSqlstate } from '../lib/sqlstate.ts';
import { pgLogin, type ServerAddress } from './postgres/server-connection.ts';

export interface ServerFinding {
  /** The setting or property. */
  readonly name: string;
  readonly ok: boolean;
  /** A must keeps the gateway from starting; the others are advice. */
  readonly must: boolean;
  readonly has: string;
  readonly needs: string;
  /** What makes a change effective. */
  readonly effect: 'restart' | 'reload' | 'now' | 'new server';
  /** One sentence: what to do. Empty when ok. */
  readonly advice: string;
  /** The command or the line that does it, where there is one. */
  readonly fix?: string | undefined;
}

/** How much the gateway will use of the server. */
export interface ServerNeeds {
  readonly nodes: number;
  /** Databases of the gateway: each has streams and connections of its own. */
  readonly databases: number;
  readonly maxWorkers: number;
  readonly maxConnections: number;
}

export interface Queryable {
  query(text: string): Promise<{ rows: Record<string, unknown>[] }>;
}

const usualNeeds: ServerNeeds = { nodes: 3, databases: 1, maxWorkers: 100, maxConnections: 250 };

/**
 * Connections of the gateway beside client sessions and apply workers: control, observer, probe and store;
 * eight that finish transactions; one that replays what was missed; one that looks around at the start; two
 * that read transactions which are still open.
 * Streams of the WAL do not count: they are the server's max_wal_senders.
 */
const ownConnections = 4 + 8 + 1 + 1 + 2;
/**
 * mtm_live and mtm_retain; at the start one copy, by which the gateway reads what it has committed; two, by
 * which it reads transactions that are still open.
 */
const ownSlots = 2 + 1 + 2;
/** Sender of changes, and at the start the reader of the history: a former one may still be ending. */
const ownSenders = 2 + 1;
/** mtm_recovery. */
const ownOrigins = 1;

const factsQuery = `
  SELECT current_setting('server_version_num')::int AS version_num,
         current_setting('server_version') AS version,
         current_user AS role,
         (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser,
         (SELECT pg_encoding_to_char(encoding)
            FROM pg_database WHERE datname = current_database()) AS encoding,
         pg_is_in_recovery() AS standby,
         EXISTS (SELECT FROM pg_database WHERE datname = '${consoleDatabase}') AS console_hidden,
         extract(epoch FROM clock_timestamp())::float8 * 1000 AS clock_ms,
         (SELECT jsonb_object_agg(name, setting) FROM pg_settings) AS settings`;

interface Facts {
  readonly version_num: number;
  readonly version: string;
  readonly role: string;
  readonly superuser: boolean;
  readonly encoding: string;
  readonly standby: boolean;
  readonly clock_ms: number;
  /** A database has the name of the admin console. */
  readonly console_hidden: boolean;
  readonly settings: Readonly<Record<string, string>>;
}

/** A setting that has to be at least so big. */
function atLeast(facts: Facts, name: string, least: number, why: string, must = true): ServerFinding {
  const has = facts.settings[name] ?? 'nothing';
  const ok = Number(has) >= least;
  const advice = `set ${name} = ${least} or more (${why}) and restart the server`;
  const fix = ok ? undefined : `ALTER SYSTEM SET ${name} = ${least};  -- then restart PostgreSQL`;
  return { name, ok, must, has, needs: `${least} or more`, effect: 'restart', advice: ok ? '' : advice, fix };
}

function exactly(
  facts: Facts,
  name: string,
  needs: string,
  why: string,
  effect: 'restart' | 'reload',
  must = true,
): ServerFinding {
  const has = facts.settings[name] ?? 'nothing';
  const then = effect === 'restart' ? 'restart the server' : 'reload the configuration';
  const advice = `set ${name} = ${needs} (${why}) and ${then}`;
  const ok = has === needs;
  const done = effect === 'restart' ? '-- then restart PostgreSQL' : 'SELECT pg_reload_conf();';
  const fix = ok ? undefined : `ALTER SYSTEM SET ${name} = '${needs}';  ${done}`;
  return { name, ok, must, has, needs, effect, advice: ok ? '' : advice, fix };
}

function properties(facts: Facts): ServerFinding[] {
  const major = Math.floor(facts.version_num / 10_000);
  const known = major >= 15 && major <= 18;
  const utf8 = facts.encoding === 'UTF8';
  return [
    {
      name: 'version',
      ok: known,
      must: true,
      has: facts.version,
      needs: '15 to 18',
      effect: 'new server',
      advice: known ? '' : 'use PostgreSQL 15, 16, 17 or 18',
    },
    {
      name: 'role',
      ok: facts.superuser,
      must: true,
      has: `${facts.role}${facts.superuser ? '' : ', no superuser'}`,
      needs: 'a superuser',
      effect: 'now',
      advice: facts.superuser
        ? ''
        : `let the gateway log in as a superuser: postgres.user, or ALTER ROLE "${facts.role}" SUPERUSER`,
    },
    {
      name: 'recovery',
      ok: !facts.standby,
      must: true,
      has: facts.standby ? 'standby' : 'primary',
      needs: 'primary',
      effect: 'now',
      advice: facts.standby ? 'promote the server: a standby cannot be a node' : '',
    },
    {
      name: 'database encoding',
      ok: utf8,
      must: true,
      has: facts.encoding,
      needs: 'UTF8',
      effect: 'new server',
      advice: utf8 ? '' : 'create the database with ENCODING UTF8',
    },
    {
      name: `database ${consoleDatabase}`,
      ok: !facts.console_hidden,
      must: true,
      has: facts.console_hidden ? 'there' : 'not there',
      needs: 'not there: it is the name of the admin console',
      effect: 'now',
      advice: facts.console_hidden ? `ALTER DATABASE ${consoleDatabase} RENAME TO another_name` : '',
    },
  ];
}

function clockFinding(facts: Facts, nowMs: number): ServerFinding {
  const apartMs = Math.round(Math.abs(facts.clock_ms - nowMs));
  const ok = apartMs < 1000;
  return {
    name: 'clock',
    ok,
    must: false,
    has: `${apartMs} ms from the gateway's`,
    needs: 'less than 1000 ms',
    effect: 'now',
    advice: ok ? '' : 'synchronise the clocks (NTP): a node with a slow clock wins every conflict',
  };
}

function settingFindings(facts: Facts, needs: ServerNeeds): ServerFinding[] {
  const origins = facts.version_num >= 180_000 ? 'max_active_replication_origins' : 'max_replication_slots';
  const { databases } = needs;
  const others = needs.nodes - 1;
  const slots = databases * (ownSlots + others);
  const workerOrigins = databases * (needs.maxWorkers + ownOrigins);
  const workers = 'one for each apply connection (max_workers) and one for recovery';
  const own = 'three slots of our own and one for each node that returns';
  // Clients that are no superusers do not get the last ones.
  const reserved = ['superuser_reserved_connections', 'reserved_connections'].reduce(
    (sum, name) => sum + Number(facts.settings[name] ?? 0),
    0,
  );
  return [
    exactly(facts, 'wal_level', 'logical', 'changes are read from the WAL', 'restart'),
    exactly(facts, 'fsync', 'on', 'a vote that a crash forgets would break the cluster', 'reload'),
    exactly(
      facts,
      'full_page_writes',
      'on',
      'pages torn by a crash cannot be repaired otherwise',
      'reload',
      false,
    ),
    atLeast(
      facts,
      'max_prepared_transactions',
      2 * databases * needs.maxWorkers,
      'every write is prepared on every node; twice max_workers',
    ),
    atLeast(
      facts,
      'max_wal_senders',
      databases * (ownSenders + others),
      'three streams of our own and one for each node that returns',
    ),
    ...(origins === 'max_replication_slots'
      ? [atLeast(facts, origins, slots + workerOrigins, `${own}; and ${workers}`)]
      : [
          atLeast(facts, 'max_replication_slots', slots, own),
          atLeast(facts, origins, workerOrigins, workers),
        ]),
    atLeast(
      facts,
      'max_connections',
      databases * (needs.maxConnections + needs.maxWorkers + ownConnections) + reserved,
      `max_connections and max_workers of the gateway, ${ownConnections} of its own, ${reserved} reserved`,
      false,
    ),
    exactly(
      facts,
      'max_slot_wal_keep_size',
      '-1',
      'the gateway itself bounds what is kept; a lost slot means a new seed',
      'reload',
      false,
    ),
  ];
}

/**
 * Looks at the server behind `client`, which is connected to the database of the cluster. `nowMs`: our wall
 * clock.
 */
export async function checkServer(
  client: Queryable,
  needs: ServerNeeds = usualNeeds,
  nowMs: number = Date.now(),
): Promise<ServerFinding[]> {
  const { rows } = await client.query(factsQuery);
  const facts = rows[0] as unknown as Facts;
  return [...properties(facts), ...settingFindings(facts, needs), clockFinding(facts, nowMs)];
}

/** Throws server-unsuitable with one sentence that names everything that must change. */
export function requireSuitable(findings: readonly ServerFinding[]): void {
  const wrong = findings.filter((finding) => finding.must && !finding.ok);
  if (wrong.length === 0) return;
  const list = wrong
    .map((finding) => `${finding.name} is ${finding.has} and must be ${finding.needs}`)
    .join('; ');
  throw new GatewayError(
    'server-unsuitable',
    `the PostgreSQL of this node cannot be part of a cluster: ${list}`,
    {
      hint: wrong.map((finding) => finding.advice).join('; '),
    },
  );
}

/**
 * Connects, or says in one sentence why not (server-unreachable, server-refused). The caller ends the
 * client.
 */
export async function connectForCheck(address: ServerAddress, timeoutMs: number): Promise<Client> {
  const client = new Client({
    ...pgLogin(address),
    connectionTimeoutMillis: timeoutMs,
    application_name: 'mtm_control',
  });
  // Without a listener a connection that breaks later would stop the process; the next query reports it
  // anyway.
  client.on('error', () => undefined);
  try {
    await client.connect();
    return client;
  } catch (cause) {
    const { code, message } = cause as { code?: string; message: string };
    const where = `PostgreSQL at ${address.host}:${address.port}`;
    if (isSqlstate(code) && !code.startsWith('57P')) {
      throw new GatewayError(
        'server-refused',
        `${where} refuses ${address.user}, database ${address.database}: ${message}`,
        {
          cause,
          sqlstate: code,
        },
      );
    }
    const reason = message === '' ? String(code) : message;
    throw new GatewayError('server-unreachable', `${where} does not answer: ${reason}`, { cause });
  }
}
