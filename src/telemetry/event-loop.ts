/**
 * How late the process comes to its work: the delay of the event loop over the last minute.
 * Rule: one timer of the runtime's own; nobody who asks changes what others see.
 */
import {
  monitorEventLoopDelay,
  performance,
  type EventLoopUtilization,
  type IntervalHistogram,
} from 'node:perf_hooks';

const seconds = 60;
/** Every look wakes the process: one that idles is looked at rarely, and what holds it up is still seen. */
const idleResolutionMs = 100;
const busyResolutionMs = 20;
/** Of the last second, as a part; above it the process is at work. */
const busyAbove = 0.1;

export interface LoopDelay {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

export class EventLoopDelay {
  readonly #samples: LoopDelay[] = [];
  #resolutionMs = busyResolutionMs;
  #monitor: IntervalHistogram = monitorEventLoopDelay({ resolution: busyResolutionMs });
  #used: EventLoopUtilization | undefined;

  start(): void {
    this.#used = performance.eventLoopUtilization();
    this.#monitor.enable();
  }

  stop(): void {
    this.#monitor.disable();
  }

  /** How closely the next second is looked at. */
  get resolutionMs(): number {
    return this.#resolutionMs;
  }

  /** Once a second. */
  sample(): void {
    const resolutionMs = this.#resolutionMs;
    const { count } = this.#monitor;
    const late = (ns: number): number => (count === 0 ? 0 : Math.max(ns / 1e6 - resolutionMs, 0));
    this.#samples.push({
      p50Ms: late(this.#monitor.percentile(50)),
      p99Ms: late(this.#monitor.percentile(99)),
      maxMs: late(this.#monitor.max),
    });
    if (this.#samples.length > seconds) this.#samples.shift();
    this.#monitor.reset();
    this.#choose();
  }

  #choose(): void {
    const used = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(used, this.#used);
    this.#used = used;
    const resolutionMs = utilization > busyAbove ? busyResolutionMs : idleResolutionMs;
    if (resolutionMs === this.#resolutionMs) return;
    this.#resolutionMs = resolutionMs;
    this.#monitor.disable();
    this.#monitor = monitorEventLoopDelay({ resolution: resolutionMs });
    this.#monitor.enable();
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
