import { describe, expect, test } from 'vitest';
import { infoOf, redisObjection } from '../../../../src/io/referee/redis-suitability.ts';
import { postgresObjection } from '../../../../src/io/referee/postgres-suitability.ts';
import { recordKey } from '../../../../src/io/referee/record-key.ts';
import { addressText, recordOf } from '../../../../src/io/referee/session.ts';
import { tlsOptions } from '../../../../src/io/wire/tls-options.ts';
import { parseRefereeAddress } from '../../../../src/config/referee-address.ts';

const settings = {
  appendonly: 'yes',
  appendfsync: 'always',
  'no-appendfsync-on-rewrite': 'no',
  'maxmemory-policy': 'noeviction',
};

const goodInfo = {
  redis_mode: 'standalone',
  cluster_enabled: '0',
  role: 'master',
  connected_slaves: '0',
  aof_enabled: '1',
  aof_rewrite_in_progress: '0',
  aof_rewrite_scheduled: '0',
  aof_base_size: '0',
  aof_last_write_status: 'ok',
};
const info = (change: Record<string, string> = {}) =>
  infoOf(
    Object.entries({ ...goodInfo, ...change }).reduce(
      (text, [name, value]) => `${text}${name}:${value}\r\n`,
      '# Server\r\n',
    ),
  );

describe('Redis', () => {
  test('one that forgets nothing is suitable', () => {
    expect(redisObjection(settings, info())).toBeUndefined();
    expect(
      redisObjection(settings, info({ aof_rewrite_in_progress: '1', aof_base_size: '88' })),
    ).toBeUndefined();
  });

  test.each([
    [{ appendonly: 'no' }, /^has appendonly no and needs yes: /],
    [{ appendfsync: 'everysec' }, /^has appendfsync everysec and needs always: /],
    [{ 'no-appendfsync-on-rewrite': 'yes' }, /^has no-appendfsync-on-rewrite yes and needs no: /],
    [{ 'maxmemory-policy': 'allkeys-lru' }, /^has maxmemory-policy allkeys-lru and needs noeviction: /],
    [{ appendonly: undefined }, /does not tell its appendonly, so it cannot be judged/],
  ])('setting %j', (change, expected) => {
    expect(redisObjection({ ...settings, ...change }, info())).toMatch(expected);
  });

  test.each([
    [{ redis_mode: 'cluster' }, /must be a single server/],
    [{ redis_mode: 'sentinel' }, /must be a single server/],
    [{ cluster_enabled: '1' }, /must be a single server/],
    [{ role: 'slave' }, /must be the only server/],
    [{ connected_slaves: '1' }, /has 1 replicas/],
    [{ aof_enabled: '0' }, /append-only file yet/],
    [{ aof_rewrite_in_progress: '1' }, /append-only file yet/],
    [{ aof_last_write_status: 'err' }, /cannot write its append-only file \(err\)/],
  ] as Record<string, string>[][])('state %j', (change, expected) => {
    expect(redisObjection(settings, info(change))).toMatch(expected as unknown as RegExp);
  });

  test.each(Object.keys(goodInfo).filter((name) => !/rewrite|base|cluster/.test(name)))(
    'without %s it cannot be judged',
    (name) => {
      const less = new Map(info());
      less.delete(name);
      expect(redisObjection(settings, less)).toBeDefined();
    },
  );
});

describe('PostgreSQL', () => {
  const facts = {
    fsync: 'on',
    synchronous_commit: 'on',
    standby: false,
    node: false,
    loose_standbys: 0,
    version_num: 180_000,
  };

  test('a server of its own is suitable', () => expect(postgresObjection(facts)).toBeUndefined());

  test.each([
    [{ fsync: 'off' }, /^has fsync off and needs on/],
    [{ synchronous_commit: 'local' }, /^has synchronous_commit local/],
    [{ standby: true }, /^is a standby/],
    [{ node: true }, /^is a node of a cluster/],
    [{ loose_standbys: 2 }, /^has 2 standbys/],
    [{ version_num: 110_022 }, /^is older/],
  ])('%j', (change, expected) => {
    expect(postgresObjection({ ...facts, ...change })).toMatch(expected);
  });
});

test('clusters of the same name have records of their own, which tell nothing of the secret', () => {
  const pair = { low: 1, high: 2 };
  const one = recordKey({ clusterName: 'mtm', clusterSecret: 'a secret of sixteen' }, pair);
  expect(one).toMatch(/^mtm:referee:mtm:[0-9a-f]{16}:1-2$/);
  expect(recordKey({ clusterName: 'mtm', clusterSecret: 'another secret, longer' }, pair)).not.toBe(one);
});

test('what an error says of the address is no secret', () => {
  const address = parseRefereeAddress('redis://me:hush@[::1]:7/2');
  if (typeof address === 'string') throw new Error(address);
  expect(addressText(address)).toBe('the Redis at [::1]:7');
});

test('a record is numbers', () => {
  expect(recordOf(['1', '2', '3', '4', 5])).toEqual({
    winner: 1,
    generation: 2,
    onlineLow: 3,
    onlineHigh: 4,
    revision: 5,
  });
  expect(() => recordOf(['1', '2', 'x', '4', '5'])).toThrow(/onlineLow/);
  expect(() => recordOf(['1'])).toThrow(/generation/);
});

test('TLS: what sslmode means, and a certificate that is not there', () => {
  const none = { rootCertFile: undefined, certFile: undefined, keyFile: undefined };
  expect(tlsOptions({ ...none, mode: 'disable' })).toBeUndefined();
  expect(tlsOptions({ ...none, mode: 'require' })).toEqual({ rejectUnauthorized: false });
  expect(tlsOptions({ ...none, mode: 'verify-full' })).toEqual({ rejectUnauthorized: true });
  expect(() => tlsOptions({ ...none, mode: 'verify-ca', rootCertFile: '/nowhere/ca' })).toThrow(
    'the file /nowhere/ca (sslrootcert) cannot be read',
  );
});
