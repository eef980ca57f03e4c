/** A command asks a gateway for a copy of its server, over real sockets on loopback. */
import { once } from 'node:events';
import { afterEach, expect, test } from 'vitest';
import type { PeerLinks } from '../../../../src/io/peers/peer-links.ts';
import { dialCopy, type PeerStream } from '../../../../src/io/peers/peer-stream.ts';
import { cleanUp, Ear, gateway, twoPorts } from './gateways.ts';
import { freePort } from '../../../support/free-port.ts';

afterEach(cleanUp);

const host = '127.0.0.1';
const caller = { clusterName: 'shop', secret: 's3cret', tls: 'remote', nodeId: 2 } as const;
const timeoutMs = 2000;

/** Node 1, since 3, which knows node 2, since 5, and gives copies. */
async function giver(port = 0): Promise<{
  readonly links: PeerLinks;
  readonly ear: Ear;
  readonly given: { from: number; stream: PeerStream }[];
  readonly source: { readonly host: string; readonly port: number };
}> {
  const given: { from: number; stream: PeerStream }[] = [];
  const onCopy = (from: number, stream: PeerStream) => void given.push({ from, stream });
  const ear = Object.assign(new Ear(), { onCopy });
  const { links } = await gateway(1, { 1: await freePort() }, { since: 3, handler: ear });
  links.addPeer({ id: 2, since: 5, host, port: port === 0 ? await freePort() : port });
  return { links, ear, given, source: { host, port: links.port } };
}

test('gets a stream of whoever listens, and is told who that is', async () => {
  const { given, source } = await giver();
  for (const target of [source, { ...source, id: 1 }, { ...source, id: 1, since: 3 }]) {
    const copy = await dialCopy(caller, target, timeoutMs);
    expect(copy).toMatchObject({ node: 1, since: 3, incarnation: 1 });
    copy.socket.end('please');
    const { from, stream } = given.pop() ?? expect.fail('nobody was asked');
    expect([from, stream.incarnation]).toEqual([2, 0]);
    const [asked] = stream.rest.length > 0 ? [stream.rest] : await once(stream.socket.resume(), 'data');
    expect(String(asked)).toBe('please');
    stream.socket.end('here');
    const [answer] = copy.rest.length > 0 ? [copy.rest] : await once(copy.socket.resume(), 'data');
    expect(String(answer)).toBe('here');
  }
});

test('is no process of the node that it is for', async () => {
  const port = await freePort();
  const { ear, given, links, source } = await giver(port);
  const copy = await dialCopy({ ...caller, since: 5 }, source, timeoutMs);
  expect(ear.heard.filter((line) => line.startsWith('incarnation'))).toEqual([]);
  const node = await gateway(2, { 2: port }, { since: 5, incarnation: 7 });
  node.links.addPeer({ id: 1, since: 3, host, port: links.port });
  await Promise.all([ear.hears(/incarnation of 2: 7/), ear.hears(/up 2/)]);
  const again = await dialCopy(caller, source, timeoutMs);
  expect(ear.heard.filter((line) => /incarnation of 2: [^7]|down 2: r|stopped/.test(line))).toEqual([]);
  expect(links.linkStatus()).toMatchObject([{ node: 2, connected: true, incoming: true }]);
  for (const { socket } of [copy, again, ...given.map(({ stream }) => stream)]) socket.destroy();
});

test('is refused in one sentence, of which nobody concludes anything about the peer', async () => {
  const { links, source, given } = await giver();
  const refusal = async (from: object, to: object = {}) =>
    dialCopy({ ...caller, ...from }, { ...source, ...to }, timeoutMs).then(
      () => 'accepted',
      (error: unknown) => (error instanceof Error ? error.message : 'no error'),
    );
  expect(await refusal({ nodeId: 4 })).toMatch(/^node 4 is not in the configuration of node 1/);
  expect(await refusal({ secret: 'x' })).toMatch(
    /secret of node 2 differs from that of the node that was called/,
  );
  expect(await refusal({ clusterName: 'mill' })).toMatch(
    /cluster "mill", the node that was called to .*"shop"/,
  );
  expect(await refusal({ nodeId: 1 })).toMatch(/^the gateway at the address that was called has node id 1/);
  expect(await refusal({ since: 4 })).toMatch(
    /^node 2 was removed from the cluster and its id given to another/,
  );
  expect(await refusal({ since: 6 })).toMatch(
    /^node 1 has not heard yet that the id 2 was given to another node/,
  );
  expect(await refusal({}, { id: 3 })).toMatch(/^the gateway at node 3's address is node 1$/);
  expect(await refusal({}, { id: 1, since: 2 })).toMatch(/^node 2 has not heard yet that the id 1 was given/);
  expect(await refusal({}, { port: await freePort() })).toMatch(/ECONNREFUSED/);
  expect(links.linkStatus()).toMatchObject([{ incomingReason: undefined }]);
  for (const { stream } of given) stream.socket.destroy();
});

test('is hung up on where nobody gives copies, and when its node is removed', async () => {
  const ports = await twoPorts();
  const deaf = await gateway(1, ports);
  const nothing = await dialCopy(caller, { host, port: deaf.links.port }, timeoutMs);
  await once(nothing.socket.resume(), 'close');
  const { links, source } = await giver();
  const copy = await dialCopy(caller, source, timeoutMs);
  links.removePeer(2);
  await once(copy.socket.resume(), 'close');
  expect(copy.socket.destroyed).toBe(true);
});
