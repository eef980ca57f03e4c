/**
 * Transactions that stay open at one gateway until the others have decided them: what src/node/open-desk.ts and
 * the sessions do. A session may die at any time; the gateway notices later, as late as the backend's locks are
 * long gone.
 */
import type { Finish } from '../../src/core/commit/event.ts';
import type { NodeEvent } from '../../src/core/node/node-event.ts';
import type { Gid } from '../../src/core/identity.ts';
import type { Backend, Change } from './server-record.ts';
import type { Server } from './server.ts';
import type { World } from './world.ts';

export interface OpenOwner {
  readonly server: Server;
  readonly incarnation: number | undefined;
  deliver(action: () => void): void;
  later(ms: number, action: () => void): void;
  step(event: NodeEvent): void;
}

interface Open {
  readonly backend: Backend;
  ordered: Finish | undefined;
}

export class OpenTransactions {
  readonly #world: World;
  readonly #owner: OpenOwner;
  readonly #open = new Map<Gid, Open>();

  constructor(world: World, owner: OpenOwner) {
    this.#world = world;
    this.#owner = owner;
  }

  /** The process is gone. */
  clear(): void {
    this.#open.clear();
  }

  hold(gid: Gid, backend: Backend): void {
    const { random } = this.#world;
    const changes = this.#owner.server.holdOpen(backend, gid);
    this.#open.set(gid, { backend, ordered: undefined });
    this.#owner.step({ kind: 'held-open', gid });
    this.#owner.later(random.between(0.5, 4), () => this.#capture(gid, changes));
    if (random.chance(0.1))
      this.#owner.server.later(random.between(0, random.pick([5, 30])), () => this.#die(gid, backend));
  }

  /** The backend ends, and its locks with it. */
  #die(gid: Gid, backend: Backend): void {
    if (backend.state !== 'open') return;
    this.#owner.server.abort(backend);
    this.#owner.later(this.#world.random.between(0.1, this.#world.random.pick([1, 20])), () =>
      this.#sessionLost(gid),
    );
  }

  /** The backend is certainly gone: it has committed, or never will. */
  #sessionLost(gid: Gid): void {
    const open = this.#open.get(gid);
    if (open === undefined) return;
    if (open.ordered === 'commit' && this.#world.sabotage.lostCommitCounts === true)
      return this.#ended(gid, 'commit');
    this.#open.delete(gid);
    const refusal = { sqlstate: '40001', message: 'session lost', node: 0, retryable: true };
    this.#owner.step({ kind: 'open-lost', gid, refusal });
  }

  /** Its client has given up, and its connection is closed. */
  abandon(gid: Gid): void {
    const open = this.#open.get(gid);
    if (open !== undefined && open.ordered === undefined) this.#die(gid, open.backend);
  }

  finish(gid: Gid, finish: Finish): void {
    const open = this.#open.get(gid);
    if (open === undefined) return; // it was lost meanwhile, and its end is on its way
    open.ordered = finish;
    const { backend } = open;
    if (finish === 'commit' && this.#world.random.chance(0.03)) return this.#die(gid, backend);
    // What is dead and not noticed yet ends with the notice.
    this.#owner.server.endOpen(backend, gid, finish === 'commit', () =>
      this.#owner.deliver(() => this.#ended(gid, finish)),
    );
  }

  #ended(gid: Gid, finish: Finish): void {
    if (!this.#open.delete(gid)) return;
    this.#owner.step({ kind: 'finish-ended', gid, finish, missing: false });
  }

  /** Read by a stream of its own: beside all others. */
  #capture(gid: Gid, changes: readonly Change[]): void {
    const { random } = this.#world;
    if (random.chance(0.02)) {
      const refusal = { sqlstate: '40001', message: 'unreadable', node: 0, retryable: true };
      return this.#owner.step({ kind: 'capture-failed', gid, refusal });
    }
    const text = changes.map((change) => `${JSON.stringify(change)}\n`).join('');
    const data = new TextEncoder().encode(text);
    const cut = random.below(data.length + 1);
    const ddl = gid.endsWith('7');
    if (cut > 0) this.#owner.step({ kind: 'captured', gid, ddl, data: data.subarray(0, cut), last: false });
    this.#owner.later(random.between(0, 2), () =>
      this.#owner.step({ kind: 'captured', gid, ddl, data: data.subarray(cut), last: true }),
    );
  }
}
