/**
 * What is in a database that works differently in a cluster, and who gets at it past the gateway.
 * Rule: it only reads, and nothing of it keeps a gateway from starting: it is advice, with the command that
 * follows it.
 */
import type { Queryable, ServerFinding } from '../../io/postgres-check.ts';

/** How many names a finding shows. */
const shownNames = 5;
/** Values that a sequence should have left for each node. */
const enoughValues = 1_000_000;

interface Named {
  readonly name: string;
}

async function rowsOf<T>(client: Queryable, text: string): Promise<T[]> {
  return (await client.query(text)).rows as unknown as T[];
}

function listed(names: readonly Named[]): string {
  const shown = names.slice(0, shownNames).map(({ name }) => name);
  const more = names.length > shownNames ? ` and ${names.length - shownNames} more` : '';
  return names.length === 0 ? 'none' : `${names.length}: ${shown.join(', ')}${more}`;
}

function advice(
  name: string,
  found: readonly Named[],
  needs: string,
  text: string,
  fix: string | undefined,
): ServerFinding {
  const ok = found.length === 0;
  const has = listed(found);
  return {
    name,
    ok,
    must: false,
    has,
    needs,
    effect: 'now',
    advice: ok ? '' : text,
    fix: ok ? undefined : fix,
  };
}

const userTables = `c.relpersistence = 'p' AND c.oid >= 16384
  AND n.nspname NOT IN ('mtm', 'pg_catalog', 'information_schema')`;

async function tablesWithoutKey(client: Queryable): Promise<ServerFinding> {
  const found = await rowsOf<Named>(
    client,
    `SELECT format('%I.%I', n.nspname, c.relname) AS name
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE ${userTables} AND c.relkind IN ('r', 'p') AND NOT EXISTS (SELECT FROM pg_index i
       WHERE i.indrelid = c.oid AND (i.indisprimary OR (i.indisreplident AND i.indisvalid)))
     ORDER BY c.reltuples DESC, 1`,
  );
  const text = 'their UPDATE and DELETE search the whole table on each other node: give them a key';
  return advice(
    'tables without key',
    found,
    'none',
    text,
    `ALTER TABLE ${found[0]?.name} ADD PRIMARY KEY (…);`,
  );
}

async function smallSequences(client: Queryable, nodes: number): Promise<ServerFinding> {
  const found = await rowsOf<Named & { left: string }>(
    client,
    `SELECT format('%I.%I', schemaname, sequencename) AS name, data_type::text AS type FROM pg_sequences
     WHERE schemaname <> 'mtm' AND NOT cycle
       AND (CASE WHEN increment_by > 0 THEN max_value::numeric - coalesce(last_value, start_value)
            ELSE coalesce(last_value, start_value)::numeric - min_value END)
         / abs(increment_by) / CASE WHEN to_regclass('mtm.sequence') IS NULL THEN ${nodes} ELSE 1 END
         < ${enoughValues}
     ORDER BY 1`,
  );
  const first = found[0]?.name;
  return advice(
    'small sequences',
    found,
    `${enoughValues} values left for each node`,
    'each node draws every n-th value, so they are used up n times as fast',
    `ALTER SEQUENCE ${first} AS bigint NO MAXVALUE;  -- and ALTER TABLE … ALTER … TYPE bigint`,
  );
}

async function largeObjects(client: Queryable): Promise<ServerFinding> {
  const found = await rowsOf<Named>(
    client,
    'SELECT oid::text AS name FROM pg_largeobject_metadata ORDER BY oid LIMIT 1000',
  );
  const text = 'large objects cannot be written through a gateway: keep their bytes in a column';
  const fix = 'UPDATE … SET content = lo_get(object);  -- bytea, then SELECT lo_unlink(oid) past the gateway';
  return advice('large objects', found, 'none', text, fix);
}

async function strangePrepared(client: Queryable): Promise<ServerFinding> {
  const found = await rowsOf<Named>(
    client,
    `SELECT gid AS name FROM pg_prepared_xacts
     WHERE database = current_database() AND gid !~ '^mtm:' AND to_regclass('mtm.client_prepared') IS NULL`,
  );
  const text = 'they hold locks, and no gateway knows them: end them before the first start';
  return advice('prepared transactions', found, 'none', text, `ROLLBACK PREPARED '${found[0]?.name}';`);
}

async function subscriptions(client: Queryable): Promise<ServerFinding> {
  const found = await rowsOf<Named>(
    client,
    `SELECT subname AS name FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
     WHERE d.datname = current_database() AND s.subenabled ORDER BY 1`,
  );
  const text = 'what they write reaches this node only, past the gateway';
  return advice('subscriptions', found, 'none', text, `ALTER SUBSCRIPTION ${found[0]?.name} DISABLE;`);
}

interface HbaRule {
  readonly line_number: number;
  readonly type: string;
  readonly address: string | null;
  readonly netmask: string | null;
  readonly auth_method: string;
}

/** Rules that let in whoever comes from elsewhere than the gateway, to a database of the cluster. */
async function waysPast(client: Queryable, databases: readonly string[]): Promise<ServerFinding> {
  const names = [...databases, 'all'].map((name) => `'${name.replaceAll("'", "''")}'`).join(', ');
  const rules = await rowsOf<HbaRule & { gateway: string | null }>(
    client,
    `SELECT line_number, type, address, netmask, auth_method, host(inet_client_addr()) AS gateway
     FROM pg_hba_file_rules WHERE error IS NULL AND type LIKE 'host%' AND auth_method <> 'reject'
       AND database && ARRAY[${names}] ORDER BY line_number`,
  );
  const gateway = rules[0]?.gateway ?? undefined;
  const others = rules.filter(({ address }) => address !== gateway && !isLoopback(address));
  const found = others.map(({ line_number: line, type, address, netmask, auth_method: method }) => ({
    name: `line ${line} (${type} ${address ?? ''}${netmask === null ? '' : `/${netmask}`} ${method})`,
  }));
  const text =
    'who comes past the gateway writes on this node only, and the nodes differ afterwards: let in nobody ' +
    'but the gateway';
  const from =
    gateway === undefined || isLoopback(gateway)
      ? '127.0.0.1/32'
      : `${gateway}/${gateway.includes(':') ? 128 : 32}`;
  const line = `host ${databases[0] ?? 'all'} all ${from} scram-sha-256`;
  const fix = `in pg_hba.conf, instead: ${line}; then SELECT pg_reload_conf();`;
  return advice('pg_hba.conf', found, 'only the gateway', text, fix);
}

function isLoopback(address: string | null): boolean {
  return (
    address === '::1' ||
    address?.startsWith('127.') === true ||
    address === 'samehost' ||
    address === 'localhost'
  );
}

/** Of one database, through a connection to it. */
export async function databaseFindings(client: Queryable, nodes: number): Promise<ServerFinding[]> {
  return [
    await tablesWithoutKey(client),
    await smallSequences(client, nodes),
    await largeObjects(client),
    await strangePrepared(client),
    await subscriptions(client),
  ];
}

/** Who else gets in. */
export async function accessFindings(
  client: Queryable,
  databases: readonly string[],
): Promise<ServerFinding[]> {
  return [await waysPast(client, databases)];
}
