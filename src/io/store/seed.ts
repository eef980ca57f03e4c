/**
 * How a server that is a copy of another node's becomes that of a new node (mtm.add_node, mtm.join_node).
 *
 * The copy ends exactly where its timeline branched off (recovery_target = 'immediate'): what the source had
 * committed before is in it, and nothing else. The source's history tells the gids of that (*seeding*); from
 * then on the node is one that was away.
 * Rule: a server is taken for a copy only when it was promoted since a gateway worked with it last, so that
 * nobody turns a living node into another one by a wrong line in a configuration file.
 */
import type pg from 'pg';
import type { GenerationRecord } from '../../core/generation/record.ts';
import type { CopiedNode } from '../../core/node/catch-up.ts';
import type { Lsn, NodeId } from '../../core/identity.ts';
import { GatewayError } from '../../lib/gateway-error.ts';
import { formatLsn, parseLsn } from '../postgres/lsn-text.ts';
import type { ServerPosition } from './server-position.ts';

/** mtm.seed */
export interface Seed {
  readonly source: CopiedNode;
  /** The source was online in it when the copy was made. */
  readonly generation: number;
  readonly copyEnd: Lsn;
  /** The gids of what the copy holds are noted here. */
  readonly done: boolean;
}

export interface NewPlace {
  readonly myId: NodeId;
  /** Of the server, before anything was written to it. */
  readonly position: ServerPosition;
}

/** Undefined for a node that did not begin as a copy. */
export async function loadSeed(client: pg.Client): Promise<Seed | undefined> {
  const { rows } = await client.query<{
    readonly source: number;
    readonly source_since: string;
    readonly generation: string;
    readonly copy_end: string;
    readonly done: boolean;
  }>('SELECT source, source_since, generation, copy_end::text AS copy_end, done FROM mtm.seed');
  const row = rows[0];
  if (row === undefined) return undefined;
  const { source: id, source_since: since, generation, copy_end: copyEnd, done } = row;
  const source = { id, since: Number(since) };
  return { source, generation: Number(generation), copyEnd: parseLsn(copyEnd), done };
}

/** Durable when it resolves, and with it everything that was noted before. */
export async function noteSeeded(client: pg.Client): Promise<void> {
  await client.query('UPDATE mtm.seed SET done = true');
}

/**
 * Inside the transaction of the installation: the server of another node becomes this one's.
 * @throws GatewayError cluster-mismatch when it is no copy, or not one for this node
 */
export async function becomeNode(client: pg.Client, { myId, position }: NewPlace): Promise<void> {
  const { rows } = await client.query<{
    readonly my_id: number;
    readonly node_count: number;
    readonly timeline: number;
    readonly chosen: GenerationRecord | null;
  }>('SELECT my_id, node_count, timeline, chosen FROM mtm.node, mtm.sequence_step, mtm.generation_state');
  const source = rows[0]!;
  const refuse = (reason: string, hint: string): never => {
    const sentence = `this PostgreSQL is that of node ${source.my_id}, not of node ${myId}: ${reason}`;
    throw new GatewayError('cluster-mismatch', sentence, { hint });
  };
  const branch = position.branches.at(-1);
  if (branch === undefined || branch.timeline !== source.timeline || position.timeline <= source.timeline) {
    return refuse(
      'it was not promoted since',
      "a copy for a new node is started with recovery.signal and recovery_target = 'immediate' first",
    );
  }
  const entry = source.chosen?.added.find(({ id }) => id === myId);
  if (entry === undefined || source.chosen?.joining.includes(myId) !== true) {
    return refuse('when it was copied, no such node was joining', 'call mtm.add_node, then take a new copy');
  }
  if (source.node_count < myId) {
    return refuse('it was copied before mtm.add_node had ended', 'call mtm.add_node, then take a new copy');
  }
  await client.query('SELECT mtm.become($1, $2, $3::pg_lsn)', [myId, entry.since, formatLsn(branch.at)]);
}

/**
 * Rolls back what was being prepared on the source when the copy was taken: what of it commits comes with the
 * source's history. Until the node is seeded it prepares nothing itself. What clients have prepared is
 * prepared again from its rows before the node is online.
 */
export async function rollBackCopied(client: pg.Client): Promise<number> {
  // What clients have prepared and finished: the source had executed that, and the copy may lack the last
  // step.
  const decided = await client.query<{ readonly gid: string; readonly decision: string }>(
    "SELECT gid, decision FROM mtm.client_state('{}') WHERE decision IS NOT NULL AND is_prepared",
  );
  for (const { gid, decision } of decided.rows)
    await client.query(`${decision.toUpperCase()} PREPARED '${gid.replaceAll("'", "''")}'`);
  const { rows } = await client.query<{ readonly gid: string }>(
    'SELECT gid FROM pg_prepared_xacts WHERE database = current_database()',
  );
  for (const { gid } of rows) {
    await client.query(`ROLLBACK PREPARED '${gid.replaceAll("'", "''")}'`);
  }
  return rows.length;
}
