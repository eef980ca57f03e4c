/**
 * How far a copy is: a bar that is drawn anew on a terminal, a line every few seconds elsewhere.
 * Rule: no promise that is not kept: the rest is estimated from the rate of the last seconds, said with
 * `about`, and not at all as long as nothing is known. What comes on top of the expected size (WAL) is shown
 * as such.
 */
import type { CopyProgress } from '../io/recovery/base-backup-receiver.ts';

export interface ProgressOutput {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  write(text: string): unknown;
}

const redrawMs = 200;
const lineMs = 5_000;
/** The rate is that of this time. */
const windowMs = 10_000;
/** Before that nothing is estimated. */
const firstEstimateMs = 2_000;
/** Below that only the size is said. */
const leastShown = 100_000;
const barWidth = 16;

export class CopyProgressLine {
  readonly #output: ProgressOutput;
  readonly #now: () => number;
  readonly #begun: number;
  readonly #doing: string;
  /** Bytes at times within the window, oldest first. */
  #samples: { readonly at: number; readonly received: number }[] = [];
  #shownAt = -Infinity;
  #drawn = false;

  /** `doing`: what is said of it. */
  constructor(output: ProgressOutput, now = (): number => performance.now(), doing = 'copying') {
    this.#output = output;
    this.#doing = doing;
    this.#now = now;
    this.#begun = now();
  }

  show(progress: CopyProgress): void {
    const now = this.#now();
    const terminal = this.#output.isTTY === true;
    if (now - this.#shownAt < (terminal ? redrawMs : lineMs)) return;
    this.#shownAt = now;
    this.#sample(now, progress.received);
    const text = this.#text(now, progress, terminal);
    this.#output.write(
      terminal ? `\r\u001B[K${text.slice(0, (this.#output.columns ?? 80) - 1)}` : `${text}\n`,
    );
    this.#drawn = terminal;
  }

  /** The last line, and below it what comes next. */
  done(bytes: number): void {
    this.clear();
    const seconds = (this.#now() - this.#begun) / 1000;
    const rate = sizeText(bytes / Math.max(seconds, 0.001));
    this.#output.write(`copied ${sizeText(bytes)} in ${timeText(seconds)} (${rate}/s)\n`);
  }

  /** Before something else is written. */
  clear(): void {
    if (this.#drawn) this.#output.write('\r\u001B[K');
    this.#drawn = false;
  }

  #sample(now: number, received: number): void {
    this.#samples.push({ at: now, received });
    this.#samples = this.#samples.filter(({ at }) => now - at <= windowMs);
  }

  #text(now: number, { received, expected, waitsFor }: CopyProgress, terminal: boolean): string {
    if (waitsFor !== undefined) return `${this.#doing}: waiting for ${waitsFor}`;
    if (expected === 0 || received < leastShown) return `${this.#doing} about ${sizeText(expected)}`;
    const share = Math.min(received / expected, 1);
    const percent = received > expected ? 'and WAL' : `${String(Math.floor(share * 100)).padStart(3)} %`;
    const bar = terminal ? `[${'#'.repeat(Math.floor(share * barWidth)).padEnd(barWidth, '.')}] ` : '';
    const size = `${sizeText(received)} of ${sizeText(expected)}`;
    return `${this.#doing} ${bar}${percent}, ${size}${this.#estimate(now, expected - received)}`;
  }

  #estimate(now: number, left: number): string {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined || now - this.#begun < firstEstimateMs) return '';
    const rate = ((last.received - first.received) * 1000) / Math.max(last.at - first.at, 1);
    if (rate <= 0) return '';
    const rest = left > 0 ? `, about ${timeText(left / rate)} left` : '';
    return `, ${sizeText(rate)}/s${rest}`;
  }
}

/** 1.2 GB */
export function sizeText(bytes: number): string {
  let value = bytes;
  for (const unit of ['B', 'kB', 'MB', 'GB']) {
    if (value < 1000 || unit === 'GB')
      return `${value < 9.95 && unit !== 'B' ? value.toFixed(1) : Math.round(value)} ${unit}`;
    value /= 1000;
  }
  return '';
}

/** 3 s, 4 min, 2 h 10 min: no more exact than an estimate can be. */
export function timeText(seconds: number): string {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
