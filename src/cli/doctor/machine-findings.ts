/**
 * What the machine of a gateway lacks: files that others can read, ports that are taken, room on the disk.
 * Rule: nothing is changed; a port that is tried is given back at once.
 */
import { statfsSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import type { GatewayConfig } from '../../config/schema.ts';
import { reachableHost } from '../../config/reachable-host.ts';
import type { ServerFinding } from '../../io/postgres-check.ts';

const gigabyte = 1024 ** 3;

export interface SecretFile {
  /** The setting that names it. */
  readonly setting: string;
  readonly path: string;
}

/** Files with secrets: nobody but their owner should read them. */
export function fileFindings(files: readonly SecretFile[]): ServerFinding[] {
  return files.map(({ setting, path }) => {
    const mode = statSync(path).mode & 0o777;
    // The key of TLS may be root's, for the gateway's group.
    const allowed = setting === 'tls.key_file' ? 0o740 : 0o700;
    const ok = (mode & ~allowed) === 0;
    return {
      name: setting,
      ok,
      must: false,
      has: `${path} has mode ${mode.toString(8).padStart(3, '0')}`,
      needs: 'readable for its owner only',
      effect: 'now',
      advice: ok ? '' : 'others on this machine can read a secret',
      fix: ok ? undefined : `chmod 600 ${path}`,
    };
  });
}

/** Undefined: it is free. */
function problemOf(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(undefined)));
  });
}

/** Does a gateway listen there already? */
async function gatewayAt({ host, port }: GatewayConfig['http']): Promise<boolean> {
  const name = reachableHost(host);
  try {
    const where = name.includes(':') ? `[${name}]` : name;
    const answer = await fetch(`http://${where}:${port}/healthz`, { signal: AbortSignal.timeout(2000) });
    return typeof ((await answer.json()) as { ready?: unknown }).ready === 'boolean';
  } catch {
    return false; // nobody, or somebody else
  }
}

const reasons: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another process listens there',
  EADDRNOTAVAIL: 'this machine has no such address',
  EACCES: 'this user may not listen there',
};

export async function portFindings(config: GatewayConfig): Promise<ServerFinding[]> {
  const runs = await gatewayAt(config.http);
  const findings: ServerFinding[] = [];
  for (const [name, { host, port }] of [
    ['listen', config.listen],
    ['peer_listen', config.peerListen],
    ['http', config.http],
  ] as const) {
    const problem = await problemOf(host, port);
    const ok = problem === undefined || (runs && problem === 'EADDRINUSE');
    const has = problem === undefined ? 'free' : ok ? 'a gateway runs' : (reasons[problem] ?? problem);
    findings.push({
      name: `${name} ${host}:${port}`,
      ok,
      must: true,
      has,
      needs: 'free',
      effect: 'restart',
      advice: ok ? '' : `choose another address for ${name}, or end what is there`,
      fix: ok ? undefined : `ss -ltnp 'sport = :${port}'`,
    });
  }
  return findings;
}

/** Empty when the server's disk is not this machine's. */
export function diskFindings(config: GatewayConfig, dataDirectory: string): ServerFinding[] {
  const { host } = config.postgres;
  if (!host.startsWith('/') && !['127.0.0.1', '::1', 'localhost'].includes(host)) return [];
  let free: number;
  try {
    const { bavail, bsize } = statfsSync(dataDirectory);
    free = bavail * bsize;
  } catch {
    return []; // in a container of its own, or not for our eyes
  }
  const wanted = config.maxRetainedWalBytes + gigabyte;
  const limited = config.maxRetainedWalBytes > 0;
  const ok = limited && free >= wanted;
  return [
    {
      name: 'disk of the server',
      ok,
      must: false,
      has: `${gigabytes(free)} free in ${dataDirectory}`,
      needs: limited ? `${gigabytes(wanted)}: max_retained_wal and a GB` : 'a bound of max_retained_wal',
      effect: 'now',
      advice: ok ? '' : 'WAL for nodes that are away must not fill the disk',
      fix: ok ? undefined : `max_retained_wal: ${Math.max(1, Math.floor(free / gigabyte / 2))}GB`,
    },
  ];
}

function gigabytes(bytes: number): string {
  return `${(bytes / gigabyte).toFixed(1)} GB`;
}
