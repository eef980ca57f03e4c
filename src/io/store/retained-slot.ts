/**
 * The slot `mtm_retain` (slot-names.ts): the history that a node which was away still needs, and the memory
 * of outcomes.
 *
 * Rule: it moves only to a syncpoint (the floor is durable before the slot moves, so a gid is never neither
 * remembered nor below the floor), or, when it holds more than `max_retained_wal`, past nodes that are away:
 * that they must be re-seeded is durable before. Runs on the control connection of its owner, because moving
 * a slot reads all the WAL between.
 */
import type pg from 'pg';
import { assert } from '../../lib/assert.ts';
import type { Lsn, NodeId } from '../../core/identity.ts';
import { formatLsn, parseLsn } from '../postgres/lsn-text.ts';

/**
 * A gid is below it when its generation is lower, or the same and its counter lower than that of its node.
 */
export interface StoredFloor {
  readonly generation: number;
  readonly counters: ReadonlyMap<NodeId, number>;
}

export interface Syncpoint {
  readonly floor: StoredFloor;
  readonly position: Lsn;
}

/** What this node cannot give to others any more: undefined when it has everything since the syncpoint. */
export interface LostHistory {
  /** A node that was not online in this generation needs what is gone. */
  readonly generation: number;
  readonly position: Lsn;
}

interface SyncpointRow {
  readonly generation: string;
  readonly counters: Readonly<Record<string, number>>;
  readonly position: string;
  readonly lost_generation: string;
  readonly lost_position: string;
}

async function readSyncpoint(client: pg.Client): Promise<SyncpointRow> {
  const { rows } = await client.query<SyncpointRow>('SELECT * FROM mtm.syncpoint');
  assert(rows[0] !== undefined, 'mtm.syncpoint has its row');
  return rows[0];
}

function lostOf(row: SyncpointRow): LostHistory | undefined {
  const generation = Number(row.lost_generation);
  return generation === 0 ? undefined : { generation, position: parseLsn(row.lost_position) };
}

export class RetainedSlot {
  readonly #client: () => pg.Client;
  readonly #name: string;
  #syncpoint: Syncpoint;
  #lost: LostHistory | undefined;

  private constructor(client: () => pg.Client, name: string, row: SyncpointRow) {
    this.#client = client;
    this.#name = name;
    const counters = new Map(Object.entries(row.counters).map(([node, value]) => [Number(node), value]));
    this.#syncpoint = {
      floor: { generation: Number(row.generation), counters },
      position: parseLsn(row.position),
    };
    this.#lost = lostOf(row);
  }

  /** Reads anew from where on others can be served. */
  async refreshLost(): Promise<void> {
    this.#lost = lostOf(await readSyncpoint(this.#client()));
  }

  /** Reads the last syncpoint. `client` gives the connection to be used at that moment; `name`: the slot. */
  static async load(client: () => pg.Client, name: string): Promise<RetainedSlot> {
    return new RetainedSlot(client, name, await readSyncpoint(client()));
  }

  get syncpoint(): Syncpoint {
    return this.#syncpoint;
  }

  get lost(): LostHistory | undefined {
    return this.#lost;
  }

  /** Everything before `position` and below `floor` is finished on all configured nodes. */
  async moveTo(position: Lsn, floor: StoredFloor): Promise<void> {
    await this.#client().query('SELECT mtm.set_syncpoint($1, $2::jsonb, $3::pg_lsn)', [
      floor.generation,
      JSON.stringify(Object.fromEntries(floor.counters)),
      formatLsn(position),
    ]);
    this.#syncpoint = { floor, position };
    await this.#advance(position);
  }

  /**
   * Gives up the history before `position`, although nodes are away that need it: those that were last online
   * before `generation`, in which this node is online. All members of it must have finished everything before
   * `position` and below `floor`.
   */
  async giveUp(position: Lsn, floor: StoredFloor, generation: number): Promise<void> {
    await this.#client().query(
      `UPDATE mtm.syncpoint SET lost_generation = greatest(lost_generation, $1),
         lost_position = greatest(lost_position, $2::pg_lsn)`,
      [generation, formatLsn(position)],
    );
    this.#lost = { generation: Math.max(generation, this.#lost?.generation ?? 0), position };
    await this.moveTo(position, floor);
  }

  async #advance(position: Lsn): Promise<void> {
    await this.#client().query(
      `SELECT pg_replication_slot_advance(slot_name, $1::pg_lsn)
       FROM pg_replication_slots WHERE slot_name = $2 AND confirmed_flush_lsn < $1::pg_lsn`,
      [formatLsn(position), this.#name],
    );
  }

  /** Bytes of WAL that the server keeps for it. */
  async retainedBytes(): Promise<number> {
    const { rows } = await this.#client().query<{ bytes: string | null }>({
      name: 'mtm_retained',
      text: `SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint AS bytes
             FROM pg_replication_slots WHERE slot_name = $1`,
      values: [this.#name],
    });
    return Number(rows[0]?.bytes ?? 0);
  }

  /** The end of what the server has written: what a node that catches up has before it. */
  async walEnd(): Promise<Lsn> {
    const { rows } = await this.#client().query<{ lsn: string }>({
      name: 'mtm_wal_end',
      text: 'SELECT pg_current_wal_lsn()::text AS lsn',
    });
    return parseLsn(rows[0]?.lsn ?? '0/0');
  }
}
