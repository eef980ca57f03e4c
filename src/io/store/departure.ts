/**
 * How a node keeps its place when its PostgreSQL becomes another server, of a newer major version: it
 * *departs* (mtm.depart) from the one and *arrives* in the other, which pg_upgrade or a
 * restored dump has made of it.
 *
 * Rules: the row of mtm.departure is the last that is committed before the stop, so whoever holds it holds
 * everything. It counts for another server only, and only where nothing is missing that the first one had.
 * What the old WAL told of commits is told anew in the new one, in the transaction that ends the arrival.
 */
import type pg from 'pg';
import type { Gid, NodeId } from '../../core/identity.ts';
import { GatewayError } from '../../lib/gateway-error.ts';
import { formatLsn, parseLsn } from '../postgres/lsn-text.ts';
import { openOwnClient } from '../postgres/own-client.ts';
import type { ServerLogin } from '../postgres/raw-connection.ts';
import { recoveryOrigin, replayedPrefix } from '../postgres/replay-names.ts';
import { silenceTriggers } from '../postgres/schema-installer.ts';
import { slotNames } from '../postgres/slot-names.ts';
import { readPosition, type ServerPosition } from './server-position.ts';

interface DepartureRow {
  readonly my_id: number;
  readonly system_identifier: string;
  readonly undone: boolean;
  readonly counted: boolean;
  readonly gids: readonly Gid[];
}

/** The server that the node has left, or came back to. */
export interface Departure {
  readonly node: NodeId;
  readonly systemIdentifier: string;
  readonly undone: boolean;
  /** It says how many rows each table has. */
  readonly counted: boolean;
  /** What is committed and not known to be finished everywhere. */
  readonly gids: readonly Gid[];
}

/** The server is the one that was left, made by pg_upgrade, or one into which a dump was restored. */
export interface Arrival {
  readonly kind: 'same' | 'upgraded' | 'restored';
  readonly departure: Departure;
}

/** More often no gateway is started with the former server. */
const incarnationsApart = 1000;
/** What is missing is named, but not all of it. */
const mostNamed = 5;

/** Undefined: the node has not departed. */
export async function readDeparture(client: pg.Client): Promise<Departure | undefined> {
  const known = await client.query<{ there: boolean }>(
    "SELECT to_regclass('mtm.departure') IS NOT NULL AS there",
  );
  if (known.rows[0]?.there !== true) return undefined;
  const { rows } = await client.query<DepartureRow>(
    'SELECT my_id, system_identifier, undone, counted, gids FROM mtm.departure',
  );
  const row = rows[0];
  if (row === undefined) return undefined;
  const { my_id: node, system_identifier: systemIdentifier, undone, counted, gids } = row;
  return { node, systemIdentifier, undone, counted, gids };
}

/**
 * Writes the departure of a node that nobody works on any more; its slots are gone when it resolves.
 * @throws GatewayError upgrade-refused when something is prepared, or another gateway holds the server
 */
export async function depart(
  login: ServerLogin,
  order: { readonly holder: string; readonly gids: readonly Gid[]; readonly counted: boolean },
): Promise<void> {
  const client = await openOwnClient(login, 'mtm_store');
  try {
    const { systemIdentifier, timeline, branches } = await readPosition(client);
    const server = {
      systemIdentifier,
      timeline,
      branches: branches.map((branch) => ({ timeline: branch.timeline, at: formatLsn(branch.at) })),
    };
    await client.query('BEGIN ISOLATION LEVEL READ COMMITTED');
    await silenceTriggers(client);
    await client.query('SELECT mtm.depart($1, $2::jsonb, $3::text[], $4)', [
      order.holder,
      JSON.stringify(server),
      [...order.gids],
      order.counted,
    ]);
    await client.query('COMMIT');
    await dropSlots(client, login);
  } finally {
    await client.end();
  }
}

/** pg_upgrade takes over no slot that is not read to its end; what they hold is noted. */
export async function dropSlots(client: pg.Client, login: ServerLogin): Promise<void> {
  const { live, retained } = slotNames(login);
  await client.query(
    'SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = ANY ($1)',
    [[live, retained]],
  );
}

/** The node stays on the server that it was to leave: its next gateway takes part again. */
export async function undoDeparture(client: pg.Client): Promise<void> {
  await client.query('UPDATE mtm.departure SET undone = true');
}

/**
 * Is this the server to arrive in? Only reads.
 * @throws GatewayError upgrade-refused
 */
export async function checkArrival(
  client: pg.Client,
  departure: Departure,
  { myId, position }: { readonly myId: NodeId; readonly position: ServerPosition },
): Promise<Arrival> {
  const { node, systemIdentifier, undone, counted } = departure;
  if (node !== myId)
    throw refusal(`this PostgreSQL was prepared for an upgrade as that of node ${node}, not of node ${myId}`);
  const isSame = systemIdentifier === position.systemIdentifier;
  if (isSame && undone) return { kind: 'same', departure };
  if (isSame)
    throw refusal(
      'this PostgreSQL was prepared for an upgrade, so no gateway works with it any more',
      'start the gateway with the upgraded server; to give it up: mtm-gateway prepare-upgrade --undo',
    );
  if (undone)
    throw refusal(
      'this PostgreSQL comes from an upgrade that was given up',
      'prepare the upgrade again (mtm-gateway prepare-upgrade) and make the new server anew',
    );
  const { rows } = await client.query<{ missing: string[]; is_upgraded: boolean }>(
    'SELECT missing, is_upgraded FROM mtm.compare_departure()',
  );
  const { missing, is_upgraded: isUpgraded } = rows[0]!;
  if (!isUpgraded && !counted)
    throw refusal(
      'this PostgreSQL was not made by pg_upgrade',
      'for a dump that is restored into a new server, prepare the old one with --for dump',
    );
  if (missing.length > 0) {
    const named = missing.slice(0, mostNamed).join('; ');
    const more = missing.length > mostNamed ? ` and ${missing.length - mostNamed} more` : '';
    throw refusal(`this PostgreSQL lacks what was there before the upgrade: ${named}${more}`);
  }
  return { kind: isUpgraded ? 'upgraded' : 'restored', departure };
}

function refusal(text: string, hint?: string): GatewayError {
  return new GatewayError('upgrade-refused', text, hint === undefined ? {} : { hint });
}

/**
 * Before the server is claimed: processes that were started with the former server by mistake have counted on
 * from the same incarnation, and their peers remember the highest.
 */
export async function outnumber(client: pg.Client): Promise<void> {
  await client.query(`UPDATE mtm.incarnation SET incarnation = incarnation + ${incarnationsApart}`);
}

/** After installSchema: what our tables name by oid has its oid of now. */
export async function findPlaces(client: pg.Client): Promise<void> {
  await client.query('SELECT mtm.find_places()');
}

/**
 * The end of the arrival, once the slots are there: in one transaction the new WAL tells what the old one
 * told, as the replay of a node that catches up does, and the departure is over.
 */
export async function arrive(
  login: ServerLogin,
  { kind, departure }: Arrival,
  proof: (gid: Gid) => string,
): Promise<void> {
  const client = await openOwnClient(login, 'mtm_store');
  const origin = recoveryOrigin(login);
  try {
    await client.query(
      'SELECT pg_replication_origin_create($1) WHERE pg_replication_origin_oid($1) IS NULL',
      [origin],
    );
    await client.query('SELECT pg_replication_origin_session_setup($1)', [origin]);
    await client.query('BEGIN ISOLATION LEVEL READ COMMITTED');
    const headers = departure.gids.map((gid) => JSON.stringify({ gid, hmac: proof(gid) }));
    await client.query(
      `SELECT count(pg_logical_emit_message(true, '${replayedPrefix}', header))
       FROM unnest($1::text[]) AS header`,
      [headers],
    );
    if (kind !== 'same')
      await client.query(
        `INSERT INTO mtm.predecessor (system_identifier, timeline, flushed, branches)
         SELECT system_identifier, timeline, flushed, branches FROM mtm.departure`,
      );
    await client.query('DELETE FROM mtm.departure');
    await client.query('COMMIT');
  } finally {
    await client.end();
  }
}

/** The servers that this node had before. */
export async function loadPredecessors(client: pg.Client): Promise<ServerPosition[]> {
  const { rows } = await client.query<{
    readonly system_identifier: string;
    readonly timeline: string;
    readonly flushed: string;
    readonly branches: readonly { readonly timeline: number; readonly at: string }[];
  }>(
    `SELECT system_identifier, timeline, flushed::text AS flushed, branches FROM mtm.predecessor
     ORDER BY succeeded_at`,
  );
  return rows.map((row) => ({
    systemIdentifier: row.system_identifier,
    timeline: Number(row.timeline),
    flushed: parseLsn(row.flushed),
    branches: row.branches.map(({ timeline, at }) => ({ timeline, at: parseLsn(at) })),
  }));
}
