/** Links over real sockets on loopback. Waiting is always for an event, never for a time. */
import { once } from 'node:events';
import { createServer, connect, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import type { PeerMessage } from '../../../../src/core/peer/message.ts';
import { cleanUp, cleanups, finished, gateway, killPeer, portOf, twoPorts } from './gateways.ts';
import { freePort } from '../../../support/free-port.ts';

afterEach(cleanUp);

describe('two gateways', () => {
  test('find each other whoever starts first, and talk both ways in order', async () => {
    const ports = await twoPorts();
    const a = await gateway(1, ports, { incarnation: 4 });
    await a.ear.hears(/down 2: network/);
    expect(a.links.send(2, finished('lost'))).toBe(false);
    const b = await gateway(2, ports);
    await Promise.all([a.ear.hears(/up 2/), b.ear.hears(/up 1/), b.ear.hears(/incarnation of 1: 4/)]);
    const sent = Array.from({ length: 500 }, (_, index) => finished(`g${index}`));
    for (const message of sent) expect(a.links.send(2, message)).toBe(true);
    b.links.send(1, finished('back'));
    await Promise.all([b.ear.hears(/message from 1/, 500), a.ear.hears(/message from 2/)]);
    expect(b.ear.messages).toEqual(sent);
    expect(a.links.linkStatus()).toMatchObject([
      { node: 2, connected: true, incoming: true, reason: undefined },
    ]);
    expect(a.links.linkStatus()[0]?.lastHeardMs).toBeGreaterThanOrEqual(0);
    expect(a.links.misconfiguration()).toBeUndefined();
  });

  test('what was said before a stop arrives; a restarted peer is met again as another process', async () => {
    const ports = await twoPorts();
    const a = await gateway(1, ports);
    const b = await gateway(2, ports, { incarnation: 7 });
    await Promise.all([a.ear.hears(/up 2/), b.ear.hears(/up 1/)]);
    b.links.send(1, finished('last words'));
    await b.links.stop();
    await Promise.all([a.ear.hears(/message from 2/), a.ear.hears(/down 2: closed-by-peer/)]);
    const again = await gateway(2, ports, { incarnation: 8 });
    await Promise.all([a.ear.hears(/up 2/, 2), again.ear.hears(/up 1/), a.ear.hears(/incarnation of 2: 8/)]);
    a.links.send(2, finished('welcome back'));
    await again.ear.hears(/message from 1/);
  });

  test('a former process of a peer is turned away after a newer one was seen', async () => {
    const ports = await twoPorts();
    const a = await gateway(1, ports);
    const b = await gateway(2, ports, { incarnation: 8 });
    await Promise.all([a.ear.hears(/up 2/), b.ear.hears(/up 1/)]);
    const zombie = await gateway(2, { 1: ports[1] ?? 0 }, { incarnation: 7 });
    await zombie.ear.hears(/down 1: stale-incarnation/);
    expect(a.links.linkStatus()).toMatchObject([{ connected: true, incoming: true }]);
  });
});

test('a process that is killed is known to have ended, whatever it had not read', async () => {
  const ports = await twoPorts();
  const a = await gateway(1, ports);
  await killPeer(a, ports);
  await Promise.all([a.ear.hears(/down 2: network/), a.ear.hears(/stopped 2/)]);
});

describe('a wrong peer is named on both sides', () => {
  test.each([
    ['wrong-secret', { secret: 'other' }],
    ['wrong-cluster', { clusterName: 'mill' }],
  ])('%s', async (kind, more) => {
    const ports = await twoPorts();
    const a = await gateway(1, ports);
    const b = await gateway(2, ports, more);
    const pattern = new RegExp(`down \\d: ${kind}`);
    await Promise.all([a.ear.hears(pattern), b.ear.hears(pattern)]);
    for (const { links } of [a, b]) {
      expect(links.misconfiguration()).toMatchObject({ kind });
      expect(links.linkStatus()).toMatchObject([{ connected: false, incoming: false, reason: { kind } }]);
    }
    expect([...a.ear.heard, ...b.ear.heard].filter((line) => /up|incarnation/.test(line))).toEqual([]);
  });

  test('another node at the address', async () => {
    const ports = await twoPorts();
    await gateway(2, ports);
    const a = await gateway(1, { 1: ports[1] ?? 0, 3: ports[2] ?? 0 });
    await a.ear.hears(/down 3: wrong-node/);
    expect(a.links.linkStatus()[0]?.reason?.text).toContain("node 3's address is node 2");
  });

  test('the own address as that of a peer', async () => {
    const port = await freePort();
    const a = await gateway(1, { 1: port, 2: port });
    await a.ear.hears(/down 2: own-id/);
  });

  test('a server of another kind at the address', async () => {
    const server = createServer((socket) => socket.end('SSH-2.0-OpenSSH\r\n')).listen(0, '127.0.0.1');
    await once(server, 'listening');
    cleanups.push(async () => void server.close());
    const a = await gateway(1, { 1: 0, 2: portOf(server) });
    await a.ear.hears(/down 2: not-a-peer/);
  });
});

describe('on the peer port a stranger', () => {
  async function caller(port: number): Promise<Socket> {
    const socket = connect(port, '127.0.0.1');
    cleanups.push(async () => void socket.destroy());
    await once(socket, 'connect');
    return socket;
  }

  test('that says nonsense is hung up on without a word', async () => {
    const a = await gateway(1, { 1: await freePort() });
    const socket = await caller(a.links.port);
    const chunks: Buffer[] = [];
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.write('GET / HTTP/1.1\r\n\r\n');
    socket.on('error', () => undefined);
    await once(socket, 'close');
    expect(chunks).toEqual([]);
  });

  test('that says nothing is hung up on after the deadline', async () => {
    const a = await gateway(1, { 1: await freePort() }, { settings: { handshakeTimeoutMs: 50 } });
    await once((await caller(a.links.port)).resume(), 'close');
  });

  test('is the first to go when there are too many, and a peer still gets in', async () => {
    const ports = await twoPorts();
    const a = await gateway(1, ports, { settings: { maxStrangers: 2 } });
    const closed: Promise<unknown>[] = [];
    for (let count = 0; count < 8; count += 1) {
      const socket = await caller(a.links.port);
      socket.on('error', () => undefined);
      closed.push(once(socket.resume(), 'close'));
    }
    // At least twice the number of peers, that is 2, can wait; one more closes the oldest.
    await Promise.all(closed.slice(0, 6));
    const b = await gateway(2, ports);
    await b.ear.hears(/up 1/);
  });
});

describe('the queue to a peer', () => {
  const data = (size: number): PeerMessage => ({
    kind: 'transaction-data',
    gid: 'mtm:1:1:1:1',
    offset: 0,
    data: new Uint8Array(size),
  });

  test('says stop above the mark and go on when it is short again, and loses nothing', async () => {
    const ports = await twoPorts();
    const a = await gateway(1, ports, { settings: { highWaterBytes: 64 * 1024 } });
    const b = await gateway(2, ports);
    await a.ear.hears(/up 2/);
    let sent = 1;
    while (a.links.send(2, data(16 * 1024))) sent += 1;
    expect(sent).toBeLessThan(6);
    await a.ear.hears(/drained 2/);
    expect(a.links.send(2, data(16))).toBe(true);
    await b.ear.hears(/message from 1/, sent + 1);
  });

  test('takes a big row whole; whoever goes on in the next turn loses it with the link', async () => {
    const ports = await twoPorts();
    const a = await gateway(1, ports, { settings: { highWaterBytes: 1024, maxQueueBytes: 64 * 1024 } });
    const b = await gateway(2, ports);
    await a.ear.hears(/up 2/);
    for (let count = 0; count < 1024; count += 1) expect(a.links.send(2, data(16 * 1024))).toBe(false);
    await new Promise(setImmediate);
    expect(a.links.send(2, data(16))).toBe(false);
    await a.ear.hears(/down 2: overflow/);
    await a.ear.hears(/up 2/, 2);
    expect(a.links.send(2, finished('new'))).toBe(true);
    await b.ear.hears(/message from 1: finished/);
    expect(b.ear.messages.length).toBeLessThan(1025);
  });

  test('a row beyond the limit arrives', async () => {
    const ports = await twoPorts();
    const a = await gateway(1, ports, { settings: { highWaterBytes: 1024, maxQueueBytes: 64 * 1024 } });
    const b = await gateway(2, ports);
    await a.ear.hears(/up 2/);
    for (let count = 0; count < 1024; count += 1) a.links.send(2, data(16 * 1024));
    await new Promise(setImmediate);
    a.links.send(2, finished('behind'));
    await b.ear.hears(/message from 1: finished/);
    expect(b.ear.messages).toHaveLength(1025);
  });
});

test('a link over which nothing is acknowledged is given up and dialled again', async () => {
  const ports = await twoPorts();
  const b = await gateway(2, ports);
  // Between the two a network that passes bytes until it is cut, and then swallows them.
  let cut = false;
  const network = createServer((near) => {
    const far = connect(b.links.port, '127.0.0.1');
    near.on('data', (chunk) => cut || far.write(chunk));
    far.on('data', (chunk) => cut || near.write(chunk));
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('error', () => undefined);
      from.on('close', () => to.destroy());
    }
  }).listen(0, '127.0.0.1');
  await once(network, 'listening');
  cleanups.push(async () => void network.close());
  const settings = { acknowledgeTimeoutMs: 200 };
  const a = await gateway(1, { 1: ports[1] ?? 0, 2: portOf(network) }, { settings });
  await a.ear.hears(/up 2/);
  a.links.send(2, finished('before'));
  await b.ear.hears(/message from 1/);
  cut = true;
  a.links.send(2, finished('swallowed'));
  await a.ear.hears(/down 2: no-acknowledgement/);
  cut = false;
  await a.ear.hears(/up 2/, 2);
  a.links.send(2, finished('after'));
  await b.ear.hears(/message from 1/, 2);
  expect(b.ear.messages).toEqual([finished('before'), finished('after')]);
});

test('an address that is taken is a clear error', async () => {
  const port = await freePort();
  await gateway(1, { 1: port });
  await expect(gateway(2, { 2: port })).rejects.toMatchObject({ code: 'address-in-use' });
});
