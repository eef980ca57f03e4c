/**
 * Where the referee is: what `referee_connstring` says, taken apart.
 *
 *   redis://[user[:password]@]host[:port][/database]        rediss://… with TLS
 *   postgres://[user[:password]@]host[:port][/database]     postgresql://… the same
 *   ?sslmode=disable | require | verify-ca | verify-full    require: encrypted, nobody is recognised
 *   &sslrootcert=FILE&sslcert=FILE&sslkey=FILE              PEM files
 *
 * Rule: parameters that are not listed are errors, because a misspelt one would be a connection without TLS.
 * It must never put the text itself into a message: there may be a password in it.
 */

import { tlsModes, tlsProblem, type TlsSettings } from './tls-settings.ts';

export interface RefereeAddress {
  readonly kind: 'redis' | 'postgres';
  readonly host: string;
  readonly port: number;
  /** Empty: none is sent (Redis), or the usual one (postgres). */
  readonly user: string;
  readonly password: string | undefined;
  /** A number for Redis. */
  readonly database: string;
  readonly tls: TlsSettings;
}

const parameters = ['sslmode', 'sslrootcert', 'sslcert', 'sslkey'];
const form =
  'must be redis://host:port, rediss://host:port or postgres://user@host:port/database ' +
  '(user, password and database as in any URL)';

/** The address, or what is wrong with the text: words that follow "referee_connstring". */
export function parseRefereeAddress(text: string): RefereeAddress | string {
  const scheme = /^(rediss?|postgres(?:ql)?):\/\//.exec(text)?.[1];
  if (scheme === undefined || !URL.canParse(text)) return form;
  const url = new URL(text);
  const kind = scheme.startsWith('redis') ? 'redis' : 'postgres';
  const words = credentials(url);
  if (words === undefined || url.hostname === '') return form;
  const unknown = [...url.searchParams.keys()].find((name) => !parameters.includes(name));
  if (unknown !== undefined)
    return `has the parameter ${unknown}, and only ${parameters.join(', ')} are known`;
  const tls = tlsOf(url, scheme === 'rediss');
  if (typeof tls === 'string') return tls;
  if (url.port === '0') return form;
  const { user, password, database } = words;
  if (kind === 'redis' && !/^[0-9]{0,4}$/.test(database))
    return `names a database that is no number: Redis has numbers`;
  if (kind === 'postgres' && (user === '' || database === '')) return form;
  return {
    kind,
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? (kind === 'redis' ? 6379 : 5432) : Number(url.port),
    user,
    password,
    database: kind === 'redis' && database === '' ? '0' : database,
    tls,
  };
}

/** The text without its password, for SHOW. */
export function withoutRefereePassword(text: string): string {
  if (!URL.canParse(text)) return text === '' ? '' : '***';
  const url = new URL(text);
  if (url.password !== '') url.password = '***';
  return url.href;
}

function credentials(url: URL) {
  try {
    return {
      user: decodeURIComponent(url.username),
      password: url.password === '' ? undefined : decodeURIComponent(url.password),
      database: decodeURIComponent(url.pathname.slice(1)),
    };
  } catch {
    return undefined; // A percent sign that begins no escape: the caller says what the text must look like.
  }
}

function tlsOf(url: URL, demanded: boolean): RefereeAddress['tls'] | string {
  const value = (name: string) => url.searchParams.get(name) ?? undefined;
  const rootCertFile = value('sslrootcert');
  const certFile = value('sslcert');
  const keyFile = value('sslkey');
  const files = [rootCertFile, certFile, keyFile].some((file) => file !== undefined);
  const mode = value('sslmode') ?? (demanded || files ? 'verify-full' : 'disable');
  const known = tlsModes.find((candidate) => candidate === mode);
  if (known === undefined) return `has sslmode=${mode}, and only ${tlsModes.join(', ')} are known`;
  if (known === 'disable' && (demanded || files)) return 'asks for TLS and for sslmode=disable';
  if (url.protocol === 'redis:' && known !== 'disable') return 'asks for TLS: then it begins with rediss://';
  const tls = { mode: known, rootCertFile, certFile, keyFile };
  return tlsProblem(tls) ?? tls;
}
