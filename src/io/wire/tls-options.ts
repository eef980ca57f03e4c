/** What node:tls needs for sslmode and its files, which are read at each connection: new ones count. */
import { readFileSync } from 'node:fs';
import type { ConnectionOptions } from 'node:tls';
import type { TlsSettings } from '../../config/tls-settings.ts';
import { GatewayError } from '../../lib/gateway-error.ts';

export type TlsOptions = Pick<
  ConnectionOptions,
  'ca' | 'cert' | 'key' | 'rejectUnauthorized' | 'checkServerIdentity'
>;

/** Throws file-unreadable; `name` is that of the setting. */
export function readPem(path: string, name: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new GatewayError('file-unreadable', `the file ${path} (${name}) cannot be read`, { cause });
  }
}

/** Undefined: without TLS. Throws file-unreadable. */
export function tlsOptions({ mode, rootCertFile, certFile, keyFile }: TlsSettings): TlsOptions | undefined {
  if (mode === 'disable') return undefined;
  const options: TlsOptions = { rejectUnauthorized: mode !== 'require' };
  // As libpq does it: the name in the certificate matters only for verify-full.
  if (mode === 'verify-ca') options.checkServerIdentity = () => undefined;
  if (rootCertFile !== undefined) options.ca = readPem(rootCertFile, 'sslrootcert');
  if (certFile !== undefined) options.cert = readPem(certFile, 'sslcert');
  if (keyFile !== undefined) options.key = readPem(keyFile, 'sslkey');
  return options;
}
