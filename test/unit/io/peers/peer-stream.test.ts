/** Streams of bytes beside the links, over real sockets on loopback. */
import { once } from 'node:events';
import { afterEach, expect, test } from 'vitest';
import { PeerLinks } from '../../../../src/io/peers/peer-links.ts';
import type { PeerStream } from '../../../../src/io/peers/peer-stream.ts';
import { freePort } from '../../../support/free-port.ts';

const log = { info: () => undefined, warn: () => undefined };
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Gateway {
  readonly links: PeerLinks;
  /** The next stream that a peer opens. */
  readonly stream: Promise<{ from: number; stream: PeerStream }>;
}

async function gateway(
  nodeId: number,
  ports: Readonly<Record<number, number>>,
  more: { secret?: string; incarnation?: number; deaf?: boolean } = {},
): Promise<Gateway> {
  let opened: (value: { from: number; stream: PeerStream }) => void;
  const stream = new Promise<{ from: number; stream: PeerStream }>((resolve) => (opened = resolve));
  const nothing = (): void => undefined;
  const links = new PeerLinks({
    clusterName: 'shop',
    secret: more.secret ?? 's3cret',
    nodeId,
    incarnation: more.incarnation ?? 1,
    listen: { host: '127.0.0.1', port: ports[nodeId] ?? 0 },
    peers: Object.entries(ports)
      .map(([id, port]) => ({ id: Number(id), since: 0, host: '127.0.0.1', port }))
      .filter(({ id }) => id !== nodeId),
    log,
    handler: {
      onMessage: nothing,
      onLinkUp: nothing,
      onLinkDown: nothing,
      onPeerIncarnation: nothing,
      onPeerStopped: nothing,
      onDrained: nothing,
      ...(more.deaf === true
        ? {}
        : { onStream: (from: number, value: PeerStream) => opened({ from, stream: value }) }),
    },
    random: () => 0.5,
    now: () => performance.now(),
    settings: { handshakeTimeoutMs: 2000 },
  });
  await links.start();
  cleanups.push(() => links.stop());
  return { links, stream };
}

async function ports(): Promise<Record<number, number>> {
  return { 1: await freePort(), 2: await freePort() };
}

test('bytes go both ways, whole and in order, beside the links', async () => {
  const both = await ports();
  const a = await gateway(1, both, { incarnation: 3 });
  const b = await gateway(2, both, { incarnation: 5 });
  const mine = await a.links.openStream(2);
  const theirs = await b.stream;
  expect([theirs.from, theirs.stream.incarnation, mine.incarnation]).toEqual([1, 3, 5]);
  const bytes = Buffer.alloc(3_000_000, 'abc');
  mine.socket.write(bytes);
  const chunks: Buffer[] = [theirs.stream.rest];
  let size = theirs.stream.rest.length;
  theirs.stream.socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    size += chunk.length;
    if (size === bytes.length) theirs.stream.socket.write('through');
  });
  theirs.stream.socket.resume();
  const [answer] = (await once(mine.socket.resume(), 'data')) as [Buffer];
  expect(String(answer)).toBe('through');
  expect(Buffer.concat(chunks).equals(bytes)).toBe(true);
  mine.socket.destroy();
  await once(theirs.stream.socket, 'close');
});

test('what comes in the packet of the proof is not lost', async () => {
  const both = await ports();
  const a = await gateway(1, both);
  const b = await gateway(2, both);
  const mine = await a.links.openStream(2);
  mine.socket.write('at once');
  const { stream } = await b.stream;
  const [first] = stream.rest.length > 0 ? [stream.rest] : await once(stream.socket.resume(), 'data');
  expect(String(first)).toBe('at once');
  mine.socket.destroy();
  stream.socket.destroy();
});

test('is closed where nobody serves it', async () => {
  const both = await ports();
  const a = await gateway(1, both);
  await gateway(2, both, { deaf: true });
  const mine = await a.links.openStream(2);
  await once(mine.socket.resume(), 'close');
  expect(mine.socket.destroyed).toBe(true);
});

test('needs the same proof as a link', async () => {
  const both = await ports();
  const a = await gateway(1, both);
  await gateway(2, both, { secret: 'other' });
  await expect(a.links.openStream(2)).rejects.toThrow('the cluster secret of node 1 differs');
});

test('to nobody is an error', async () => {
  const both = await ports();
  const a = await gateway(1, both);
  await expect(a.links.openStream(2)).rejects.toThrow('ECONNREFUSED');
});

test('of a former process is turned away', async () => {
  const both = await ports();
  const b = await gateway(2, both);
  const newer = await gateway(1, both, { incarnation: 4 });
  const stream = await newer.links.openStream(2);
  stream.socket.destroy();
  await newer.links.stop();
  const older = await gateway(1, both, { incarnation: 3 });
  await expect(older.links.openStream(2)).rejects.toThrow('incarnation 3 of node 1 is older');
  await b.stream;
});
