/**
 * Moves the retained slot to the last syncpoint: a position before which every transaction is finished on
 * all nodes.
 * Rule: the position is taken first, together with the transactions that are open then; the slot moves only
 * when each of them has
 * been finished everywhere. So what a restarted gateway must remember is always behind it.
 */
import type { Gid, Lsn } from '../core/identity.ts';
import type { CommitMachine } from '../core/commit/machine.ts';
import type { Control } from '../io/postgres/control.ts';

/** A quiet cluster moves its slot at least this often, ms. */
const longestMs = 10_000;

export class SyncpointKeeper {
  readonly #commit: CommitMachine;
  readonly #control: Control;
  readonly #intervalBytes: bigint;
  #position: Lsn = 0n;
  #reached: Lsn = 0n;
  #open: Gid[] | undefined;
  #movedAt = 0;
  #moving = false;

  constructor(commit: CommitMachine, control: Control, intervalBytes: number) {
    this.#commit = commit;
    this.#control = control;
    this.#intervalBytes = BigInt(intervalBytes);
  }

  async look(received: Lsn): Promise<void> {
    if (this.#moving || received === 0n) return;
    const now = performance.now();
    if (this.#open === undefined) {
      if (received === this.#reached) return;
      if (received - this.#reached < this.#intervalBytes && now - this.#movedAt < longestMs) return;
      this.#position = received;
      this.#open = this.#commit.openGids();
    }
    this.#open = this.#open.filter((gid) => this.#commit.isOpen(gid));
    if (this.#open.length > 0) return;
    this.#open = undefined;
    this.#moving = true;
    try {
      await this.#control.advanceRetained(this.#position);
      this.#reached = this.#position;
      this.#movedAt = now;
    } catch {
      // The control connection reports its own end; the position is tried again with the next look.
    } finally {
      this.#moving = false;
    }
  }
}
