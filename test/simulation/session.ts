/**
 * A client's session at one gateway, running one operation: what the session machine and the client do
 * together. It repeats a loser of a conflict with its original start time, as the gateway does for autocommit
 * statements.
 */
import type { Answer } from '../../src/core/commit/event.ts';
import type { Gid } from '../../src/core/identity.ts';
import type { Gateway } from './gateway.ts';
import { openingBalance } from './operation.ts';
import type { Operation, Statement } from './operation.ts';
import type { Backend, Row } from './server-record.ts';
import { Violation } from './world.ts';
import type { World } from './world.ts';

export type Result = 'committed' | 'failed' | 'unknown' | 'read';

const statementTimeoutMs = 400;

export class Session {
  readonly #world: World;
  readonly #gateway: Gateway;
  readonly #operation: Operation;
  readonly #startTime: number;
  readonly #done: (result: Result, gid: Gid | undefined) => void;
  #repeats: number;
  #backend: Backend | undefined;
  #gid: Gid | undefined;
  #over = false;
  /** The generation in which the transaction, or the read, began. */
  #generation: number | undefined;
  /** How often a repeat found that the node takes no writes. */
  #waits = 0;

  constructor(
    world: World,
    gateway: Gateway,
    operation: Operation,
    repeats: number,
    done: (result: Result, gid: Gid | undefined) => void,
  ) {
    this.#world = world;
    this.#gateway = gateway;
    this.#operation = operation;
    this.#repeats = repeats;
    this.#done = done;
    this.#startTime = gateway.newStartTime();
    gateway.opened(this);
    this.#begin();
  }

  get pid(): number | undefined {
    return this.#backend?.pid;
  }

  #end(result: Result): void {
    if (this.#over) return;
    this.#over = true;
    this.#gateway.closed(this);
    this.#done(result, this.#gid);
  }

  #begin(): void {
    this.#gid = undefined;
    const gateway = this.#gateway;
    if (this.#operation.kind === 'snapshot') return this.#read();
    if (!gateway.writable || !gateway.server.up) return this.#waitForGeneration();
    this.#generation = gateway.generation;
    this.#backend = gateway.server.open('session', this.#startTime);
    this.#statement(this.#backend, 0);
  }

  /** What was refused for the end of its generation is repeated in the next one. */
  #waitForGeneration(): void {
    this.#waits += 1;
    if (this.#generation === undefined || this.#waits > 20) return this.#end('failed');
    this.#gateway.later(25, () => {
      if (!this.#over) this.#begin();
    });
  }

  /** A read, or a READ COMMITTED block of two reads, perhaps with a long pause in between. */
  #read(): void {
    const { server, serving, generation } = this.#gateway;
    this.#generation = generation;
    const { checker, random } = this.#world;
    if (!serving || !server.up) {
      checker.counts.refusedReads += 1;
      return this.#end('failed');
    }
    this.#readOnce(random.chance(0.3));
    // The client gives up on a server that never answers.
    this.#gateway.later(3 * statementTimeoutMs, () => this.#end('failed'));
  }

  #readOnce(again: boolean): void {
    const { server, place } = this.#gateway;
    const { checker, random } = this.#world;
    const acknowledged = checker.acknowledged.length;
    server.later(random.between(0.1, random.chance(0.05) ? 400 : 5), () => {
      const missing = checker.missing(place, acknowledged);
      let total = 0;
      for (const [key, { value }] of server.rows) if (key.startsWith('a')) total += value;
      server.later(random.between(0.1, 5), () =>
        this.#gateway.deliver(() => this.#readReturned(total, missing, again)),
      );
    });
  }

  #readReturned(total: number, missing: Gid | undefined, again: boolean): void {
    if (this.#over) return;
    const { serving, generation } = this.#gateway;
    if ((!serving || generation !== this.#generation) && !this.#world.sabotage.leaseCheckedBefore) {
      this.#world.checker.counts.refusedReads += 1;
      return this.#end('failed');
    }
    this.#world.checker.served(this.#gateway.place, missing);
    const expected = this.#gateway.options.accounts * openingBalance;
    if (total !== expected)
      throw new Violation(`node ${this.#gateway.id} shows a total of ${total}, not ${expected}`);
    if (!again) return this.#end('read');
    const thinkMs = this.#world.random.between(0, this.#world.random.chance(0.4) ? 800 : 20);
    this.#gateway.later(thinkMs, () => {
      if (!this.#over && this.#gateway.server.up) this.#readOnce(false);
    });
  }

  #statement(backend: Backend, index: number): void {
    const { server } = this.#gateway;
    const statement = this.#operation.statements[index];
    if (statement === undefined) return this.#prepare(backend);
    const step = (): void => {
      if (backend.state !== 'open') return;
      if (index === 0) backend.snapshotIndex = server.history.length;
      const failed = (): void => this.#rollback(backend, true);
      server.lock(backend, statement.key, () => this.#locked(backend, statement, index), failed);
      server.later(statementTimeoutMs, () => {
        if (backend.waitingFor === statement.key) this.#rollback(backend, false);
      });
    };
    const thinkMs = index === 0 ? 0 : this.#world.random.between(0, 6);
    server.later(this.#world.random.between(0.1, 2) + thinkMs, step);
  }

  #locked(backend: Backend, statement: Statement, index: number): void {
    const { key, write, requires } = statement;
    const committed = this.#gateway.server.rows.get(key);
    const changedSince = committed !== undefined && committed.commitIndex > backend.snapshotIndex;
    if (this.#operation.repeatableRead && changedSince) return this.#rollback(backend, true);
    const own = backend.changes.get(key);
    const row: Row | undefined =
      own === undefined
        ? committed
        : own.value === undefined
          ? undefined
          : { value: own.value, by: '', commitIndex: 0 };
    const value = write(row);
    if (value === 'error') return this.#rollback(backend, false);
    backend.changes.set(key, { key, value, base: committed?.by, requires });
    this.#gateway.deliver(() => this.#statement(backend, index + 1));
  }

  /** The transaction is over without PREPARE: an error, a lost conflict. */
  #rollback(backend: Backend, retryable: boolean): void {
    if (!this.#gateway.server.abort(backend)) return;
    if (retryable) this.#repeat();
    else this.#end('failed');
  }

  #repeat(): void {
    if (this.#over) return;
    if (this.#repeats === 0) return this.#end('failed');
    this.#repeats -= 1;
    this.#gateway.later(this.#world.random.between(0.5, 5), () => {
      if (!this.#over) this.#begin();
    });
  }

  #prepare(backend: Backend): void {
    const gateway = this.#gateway;
    const { random } = this.#world;
    if (backend.state !== 'open' || this.#over) return;
    if (!gateway.writable || gateway.generation !== this.#generation) return this.#rollback(backend, true);
    const gid = (this.#gid = gateway.newGid());
    gateway.step({ kind: 'prepare-sent', gid, startTime: this.#startTime });
    if (gateway.commitsLast()) {
      gateway.waitForAnswer(gid, this);
      return gateway.hold(gid, backend);
    }
    if (gateway.server.refuses || random.chance(0.03)) return this.#prepareFails(backend, gid);
    gateway.waitForAnswer(gid, this);
    const lost = random.chance(0.01);
    gateway.server.prepare(backend, gid, () => {
      gateway.deliver(() => gateway.step({ kind: lost ? 'prepare-lost' : 'prepare-returned', gid }));
    });
  }

  /** A deferred constraint, or the connection breaks before PREPARE has begun. */
  #prepareFails(backend: Backend, gid: Gid): void {
    const gateway = this.#gateway;
    const lost = this.#world.random.chance(0.3);
    gateway.server.abort(backend);
    if (lost) gateway.waitForAnswer(gid, this);
    gateway.later(1, () => {
      gateway.step({ kind: lost ? 'prepare-lost' : 'prepare-failed', gid });
      if (!lost) this.#end('failed');
    });
  }

  answered(answer: Answer): void {
    if (answer.kind === 'committed') this.#end('committed');
    else if (answer.kind === 'unknown') this.#end('unknown');
    else if (answer.refusal.retryable) this.#repeat();
    else this.#end('failed');
  }

  /** The generation ended: nothing of it may become prepared any more. */
  endPrepare(gid: Gid): void {
    const backend = this.#backend;
    if (gid !== this.#gid || backend === undefined || this.#over) return;
    this.#gateway.server.cancelPrepare(backend, () => {
      this.#gateway.deliver(() => {
        this.#gateway.forget(gid);
        this.#gateway.step({ kind: 'prepare-failed', gid });
        this.#repeat();
      });
    });
  }

  /** The node is online no more: what is open ends, for a recovery must not wait for its locks. */
  generationEnded(): void {
    const backend = this.#backend;
    if (backend?.state === 'open' && backend.heldOpen === undefined) this.#rollback(backend, true);
  }

  /** An older transaction needs the locks. */
  interrupt(): void {
    const backend = this.#backend;
    if (backend?.state === 'open' && backend.heldOpen === undefined) this.#rollback(backend, true);
  }

  /** The gateway is gone: the client does not know how it ended. */
  connectionLost(): void {
    this.#end(this.#gid === undefined ? 'failed' : 'unknown');
  }
}
