/**
 * Spoilt conversations with both ports, in the clear and with TLS, for MTM_TEST_FUZZ_SECONDS (20) each. Nothing may end
 * the gateway, stay in it, or harm a client of good manners; the nodes stay equal. MTM_TEST_FUZZ_SEED repeats a run.
 */
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { serialize } from 'pg-protocol';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startup } from '../../../src/core/wire/messages.ts';
import { encodeHello } from '../../../src/io/peers/handshake-message.ts';
import { embeddedDatabase, embeddedHost } from '../../../src/io/launcher/node-layout.ts';
import { Prng } from '../../../src/lib/prng.ts';
import { Authority } from '../../support/certificates.ts';
import { startCluster, type Cluster } from '../../support/cluster.ts';
import { noPrepared } from '../../support/convergence.ts';
import { eventually } from '../../support/polling.ts';
import { conversations, reset, setup } from '../wire/conversations.ts';
import { CostSheet } from './cost.ts';
import { noise, pieces, spoilt } from './mutation.ts';

const seconds = Number(process.env['MTM_TEST_FUZZ_SECONDS'] ?? 20);
const seed = Number(process.env['MTM_TEST_FUZZ_SEED'] ?? 20_261_122);
/** Conversations at a time. */
const lanes = 8;
const listenMs = 120;

let cluster: Cluster;
let cost: CostSheet;
let folder: string;

beforeAll(async () => {
  cluster = await startCluster();
  folder = mkdtempSync(join(tmpdir(), 'mtm-fuzz-'));
  const { cert, key } = new Authority(folder).issue('gateway', 'gateway', ['IP:127.0.0.1']);
  for (const text of [...setup, ...reset.split('; ')]) await cluster.query(1, text);
  await cluster.restartGateway(2, {
    MTM_TLS_CERT_FILE: cert,
    MTM_TLS_KEY_FILE: key,
    MTM_MAX_CLIENT_MEMORY: '64MB',
    MTM_PEER_TLS: 'prefer',
  });
  await cluster.whole();
  cost = new CostSheet(cluster);
});

afterAll(async () => {
  cost?.print();
  await cluster?.stop();
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
});

/** `talk` again and again in several lanes; the number of conversations. */
async function fuzz(talk: (random: Prng, number: number) => Promise<void>): Promise<number> {
  const until = performance.now() + seconds * 1000;
  let count = 0;
  const lane = async (): Promise<void> => {
    while (performance.now() < until) {
      const number = count++;
      await talk(new Prng(seed + number), number);
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return count;
}

function open(port: number): Socket {
  const socket = connect({ host: embeddedHost, port, noDelay: true });
  return socket.on('error', () => undefined).resume();
}

/** Says it in pieces, listens for a moment unless the other side hangs up, and goes in one way or another. */
async function say(socket: Socket, bytes: Buffer, random: Prng, below = socket): Promise<void> {
  for (const piece of pieces(bytes, random)) {
    if (socket.destroyed) return;
    socket.write(piece);
    if (random.chance(0.1)) await pause(1);
  }
  const closed = new AbortController();
  await Promise.race([
    once(socket, 'close', { signal: closed.signal }).catch(() => undefined),
    pause(random.below(listenMs)),
  ]);
  closed.abort();
  if (random.chance(0.4)) below.resetAndDestroy();
  else if (random.chance(0.5)) socket.destroySoon();
  else socket.destroy();
}

const tales = Object.values(conversations).map((steps) => steps.flatMap(({ send }) => send));

/** Bytes of one conversation from the startup packet on, spoilt somewhere. */
function clientBytes(random: Prng): Buffer {
  const parameters = { user: 'postgres', database: embeddedDatabase, application_name: 'fuzz' };
  const packet = startup(Object.entries(parameters));
  // Most get past the login.
  const begin = random.chance(0.15) ? spoilt([packet], random, 4) : [Buffer.from(packet)];
  const messages = tales.length === 0 ? [] : random.pick(tales);
  const other = random.chance(0.2) ? random.pick(tales) : [];
  const rest = spoilt([...messages, ...other, serialize.end()], random, 5);
  return Buffer.concat([...begin, ...rest]);
}

/** The same with TLS around it, or in place of it. */
async function talkWithTls(port: number, random: Prng): Promise<void> {
  const plain = open(port);
  if (random.chance(0.2)) return say(plain, Buffer.concat([hello(random), noise(random, 100)]), random);
  const secure = connectTls({
    socket: plain,
    ALPNProtocols: [random.chance(0.9) ? 'postgresql' : 'http/1.1'],
    rejectUnauthorized: false,
  });
  secure.on('error', () => undefined).resume();
  await say(secure, clientBytes(random), random, plain);
  plain.destroy();
}

/** The beginning of a TLS connection, not quite. */
function hello(random: Prng): Buffer {
  const record = Buffer.from('16030100300100002c0303', 'hex');
  return Buffer.concat(spoilt([Buffer.concat([record, noise(random, 40)])], random, 5));
}

async function nothingStays(node: number): Promise<void> {
  const sessions = `SELECT FROM pg_stat_activity WHERE application_name = 'fuzz'`;
  await eventually(
    'no session is stuck',
    async () => (await cluster.directly(node, sessions)).length === 0,
    60_000,
  );
  await noPrepared(cluster);
}

function errorsOf(node: number): string[] {
  const { gatewayLog } = cluster.node(node);
  return readFileSync(gatewayLog, 'utf8')
    .split('\n')
    .filter(
      (line) => line.includes('"level":50') || line.includes('"level":60') || line.includes('Uncaught'),
    );
}

const limitMs = seconds * 1000 + 180_000;

test('the client port', { timeout: limitMs }, async () => {
  const before = errorsOf(1).length;
  await cost.of(`fuzz of the client port, seed ${seed}`, 1, { megabytes: 200 }, async () => {
    const port = cluster.node(1).gatewayPort;
    const count = await fuzz((random) => say(open(port), clientBytes(random), random));
    await nothingStays(1);
    return `${count} conversations`;
  });
  expect(errorsOf(1).slice(before)).toEqual([]);
});

test('the client port and the peer port of a gateway with TLS', { timeout: limitMs }, async () => {
  const before = errorsOf(2).length;
  await cost.of(`fuzz of both ports with TLS, seed ${seed}`, 2, { megabytes: 250 }, async () => {
    const { gatewayPort, peerPort } = cluster.node(2);
    const count = await fuzz(async (random, number) => {
      if (number % 2 === 0) return talkWithTls(gatewayPort, random);
      await say(open(peerPort), peerBytes(random), random);
    });
    await nothingStays(2);
    return `${count} conversations`;
  });
  expect(errorsOf(2).slice(before)).toEqual([]);
});

/** A hello of somebody who knows everything but the secret, a proof, frames; spoilt. Or TLS, not quite. */
function peerBytes(random: Prng): Buffer {
  if (random.chance(0.2)) return hello(random);
  const good = encodeHello({
    versions: { min: 1 + random.below(4), max: 3 + random.below(4) },
    from: 1 + random.below(4),
    to: 2,
    purpose: random.pick(['link', 'stream', 'life-line', 'copy'] as const),
    incarnation: random.below(1000),
    since: random.below(3),
    nonce: noise(random, 32),
    clusterName: random.chance(0.8) ? 'embedded' : 'other',
  });
  const frames = Array.from({ length: random.below(4) }, () => frame(random));
  const parts = [good, noise(random, 32), ...frames];
  return Buffer.concat(random.chance(0.3) ? [good] : spoilt(parts, random, 4));
}

function frame(random: Prng): Buffer {
  const body = noise(random, 5 + random.below(100));
  const head = Buffer.alloc(4);
  head.writeUInt32BE(random.chance(0.7) ? body.length : 0xffff_ffff, 0);
  return Buffer.concat([head, body]);
}

test('the cluster is whole, and nobody was taken for a peer', async () => {
  await cluster.whole();
  for (const node of cluster.numbers) {
    const id = 4711 + node;
    await cluster.query(node, `INSERT INTO t VALUES (${id}, 'still there')`);
    expect(await cluster.query(1 + (node % 3), `SELECT v FROM t WHERE id = ${id}`)).toHaveLength(1);
  }
});
