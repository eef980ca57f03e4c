/** Where what listens on `host` is reached from this machine, also when it listens everywhere. */
export function reachableHost(host: string): string {
  if (host === '' || host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : host;
}
