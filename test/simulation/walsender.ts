/**
 * The stream of the live slot: prepared transactions of this node in WAL order, in pieces cut anywhere. After
 * a reconnect it begins again somewhere before the place that it had reached. A transaction that was rolled
 * back before it was decoded comes without its rows (architecture §9).
 */
import type { NodeEvent } from '../../src/core/node/node-event.ts';
import type { WalRecord } from './server-record.ts';
import type { Server } from './server.ts';
import type { World } from './world.ts';

export interface WalsenderOwner {
  deliver(action: () => void): void;
  step(event: NodeEvent): void;
}

/** By server: how much of its WAL was streamed. */
const delivered = new WeakMap<Server, number>();

export class Walsender {
  readonly #world: World;
  readonly #server: Server;
  readonly #owner: WalsenderOwner;
  #next: number;
  #busy = false;
  #stopped = false;

  constructor(world: World, server: Server, owner: WalsenderOwner) {
    this.#world = world;
    this.#server = server;
    this.#owner = owner;
    const reached = delivered.get(server) ?? 0;
    this.#next = Math.max(0, reached - world.random.below(6));
    this.wake();
  }

  stop(): void {
    this.#stopped = true;
  }

  wake(): void {
    if (this.#busy || this.#stopped || !this.#server.up) return;
    const record = this.#server.wal[this.#next];
    if (record === undefined) return;
    this.#busy = true;
    this.#server.later(this.#world.random.between(0.1, 2), () => this.#decode(record));
  }

  #decode(record: WalRecord): void {
    const { gid, changes } = record;
    const there = this.#server.prepared.has(gid) || this.#world.checker.isCommitted(gid);
    const text = there ? changes.map((change) => `${JSON.stringify(change)}\n`).join('') : '';
    const data = new TextEncoder().encode(text);
    const pieces = data.length === 0 ? 1 : 1 + this.#world.random.below(3);
    this.#piece(record, data, pieces);
  }

  #piece(record: WalRecord, rest: Uint8Array, pieces: number): void {
    if (this.#stopped) return;
    const last = pieces === 1;
    const place = this.#next + 1;
    const data = last
      ? rest
      : rest.subarray(0, 1 + this.#world.random.below(Math.max(1, rest.length - pieces)));
    this.#owner.deliver(() => {
      if (this.#stopped) return;
      if (last) delivered.set(this.#server, Math.max(place, delivered.get(this.#server) ?? 0));
      this.#owner.step({ kind: 'captured', gid: record.gid, ddl: record.gid.endsWith('7'), data, last });
    });
    this.#server.later(this.#world.random.between(0, 1), () => {
      if (this.#stopped) return;
      if (!last) return this.#piece(record, rest.subarray(data.length), pieces - 1);
      this.#next = place;
      this.#busy = false;
      this.wake();
    });
  }
}
