/** How late the process comes to its work, and how often it is woken to find out. */
import { expect, test } from 'vitest';
import { EventLoopDelay } from '../../../src/telemetry/event-loop.ts';

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
function work(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

test('an idle process is looked at rarely, one at work closely, and a standstill is seen in both', async () => {
  const delay = new EventLoopDelay();
  delay.start();
  try {
    await sleep(150);
    work(300);
    await sleep(50);
    delay.sample();
    expect(delay.resolutionMs).toBe(20);
    expect(delay.recent.maxMs).toBeGreaterThan(200);
    await sleep(1000);
    delay.sample();
    expect(delay.resolutionMs).toBe(100);

    const quiet = new EventLoopDelay();
    quiet.start();
    await sleep(500);
    quiet.sample();
    expect(quiet.resolutionMs).toBe(100);
    await sleep(250);
    work(400);
    await sleep(150);
    quiet.sample();
    quiet.stop();
    expect(quiet.recent.maxMs).toBeGreaterThan(200);
    expect(quiet.resolutionMs).toBe(20);
  } finally {
    delay.stop();
  }
});
