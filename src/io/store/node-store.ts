/**
 * What the node must never forget of elections (core/generation/record.ts), on a connection of its own: a
 * vote must not wait behind a slow question.
 *
 * Rules: changes are written in the order of the calls, one round trip each, and `persist` resolves when the
 * change is durable. A change that fails ends the node's part: whether it was written is unknown, so nothing
 * may be said to a peer any more and the store refuses everything that follows.
 */
import type pg from 'pg';
import { assert } from '../../lib/assert.ts';
import { compareBallots, freshState } from '../../core/generation/record.ts';
import type { Ballot, DurableChange, DurableState, GenerationRecord } from '../../core/generation/record.ts';
import { openOwnClient } from '../postgres/own-client.ts';
import type { ServerLogin } from '../postgres/raw-connection.ts';

interface StateRow {
  readonly promised_generation: string;
  readonly promised_proposer: number;
  readonly accepted: GenerationRecord | null;
  readonly chosen: GenerationRecord | null;
  readonly last_online: string;
}

export class NodeStore {
  readonly #client: pg.Client;
  readonly #onLost: (reason: string) => void;
  #state: DurableState = freshState();
  /** The change that was ordered last has ended. */
  #last: Promise<void> = Promise.resolve();
  #failure: Error | undefined;
  #closed = false;

  private constructor(client: pg.Client, onLost: (reason: string) => void) {
    this.#client = client;
    this.#onLost = onLost;
    client.on('error', (error: Error) => this.#lost(error));
    client.on('end', () => this.#lost(new Error('the store connection ended')));
  }

  /**
   * Opens the connection and reads the state. After the takeover of the server, because that ends all
   * sessions. Rejects with what the server or the socket said. `onLost` is called at most once.
   */
  static async open(login: ServerLogin, onLost: (reason: string) => void): Promise<NodeStore> {
    const client = await openOwnClient(login, 'mtm_store', {
      default_transaction_isolation: 'read committed',
    });
    const store = new NodeStore(client, onLost);
    try {
      await store.#load();
    } catch (error) {
      await store.close();
      throw error;
    }
    return store;
  }

  async #load(): Promise<void> {
    const { rows } = await this.#client.query<StateRow>('SELECT * FROM mtm.generation_state');
    const row = rows[0];
    assert(row !== undefined, 'mtm.generation_state has its row');
    this.#state = {
      promised: { generation: Number(row.promised_generation), proposer: row.promised_proposer },
      accepted: withConfiguration(row.accepted),
      chosen: withConfiguration(row.chosen),
      lastOnline: Number(row.last_online),
    };
  }

  /** As read at the start, with every change that is durable since. */
  get state(): DurableState {
    return this.#state;
  }

  /**
   * Resolves when the change is durable. A change of `lastOnline` writes the mark into the WAL as well.
   * Rejects when the server or the connection failed; then the node's part has ended.
   */
  async persist(change: DurableChange): Promise<void> {
    const written = this.#last.then(() => this.#write(change));
    this.#last = written.catch(() => undefined); // its caller hears of it; the next one fails by itself
    await written;
  }

  async #write(change: DurableChange): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    try {
      await this.#client.query({
        name: 'mtm_persist',
        text: 'SELECT mtm.persist($1::pg_catalog.jsonb)',
        values: [JSON.stringify(withoutUndefined(change))],
      });
    } catch (error) {
      this.#lost(error as Error);
      throw error;
    }
    this.#note(change);
  }

  #note(change: DurableChange): void {
    const { promised, accepted, chosen, lastOnline } = change;
    const before = this.#state;
    this.#state = {
      promised: promised === undefined ? before.promised : higher(before.promised, promised),
      accepted: accepted ?? before.accepted,
      chosen: chosen ?? before.chosen,
      lastOnline: lastOnline ?? before.lastOnline,
    };
  }

  #lost(error: Error): void {
    if (this.#closed || this.#failure !== undefined) return;
    this.#failure = error;
    this.#onLost(error.message);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#failure ??= new Error('the store is closed');
    await this.#client.end();
  }
}

/** Records that were written before nodes could be added have none. */
function withConfiguration(record: GenerationRecord | null): GenerationRecord | undefined {
  return record === null
    ? undefined
    : { ...record, joining: record.joining ?? [], added: record.added ?? [] };
}

function higher(a: Ballot, b: Ballot): Ballot {
  return compareBallots(a, b) < 0 ? b : a;
}

/** A field that is present and undefined means the same as an absent one. */
function withoutUndefined(change: DurableChange): object {
  return Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined));
}
