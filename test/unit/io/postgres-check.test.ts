import { describe, expect, test } from 'vitest';
import { checkServer, requireSuitable } from '../../../src/io/postgres-check.ts';
import { findingsText } from '../../../src/cli/check.ts';
import { GatewayError } from '../../../src/lib/gateway-error.ts';

const goodSettings = {
  wal_level: 'logical',
  fsync: 'on',
  full_page_writes: 'on',
  max_prepared_transactions: '200',
  max_wal_senders: '10',
  max_replication_slots: '108',
  max_active_replication_origins: '101',
  max_connections: '369',
  superuser_reserved_connections: '3',
  reserved_connections: '0',
  max_slot_wal_keep_size: '-1',
};

const goodFacts = {
  version_num: 180_004,
  version: '18.4',
  role: 'postgres',
  superuser: true,
  encoding: 'UTF8',
  standby: false,
  clock_ms: 5000,
  settings: goodSettings as Record<string, string>,
};

async function wrong(facts: Partial<typeof goodFacts>) {
  const client = { query: async () => ({ rows: [{ ...goodFacts, ...facts }] }) };
  const findings = await checkServer(client, undefined, 5000);
  return findings.filter((finding) => !finding.ok);
}

const withSetting = (name: string, value: string) => ({ settings: { ...goodSettings, [name]: value } });

test('a good server has no findings', async () => {
  expect(await wrong({})).toEqual([]);
  expect(await wrong({ version_num: 150_018, version: '15.18' })).toEqual([]);
});

describe('what must change', () => {
  test.each([
    ['version', { version_num: 140_000, version: '14.0' }],
    ['version', { version_num: 190_000, version: '19.0' }],
    ['role', { superuser: false }],
    ['recovery', { standby: true }],
    ['database encoding', { encoding: 'SQL_ASCII' }],
    ['wal_level', withSetting('wal_level', 'replica')],
    ['fsync', withSetting('fsync', 'off')],
    ['max_prepared_transactions', withSetting('max_prepared_transactions', '0')],
    ['max_wal_senders', withSetting('max_wal_senders', '4')],
    ['max_replication_slots', withSetting('max_replication_slots', '4')],
    ['max_active_replication_origins', withSetting('max_active_replication_origins', '100')],
    ['max_replication_slots', { version_num: 170_000, ...withSetting('max_replication_slots', '107') }],
  ])('%s %j', async (name, facts) => {
    const findings = await wrong(facts);
    expect(findings).toMatchObject([{ name, must: true }]);
    expect(findings[0]?.advice).not.toBe('');
    expect(() => requireSuitable(findings)).toThrow(GatewayError);
  });
});

test('advice does not keep the gateway from starting', async () => {
  const findings = await wrong({ clock_ms: 9000, ...withSetting('max_connections', '100') });
  expect(findings).toMatchObject([
    { name: 'max_connections', must: false },
    { name: 'clock', must: false },
  ]);
  expect(() => requireSuitable(findings)).not.toThrow();
});

test('connections that are reserved for superusers are not for clients', async () => {
  expect(await wrong(withSetting('reserved_connections', '1'))).toMatchObject([
    { name: 'max_connections', must: false, has: '369', needs: '370 or more' },
  ]);
});

test('the text names setting, value and remedy', async () => {
  expect(findingsText(await wrong(withSetting('wal_level', 'replica')))).toBe(
    'CHANGE  wal_level  replica (needs logical)\n' +
      '                   set wal_level = logical (changes are read from the WAL) and restart the server\n' +
      "                   ALTER SYSTEM SET wal_level = 'logical';  -- then restart PostgreSQL",
  );
});
