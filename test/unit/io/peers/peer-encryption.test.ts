/** Links between gateways over TLS: what they promise without it they promise with it. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterEach, describe, expect, test } from 'vitest';
import { isThisMachine } from '../../../../src/io/peers/peer-encryption.ts';
import { dialCopy } from '../../../../src/io/peers/peer-stream.ts';
import { freePort } from '../../../support/free-port.ts';
import { cleanUp, finished, gateway, killPeer, twoPorts, watchedBy } from './gateways.ts';

afterEach(cleanUp);

const on = { tls: 'on' } as const;

test('messages in order, big ones whole, and the last words before a stop', async () => {
  const ports = await twoPorts();
  const a = await gateway(1, ports, on);
  const b = await gateway(2, ports, on);
  await Promise.all([a.ear.hears(/up 2/), b.ear.hears(/up 1/)]);
  const sent = Array.from({ length: 300 }, (_, index) => finished(`g${index}`));
  for (const message of sent) a.links.send(2, message);
  const data = new Uint8Array(60_000).map((_, index) => index);
  a.links.send(2, { kind: 'transaction-data', gid: 'mtm:1:1:1:1', offset: 0, data });
  a.links.send(2, finished('last words'));
  await a.links.stop();
  await b.ear.hears(/message from 1: finished/, 301);
  expect(b.ear.messages.slice(0, 300)).toEqual(sent);
  const [big] = b.ear.messages.slice(300);
  expect(big?.kind === 'transaction-data' && Buffer.from(big.data).equals(data)).toBe(true);
  await b.ear.hears(/stopped 1/);
});

test('a process that is killed is known to have ended', async () => {
  const ports = await twoPorts();
  const a = await gateway(1, ports, on);
  await killPeer(a, ports, 'on');
  await a.ear.hears(/stopped 2/);
});

test('a living process that gives a connection up is not taken for one that has ended', async () => {
  const ports = await twoPorts();
  const a = await gateway(1, ports, on);
  const b = await gateway(2, ports, on);
  await Promise.all([a.ear.hears(/up 2/), b.ear.hears(/up 1/)]);
  await Promise.all([watchedBy(a.links, 2), watchedBy(b.links, 1)]);
  a.links.removePeer(2);
  await b.ear.hears(/down 1: unknown-node/);
  expect(b.ear.heard.filter((line) => line.startsWith('stopped'))).toEqual([]);
});

test('another secret is named by who dials, and nothing was said to it', async () => {
  const ports = await twoPorts();
  const a = await gateway(1, ports, on);
  const b = await gateway(2, ports, { ...on, secret: 'other' });
  await Promise.all([a.ear.hears(/down 2: wrong-secret/), b.ear.hears(/down 1: wrong-secret/)]);
  expect(a.links.misconfiguration()).toMatchObject({
    kind: 'wrong-secret',
    text: 'the cluster secret of node 1 differs from that of node 2: give all gateways the same one',
  });
});

test('another secret is named to a command that asks for a copy', async () => {
  const { links } = await gateway(1, { 1: await freePort() }, on);
  const caller = { clusterName: 'shop', secret: 'other', nodeId: 2, ...on };
  await expect(dialCopy(caller, { host: '127.0.0.1', port: links.port }, 2000)).rejects.toThrow(
    'the cluster secret of node 2 differs from that of the node that was called: give all gateways the same one',
  );
});

describe('who dials in the clear', () => {
  test('is refused where TLS is demanded', async () => {
    const ports = await twoPorts();
    const refused: object[] = [];
    const log = { info: () => undefined, warn: (fields: object) => refused.push(fields) };
    await gateway(1, ports, { ...on, log });
    const b = await gateway(2, ports, { tls: 'off' });
    await b.ear.hears(/down 1: closed-by-peer|down 1: network/);
    expect(refused).toContainEqual(expect.objectContaining({ reason: 'in-the-clear' }));
  });

  test('is let in while a cluster changes over', async () => {
    const ports = await twoPorts();
    const a = await gateway(1, ports, { tls: 'prefer' });
    const b = await gateway(2, ports, { tls: 'off' });
    await Promise.all([a.ear.hears(/up 2/), b.ear.hears(/up 1/)]);
  });

  test('is let in from this machine, when only what leaves it is encrypted', async () => {
    expect(['127.0.0.1', '127.1.2.3', '::1', '::ffff:127.0.0.1', 'localhost'].every(isThisMachine)).toBe(
      true,
    );
    expect(['10.0.0.1', 'db1', '::2', '::ffff:10.0.0.1', '127.evil.example'].some(isThisMachine)).toBe(false);
    const ports = await twoPorts();
    const a = await gateway(1, ports, { tls: 'remote' });
    const b = await gateway(2, ports, on);
    await a.ear.hears(/down 2/); // in the clear to one that demands TLS
    await b.ear.hears(/up 1/);
  });
});

describe('a stranger', () => {
  test('without the key gets no further than the handshake', async () => {
    const a = await gateway(1, { 1: await freePort() }, on);
    const socket = connectTls({ port: a.links.port, host: '127.0.0.1', rejectUnauthorized: false });
    const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toMatch(/^ERR_SSL|ECONNRESET/);
  });

  test('who begins TLS and says no more is hung up on after the deadline, with all others like it', async () => {
    const a = await gateway(1, { 1: await freePort() }, { ...on, settings: { handshakeTimeoutMs: 100 } });
    const strangers = Array.from({ length: 12 }, () => connect(a.links.port, '127.0.0.1'));
    for (const stranger of strangers)
      stranger.on('error', () => undefined).write(Buffer.of(0x16, 3, 1, 0, 200));
    await Promise.all(strangers.map((stranger) => once(stranger.resume(), 'close')));
  });
});
