import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { sampleFile, schemaDocument, withTables } from '../../../src/config/documents.ts';
import { settings, shownSettings } from '../../../src/config/settings.ts';
import { loadConfig } from '../../../src/config/loading.ts';

const read = (name: string) => readFileSync(new URL(`../../../config/${name}`, import.meta.url), 'utf8');

describe('what is made from the schema is up to date (npm run documents)', () => {
  test('the tables in config/README.md', () => expect(read('README.md')).toBe(withTables(read('README.md'))));
  test('config/gateway.schema.json', () => expect(read('gateway.schema.json')).toBe(schemaDocument()));
  test('config/gateway.yaml', () => expect(read('gateway.yaml')).toBe(sampleFile()));
});

test.each([
  ['as it is', (text: string) => text],
  ['with every comment made a line', (text: string) => text.replaceAll(/^( *)# ([a-z_]+:.*)$/gm, '$1$2')],
])('the sample is acceptable %s, and says nothing but the defaults', (_, change) => {
  const folder = mkdtempSync(join(tmpdir(), 'mtm-sample-'));
  const file = join(folder, 'gateway.yaml');
  writeFileSync(join(folder, 'cluster.secret'), '0123456789abcdef');
  writeFileSync(file, change(sampleFile()));
  const config = loadConfig({ file, environment: {}, flags: {} });
  rmSync(folder, { recursive: true });
  const environment = {
    MTM_NODE_ID: '1',
    MTM_POSTGRES_DATABASE: 'app',
    MTM_CLUSTER_SECRET: '0123456789abcdef',
  };
  expect({ ...config, peers: [] }).toEqual(loadConfig({ environment, flags: {} }));
  expect(config.peers.map((peer) => peer.id)).toEqual([2, 3]);
});

test('every setting has a description, a variable and a flag of its own', () => {
  expect(settings.length).toBeGreaterThan(30);
  expect(settings.filter((setting) => setting.description === '')).toEqual([]);
  expect(new Set(settings.map((setting) => setting.variable)).size).toBe(settings.length);
  expect(new Set(settings.map((setting) => setting.flag)).size).toBe(settings.length);
});

test('SHOW multimaster.x answers in the spelling of PostgreSQL', () => {
  const environment = {
    MTM_NODE_ID: '1',
    MTM_POSTGRES_DATABASE: 'app',
    MTM_CLUSTER_SECRET: '0123456789abcdef',
  };
  const shown = shownSettings(loadConfig({ environment, flags: {} }));
  expect(shown.get('heartbeat_send_timeout')).toBe('200ms');
  expect(shown.get('trans_spill_threshold')).toBe('100MB');
  expect(shown.get('wait_peer_commits')).toBe('on');
  expect(shown.get('max_workers')).toBe('100');
  expect(shown.has('cluster_secret')).toBe(false);
});
