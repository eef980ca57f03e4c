import { describe, expect, test } from 'vitest';
import {
  readOnlyDefault,
  startupRefusal,
  startupSettings,
  supervisedPacket,
} from '../../../../src/core/session/startup-settings.ts';

const settings = (values: Record<string, string>) => startupSettings(new Map(Object.entries(values)));

describe('startup settings', () => {
  test.each([
    ['-c default_transaction_read_only=on', true],
    ['-cdefault_transaction_read_only=1', true],
    ['--default-transaction-read-only=yes', true],
    ['-c work_mem=1MB  -c Default_Transaction_Read_Only=t', true],
    ['-c default_transaction_read_only=on -c default_transaction_read_only=off', false],
    ['-c search_path=a\\ --default-transaction-read-only=on', undefined],
    ['-c', undefined],
    ['', undefined],
  ])('options %j: read-only by default %s', (options, wanted) => {
    expect(readOnlyDefault(settings({ options }))).toBe(wanted);
  });

  test('what stands by itself outranks the options', () => {
    const both = { options: '-c default_transaction_read_only=on', default_transaction_read_only: 'off' };
    expect(readOnlyDefault(settings(both))).toBe(false);
  });

  test('settings that would hide writes are refused', () => {
    expect(startupRefusal(settings({ options: '-c event_triggers=off' }))?.sqlstate).toBe('0A000');
    expect(startupRefusal(settings({ Event_Triggers: 'off' }))?.severity).toBe('FATAL');
    expect(startupRefusal(settings({ options: '-c session_replication_role=replica' }))).toBeUndefined();
    expect(startupRefusal(settings({ options: '-c work_mem=1MB', application_name: 'x' }))).toBeUndefined();
  });

  test('settings of the gateway are the gateway’s, but for wait_peer_commits', () => {
    expect(startupRefusal(settings({ options: '-c multimaster.max_workers=7' }))?.sqlstate).toBe('55P02');
    expect(startupRefusal(settings({ 'multimaster.wait_peer_commits': 'maybe' }))?.sqlstate).toBe('22023');
    const options = '-c multimaster.wait_peer_commits=off';
    expect(startupRefusal(settings({ options }))).toBeUndefined();
    const packet = supervisedPacket(new Map([['options', options]]), new Map([['wait_peer_commits', 'on']]));
    expect(packet.get('multimaster.wait_peer_commits')).toBe('off');
  });

  test('a forced setting stands once and last, however the client wrote it', () => {
    const parameters = new Map([
      ['DEFAULT_transaction_read_only', 'off'],
      ['user', 'u'],
    ]);
    const packet = supervisedPacket(parameters, new Map([['max_workers', '7']]));
    expect([...packet]).toEqual([
      ['user', 'u'],
      ['default_transaction_read_only', 'on'],
      ['multimaster.max_workers', '7'],
    ]);
  });

  test('a default that is no boolean is left to the server, which refuses it', () => {
    const packet = supervisedPacket(new Map([['Default_Transaction_Read_Only', 'maybe']]), new Map());
    expect(packet.get('default_transaction_read_only')).toBe('maybe');
  });
});
