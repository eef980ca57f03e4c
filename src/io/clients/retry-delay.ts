/** How long a refused statement waits before it runs again. */

const longestMs = 64;

/** Exponential with jitter, 1…64 ms: enough to let the winner finish, short enough not to be noticed. */
export function retryDelayMs(attempt: number): number {
  return Math.random() * Math.min(longestMs, 2 ** attempt);
}
