/** A server that hangs says nothing; the probe does. */
import { expect, test } from 'vitest';
import type { Control } from '../../../src/io/postgres/control.ts';
import { ServerProbe } from '../../../src/node/server-probe.ts';

/** Answers when told to. */
class HangingServer {
  asked = 0;
  #answer: () => void = () => undefined;

  writeProbe(): Promise<void> {
    this.asked += 1;
    return new Promise((resolve) => (this.#answer = resolve));
  }

  async answer(): Promise<void> {
    this.#answer();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function probe(limitMs: number): { server: HangingServer; probe: ServerProbe } {
  const server = new HangingServer();
  return { server, probe: new ServerProbe(server as unknown as Control, limitMs) };
}

test('one question at a time, and no trouble while it is answered in time', async () => {
  const { server, probe: asked } = probe(2000);
  const start = performance.now();
  asked.look(start);
  asked.look(start + 100);
  expect(server.asked).toBe(1);
  expect(asked.trouble(start + 1999)).toBeUndefined();
  await server.answer();
  expect(asked.trouble(start + 1e6)).toBeUndefined();
  // The next one comes a while after the answer.
  asked.look(performance.now());
  expect(server.asked).toBe(1);
  asked.look(performance.now() + 1000);
  expect(server.asked).toBe(2);
});

test('what is not answered within the limit is trouble, until it is answered', async () => {
  const { server, probe: asked } = probe(2000);
  const start = performance.now();
  asked.look(start);
  expect(asked.trouble(start + 2001)).toMatch(/PostgreSQL does not answer/);
  asked.look(start + 5000);
  expect(server.asked).toBe(1);
  await server.answer();
  expect(asked.trouble(start + 9000)).toBeUndefined();
});

test('a question that fails is no answer; it is asked again, and then all is well', async () => {
  let full = true;
  const failing = {
    writeProbe: () => (full ? Promise.reject(new Error('disk full')) : Promise.resolve()),
  };
  const asked = new ServerProbe(failing as unknown as Control, 2000);
  const start = performance.now();
  const look = async (now: number): Promise<void> => {
    asked.look(now);
    await new Promise((resolve) => setImmediate(resolve));
  };
  await look(start);
  await look(start + 1000);
  expect(asked.trouble(start + 2001)).toMatch(/cannot write/);
  full = false;
  await look(start + 3000);
  expect(asked.trouble(start + 9000)).toBeUndefined();
});
