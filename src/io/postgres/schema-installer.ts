/**
 * Installs and upgrades what the gateway needs inside PostgreSQL: the schema `mtm` with its event triggers,
 * the publications and the two slots.
 * Rule: one transaction, repeatable; it runs at each start of a gateway before anything is streamed.
 * It must never fire the capture triggers, or the other nodes would get our own commands.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Client } from 'pg';
import { assert } from '../../lib/assert.ts';
import { GatewayError } from '../../lib/gateway-error.ts';
import type { SlotNames } from './slot-names.ts';

/** In this order: later files use what earlier ones made. */
const sqlFiles = [
  'schema.sql',
  'notify.sql',
  'header.sql',
  'unwatched.sql',
  'statement-text.sql',
  'capture.sql',
  'explained.sql',
  'everywhere.sql',
  'cluster.sql',
  'local-tables.sql',
  'rewrite.sql',
  'sequences.sql',
  'setval.sql',
  'tables.sql',
  'generation.sql',
  'status.sql',
  'requests.sql',
  'checks.sql',
  'ddl-activity.sql',
  'spread.sql',
  'client-prepared.sql',
  'membership.sql',
  'upgrade.sql',
  'apply.sql',
  'definitions.sql',
  'comparison.sql',
  'triggers.sql',
  'forget.sql',
] as const;

const schemaVersion = 1;
const publicationName = 'mtm';

/** Event triggers that must be there, enabled ALWAYS. */
const sensorTriggers = [
  '!mtm_start_1_frame',
  '!mtm_start_2_capture',
  '!mtm_start_3_owned',
  '!mtm_drop_1_frame',
  '!mtm_drop_2_capture',
  '!mtm_drop_3_forget',
  '!mtm_rewrite',
  '!mtm_end_1_frame',
  '!mtm_end_2_capture',
  '!mtm_end_3_adjust',
] as const;

export interface NodePlace {
  readonly myId: number;
  /** The highest id: over so many nodes sequences are spread at first. */
  readonly highestNode: number;
  readonly clusterName: string;
  /** The server's, before anything was written to it. */
  readonly timeline: number;
  /** The server is that of another node: makes it this one's, or throws a GatewayError. */
  become(client: Client): Promise<void>;
  /** Members of this role may change the cluster, beside superusers; empty: nobody else. */
  readonly adminRole?: string;
  /** pg_notify() in functions and triggers notifies on all nodes; default off. */
  readonly replicatePgNotify?: boolean;
  readonly ignoreTablesWithoutPk?: boolean;
}

function readSql(): readonly string[] {
  return sqlFiles.map((name) => readFileSync(new URL(`./sql/${name}`, import.meta.url), 'utf8'));
}

function digestOf(texts: readonly string[]): string {
  const hash = createHash('sha256');
  for (const text of texts) hash.update(text);
  return hash.digest('hex');
}

async function firstRow(
  client: Client,
  text: string,
  values: unknown[] = [],
): Promise<Record<string, unknown> | undefined> {
  const result = await client.query<Record<string, unknown>>(text, values);
  return result.rows[0];
}

/**
 * 17 can switch event triggers off. Before, capture is silent in a replica session; what is adjusted passes
 * the schema mtm over.
 */
export async function silenceTriggers(client: Client): Promise<void> {
  const row = await firstRow(client, `SELECT current_setting('server_version_num')::int AS version`);
  const setting =
    Number(row?.['version']) >= 170000 ? 'event_triggers = off' : 'session_replication_role = replica';
  await client.query(`SET LOCAL ${setting}`);
}

async function installedDigest(client: Client): Promise<string | undefined> {
  const table = await firstRow(client, `SELECT to_regclass('mtm.schema_version') IS NOT NULL AS there`);
  if (table?.['there'] !== true) return undefined;
  const row = await firstRow(client, 'SELECT version, digest FROM mtm.schema_version');
  if (row === undefined) return undefined;
  if (Number(row['version']) > schemaVersion) {
    throw new GatewayError(
      'cluster-mismatch',
      `the schema mtm is of version ${String(row['version'])}, this gateway knows ${schemaVersion}`,
      { hint: 'start a gateway at least as new as the one that ran here last' },
    );
  }
  return String(row['digest']);
}

/** True: the node is new here, so everything in the database has to be adopted. */
async function writePlace(client: Client, node: NodePlace): Promise<boolean> {
  const { clusterName, timeline, adminRole, ignoreTablesWithoutPk } = node;
  const old = await firstRow(client, 'SELECT my_id, cluster_name FROM mtm.node');
  const system = await firstRow(client, 'SELECT system_identifier::text AS id FROM pg_control_system()');
  if (old !== undefined && old['cluster_name'] !== clusterName) {
    throw new GatewayError(
      'cluster-mismatch',
      `this PostgreSQL belongs to the cluster "${String(old['cluster_name'])}", not "${clusterName}"`,
    );
  }
  if (old === undefined) await requireNewName(client, clusterName);
  if (old !== undefined && old['my_id'] !== node.myId) await node.become(client);
  await client.query(
    `INSERT INTO mtm.node (my_id, cluster_name, system_identifier, timeline, admin_role,
       ignore_tables_without_pk)
     VALUES ($1, $2, $3, $4, $5, $6)
     ON CONFLICT (one) DO UPDATE SET my_id = excluded.my_id, system_identifier = excluded.system_identifier,
       timeline = excluded.timeline, admin_role = excluded.admin_role,
       ignore_tables_without_pk = excluded.ignore_tables_without_pk`,
    [node.myId, clusterName, system?.['id'], timeline, adminRole ?? '', ignoreTablesWithoutPk ?? false],
  );
  // Changed by mtm.alter_sequences() only, everywhere at once; looked for first, because an INSERT may wait.
  if ((await firstRow(client, 'SELECT 1 AS there FROM mtm.sequence_step')) === undefined)
    await client.query('INSERT INTO mtm.sequence_step (node_count) VALUES ($1)', [node.highestNode]);
  return old === undefined;
}

/** A server that has forgotten its cluster has forgotten its votes. */
async function requireNewName(client: Client, name: string): Promise<void> {
  const text = 'SELECT 1 AS there FROM mtm.forgotten_cluster WHERE cluster_name = $1';
  if ((await firstRow(client, text, [name])) === undefined) return;
  throw new GatewayError('cluster-mismatch', `this PostgreSQL has forgotten the cluster "${name}"`, {
    hint: 'give the restored cluster another cluster_name, the same on all its nodes',
  });
}

/** `generated`: known from 18 on. */
async function createForAllTables(client: Client, generated: string): Promise<void> {
  await client.query(`CREATE PUBLICATION ${publicationName} FOR ALL TABLES`);
  const version = await firstRow(client, `SELECT current_setting('server_version_num')::int AS n`);
  if (Number(version?.['n']) >= 180000) await client.query(generated);
}

async function createPublication(client: Client): Promise<void> {
  // Without tables: it shows only headers, all that a starting gateway wants to know of the retained slot.
  const headers = await firstRow(client, 'SELECT 1 AS there FROM pg_publication WHERE pubname = $1', [
    'mtm_headers',
  ]);
  if (headers === undefined) await client.query('CREATE PUBLICATION mtm_headers');
  const row = await firstRow(
    client,
    `SELECT puballtables, to_jsonb(p) ->> 'pubgencols' = 'n' AS hides_generated FROM pg_publication p
     WHERE pubname = $1`,
    [publicationName],
  );
  // Without it 18 refuses to change rows of a table without a key that has such columns.
  const generated = `ALTER PUBLICATION ${publicationName} SET (publish_generated_columns = stored)`;
  if (row?.['hides_generated'] === true) await client.query(generated);
  if (row === undefined) await createForAllTables(client, generated);
  else if (row['puballtables'] !== true) {
    throw new GatewayError('server-unsuitable', `the publication ${publicationName} is not FOR ALL TABLES`, {
      hint: `drop or rename the publication ${publicationName}: the name is the gateway's`,
    });
  }
}

/**
 * Installs or upgrades the schema `mtm`, writes the node's place and creates the publication.
 * `client` is a superuser's connection without an open transaction.
 * @returns sequences whose bounds are too small to be interleaved; they draw the same values on all nodes.
 * @throws GatewayError cluster-mismatch when the server belongs to another cluster or a newer gateway
 */
export async function installSchema(client: Client, node: NodePlace): Promise<readonly string[]> {
  const texts = readSql();
  const digest = digestOf(texts);
  await client.query('BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE');
  try {
    await client.query('SET LOCAL synchronous_commit = on');
    await client.query('SET LOCAL search_path = pg_catalog, pg_temp');
    await client.query('SET LOCAL client_min_messages = warning');
    await client.query('SET LOCAL check_function_bodies = on');
    await silenceTriggers(client);
    // Two gateways of one server, or two starts of one: one after the other.
    await client.query(`SELECT pg_advisory_xact_lock(hashtext('mtm.schema_version'))`);
    if ((await installedDigest(client)) !== digest) {
      for (const text of texts) await client.query(text);
      await client.query(
        `INSERT INTO mtm.schema_version (version, digest) VALUES ($1, $2)
         ON CONFLICT (one) DO UPDATE SET version = excluded.version, digest = excluded.digest,
           installed_at = excluded.installed_at`,
        [schemaVersion, digest],
      );
    }
    await client.query('SELECT mtm.replicate_pg_notify($1)', [node.replicatePgNotify === true]);
    await client.query('SELECT mtm.replicate_setval(true)');
    const tooSmall = (await writePlace(client, node)) ? await adoptObjects(client) : [];
    await createPublication(client);
    await client.query('COMMIT');
    return tooSmall;
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  }
}

/**
 * Makes what is in the database already this node's: sequences, replica identities. A copy of another node's
 * server needs it once nothing is prepared there any more.
 * @returns sequences whose bounds are too small to be interleaved; they draw the same values on all nodes.
 */
export async function adoptObjects(client: Client): Promise<readonly string[]> {
  const row = await firstRow(client, 'SELECT mtm.adopt() AS too_small');
  return row?.['too_small'] as string[];
}

/**
 * Creates the two slots if they are missing. After installSchema, once: a new slot
 * waits for all running and prepared transactions and sees nothing of what was before.
 * @returns the slots that were created now
 * @throws GatewayError server-unsuitable when a slot of that name is of another kind
 */
export async function ensureSlots(client: Client, names: SlotNames): Promise<readonly string[]> {
  const created: string[] = [];
  for (const name of [names.live, names.retained]) {
    const row = await firstRow(
      client,
      `SELECT plugin = 'pgoutput' AND two_phase AND database = current_database() AS fits
       FROM pg_replication_slots WHERE slot_name = $1`,
      [name],
    );
    if (row === undefined) {
      await client.query(`SELECT pg_create_logical_replication_slot($1, 'pgoutput', false, true)`, [name]);
      created.push(name);
    } else if (row['fits'] !== true) {
      throw new GatewayError(
        'server-unsuitable',
        `the slot ${name} is not a two-phase pgoutput slot of this database`,
        {
          hint: `drop the slot ${name}, or use another server for this database`,
        },
      );
    }
  }
  return created;
}

const sensorQuery = `SELECT
  (SELECT coalesce(jsonb_object_agg(evtname, evtenabled::text), '{}') FROM pg_event_trigger
   WHERE evtname LIKE '!mtm\\_%') AS triggers,
  (SELECT puballtables AND pubinsert AND pubupdate AND pubdelete AND pubtruncate AND NOT pubviaroot
   FROM pg_publication WHERE pubname = '${publicationName}') AS publication,
  EXISTS (SELECT FROM pg_publication WHERE pubname = 'mtm_headers') AS headers,
  (SELECT coalesce(jsonb_object_agg(slot_name, plugin = 'pgoutput' AND two_phase
     AND wal_status IS DISTINCT FROM 'lost'), '{}') FROM pg_replication_slots) AS slots,
  (SELECT bool_or(has_function_privilege('public', oid, 'EXECUTE')) FROM pg_proc
   WHERE proname = 'pg_logical_emit_message' AND pronamespace = 'pg_catalog'::regnamespace) AS open_message,
  (SELECT jsonb_object_agg(name, setting) FROM pg_settings
   WHERE name IN ('event_triggers', 'session_replication_role')) AS settings`;

/**
 * What is missing or disabled of that by which the gateway learns of changes, one phrase for each; empty when
 * all is well. Only reads; asked at each change of generation.
 */
export async function verifySensors(client: Client, names: SlotNames): Promise<readonly string[]> {
  const row = await firstRow(client, sensorQuery);
  assert(row !== undefined, 'a query without FROM has a row');
  const triggers = row['triggers'] as Record<string, string>;
  const slots = row['slots'] as Record<string, boolean>;
  const settings = row['settings'] as Record<string, string>;
  const faults: string[] = [];
  for (const name of sensorTriggers) {
    const found = triggers[name];
    if (found === undefined) faults.push(`event trigger ${name} is missing`);
    else if (found !== 'A') faults.push(`event trigger ${name} is not enabled always (${found})`);
  }
  if (row['publication'] !== true)
    faults.push(`publication ${publicationName} is missing or does not publish everything`);
  if (row['headers'] !== true) faults.push('publication mtm_headers is missing');
  for (const name of [names.live, names.retained]) {
    if (slots[name] !== true) faults.push(`slot ${name} is missing, lost or not a two-phase pgoutput slot`);
  }
  if (row['open_message'] === true) faults.push('pg_logical_emit_message can be executed by PUBLIC');
  if (settings['event_triggers'] === 'off') faults.push('event_triggers is off');
  if (settings['session_replication_role'] !== 'origin')
    faults.push('session_replication_role is not origin');
  return faults;
}
