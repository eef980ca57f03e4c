/**
 * Moves the retained slot to the last syncpoint: a position before which every transaction is finished on all
 * configured nodes.
 * Rule: the position is read first, then what had been seen until then; the slot moves only when every origin
 * says that all of that is finished everywhere. So what a restarted gateway must remember, and what a node that
 * was away misses, is always behind it.
 */
import type { Floor } from '../core/commit/outcome-memory.ts';
import type { Lsn } from '../core/identity.ts';
import type { Syncpoint } from '../core/node/floors.ts';
import type { NodeMachine } from '../core/node/node-machine.ts';
import type { RetainedSlot } from '../io/store/retained-slot.ts';

/** A quiet cluster moves its slot at least this often, ms. */
const longestMs = 10_000;

export class SyncpointKeeper {
  readonly #machine: NodeMachine;
  readonly #slot: RetainedSlot;
  readonly #intervalBytes: bigint;
  readonly #raised: (floor: Floor) => void;
  #pending: { readonly position: Lsn; readonly syncpoint: Syncpoint } | undefined;
  #reached: Lsn = 0n;
  #movedAt = 0;
  #moving = false;

  constructor(
    machine: NodeMachine,
    slot: RetainedSlot,
    intervalBytes: number,
    raised: (floor: Floor) => void,
  ) {
    this.#machine = machine;
    this.#slot = slot;
    this.#intervalBytes = BigInt(intervalBytes);
    this.#raised = raised;
  }

  /** `received`: what the change stream has handed over ends here. */
  async look(received: Lsn): Promise<void> {
    if (this.#moving || received === 0n) return;
    const now = performance.now();
    if (this.#pending === undefined && this.#isDue(received, now)) {
      const syncpoint = this.#machine.takeSyncpoint();
      if (syncpoint !== undefined) this.#pending = { position: received, syncpoint };
    }
    const pending = this.#pending;
    if (pending === undefined) return;
    const floor = this.#machine.passedFloor(pending.syncpoint);
    if (floor === undefined) return;
    this.#pending = undefined;
    if (floor !== 'void') await this.#move(pending.position, floor, now);
  }

  #isDue(received: Lsn, now: number): boolean {
    if (received === this.#reached) return false;
    return received - this.#reached >= this.#intervalBytes || now - this.#movedAt >= longestMs;
  }

  async #move(position: Lsn, floor: Floor, now: number): Promise<void> {
    this.#moving = true;
    try {
      await this.#slot.moveTo(position, floor);
      this.#reached = position;
      this.#movedAt = now;
      this.#raised(floor);
    } catch {
      // The control connection reports its own end; another syncpoint is taken with the next look.
    } finally {
      this.#moving = false;
    }
  }
}
