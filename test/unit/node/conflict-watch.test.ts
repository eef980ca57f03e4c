/** Who waits for locks is asked of a server that may hang. */
import { expect, test } from 'vitest';
import type { Control } from '../../../src/io/postgres/control.ts';
import { ConflictWatch } from '../../../src/node/conflict-watch.ts';

/** Answers when told to. */
class HangingServer {
  asked = 0;
  answer: () => void = () => undefined;
  readonly client = {
    query: (): Promise<unknown> => {
      this.asked += 1;
      return new Promise((resolve) => (this.answer = () => resolve({ rows: [] })));
    },
  };
}

test('a server that does not answer is not asked again what decoding waits for', async () => {
  const server = new HangingServer();
  const watch = new ConflictWatch(server as unknown as Control, {
    applying: () => [],
    walsender: () => 4711,
    captureBlocked: () => undefined,
    bringerOf: () => undefined,
    startTimeOf: () => undefined,
    heldOpenBy: () => undefined,
    blocked: () => undefined,
  });
  const first = watch.lookAtWalsender();
  void watch.lookAtWalsender();
  void watch.lookAtWalsender();
  expect(server.asked).toBe(1);
  server.answer();
  await first;
  void watch.lookAtWalsender();
  expect(server.asked).toBe(2);
});
