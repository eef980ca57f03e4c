/**
 * Three gateways that add and remove each other at random while their connections break: nobody hears of a node
 * that is none of its peers, nobody is taken for ended, and in the end all talk.
 */
import { once } from 'node:events';
import { createServer, connect, type Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { Prng } from '../../../../src/lib/prng.ts';
import type { PeerLinks } from '../../../../src/io/peers/peer-links.ts';
import type { PeerStream } from '../../../../src/io/peers/peer-stream.ts';
import { cleanUp, cleanups, Ear, finished, gateway, portOf } from './gateways.ts';

afterEach(cleanUp);

const host = '127.0.0.1';
const steps = 400;

interface Node {
  readonly id: number;
  readonly since: number;
  readonly links: PeerLinks;
  readonly ear: Ear;
  readonly peers: Set<number>;
  /** Where it can be reached: directly, or through a network that breaks. */
  readonly ports: readonly number[];
}

/** Passes bytes on, and every break as what it is. */
async function network(port: number, sockets: Set<Socket>): Promise<number> {
  const server = createServer((near) => {
    const far = connect(port, host);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on('data', (chunk: Buffer) => to.write(chunk));
      from.on('error', () => to.resetAndDestroy());
      from.on('end', () => to.end());
      from.on('close', () => sockets.delete(from));
    }
  }).listen(0, host);
  await once(server, 'listening');
  cleanups.push(async () => void server.close());
  return portOf(server);
}

async function node(id: number, since: number, sockets: Set<Socket>, wrong: string[]): Promise<Node> {
  const peers = new Set<number>();
  // A stream breaks as every connection does, and ends at the latest with the test.
  const onStream = (_from: number, { socket }: PeerStream) => void sockets.add(socket.resume());
  const ear = Object.assign(new Ear(), { onStream });
  const settings = { backOffMs: { first: 1, longest: 4 } };
  const { links } = await gateway(id, {}, { since, handler: ear, settings });
  ear.onNote = (line) => {
    const about = Number(/\d+/.exec(line)?.[0]);
    if (!peers.has(about) || line.startsWith('stopped')) wrong.push(`${id} hears: ${line}`);
  };
  return { id, since, links, ear, peers, ports: [links.port, await network(links.port, sockets)] };
}

function add(at: Node, peer: Node, since: number, port: number): void {
  at.peers.add(peer.id);
  at.links.addPeer({ id: peer.id, since, host, port });
}

function change(random: Prng, at: Node, peer: Node, sockets: Set<Socket>): void {
  if (random.chance(0.3)) {
    at.peers.delete(peer.id);
    at.links.removePeer(peer.id);
  } else if (random.chance(0.6)) {
    add(at, peer, random.chance(0.7) ? peer.since : random.below(5), random.pick(peer.ports));
  } else if (random.chance(0.5) && sockets.size > 0) {
    random.pick([...sockets]).resetAndDestroy();
  } else {
    void at.links.openStream(peer.id).then(
      ({ socket }) => void sockets.add(socket.resume()),
      (error: unknown) => expect(error).toBeInstanceOf(Error),
    );
  }
}

test.each([1, 2, 3, 4])('three gateways, order %d', async (seed) => {
  const random = new Prng(seed);
  const sockets = new Set<Socket>();
  const wrong: string[] = [];
  const nodes = [
    await node(1, 0, sockets, wrong),
    await node(2, 0, sockets, wrong),
    await node(3, 4, sockets, wrong),
  ];
  for (let step = 0; step < steps; step += 1) {
    const [at, peer] = random.shuffled(nodes);
    if (at === undefined || peer === undefined) throw new Error('there are three');
    change(random, at, peer, sockets);
    for (const { id } of nodes) if (id !== at.id) at.links.send(id, finished(`${step}`));
    if (random.chance(0.3)) await new Promise((resolve) => setTimeout(resolve, random.below(4)));
  }
  const heard = nodes.flatMap(({ ear }) => ear.heard).join('\n');
  expect(heard).toMatch(/up/);
  expect(heard).toMatch(/message/);
  expect(heard).toMatch(/unknown-node|replaced-node|newer-node/);
  for (const at of nodes) {
    for (const peer of nodes) if (at !== peer) add(at, peer, peer.since, peer.ports[0] ?? 0);
  }
  await Promise.all(nodes.map((at) => everybodyHears(at, nodes)));
  for (const socket of sockets) socket.destroy();
  expect(wrong).toEqual([]);
});

async function everybodyHears(at: Node, nodes: readonly Node[]): Promise<void> {
  for (const peer of nodes.filter((other) => other !== at)) {
    const last = finished(`last of ${at.id}`);
    // What is said before the link is up is lost.
    while (!peer.ear.messages.some((message) => JSON.stringify(message) === JSON.stringify(last))) {
      at.links.send(peer.id, last);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}
