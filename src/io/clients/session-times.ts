/**
 * When the steps of a session's transaction happened, and how long they took. Rule: one object for a session,
 * plain numbers in it; core knows no clock, so the time is read here, where effects are carried out.
 */
import type { NodeTally } from '../../telemetry/node-tally.ts';

/** Of one plain read in so many the time is taken: a power of two. */
const readSampling = 16;

export class SessionTimes {
  readonly #tally: NodeTally;
  #reads = 0;
  /** 0: this read is not measured. */
  #readAt = 0;
  /** The moments of the transaction that is being committed, ms; 0: has not happened. */
  #sentAt = 0;
  #preparedAt = 0;
  #decidedAt = 0;
  #empty = false;

  constructor(tally: NodeTally) {
    this.#tally = tally;
  }

  readSent(): void {
    this.#readAt = (this.#reads++ & (readSampling - 1)) === 0 ? performance.now() : 0;
  }

  readAnswered(): void {
    if (this.#readAt === 0) return;
    this.#tally.read.addMs(performance.now() - this.#readAt);
    this.#readAt = 0;
  }

  prepareSent(): void {
    this.#sentAt = performance.now();
    this.#preparedAt = 0;
    this.#decidedAt = 0;
    this.#empty = false;
  }

  prepared(empty: boolean): void {
    this.#preparedAt = performance.now();
    this.#empty = empty;
  }

  /** Every member has prepared it. */
  decided(): void {
    this.#decidedAt = performance.now();
  }

  /** Its client may be answered: it is committed. True when others had it, too. */
  committed(): boolean {
    if (this.#empty) return false;
    const { prepare, votes, finish, whole } = this.#tally.commit;
    const now = performance.now();
    const preparedAt = this.#preparedAt || now;
    const decidedAt = this.#decidedAt || preparedAt;
    prepare.addMs(preparedAt - this.#sentAt);
    votes.addMs(decidedAt - preparedAt);
    finish.addMs(now - decidedAt);
    whole.addMs(now - this.#sentAt);
    return true;
  }
}
