/**
 * The level of a log and of all loggers that were made of it, which pino keeps in each of them.
 * Rule: it holds none of them in memory.
 */
import type { Logger } from 'pino';

export class LogLevel {
  readonly #log: Logger;
  #children = new Set<WeakRef<Logger>>();

  /** Before the first child is made. */
  constructor(log: Logger) {
    this.#log = log;
    log.onChild = (child) => void this.#children.add(new WeakRef(child as Logger));
  }

  set(level: string): void {
    this.#log.level = level;
    for (const reference of this.#children) {
      const child = reference.deref();
      if (child === undefined) this.#children.delete(reference);
      else child.level = level;
    }
  }
}
