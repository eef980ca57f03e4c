/**
 * Everything that is remembered of one database's node for whoever watches it; it outlives the node, which
 * begins anew when its server is lost.
 */
import type { Logger } from 'pino';
import { Chronicle } from './chronicle.ts';
import { History } from './history.ts';
import { NodeTally } from './node-tally.ts';

/** So many seconds together are a storm, or its end. */
const stormSeconds = 10;
const stormPerSecond = 20;
/** Of all transactions that were prepared. */
const stormShare = 0.3;

export class NodeTelemetry {
  readonly tally = new NodeTally();
  readonly chronicle: Chronicle;
  readonly history: History;
  #stormy = false;

  constructor(log: Logger, now: number) {
    this.chronicle = new Chronicle(log);
    this.history = new History(this.tally, now);
  }

  /** Once a second. */
  sample(now: number): void {
    this.history.sample(now);
    this.#lookForStorm();
  }

  #lookForStorm(): void {
    const { conflicts, writes } = this.history.mean(stormSeconds);
    const share = conflicts / Math.max(conflicts + writes, 1);
    const perSecond = Math.round(conflicts);
    const percent = Math.round(100 * share);
    if (!this.#stormy && conflicts >= stormPerSecond && share >= stormShare) {
      this.#stormy = true;
      const text = `${perSecond} conflicts a second: ${percent} % of all writes are aborted and repeated`;
      this.chronicle.tell('warn', 'conflict-storm', text, 'many conflicts', { perSecond, percent });
    } else if (this.#stormy && (conflicts < stormPerSecond / 2 || share < stormShare / 2)) {
      this.#stormy = false;
      const text = 'conflicts are back to a few';
      this.chronicle.tell('info', 'conflict-storm-over', text, text, { perSecond, percent });
    }
  }
}
