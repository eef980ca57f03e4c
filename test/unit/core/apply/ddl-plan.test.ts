import { describe, expect, test } from 'vitest';
import type { DdlMessage } from '../../../../src/core/apply/ddl-message.ts';
import { planDdl, readDdlMessage } from '../../../../src/core/apply/ddl-plan.ts';

const message: DdlMessage = {
  command: "COMMENT ON TABLE t IS 'it''s \\ this'",
  tag: 'COMMENT',
  sessionUser: 'ann"a',
  role: 'none',
  settings: { search_path: '"$user", public', 'plpgsql.extra_errors': 'none' },
};
const statements = (plan: ReturnType<typeof planDdl>) => (plan.kind === 'statements' ? plan.statements : []);

test('a user runs inside a function of his own, under his settings, and everything is put back', () => {
  const run = statements(planDdl(message, { superuser: false }, 'x'));
  expect(run).toEqual([
    `CREATE FUNCTION mtm."run x"(command text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN EXECUTE command; END'`,
    'ALTER FUNCTION mtm."run x"(text) OWNER TO "ann""a"',
    'REVOKE ALL ON FUNCTION mtm."run x"(text) FROM PUBLIC',
    'SET LOCAL SESSION AUTHORIZATION "ann""a"',
    `SELECT pg_catalog.set_config('enable_seqscan', 'on', true)`,
    `SELECT pg_catalog.set_config('plan_cache_mode', 'auto', true)`,
    `SELECT pg_catalog.set_config('search_path', '"$user", public', true)`,
    `SELECT pg_catalog.set_config('plpgsql.extra_errors', 'none', true)`,
    `SELECT pg_catalog.set_config('check_function_bodies', 'off', true)`,
    `SELECT mtm."run x"(E'COMMENT ON TABLE t IS ''it''''s \\\\ this''')`,
    'SET LOCAL ROLE NONE',
    'SET LOCAL SESSION AUTHORIZATION DEFAULT',
    'DROP FUNCTION IF EXISTS mtm."run x"(text)',
  ]);
});

test('the role owns the function; a superuser without role needs none', () => {
  const asRole = statements(planDdl({ ...message, role: 'boss' }, { superuser: true }, 'x'));
  expect(asRole[1]).toContain('OWNER TO "boss"');
  expect(asRole).toContain('SET LOCAL ROLE "boss"');
  expect(statements(planDdl(message, { superuser: true }, 'x'))).toContain(message.command);
});

test('settings that decide who one is are refused', () => {
  for (const name of ['role', 'Session_Authorization', 'session_replication_role']) {
    expect(planDdl({ ...message, settings: { [name]: 'x' } }, { superuser: true }, 'x').kind).toBe('refused');
  }
});

describe('reading', () => {
  const read = (value: unknown) => readDdlMessage(new TextEncoder().encode(JSON.stringify(value)));

  test('a message', () => expect(read(message)).toEqual(message));

  test('anything else is none', () => {
    expect(readDdlMessage(Uint8Array.of(0x7b))).toBeUndefined();
    for (const value of [
      null,
      1,
      {},
      { ...message, role: 1 },
      { ...message, settings: null },
      { ...message, settings: { a: 1 } },
    ]) {
      expect(read(value)).toBeUndefined();
    }
  });
});
