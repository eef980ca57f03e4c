/** The last frame arrives at a receiver that is slow and speaks meanwhile. */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { endBehindLastFrame } from '../../../../src/io/recovery/last-frame.ts';

async function pair(): Promise<{ donor: Socket; receiver: Socket; close: () => void }> {
  const server = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const { port } = server.address() as AddressInfo;
  const receiver = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  await once(receiver, 'connect');
  const [donor] = await accepted;
  return { donor, receiver: receiver.pause(), close: () => void server.close() };
}

test('a receiver that speaks before it reads gets the last frame', async () => {
  const { donor, receiver, close } = await pair();
  receiver.write('alive');
  await sleep(20);
  donor.write(Buffer.alloc(300_000, 'x'));
  donor.write('the last frame');
  endBehindLastFrame(donor, new AbortController().signal);
  await sleep(20);
  receiver.write('alive');
  await sleep(20);
  const bytes = Buffer.concat(await receiver.toArray());
  receiver.destroy();
  expect(bytes.length).toBe(300_014);
  expect(bytes.subarray(-14).toString()).toBe('the last frame');
  if (!donor.destroyed) await once(donor, 'close');
  close();
});

test('a donor that stops waits for nobody', async () => {
  const { donor, receiver, close } = await pair();
  const stopping = new AbortController();
  endBehindLastFrame(donor, stopping.signal);
  await sleep(20);
  expect(donor.destroyed).toBe(false);
  stopping.abort();
  expect(donor.destroyed).toBe(true);
  receiver.destroy();
  close();
});
