/**
 * How long a node that catches up will still need, told honestly: by how much its lag has become smaller
 * lately, what the others write meanwhile included. Rule: no estimate is better than a wrong one.
 */

/** The pace of these last seconds counts, ms. */
const windowMs = 15_000;
const enoughMs = 3_000;
/** Whoever says more than a day says nothing. */
const longestSeconds = 86_400;

interface Sample {
  readonly at: number;
  readonly lagBytes: number;
}

export class LagEstimate {
  readonly #samples: Sample[] = [];

  add(at: number, lagBytes: number): void {
    this.#samples.push({ at, lagBytes });
    while (this.#samples.length > 2 && at - this.#samples[0]!.at > windowMs) this.#samples.shift();
  }

  clear(): void {
    this.#samples.length = 0;
  }

  /** By how much the lag shrinks, net of what is written meanwhile; undefined before that is known. */
  get bytesPerSecond(): number | undefined {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined || last.at - first.at < enoughMs) return undefined;
    return ((first.lagBytes - last.lagBytes) / (last.at - first.at)) * 1000;
  }

  /** Undefined: not known yet. 'never': at this pace it does not get there. */
  get remainingSeconds(): number | 'never' | undefined {
    const pace = this.bytesPerSecond;
    const lag = this.#samples.at(-1)?.lagBytes;
    if (pace === undefined || lag === undefined) return undefined;
    if (lag === 0) return 0;
    if (pace <= 0 || lag / pace > longestSeconds) return 'never';
    return lag / pace;
  }
}
