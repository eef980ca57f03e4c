/**
 * A model of one PostgreSQL server: rows, row locks, prepared transactions, the WAL that the slot reads.
 * Durable: committed rows, prepared transactions, the commit log. A crash loses everything that runs.
 */
import type { Gid, NodeId } from '../../src/core/identity.ts';
import type { World } from './world.ts';

export interface Row {
  readonly value: number;
  /** Who wrote this version. */
  readonly by: Gid;
  readonly commitIndex: number;
}

/** One changed row, as the slot shows it. */
export interface Change {
  readonly key: string;
  /** undefined: the row is deleted. */
  readonly value: number | undefined;
  /** Whose version was replaced; undefined when there was no row. For the checker only. */
  readonly base: Gid | undefined;
  /** A row that must be there (a foreign key). */
  readonly requires: string | undefined;
}

export interface Backend {
  readonly pid: number;
  readonly kind: 'session' | 'apply';
  /** Of an apply connection. */
  readonly gid: Gid | undefined;
  readonly startTime: number;
  readonly changes: Map<string, Change>;
  readonly locks: Set<string>;
  snapshotIndex: number;
  waitingFor: string | undefined;
  state: 'open' | 'preparing' | 'closed';
}

interface Prepared {
  /** COMMIT PREPARED finds it: the slot may show it earlier than that. */
  findable: boolean;
  readonly changes: readonly Change[];
  readonly locks: readonly string[];
}

export interface WalRecord {
  readonly gid: Gid;
  readonly changes: readonly Change[];
}

export type Owner =
  { readonly kind: 'backend'; readonly backend: Backend } | { readonly kind: 'gid'; readonly gid: Gid };

interface Waiter {
  readonly backend: Backend;
  readonly granted: () => void;
  readonly failed: (sqlstate: string) => void;
}

const deadlockTimeoutMs = 60;

export class Server {
  readonly rows = new Map<string, Row>();
  readonly prepared = new Map<Gid, Prepared>();
  readonly commitLog: Gid[] = [];
  /** PREPAREs of transactions that began here, in order. */
  readonly wal: WalRecord[] = [];
  /** Called when a record was written. */
  onWal: () => void = () => {};
  up = true;
  /** Factor on everything that waits for the disk. */
  slowness = 1;
  readonly #world: World;
  readonly #node: NodeId;
  readonly #locks = new Map<string, Owner>();
  readonly #queues = new Map<string, Waiter[]>();
  readonly #backends = new Set<Backend>();
  /** What may have become durable when the server crashes. */
  readonly #inFlight = new Set<() => void>();
  /** Crashes so far. */
  epoch = 0;
  #lastPid = 0;

  constructor(world: World, node: NodeId) {
    this.#world = world;
    this.#node = node;
  }

  /**
   * What still runs, the gateway's death notwithstanding: transactions, and PREPAREs and COMMIT PREPAREDs on
   * their way.
   */
  get running(): number {
    return this.#backends.size + this.#inFlight.size;
  }

  open(kind: Backend['kind'], startTime: number, gid?: Gid): Backend {
    const backend: Backend = {
      pid: ++this.#lastPid,
      kind,
      gid,
      startTime,
      changes: new Map(),
      locks: new Set(),
      snapshotIndex: this.commitLog.length,
      waitingFor: undefined,
      state: 'open',
    };
    this.#backends.add(backend);
    return backend;
  }

  /** Runs `action` after `ms`, unless the server crashes before. */
  later(ms: number, action: () => void): void {
    const epoch = this.epoch;
    this.#world.scheduler.after(ms, () => {
      if (this.up && epoch === this.epoch) action();
    });
  }

  #diskMs(): number {
    return this.#world.random.between(0.5, 4) * this.slowness;
  }

  holder(key: string): Owner | undefined {
    return this.#locks.get(key);
  }

  lock(backend: Backend, key: string, granted: () => void, failed: (sqlstate: string) => void): void {
    if (backend.state !== 'open') return;
    const owner = this.#locks.get(key);
    if (owner === undefined || (owner.kind === 'backend' && owner.backend === backend)) {
      this.#locks.set(key, { kind: 'backend', backend });
      backend.locks.add(key);
      granted();
      return;
    }
    const waiter = { backend, granted, failed };
    const queue = this.#queues.get(key);
    if (queue === undefined) this.#queues.set(key, [waiter]);
    else queue.push(waiter);
    backend.waitingFor = key;
    this.later(deadlockTimeoutMs, () => {
      if (backend.waitingFor === key && this.#inDeadlock(backend))
        this.#stopWaiting(backend)?.failed('40P01');
    });
  }

  #inDeadlock(start: Backend): boolean {
    let current = start;
    for (let steps = 0; steps < 100; steps += 1) {
      if (current.waitingFor === undefined) return false;
      const owner = this.#locks.get(current.waitingFor);
      if (owner === undefined || owner.kind === 'gid') return false;
      if (owner.backend === start) return true;
      current = owner.backend;
    }
    return false;
  }

  #stopWaiting(backend: Backend): Waiter | undefined {
    const key = backend.waitingFor;
    if (key === undefined) return undefined;
    backend.waitingFor = undefined;
    const queue = this.#queues.get(key) ?? [];
    const index = queue.findIndex((waiter) => waiter.backend === backend);
    return queue.splice(index, 1)[0];
  }

  #release(keys: Iterable<string>): void {
    for (const key of keys) {
      this.#locks.delete(key);
      const next = this.#queues.get(key)?.shift();
      if (next === undefined) continue;
      next.backend.waitingFor = undefined;
      next.backend.locks.add(key);
      this.#locks.set(key, { kind: 'backend', backend: next.backend });
      this.later(0, () => {
        if (next.backend.state === 'open') next.granted();
      });
    }
  }

  /** ROLLBACK of an open transaction, or the end of its connection. False while PREPARE is on its way. */
  abort(backend: Backend): boolean {
    if (backend.state === 'closed') return true;
    if (backend.state === 'preparing') return false;
    backend.state = 'closed';
    this.#stopWaiting(backend);
    this.#backends.delete(backend);
    this.#release(backend.locks);
    return true;
  }

  prepare(backend: Backend, gid: Gid, done: () => void): void {
    if (backend.state !== 'open') return; // its connection broke, and the gateway has not noticed yet
    backend.state = 'preparing';
    const becomeDurable = (): void => {
      this.#inFlight.delete(becomeDurable);
      backend.state = 'closed';
      this.#backends.delete(backend);
      const changes = [...backend.changes.values()];
      this.prepared.set(gid, { changes, locks: [...backend.locks], findable: false });
      for (const key of backend.locks) this.#locks.set(key, { kind: 'gid', gid });
      if (backend.kind === 'session') this.wal.push({ gid, changes });
      this.#world.checker.prepared(this.#node, gid, backend.kind === 'session', this.commitLog.length);
    };
    const returning = (): void => {};
    this.#inFlight.add(becomeDurable);
    this.later(this.#diskMs(), () => {
      becomeDurable();
      this.#inFlight.add(returning);
      this.onWal();
      this.later(this.#world.random.chance(0.8) ? 0.1 : this.#diskMs(), () => {
        this.#inFlight.delete(returning);
        this.prepared.get(gid)!.findable = true;
        done();
      });
    });
  }

  /** COMMIT PREPARED or ROLLBACK PREPARED; `missing` when there was no such prepared transaction. */
  finish(gid: Gid, commit: boolean, done: (missing: boolean) => void): void {
    let missing = true;
    const becomeDurable = (): void => {
      this.#inFlight.delete(becomeDurable);
      const transaction = this.prepared.get(gid);
      if (transaction === undefined || !transaction.findable) return;
      missing = false;
      this.prepared.delete(gid);
      if (commit) this.#commit(gid, transaction.changes);
      else this.#world.checker.rolledBack(this.#node, gid);
      this.#release(transaction.locks);
    };
    this.#inFlight.add(becomeDurable);
    this.later(this.#diskMs(), () => {
      becomeDurable();
      this.later(0.1, () => done(missing));
    });
  }

  #commit(gid: Gid, changes: readonly Change[]): void {
    this.#world.checker.committed(this.#node, gid, changes);
    const commitIndex = this.commitLog.push(gid);
    for (const { key, value } of changes) {
      if (value === undefined) this.rows.delete(key);
      else this.rows.set(key, { value, by: gid, commitIndex });
    }
  }

  crash(): void {
    for (const becomeDurable of [...this.#inFlight]) if (this.#world.random.chance(0.5)) becomeDurable();
    this.#inFlight.clear();
    this.up = false;
    this.epoch += 1;
    for (const transaction of this.prepared.values()) transaction.findable = true;
    for (const backend of this.#backends) backend.state = 'closed';
    this.#backends.clear();
    this.#queues.clear();
    this.#locks.clear();
    for (const [gid, { locks }] of this.prepared)
      for (const key of locks) this.#locks.set(key, { kind: 'gid', gid });
  }

  start(): void {
    this.up = true;
  }

  /** The gateway died: its backends notice and end, but a PREPARE on its way is finished. */
  orphanAll(): void {
    for (const backend of this.#backends) {
      this.later(this.#world.random.between(0, 20), () => this.abort(backend));
    }
  }
}
