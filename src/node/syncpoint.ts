/**
 * Moves the retained slot to the last syncpoint: a position before which every transaction is finished on all
 * configured nodes; and, when more than max_retained_wal is held for nodes that are away, to one before which
 * all is finished on the members: those nodes must be seeded anew then.
 * Rule: the position is read first, then what had been seen until then; the slot moves only when every origin
 * says that all of that is finished everywhere. So what a restarted gateway must remember is always behind
 * it, and what a node that was away misses as well, unless it was given up before.
 */
import type { Logger } from 'pino';
import type { Floor } from '../core/commit/outcome-memory.ts';
import type { Lsn } from '../core/identity.ts';
import type { Syncpoint } from '../core/node/floors.ts';
import type { NodeMachine } from '../core/node/node-machine.ts';
import type { RetainedSlot } from '../io/store/retained-slot.ts';

/** A quiet cluster moves its slot at least this often, ms. */
const longestMs = 10_000;
/** Between two looks at how much is held for others, ms. */
const weighMs = 1000;

export interface SyncpointLimits {
  readonly syncpointIntervalBytes: number;
  /** 0: none. */
  readonly maxRetainedWalBytes: number;
}

export interface SyncpointHandler {
  /** What is known of outcomes is written before a floor is: afterwards nothing else shows them. */
  raising(): Promise<void>;
  /** The floor is durable. */
  raised(floor: Floor): void;
  /** Nothing before this position is given to others any more. */
  givenUp(position: Lsn): void;
}

interface Pending {
  readonly position: Lsn;
  readonly syncpoint: Syncpoint;
  /** Nodes that are away need what is before it. */
  readonly givesUp: boolean;
}

export class SyncpointKeeper {
  readonly #machine: NodeMachine;
  readonly #slot: RetainedSlot;
  /** Asked for each time: they may be changed while the gateway runs. */
  readonly #limits: SyncpointLimits;
  readonly #handler: SyncpointHandler;
  readonly #log: Logger;
  #pending: Pending | undefined;
  #reached: Lsn = 0n;
  #movedAt = 0;
  #weighedAt = -Infinity;
  #busy = false;

  constructor(
    machine: NodeMachine,
    slot: RetainedSlot,
    limits: SyncpointLimits,
    log: Logger,
    handler: SyncpointHandler,
  ) {
    this.#machine = machine;
    this.#slot = slot;
    this.#limits = limits;
    this.#log = log;
    this.#handler = handler;
  }

  /** `received`: what the change stream has handed over ends here. */
  async look(received: Lsn): Promise<void> {
    if (this.#busy || received === 0n) return;
    this.#busy = true;
    try {
      const now = performance.now();
      this.#pending ??= this.#take(received, now) ?? (await this.#takeFromOthers(received, now));
      await this.#pass(now);
    } catch {
      // The connection of the slot reports its own end; another syncpoint is taken with the next look.
    } finally {
      this.#busy = false;
    }
  }

  #take(received: Lsn, now: number): Pending | undefined {
    if (received === this.#reached) return undefined;
    const due =
      received - this.#reached >= this.#limits.syncpointIntervalBytes || now - this.#movedAt >= longestMs;
    const syncpoint = due ? this.#machine.takeSyncpoint() : undefined;
    return syncpoint === undefined ? undefined : { position: received, syncpoint, givesUp: false };
  }

  /** Only while a configured node is no member, and more than the limit is held for it. */
  async #takeFromOthers(received: Lsn, now: number): Promise<Pending | undefined> {
    const { maxRetainedWalBytes: limit } = this.#limits;
    if (limit === 0 || now - this.#weighedAt < weighMs) return undefined;
    this.#weighedAt = now;
    if (this.#machine.takeSyncpoint() !== undefined) return undefined;
    if ((await this.#heldBytes(received)) <= limit) return undefined;
    // The answer took its time.
    if (this.#machine.takeSyncpoint() !== undefined) return undefined;
    const syncpoint = this.#machine.takeSyncpoint('members');
    return syncpoint === undefined ? undefined : { position: received, syncpoint, givesUp: true };
  }

  /** The server keeps more than what is behind the slot: it frees nothing before its own next look. */
  async #heldBytes(received: Lsn): Promise<bigint> {
    const retained = BigInt(await this.#slot.retainedBytes());
    const behind = received - this.#slot.syncpoint.position;
    return behind < retained ? behind : retained;
  }

  async #pass(now: number): Promise<void> {
    const pending = this.#pending;
    if (pending === undefined) return;
    const floor = this.#machine.passedFloor(pending.syncpoint);
    if (floor === undefined) return;
    this.#pending = undefined;
    if (floor === 'void') return;
    const { position, givesUp } = pending;
    await this.#handler.raising();
    // A copy of this server for a node that was added meanwhile has the former floor, and needs what is
    // behind it.
    if (this.#machine.passedFloor(pending.syncpoint) === 'void') return;
    if (givesUp) {
      const { generation } = floor;
      await this.#slot.giveUp(position, floor, generation);
      this.#log.warn({ generation }, 'max_retained_wal is reached: nodes that are away must be seeded anew');
      this.#handler.givenUp(position);
    } else {
      await this.#slot.moveTo(position, floor);
    }
    this.#reached = position;
    this.#movedAt = now;
    this.#handler.raised(floor);
  }
}
