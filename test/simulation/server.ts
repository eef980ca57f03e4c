/**
 * A model of one PostgreSQL server: rows, row locks, prepared transactions, the WAL that the slots read, the
 * tables of schema mtm. Durable: prepared transactions, what is committed with synchronous_commit=on, and all
 * that was written to the WAL before such a commit or a flush. A crash loses the rest.
 */
import { lowestFloor } from '../../src/core/commit/outcome-memory.ts';
import type { Floor } from '../../src/core/commit/outcome-memory.ts';
import { freshState } from '../../src/core/generation/record.ts';
import type { DurableChange, DurableState } from '../../src/core/generation/record.ts';
import type { Gid } from '../../src/core/identity.ts';
import type {
  Backend,
  Change,
  HistoryEntry,
  Identity,
  Owner,
  Prepared,
  Row,
  Seed,
  WalRecord,
} from './server-record.ts';
import type { World } from './world.ts';

interface Waiter {
  readonly backend: Backend;
  readonly granted: () => void;
  readonly failed: (sqlstate: string) => void;
}

const deadlockTimeoutMs = 60;

export class Server {
  readonly rows = new Map<string, Row>();
  readonly prepared = new Map<Gid, Prepared>();
  readonly history: HistoryEntry[] = [];
  /** How much of the history survives a crash. */
  flushed = 0;
  /** Where the retained slot stands in the history. */
  retained = 0;
  /** The tables of schema mtm. */
  durable: DurableState = freshState();
  incarnation = 0;
  floor: Floor = lowestFloor;
  /** It began as a copy of another node's. */
  seed: Seed | undefined;
  /** It is no donor for who was not online in this generation or a higher one; 0: it has everything. */
  lostGeneration = 0;
  readonly identity: Identity;
  /** PREPAREs of transactions that began here, in order. */
  readonly wal: WalRecord[] = [];
  /** Called when a record was written. */
  onWal: () => void = () => {};
  up = true;
  /** No PREPARE succeeds. */
  refuses = false;
  /** What a PREPARE takes besides the disk, ms: deferred triggers. */
  prepareMs = 0;
  /** Factor on everything that waits for the disk. */
  slowness = 1;
  readonly #world: World;
  readonly #place: number;
  readonly #locks = new Map<string, Owner>();
  readonly #queues = new Map<string, Waiter[]>();
  readonly #backends = new Set<Backend>();
  /** What may have become durable when the server crashes. */
  readonly #inFlight = new Set<() => void>();
  /** Those of them that write into schema mtm. */
  readonly #persists = new Set<() => void>();
  /** PREPAREs that a cancel can still reach. */
  readonly #preparing = new Map<Backend, () => void>();
  /** Crashes so far. */
  epoch = 0;
  #lastPid = 0;
  /** When the last of the writes into schema mtm will be durable. */
  #persistedAt = 0;

  constructor(world: World, identity: Identity) {
    this.#world = world;
    this.identity = identity;
    this.#place = identity.place;
  }

  /**
   * What still runs, the gateway's death notwithstanding: transactions, and PREPAREs and COMMIT PREPAREDs on
   * their way.
   */
  get running(): number {
    return this.#backends.size + this.#inFlight.size;
  }

  /** Transactions of clients and peers among them. */
  get busy(): number {
    return this.#backends.size + this.#inFlight.size - this.#persists.size;
  }

  open(kind: Backend['kind'], startTime: number, gid?: Gid): Backend {
    const backend: Backend = {
      pid: ++this.#lastPid,
      kind,
      gid,
      startTime,
      changes: new Map(),
      locks: new Set(),
      snapshotIndex: this.history.length,
      waitingFor: undefined,
      heldOpen: undefined,
      state: this.up ? 'open' : 'closed', // nobody answers, and the gateway is about to notice
    };
    if (this.up) this.#backends.add(backend);
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
      this.#preparing.delete(backend);
      backend.state = 'closed';
      this.#backends.delete(backend);
      const changes = [...backend.changes.values()];
      this.flushed = this.history.length;
      this.prepared.set(gid, { changes, locks: [...backend.locks], findable: false });
      for (const key of backend.locks) this.#locks.set(key, { kind: 'gid', gid });
      if (backend.kind === 'session') this.wal.push({ gid, changes });
      this.#world.checker.prepared(this.#place, gid, backend.kind === 'session', this.history.length);
    };
    const returning = (): void => {};
    this.#inFlight.add(becomeDurable);
    this.#preparing.set(backend, becomeDurable);
    this.later(this.prepareMs + this.#diskMs(), () => {
      if (!this.#inFlight.has(becomeDurable)) return; // canceled
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

  /** Its header and its changes are in the WAL, and it stays open. */
  holdOpen(backend: Backend, gid: Gid): readonly Change[] {
    backend.heldOpen = gid;
    const changes = [...backend.changes.values()];
    this.#world.checker.heldOpen(this.#place, gid, this.history.length, changes.length === 0);
    return changes;
  }

  /** COMMIT or ROLLBACK of what is held open; nothing is told when its backend is dead. */
  endOpen(backend: Backend, gid: Gid, commit: boolean, done: () => void): void {
    if (backend.state !== 'open') return;
    if (!commit) {
      this.abort(backend);
      return this.later(0.1, done);
    }
    backend.state = 'preparing';
    const becomeDurable = (): void => {
      this.#inFlight.delete(becomeDurable);
      backend.state = 'closed';
      this.#backends.delete(backend);
      this.#commit(gid, [...backend.changes.values()]);
      this.#release(backend.locks);
    };
    this.#inFlight.add(becomeDurable);
    this.later(this.#diskMs(), () => {
      becomeDurable();
      this.later(this.#world.random.between(0.1, 3), done);
    });
  }

  /** pg_cancel_backend: may come too late, and then nothing is told. */
  cancelPrepare(backend: Backend, canceled: () => void): void {
    this.later(this.#world.random.between(0.1, 2), () => {
      const becomeDurable = this.#preparing.get(backend);
      if (becomeDurable === undefined || this.#world.random.chance(0.3)) return;
      this.#inFlight.delete(becomeDurable);
      this.#preparing.delete(backend);
      backend.state = 'open';
      this.abort(backend);
      canceled();
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
      this.#release(transaction.locks);
    };
    this.#inFlight.add(becomeDurable);
    this.later(this.#diskMs(), () => {
      becomeDurable();
      this.later(0.1, () => done(missing));
    });
  }

  #commit(gid: Gid, changes: readonly Change[]): void {
    this.#world.checker.committed(this.#place, gid, changes, true);
    this.#write(gid, changes);
    this.flushed = this.history.length;
  }

  #write(gid: Gid, changes: readonly Change[]): void {
    const undo = changes.map(({ key }) => [key, this.rows.get(key)] as const);
    const commitIndex = this.history.push({ kind: 'commit', gid, changes, undo });
    for (const { key, value } of changes) {
      if (value === undefined) this.rows.delete(key);
      else this.rows.set(key, { value, by: gid, commitIndex });
    }
  }

  /**
   * A transaction of a donor, in one phase and with synchronous_commit=off. False when somebody holds a lock
   * that it needs: to be tried again.
   */
  replay(gid: Gid, changes: readonly Change[]): boolean {
    if (changes.some(({ key }) => this.#locks.has(key))) return false;
    this.#world.checker.committed(this.#place, gid, changes, false);
    this.#write(gid, changes);
    const { length } = this.history;
    this.later(this.#world.random.between(5, 60), () => (this.flushed = Math.max(this.flushed, length)));
    return true;
  }

  /** Everything written so far becomes durable. */
  flush(done: () => void): void {
    const { length } = this.history;
    this.later(this.#diskMs(), () => {
      this.flushed = Math.max(this.flushed, length);
      done();
    });
  }

  /** Writes into schema mtm with synchronous_commit=on, one after the other; lastOnline with its mark. */
  persist(change: DurableChange, done: () => void): void {
    this.#writeDown(() => {
      if (this.seed !== undefined && this.durable.lastOnline === 0)
        this.lostGeneration = change.lastOnline ?? 0;
      this.durable = { ...this.durable, ...change };
      if (change.accepted !== undefined) this.#world.checker.accepted(this.identity, change.accepted);
      if (change.lastOnline !== undefined) this.history.push({ kind: 'mark', generation: change.lastOnline });
    }, done);
  }

  /** The floor, and then the place of the retained slot. */
  raiseFloor(floor: Floor, place: number, done: () => void): void {
    this.#writeDown(
      () => (this.floor = floor),
      () => {
        this.later(this.#diskMs(), () => (this.retained = Math.max(this.retained, place)));
        done();
      },
    );
  }

  #writeDown(write: () => void, done: () => void): void {
    if (!this.up) return; // the gateway is about to notice
    const becomeDurable = (): void => {
      this.#inFlight.delete(becomeDurable);
      this.#persists.delete(becomeDurable);
      write();
      this.flushed = this.history.length;
    };
    this.#inFlight.add(becomeDurable);
    this.#persists.add(becomeDurable);
    const { now } = this.#world.scheduler;
    this.#persistedAt = Math.max(this.#persistedAt, now) + this.#diskMs();
    this.later(this.#persistedAt - now, () => {
      becomeDurable();
      this.later(0.1, done);
    });
  }

  crash(): void {
    // What was on its way may have become durable; the writes into schema mtm only in their order.
    let persisting = true;
    for (const becomeDurable of [...this.#inFlight]) {
      const luck = this.#world.random.chance(0.5);
      if (luck && (persisting || !this.#persists.has(becomeDurable))) becomeDurable();
      else if (this.#persists.has(becomeDurable)) persisting = false;
    }
    this.#inFlight.clear();
    this.#persists.clear();
    this.#preparing.clear();
    this.#persistedAt = 0;
    this.#loseUnflushed();
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

  #loseUnflushed(): void {
    while (this.history.length > this.flushed) {
      const entry = this.history.pop()!;
      if (entry.kind !== 'commit') continue;
      this.#world.checker.uncommitted(this.#place, entry.gid);
      for (const [key, row] of entry.undo) {
        if (row === undefined) this.rows.delete(key);
        else this.rows.set(key, row);
      }
    }
  }

  /** What the retained slot shows at a start: commits since the syncpoint, with changes or without. */
  retainedCommits(empty: boolean): Gid[] {
    const gids: Gid[] = [];
    for (const entry of this.history.slice(this.retained)) {
      if (entry.kind === 'commit' && (entry.changes.length === 0) === empty) gids.push(entry.gid);
      else if (entry.kind === 'header' && empty) gids.push(entry.gid);
    }
    return gids;
  }

  /** The gid of something that its copy holds: written like what is replayed. */
  noteHeader(gid: Gid): void {
    const length = this.history.push({ kind: 'header', gid });
    this.later(this.#world.random.between(5, 60), () => (this.flushed = Math.max(this.flushed, length)));
  }

  /** Everything that its copy holds is noted. */
  noteSeeded(done: () => void): void {
    this.#writeDown(() => (this.seed!.done = true), done);
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
