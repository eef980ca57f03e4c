/** What node:tls needs for the sslmode of a referee's address; the only reader of its certificate files. */
import { readFileSync } from 'node:fs';
import type { ConnectionOptions } from 'node:tls';
import type { RefereeAddress } from '../../config/referee-address.ts';
import { GatewayError } from '../../lib/gateway-error.ts';

export type TlsOptions = Pick<
  ConnectionOptions,
  'ca' | 'cert' | 'key' | 'rejectUnauthorized' | 'checkServerIdentity'
>;

function read(path: string, name: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new GatewayError('file-unreadable', `the file ${path} (${name}) cannot be read`, { cause });
  }
}

/** Undefined: without TLS. Throws file-unreadable. */
export function tlsOptions({ mode, rootCertFile, certFile, keyFile }: RefereeAddress['tls']) {
  if (mode === 'disable') return undefined;
  const options: TlsOptions = { rejectUnauthorized: mode !== 'require' };
  // As libpq does it: the name in the certificate matters only for verify-full.
  if (mode === 'verify-ca') options.checkServerIdentity = () => undefined;
  if (rootCertFile !== undefined) options.ca = read(rootCertFile, 'sslrootcert');
  if (certFile !== undefined) options.cert = read(certFile, 'sslcert');
  if (keyFile !== undefined) options.key = read(keyFile, 'sslkey');
  return options;
}
