import { describe, expect, test } from 'vitest';
import fc from 'fast-check';
import { parseRefereeAddress, withoutRefereePassword } from '../../../src/config/referee-address.ts';

const plain = { mode: 'disable', rootCertFile: undefined, certFile: undefined, keyFile: undefined };

describe('addresses', () => {
  test.each([
    [
      'redis://h',
      { kind: 'redis', host: 'h', port: 6379, user: '', password: undefined, database: '0', tls: plain },
    ],
    ['redis://:p%40s@h:7/3', { password: 'p@s', port: 7, database: '3', tls: plain }],
    ['rediss://u@[::1]', { user: 'u', host: '::1', tls: { ...plain, mode: 'verify-full' } }],
    ['rediss://h?sslmode=require', { tls: { ...plain, mode: 'require' } }],
    ['postgres://u@h/d', { kind: 'postgres', port: 5432, user: 'u', database: 'd', tls: plain }],
    ['postgresql://u:p@h:1/d', { kind: 'postgres', port: 1, password: 'p' }],
    [
      'postgres://u@h/d?sslrootcert=%2Fca.pem',
      { tls: { ...plain, mode: 'verify-full', rootCertFile: '/ca.pem' } },
    ],
    [
      'postgres://u@h/d?sslmode=verify-ca&sslrootcert=ca&sslcert=c&sslkey=k',
      { tls: { mode: 'verify-ca', rootCertFile: 'ca', certFile: 'c', keyFile: 'k' } },
    ],
  ])('%s', (text, expected) => {
    expect(parseRefereeAddress(text)).toMatchObject(expected);
  });

  test.each([
    ['host=h dbname=d', /^must be redis:/],
    ['http://h', /^must be redis:/],
    ['redis://', /^must be redis:/],
    ['redis://:%@h', /^must be redis:/],
    ['redis://h:0', /^must be redis:/],
    ['postgres://h/d', /^must be redis:/],
    ['postgres://u@h', /^must be redis:/],
    ['redis://h/one', /no number/],
    ['redis://h?sslmode=require', /rediss/],
    ['rediss://h?sslmode=disable', /asks for TLS and/],
    ['rediss://h?sslmod=require', /the parameter sslmod,/],
    ['postgres://u@h/d?sslmode=prefer', /sslmode=prefer/],
    ['postgres://u@h/d?sslmode=verify-ca', /without sslrootcert/],
    ['postgres://u@h/d?sslcert=c', /both sslcert and sslkey/],
  ])('%s is refused', (text, expected) => {
    expect(parseRefereeAddress(text)).toMatch(expected);
  });

  test('property: a password comes back as it was, and is never shown', () => {
    const password = fc.string({ unit: 'grapheme', minLength: 4 }).filter((text) => text.trim().length > 3);
    fc.assert(
      fc.property(password, fc.constantFrom('redis', 'rediss', 'postgres'), (secret, scheme) => {
        const text = `${scheme}://user:${encodeURIComponent(secret)}@host/1`;
        expect(parseRefereeAddress(text)).toMatchObject({ password: secret, host: 'host', user: 'user' });
        expect(withoutRefereePassword(text)).toBe(`${scheme}://user:***@host/1`);
      }),
    );
  });

  test('what is no address is not shown at all', () => {
    expect(withoutRefereePassword('password=hush')).toBe('***');
    expect(withoutRefereePassword('')).toBe('');
  });
});
