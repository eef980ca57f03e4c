/** Real sockets on loopback: order across both ways, full kernel buffers, broken connections. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { writeDirectly } from '../../../../src/io/wire/direct-writing.ts';

const server = createServer();
let ours: Socket;
let theirs: Socket;

beforeEach(async () => {
  if (!server.listening) {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  }
  const accepted = once(server, 'connection');
  const address = server.address();
  ours = connect((address as { port: number }).port, '127.0.0.1');
  await once(ours, 'connect');
  [theirs] = (await accepted) as [Socket];
});

afterEach(() => {
  ours.destroy();
  theirs.destroy();
  server.unref();
});

/** Bytes that tell where they belong. */
function numbered(from: number, count: number): Uint8Array {
  return Uint8Array.from({ length: count }, (_, index) => ((from + index) * 31) % 251);
}

async function received(bytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let total = 0;
  for await (const chunk of theirs) {
    chunks.push(chunk as Buffer);
    total += (chunk as Buffer).length;
    if (total >= bytes) break;
  }
  return Buffer.concat(chunks);
}

test('what the kernel takes at once never enters the stream', async () => {
  let told = 0;
  expect(writeDirectly(ours, numbered(0, 120), () => told++)).toBe(true);
  expect(told).toBe(1);
  expect(ours.writableLength).toBe(0);
  expect(Buffer.compare(await received(120), numbered(0, 120))).toBe(0);
});

test('a reader that does not read: nothing is lost, and the order stays', async () => {
  const sizes = [1, 70_000, 300, 65_536, 65_537, 9000, 2];
  let sent = 0;
  let told = 0;
  let waited = false;
  let calls = 0;
  while (sent < 16_000_000) {
    const bytes = numbered(sent, sizes[calls % sizes.length] ?? 1);
    writeDirectly(ours, bytes, () => told++);
    waited ||= ours.writableLength > 0;
    sent += bytes.length;
    calls++;
  }
  expect(waited).toBe(true);
  const got = await received(sent);
  expect(got.length).toBe(sent);
  expect(Buffer.compare(got, numbered(0, sent))).toBe(0);
  await expect.poll(() => told).toBe(calls);
});

test('a corked socket keeps its order', async () => {
  ours.cork();
  ours.write(numbered(0, 10));
  writeDirectly(ours, numbered(10, 10));
  ours.uncork();
  expect(Buffer.compare(await received(20), numbered(0, 20))).toBe(0);
});

test('a broken connection is told by the socket, not by the call', async () => {
  const failed = once(ours, 'error');
  const gone = once(theirs, 'close');
  theirs.resetAndDestroy();
  await gone;
  ours.pause();
  for (let tries = 0; tries < 100 && !ours.destroyed; tries++) {
    writeDirectly(ours, numbered(0, 1000));
    await new Promise((resolve) => setImmediate(resolve));
  }
  const [error] = (await failed) as [NodeJS.ErrnoException];
  expect(['EPIPE', 'ECONNRESET']).toContain(error.code);
});

test('after end() the stream refuses', async () => {
  ours.end();
  const failed = once(ours, 'error');
  expect(writeDirectly(ours, numbered(0, 5))).toBe(false);
  const [error] = (await failed) as [NodeJS.ErrnoException];
  expect(error.code).toBe('ERR_STREAM_WRITE_AFTER_END');
});
