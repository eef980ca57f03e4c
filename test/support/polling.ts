/**
 * Waiting in tests: always for a condition, always with a deadline, never for a time. The usual deadline is for a machine
 * that does much else: it is reached by what never happens only.
 */
import { setTimeout as pause } from 'node:timers/promises';

const pollMs = 20;
const usualLimitMs = 30_000;

/** Resolves as soon as `probe` says true; throws with `what` when it does not within `limitMs`. */
export async function eventually(
  what: string,
  probe: () => Promise<boolean> | boolean,
  limitMs = usualLimitMs,
): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!(await probe())) {
    if (performance.now() > deadline) throw new Error(`after ${limitMs} ms still not: ${what}`);
    await pause(pollMs);
  }
}

/** The last value that `read` gave: the first that `good` accepts, or, after `limitMs`, whatever it is then. */
export async function settled<T>(
  read: () => Promise<T>,
  good: (value: T) => boolean,
  limitMs = usualLimitMs,
): Promise<T> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    const value = await read();
    if (good(value) || performance.now() > deadline) return value;
    await pause(pollMs);
  }
}

/** A promise that must end within `limitMs`; the error names `what` hung. */
export async function within<T>(what: string, limitMs: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} has not ended after ${limitMs} ms`)), limitMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Options of a test whose promise is a time: it holds when it holds once, whatever else the machine does at times. */
export const timed = { retry: 2 };
