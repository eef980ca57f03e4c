/** The referee in a real Redis: its rules, what it survives, and every refusal. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Prng } from '../../../src/lib/prng.ts';
import { eventually, within, timed } from '../../support/polling.ts';
import { freshCluster, oneWinner, pairAt, Party, sameAsRules } from './contact-lab.ts';
import { needsRedis, redisProgram, RedisServer, suitable } from './redis-server.ts';

const servers: RedisServer[] = [];
const parties: Party[] = [];

async function server(settings?: Readonly<Record<string, string>>): Promise<RedisServer> {
  const one = await RedisServer.start(settings);
  servers.push(one);
  return one;
}

const url = (of: RedisServer, more = '') => `redis://${more}127.0.0.1:${of.port}`;

async function pair(text: string, name?: string): Promise<[Party, Party]> {
  const both = await pairAt(text, name);
  parties.push(...both);
  return both;
}

/** What start() throws, or nothing. */
async function refusal(text: string): Promise<string | undefined> {
  const party = new Party(text, 1, freshCluster());
  parties.push(party);
  try {
    await party.contact.start();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

afterAll(async () => {
  for (const party of parties) party.contact.stop();
  for (const one of servers) await one.remove();
});

describe.skipIf(redisProgram === undefined)(`a referee in Redis${needsRedis}`, () => {
  let good: RedisServer;
  beforeAll(async () => void (good = await server()));

  test('answers as the rules say', async () => {
    await sameAsRules(await pair(url(good)), new Prng(20), 400);
  });

  test('has one winner, whoever asks at once', async () => {
    await oneWinner(await pair(url(good)), 100);
  });

  test('a grant survives a crash of Redis, and the contacts come back by themselves', async () => {
    const name = freshCluster();
    const one = await server();
    const [first, second] = await pair(url(one), name);
    await first.report(1);
    await second.report(1);
    expect(await first.ask(2, 1)).toMatchObject({ kind: 'granted' });
    await one.kill();
    await eventually('the loss is told', () => first.told.length > 1 && second.told.length > 1);
    expect(await second.ask(2, 1)).toMatchObject({ kind: 'failed' });
    await one.run();
    await eventually('they are back', () => [first, second].every(({ told }) => told.at(-1) === 'connected'));
    expect(await second.ask(3, 1)).toMatchObject({ kind: 'refused', refusal: 'other-winner' });
    expect(await first.ask(3, 0)).toMatchObject({
      kind: 'granted',
      record: { winner: 1, generation: 3, onlineLow: 1, onlineHigh: 1 },
    });
  });

  test(
    'one that stands still is no grant within the time limit; what it does later does no harm',
    timed,
    async () => {
      const one = await server();
      const name = freshCluster();
      const [first, second] = await pair(url(one), name);
      const hasty = new Party(url(one), 1, name, 300);
      parties.push(hasty);
      await hasty.contact.start();
      await first.report(1);
      await second.report(1);
      process.kill(one.pid, 'SIGSTOP');
      try {
        const begin = performance.now();
        const answer = await within('the call', 5000, hasty.ask(2, 1));
        expect(answer).toMatchObject({ kind: 'failed' });
        expect(performance.now() - begin).toBeLessThan(2000);
        await eventually('it says so', () => hasty.told.length > 2);
      } finally {
        process.kill(one.pid, 'SIGCONT');
      }
      await eventually('it is back', () => hasty.told.at(-1) === 'connected');
      // Redis may have carried out the late question or not: it is this node's grant then, or nobody's.
      expect(await hasty.ask(2, 1)).toMatchObject({ kind: 'granted' });
      expect(await second.ask(2, 1)).toMatchObject({ kind: 'refused', refusal: 'other-winner' });
    },
  );

  test('one that is not there yet is waited for', async () => {
    const one = await server();
    await one.kill();
    const party = new Party(url(one), 1, freshCluster());
    parties.push(party);
    await party.contact.start();
    expect(party.told[0]).toMatch(/ECONNREFUSED/);
    await one.run();
    await eventually('it is in contact', () => party.told.at(-1) === 'connected');
  });

  test.each([
    [{ appendonly: 'no' }, 'has appendonly no and needs yes: a grant must survive a restart'],
    [{ appendfsync: 'everysec' }, 'has appendfsync everysec and needs always: '],
    [{ 'no-appendfsync-on-rewrite': 'yes' }, 'has no-appendfsync-on-rewrite yes and needs no: '],
    [{ 'maxmemory-policy': 'allkeys-lru' }, 'has maxmemory-policy allkeys-lru and needs noeviction: '],
    [{ 'cluster-enabled': 'yes' }, 'runs as cluster and must be a single server'],
  ] as [Record<string, string>, string][])('%j is refused', async (change, expected) => {
    const one = await server({ ...suitable, ...change });
    expect(await refusal(url(one))).toContain(`the Redis at 127.0.0.1:${one.port} ${expected}`);
  });

  test('a replica is refused, and so is a server that has one', async () => {
    const main = await server();
    const replica = await server({ ...suitable, replicaof: `127.0.0.1 ${main.port}` });
    expect(await refusal(url(replica))).toContain('is a slave and must be the only server');
    await eventually('the replica is known', async () => {
      return (await refusal(url(main)))?.includes('has 1 replicas: a promoted one') === true;
    });
  });

  test('credentials: none, wrong ones, and ones that may not look at the settings', async () => {
    const one = await server({ ...suitable, requirepass: 'right' });
    await administer(one, ['ACL', 'SETUSER', 'guest', 'on', '>guest', '~*', '+@all', '-config']);
    expect(await refusal(url(one))).toContain('refuses the gateway: NOAUTH');
    for (const wrong of [':wrong@', 'nobody:wrong@']) {
      const sentence = await refusal(url(one, wrong));
      expect(sentence).toContain(`the Redis at 127.0.0.1:${one.port} refuses the gateway: WRONGPASS`);
      expect(sentence).not.toMatch(/wrong@|wrong"|'wrong/);
    }
    expect(await refusal(url(one, 'guest:guest@'))).toContain('refuses the gateway: NOPERM');
    expect(await refusal(url(one, ':right@'))).toBeUndefined();
    expect(await refusal(url(good, ':superfluous@'))).toBeUndefined();
  });

  test('one that becomes unsuitable grants nothing any more, until it is suitable again', async () => {
    const one = await server();
    const [first, second] = await pair(url(one));
    await first.report(1);
    await second.report(1);
    await administer(one, ['CONFIG', 'SET', 'appendfsync', 'everysec']);
    expect(await first.ask(2, 1)).toMatchObject({
      kind: 'failed',
      reason: expect.stringContaining('has appendfsync everysec') as unknown,
    });
    expect(first.told.at(-1)).toContain('has appendfsync everysec');
    await administer(one, ['CONFIG', 'SET', 'appendfsync', 'always']);
    await eventually('it is back', () => first.told.at(-1) === 'connected');
    expect(await first.ask(2, 1)).toMatchObject({ kind: 'granted' });
  });

  test('another database number is another referee', async () => {
    const name = freshCluster();
    const [first] = await pair(`${url(good)}/3`, name);
    const [other] = await pair(url(good), name);
    await first.report(1);
    expect(await other.ask(2, 1)).toMatchObject({ refusal: 'no-record' });
  });
});

async function administer(one: RedisServer, [command, ...words]: string[]): Promise<void> {
  const password = one.settings['requirepass'];
  const admin = new Redis({
    host: '127.0.0.1',
    port: one.port,
    ...(password === undefined ? {} : { password }),
  });
  await admin.call(command!, ...words);
  admin.disconnect();
}

describe.skipIf(redisProgram === undefined)(`TLS to Redis${needsRedis}`, () => {
  const folder = mkdtempSync(join(tmpdir(), 'mtm-referee-tls-'));
  const file = (name: string) => join(folder, name);
  let one: RedisServer;

  beforeAll(async () => {
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
    const made = ['-keyout', file('key.pem'), '-out', file('cert.pem'), '-days', '2'];
    execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', ...made, ...subject], {
      stdio: 'ignore',
    });
    const tls = { 'tls-port': 'PORT', 'tls-cert-file': file('cert.pem'), 'tls-key-file': file('key.pem') };
    one = await server({
      ...suitable,
      ...tls,
      'tls-ca-cert-file': file('cert.pem'),
      'tls-auth-clients': 'optional',
    });
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const tlsUrl = (host: string, more: string) => `rediss://${host}:${one.port}?${more}`;
  const root = () => `sslrootcert=${encodeURIComponent(file('cert.pem'))}`;

  test.each([
    ['localhost', () => root()],
    ['127.0.0.1', () => `sslmode=verify-ca&${root()}`],
    ['127.0.0.1', () => 'sslmode=require'],
  ])('%s %s', async (host, more) => {
    const [first] = await pair(tlsUrl(host, more()));
    expect(await first.report(1)).toMatchObject({ kind: 'reported' });
  });

  test.each([
    ['127.0.0.1', () => root(), /altnames|IP/],
    ['localhost', () => '', /self-signed/],
  ])('%s %s is not trusted', async (host, more, expected) => {
    const party = new Party(tlsUrl(host, more()), 1, freshCluster());
    parties.push(party);
    await party.contact.start();
    expect(party.told[0]).toMatch(expected);
  });

  test('without TLS there is no contact', async () => {
    const party = new Party(url(one), 1, freshCluster(), 500);
    parties.push(party);
    await party.contact.start();
    expect(party.told).toHaveLength(1);
    expect(party.told[0]).not.toBe('connected');
  });
});
