/**
 * An operating system's process: what reaches it while it stands still waits, and what reaches it when it has
 * ended is lost.
 */
import type { World } from './world.ts';

export class Process {
  /** Undefined: it does not run. */
  incarnation: number | undefined;
  readonly #scheduler: World['scheduler'];
  #pausedUntil = 0;
  #inbox: (() => void)[] = [];

  constructor(world: World) {
    this.#scheduler = world.scheduler;
  }

  deliver(action: () => void): void {
    if (this.incarnation === undefined) return;
    if (this.#pausedUntil > this.#scheduler.now || this.#inbox.length > 0) this.#inbox.push(action);
    else action();
  }

  /** An action of this process, later; it dies with the process. */
  later(ms: number, action: () => void): void {
    const incarnation = this.incarnation;
    this.#scheduler.after(ms, () => {
      if (this.incarnation === incarnation) this.deliver(action);
    });
  }

  pause(ms: number): void {
    if (this.incarnation === undefined) return;
    this.#pausedUntil = Math.max(this.#pausedUntil, this.#scheduler.now + ms);
    const incarnation = this.incarnation;
    this.#scheduler.after(ms, () => {
      if (this.#pausedUntil > this.#scheduler.now || this.incarnation !== incarnation) return;
      while (this.#inbox.length > 0) {
        const inbox = this.#inbox;
        this.#inbox = [];
        for (const action of inbox) if (this.incarnation === incarnation) action();
      }
    });
  }

  protected ended(): void {
    this.incarnation = undefined;
    this.#inbox = [];
    this.#pausedUntil = 0;
  }
}
