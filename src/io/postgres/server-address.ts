/** Where the local PostgreSQL listens: a TCP address, or, as in libpq, a folder with its Unix socket. */
import type { NetConnectOpts } from 'node:net';

/** `host`: a name, an address, or an absolute path. */
export function serverAddress(host: string, port: number): NetConnectOpts {
  if (host.startsWith('/')) return { path: `${host}/.s.PGSQL.${port}` };
  return { host, port, noDelay: true };
}
