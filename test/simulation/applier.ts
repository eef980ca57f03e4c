/**
 * One transaction of another node on an apply connection: changes come as bytes cut anywhere, are executed in
 * order, wait for row locks, and end with PREPARE. It tells its end exactly once.
 */
import type { ApplyResult, Holder } from '../../src/core/commit/event.ts';
import type { Gid, Refusal } from '../../src/core/identity.ts';
import type { Backend, Change, Owner } from './server-record.ts';
import type { Server } from './server.ts';
import { Violation } from './world.ts';
import type { World } from './world.ts';

export interface ApplierOwner {
  applyEnded(gid: Gid, result: ApplyResult): void;
  applyBlocked(gid: Gid, holder: Holder, waitedMs: number): void;
}

const pollMs = 12;

export class Applier {
  readonly gid: Gid;
  readonly #world: World;
  readonly #server: Server;
  readonly #owner: ApplierOwner;
  readonly #backend: Backend;
  readonly #changes: Change[] = [];
  #text = '';
  #complete = false;
  #busy = false;
  #canceled: Refusal | undefined;
  #over = false;

  constructor(world: World, server: Server, gid: Gid, owner: ApplierOwner) {
    this.#world = world;
    this.#server = server;
    this.gid = gid;
    this.#owner = owner;
    this.#backend = server.open('apply', 0, gid);
  }

  push(data: Uint8Array): void {
    const lines = (this.#text + new TextDecoder().decode(data)).split('\n');
    this.#text = lines.pop()!;
    for (const line of lines) this.#changes.push(JSON.parse(line) as Change);
    this.#next();
  }

  end(): void {
    if (this.#text !== '') throw new Violation(`${this.gid} ends in the middle of a change: ${this.#text}`);
    this.#complete = true;
    this.#next();
  }

  #next(): void {
    if (this.#busy || this.#over || this.#canceled !== undefined) return;
    const change = this.#changes.shift();
    if (change === undefined) {
      if (this.#complete) this.#prepare();
      return;
    }
    this.#busy = true;
    this.#server.later(this.#world.random.between(0.1, 1), () => this.#execute(change));
  }

  #execute(change: Change): void {
    if (this.#canceled !== undefined) return;
    const since = this.#world.scheduler.now;
    this.#server.lock(
      this.#backend,
      change.key,
      () => this.#locked(change),
      (sqlstate) => this.#refuse(refusal(sqlstate)),
    );
    if (this.#backend.waitingFor !== undefined) this.#reportBlocked(since);
  }

  #reportBlocked(since: number): void {
    this.#server.later(pollMs, () => {
      const key = this.#backend.waitingFor;
      if (key === undefined || this.#over) return;
      const owner = this.#server.holder(key);
      if (owner !== undefined) {
        const waitedMs = this.#world.scheduler.now - since;
        this.#owner.applyBlocked(this.gid, holderOf(owner), waitedMs);
      }
      this.#reportBlocked(since);
    });
  }

  #locked(change: Change): void {
    this.#busy = false;
    if (this.#canceled !== undefined || this.#over) return;
    const { rows } = this.#server;
    if (change.requires !== undefined && !rows.has(change.requires)) {
      throw new Violation(`${this.gid} needs row ${change.requires}, which is not there`);
    }
    const row = rows.get(change.key);
    if (change.base === undefined && row !== undefined) return this.#refuse(refusal('23505'));
    // A transaction that is being rolled back elsewhere may find its row gone; what counts is that it never
    // commits.
    if (change.base !== undefined && row === undefined) return this.#refuse(refusal('40001'));
    this.#backend.changes.set(change.key, change);
    this.#next();
  }

  #refuse(why: Refusal): void {
    if (this.#over) return;
    this.#over = true;
    this.#server.abort(this.#backend);
    this.#owner.applyEnded(this.gid, { kind: 'refused', refusal: why });
  }

  #prepare(): void {
    if (this.#server.refuses) return this.#refuse(refusal('53100'));
    this.#busy = true;
    this.#server.prepare(this.#backend, this.gid, () => {
      if (this.#over) return;
      this.#over = true;
      // Now and then the connection breaks just when it is done.
      const lost = this.#world.random.chance(0.01);
      const result: ApplyResult = lost ? { kind: 'lost', reason: 'connection reset' } : { kind: 'prepared' };
      this.#owner.applyEnded(this.gid, result);
    });
  }

  /** Takes a while, and comes too late when PREPARE is on its way. */
  cancel(why: Refusal): void {
    if (this.#canceled !== undefined || this.#over) return;
    this.#server.later(this.#world.random.between(0.1, 2), () => {
      if (this.#over || this.#backend.state !== 'open') return;
      this.#canceled = why;
      this.#refuse(why);
    });
  }
}

function holderOf(owner: Owner): Holder {
  if (owner.kind === 'gid') return { kind: 'transaction', gid: owner.gid };
  const { backend } = owner;
  if (backend.gid !== undefined) return { kind: 'transaction', gid: backend.gid };
  if (backend.heldOpen !== undefined) return { kind: 'transaction', gid: backend.heldOpen };
  const waiting = backend.waitingFor !== undefined;
  return { kind: 'session', pid: backend.pid, startTime: backend.startTime, waiting, mutual: false };
}

function refusal(sqlstate: string): Refusal {
  return { sqlstate, message: `apply failed with ${sqlstate}`, node: 0, retryable: sqlstate !== '23505' };
}
