/**
 * The log of the process: pino, one JSON object a line. Rule: constant message, values as fields, one line
 * for a transition, none per row; a child logger per component: `log.child({ component: 'peers' })`. Secrets
 * are taken out here and nowhere else, whatever field they come in.
 */
import { pino, stdSerializers, type DestinationStream, type Logger } from 'pino';

export type { Logger } from 'pino';

/** Names of fields that are never written, in any object up to three levels deep. */
const secretNames = [
  'password',
  'clusterSecret',
  'cluster_secret',
  'secret',
  'hmac',
  'authorization',
  'token',
  'privateKey',
  'private_key',
];

const secretPaths = secretNames.flatMap((name) => [name, `*.${name}`, `*.*.${name}`, `*.*.*.${name}`]);

/** Passwords inside connection strings: `postgresql://user:PASSWORD@host` and `password=PASSWORD`. */
export function withoutPasswords(text: string): string {
  return text
    .replace(/(:\/\/[^\s:/@]*:)[^\s@]*@/g, '$1***@')
    .replace(/(password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s'&]+)/gi, '$1***');
}

function cleanStrings(value: Record<string, unknown>): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const [name, field] of Object.entries(value)) {
    result[name] = typeof field === 'string' ? withoutPasswords(field) : field;
  }
  return result;
}

function cleanError(error: Error): Record<string, unknown> {
  return cleanStrings({ ...stdSerializers.err(error) });
}

/** A logger on standard output, or on `destination`. */
export function createLog(level: string, destination?: DestinationStream): Logger {
  const options = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    redact: { paths: secretPaths, censor: '***' },
    serializers: { err: cleanError },
    formatters: { level: (label: string) => ({ level: label }), log: cleanStrings },
  };
  return destination === undefined ? pino(options) : pino(options, destination);
}
