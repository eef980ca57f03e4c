/** Peers that come and go while gateways run, over real sockets on loopback. */
import { once } from 'node:events';
import { createServer, connect } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { PeerLinks } from '../../../../src/io/peers/peer-links.ts';
import type { PeerStream } from '../../../../src/io/peers/peer-stream.ts';
import { cleanUp, cleanups, Ear, finished, gateway, portOf, twoPorts, watchedBy } from './gateways.ts';
import { freePort } from '../../../support/free-port.ts';

afterEach(cleanUp);

const host = '127.0.0.1';
const removedSentence = 'node 2 was removed from the cluster and its id given to another node';

describe('a peer that is added', () => {
  test('while the gateway runs is dialled at once', async () => {
    const ports = await twoPorts();
    const a = await gateway(1, { 1: ports[1] ?? 0 });
    const b = await gateway(2, ports, { since: 5 });
    await b.ear.hears(/down 1: unknown-node/);
    a.links.addPeer({ id: 2, since: 5, host, port: b.links.port });
    await Promise.all([a.ear.hears(/up 2/), b.ear.hears(/up 1/)]);
    a.links.send(2, finished('hello'));
    await b.ear.hears(/message from 1/);
    expect(a.links.linkStatus()).toMatchObject([{ node: 2, connected: true, address: { since: 5 } }]);
  });

  test('before the start is dialled at the start', async () => {
    const ports = await twoPorts();
    const b = await gateway(2, ports);
    const ear = new Ear();
    const links = new PeerLinks({
      clusterName: 'shop',
      secret: 's3cret',
      nodeId: 1,
      incarnation: 1,
      listen: { host, port: ports[1] ?? 0 },
      peers: [{ id: 3, since: 0, host, port: 1 }],
      log: { info: () => undefined, warn: () => undefined },
      handler: ear,
      random: () => 0.5,
      now: () => performance.now(),
    });
    cleanups.push(() => links.stop());
    links.addPeer({ id: 2, since: 0, host, port: ports[2] ?? 0 });
    links.removePeer(3);
    await links.start();
    await Promise.all([ear.hears(/up 2/), b.ear.hears(/up 1/)]);
    expect(ear.heard.filter((line) => line.includes('3'))).toEqual([]);
  });

  test('again, at another address, is dialled there at once and stays the same peer', async () => {
    const ports = await twoPorts();
    const nowhere = await freePort();
    const settings = { backOffMs: { first: 60_000, longest: 60_000 } };
    const opened: PeerStream[] = [];
    const a = await gateway(1, { 1: ports[1] ?? 0, 2: nowhere }, { settings });
    await a.ear.hears(/down 2: network/);
    const ear = Object.assign(new Ear(), { onStream: (_from: number, it: PeerStream) => opened.push(it) });
    await gateway(2, { 2: ports[2] ?? 0, 1: nowhere }, { incarnation: 4, handler: ear, settings });
    a.links.addPeer({ id: 2, since: 0, host, port: ports[2] ?? 0 });
    await a.ear.hears(/up 2/);
    const stream = await a.links.openStream(2);
    a.links.addPeer({ id: 2, since: 0, host: 'localhost', port: ports[2] ?? 0 });
    expect(a.ear.heard.at(-1)).toBe('down 2: replaced');
    await a.ear.hears(/up 2/, 2);
    const heard = a.ear.heard.length;
    a.links.addPeer({ id: 2, since: 0, host: 'localhost', port: ports[2] ?? 0 });
    expect(a.ear.heard).toHaveLength(heard);
    expect(a.links.linkStatus()).toMatchObject([{ connected: true, address: { host: 'localhost' } }]);
    expect(stream.socket.destroyed).toBe(false);
    expect(ear.heard.filter((line) => line.startsWith('stopped'))).toEqual([]);
    for (const { socket } of [stream, ...opened]) socket.destroy();
  });
});

describe('a peer that is removed', () => {
  test('is let go without a word, refused from then on, and not told that this process has ended', async () => {
    const ports = await twoPorts();
    const a = await gateway(1, ports);
    const b = await gateway(2, ports);
    await Promise.all([watchedBy(a.links, 2), watchedBy(b.links, 1)]);
    const before = a.ear.heard.length;
    a.links.removePeer(2);
    expect(a.links.linkStatus()).toEqual([]);
    expect(a.links.send(2, finished('nobody'))).toBe(true);
    await expect(a.links.openStream(2)).rejects.toThrow('node 2 is not in the cluster');
    await b.ear.hears(/down 1: unknown-node/);
    expect(a.ear.heard).toHaveLength(before);
    expect(b.ear.heard).toContain('down 1: network');
    expect(b.ear.heard).not.toContain('stopped 1');
    expect(b.links.linkStatus()).toMatchObject([{ connected: false, incoming: false, watched: false }]);
    const { kind, text } = b.links.misconfiguration() ?? {};
    expect([kind, text]).toEqual([
      'unknown-node',
      'node 2 is not in the configuration of node 1: it was never added, or was removed from the cluster',
    ]);
    a.links.removePeer(2);
  });

  test('by both sides at the same time is forgotten by both', async () => {
    const ports = await twoPorts();
    const a = await gateway(1, ports);
    const b = await gateway(2, ports);
    await Promise.all([watchedBy(a.links, 2), watchedBy(b.links, 1)]);
    for (let count = 0; count < 50; count += 1) {
      a.links.send(2, finished('on its way'));
      b.links.send(1, finished('on its way'));
    }
    const before = [a.ear.heard.length, b.ear.heard.length];
    a.links.removePeer(2);
    b.links.removePeer(1);
    // What was on its way would have come before a stranger is hung up on.
    for (const { links } of [a, b]) {
      const stranger = connect(links.port, host, () => stranger.write('nonsense'));
      stranger.on('error', () => undefined);
      await once(stranger.resume(), 'close');
    }
    expect([a.ear.heard.length, b.ear.heard.length]).toEqual(before);
  });

  test('loses its streams, open or just being opened', async () => {
    const ports = await twoPorts();
    const opened: PeerStream[] = [];
    const ear = Object.assign(new Ear(), { onStream: (_from: number, it: PeerStream) => opened.push(it) });
    const a = await gateway(1, ports, { handler: ear });
    const b = await gateway(2, ports, {
      handler: Object.assign(new Ear(), { onStream: (_from: number, it: PeerStream) => it.socket.resume() }),
    });
    const [mine, theirs] = await Promise.all([a.links.openStream(2), b.links.openStream(1)]);
    const closed = once(theirs.socket.resume(), 'close');
    const late = a.links.openStream(2);
    a.links.removePeer(2);
    await expect(late).rejects.toThrow('node 2 was removed from the cluster');
    await closed;
    expect([mine.socket.destroyed, ...opened.map(({ socket }) => socket.destroyed)]).toEqual([true, true]);
  });

  test('may be removed by who hears of it', async () => {
    const ports = await twoPorts();
    for (const moment of [/incarnation of 2/, /up 2/, /message from 2/]) {
      const ear: Ear = new Ear();
      const a = await gateway(1, ports, { handler: ear });
      const b = await gateway(2, ports);
      const hushed = ear.hears(moment);
      let heard = 0;
      ear.onNote = (line) => {
        if (!moment.test(line)) return;
        a.links.removePeer(2);
        heard = ear.heard.length;
      };
      void b.ear.hears(/up 1/).then(() => b.links.send(1, finished('x')));
      await hushed;
      await b.ear.hears(/down 1: unknown-node/);
      expect(ear.heard).toHaveLength(heard);
      await cleanUp();
    }
  });
});

describe('an id that is used again', () => {
  test('is another node, whatever was known of the former one', async () => {
    const ports = await twoPorts();
    const a = await gateway(1, ports);
    const former = await gateway(2, ports, { incarnation: 9 });
    await Promise.all([a.ear.hears(/up 2/), former.ear.hears(/up 1/)]);
    await former.links.stop();
    const later = await gateway(2, ports, { incarnation: 1, since: 5 });
    await later.ear.hears(/down 1: newer-node/);
    a.links.addPeer({ id: 2, since: 5, host, port: later.links.port });
    await Promise.all([later.ear.hears(/up 1/), a.ear.hears(/incarnation of 2: 1/), a.ear.hears(/up 2/, 2)]);
    later.links.send(1, finished('new here'));
    await a.ear.hears(/message from 2/);
  });

  test('is refused to the node that had it, in both directions', async () => {
    const ports = await twoPorts();
    const a = await gateway(1, { 1: ports[1] ?? 0 });
    a.links.addPeer({ id: 2, since: 5, host, port: ports[2] ?? 0 });
    const former = await gateway(2, ports);
    await Promise.all([a.ear.hears(/down 2: replaced-node/), former.ear.hears(/down 1: replaced-node/)]);
    expect(former.links.misconfiguration()).toEqual({ kind: 'replaced-node', text: removedSentence });
    const text = `a former gateway answers at node 2's address: ${removedSentence}`;
    expect(a.links.misconfiguration()).toEqual({ kind: 'replaced-node', text });
    expect(a.links.linkStatus()).toMatchObject([
      { connected: false, incoming: false, incomingReason: { kind: 'replaced-node', text: removedSentence } },
    ]);
    await expect(former.links.openStream(1)).rejects.toThrow(removedSentence);
    await expect(a.links.openStream(2)).rejects.toThrow(text);
    expect(a.ear.heard.filter((line) => /incarnation|up/.test(line))).toEqual([]);
    expect(former.ear.heard).not.toContain('stopped 1');
  });

  test('makes the former node end, but not the node that is called by it', async () => {
    const ports = await twoPorts();
    const a = await gateway(1, { 1: ports[1] ?? 0 });
    a.links.addPeer({ id: 2, since: 5, host, port: await freePort() });
    const former = await gateway(2, ports, { since: 3 });
    await former.ear.hears(/down 1: replaced-node/);
    expect(former.links.misconfiguration()).toMatchObject({ kind: 'replaced-node' });
    expect(a.links.linkStatus()).toMatchObject([{ incomingReason: { kind: 'replaced-node' } }]);
    expect(a.links.misconfiguration()).toBeUndefined();
  });

  test('is no misconfiguration where nobody has heard of it yet', async () => {
    const ports = await twoPorts();
    const a = await gateway(1, ports);
    const later = await gateway(2, ports, { since: 5 });
    await Promise.all([a.ear.hears(/down 2: newer-node/), later.ear.hears(/down 1: newer-node/)]);
    expect(later.links.linkStatus()[0]?.reason?.text).toBe(
      'node 1 has not heard yet that the id 2 was given to another node',
    );
    expect([a.links.misconfiguration(), later.links.misconfiguration()]).toEqual([undefined, undefined]);
  });

  test('nor is a new id, as long as another member knows it', async () => {
    const ports: Record<number, number> = { ...(await twoPorts()), 3: await freePort() };
    const a = await gateway(1, { 1: ports[1] ?? 0 });
    const b = await gateway(2, { 2: ports[2] ?? 0 });
    a.links.addPeer({ id: 3, since: 4, host, port: ports[3] ?? 0 });
    const c = await gateway(3, ports, { since: 4 });
    await Promise.all([c.ear.hears(/up 1/), c.ear.hears(/down 2: unknown-node/)]);
    expect(c.links.misconfiguration()).toBeUndefined();
    a.links.removePeer(3);
    await c.ear.hears(/down 1: unknown-node/);
    expect(c.links.misconfiguration()).toMatchObject({ kind: 'unknown-node' });
    expect(b.links.linkStatus()).toEqual([]);
  });
});

test('a link that is given up before its dialler knows that it is up does not look like an end', async () => {
  const ports = await twoPorts();
  const nowhere = await freePort();
  const b = await gateway(2, { 2: ports[2] ?? 0, 1: nowhere });
  let ends = 0;
  let thrice: () => void;
  const seen = new Promise<void>((resolve) => (thrice = resolve));
  // Loses the verdict, and passes on every end as what it is.
  const network = createServer((near) => {
    const far = connect(b.links.port, host);
    let answers = 0;
    far.on('data', (chunk) => (answers += 1) === 1 && near.write(chunk));
    near.on('data', (chunk) => far.write(chunk));
    near.on('error', () => far.resetAndDestroy());
    near.on('end', () => far.end());
    far.on('error', () => near.destroy());
    far.on('close', () => (ends += 1) === 3 && thrice());
  }).listen(0, host);
  await once(network, 'listening');
  cleanups.push(async () => void network.close());
  await gateway(1, { 1: ports[1] ?? 0, 2: portOf(network) }, { settings: { handshakeTimeoutMs: 50 } });
  await b.ear.hears(/incarnation of 1/, 3);
  await seen;
  expect(b.ear.heard).not.toContain('stopped 1');
});
