/**
 * How late the process comes to its work: the delay of the event loop over the last minute.
 * Rule: one timer of the runtime's own; nobody who asks changes what others see.
 */
import { monitorEventLoopDelay, type IntervalHistogram } from 'node:perf_hooks';

const seconds = 60;
const resolutionMs = 20;

export interface LoopDelay {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

export class EventLoopDelay {
  readonly #monitor: IntervalHistogram = monitorEventLoopDelay({ resolution: resolutionMs });
  readonly #samples: LoopDelay[] = [];

  start(): void {
    this.#monitor.enable();
  }

  stop(): void {
    this.#monitor.disable();
  }

  /** Once a second. */
  sample(): void {
    const { count } = this.#monitor;
    const late = (ns: number): number => (count === 0 ? 0 : Math.max(ns / 1e6 - resolutionMs, 0));
    this.#samples.push({
      p50Ms: late(this.#monitor.percentile(50)),
      p99Ms: late(this.#monitor.percentile(99)),
      maxMs: late(this.#monitor.max),
    });
    if (this.#samples.length > seconds) this.#samples.shift();
    this.#monitor.reset();
  }

  /** Of the last minute: the usual second's median, and the worst second's p99 and maximum. */
  get recent(): LoopDelay {
    const medians = this.#samples.map(({ p50Ms }) => p50Ms).sort((a, b) => a - b);
    return {
      p50Ms: medians[medians.length >> 1] ?? 0,
      p99Ms: Math.max(0, ...this.#samples.map(({ p99Ms }) => p99Ms)),
      maxMs: Math.max(0, ...this.#samples.map(({ maxMs }) => maxMs)),
    };
  }
}
