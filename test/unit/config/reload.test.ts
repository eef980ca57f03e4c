import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { loadSettings, type LoadedSettings } from '../../../src/config/loading.ts';
import { applyLive, changesBetween, liveKeys } from '../../../src/config/reload.ts';
import { settings } from '../../../src/config/settings.ts';

const folder = mkdtempSync(join(tmpdir(), 'mtm-reload-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function load(lines: string, secret = 'a secret of the cluster'): LoadedSettings {
  const file = join(folder, 'gateway.yaml');
  writeFileSync(join(folder, 'secret'), secret);
  const peers = 'peers: [{id: 2, host: b}, {id: 3, host: c}]';
  const text = lines.includes('peers:') ? lines : `${peers}\n${lines}`;
  writeFileSync(file, `node_id: 1\ncluster_secret_file: secret\npostgres: {database: app}\n${text}\n`);
  return loadSettings({ file, environment: {}, flags: {} });
}

test.each([
  ['', '', [], []],
  ['', 'log_level: debug', ['log_level'], []],
  ['blocker_timeout: 1000', 'blocker_timeout: 1s', [], []],
  ['', 'max_connections: 3\nlisten: {port: 9}', ['max_connections'], ['listen.port']],
  [
    '',
    'heartbeat_recv_timeout: 9s\ndeadlock_prevention: off',
    [],
    ['heartbeat_recv_timeout', 'deadlock_prevention'],
  ],
  ['', 'tls: {cert_file: a, key_file: b}', ['tls.cert_file', 'tls.key_file'], []],
  ['', 'peers: [{id: 3, host: c}, {id: 2, host: x}]', ['peers'], []],
  ['', 'peers: [{id: 2, host: b}]', [], ['peers']],
])('from "%s" to "%s"', (before, after, live, restart) => {
  expect(changesBetween(load(before), load(after))).toEqual({ live, restart });
});

test('the content of a file with a secret counts', () => {
  const change = changesBetween(load(''), load('', 'another secret of ours'));
  expect(change).toEqual({ live: [], restart: ['cluster_secret_file'] });
});

test('each live setting has a place in the configuration, which applying it changes', () => {
  const running = load('').config;
  for (const key of liveKeys) expect(Object.keys(running)).toContain(key);
  const next = load('max_connections: 7\ntls: {cert_file: a, key_file: b}\nmax_workers: 5').config;
  applyLive(running, next);
  expect(running).toMatchObject({ maxConnections: 7, maxWorkers: 100, clientTls: next.clientTls });
});

test('what all nodes must share, or what a vote or a port depends on, needs a restart', () => {
  const shared = ['node_id', 'cluster_name', 'cluster_secret', 'peer_tls', 'heartbeat_recv_timeout'];
  const more = [
    'monotonic_sequences',
    'ignore_tables_without_pk',
    'deadlock_prevention',
    'referee_connstring',
  ];
  for (const name of [...shared, ...more, 'listen.port', 'postgres.port', 'wait_peer_commits'])
    expect(settings.find((setting) => setting.name === name)?.reload, name).toBe('restart');
});

test('the console is no database of a cluster', () => {
  expect(() => load('cluster_name: x\nmax_connections: 1').config).not.toThrow();
  const file = join(folder, 'other.yaml');
  writeFileSync(file, 'node_id: 1\ncluster_secret: 0123456789abcdef\npostgres: {database: mtm_gateway}\n');
  expect(() => loadSettings({ file, environment: {}, flags: {} })).toThrow(/cannot be called mtm_gateway/);
});
