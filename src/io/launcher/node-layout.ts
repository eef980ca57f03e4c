/**
 * Where everything of an embedded cluster is: ports, folders, pid files. The ports are a contract with users
 * and tests: gateway of node k on P+k-1, its PostgreSQL on P+100+k-1, HTTP on P+200+k-1, peer links on
 * P+300+k-1; the referee, where there is one, on P+400.
 */
import { createServer } from 'node:net';
import { join } from 'node:path';
import { GatewayError } from '../../lib/gateway-error.ts';
import type { PostgresMajor } from './server-binaries.ts';

export interface NodeLayout {
  readonly node: number;
  readonly major: PostgresMajor;
  readonly gatewayPort: number;
  readonly postgresPort: number;
  readonly httpPort: number;
  readonly peerPort: number;
  readonly folder: string;
  readonly dataFolder: string;
  /** Where the server's Unix socket is; undefined when the path would be too long for one. */
  readonly socketFolder: string | undefined;
  readonly configFile: string;
  readonly gatewayPidFile: string;
  readonly postgresPidFile: string;
  readonly gatewayLog: string;
  readonly postgresLog: string;
}

export const embeddedDatabase = 'app';
export const embeddedHost = '127.0.0.1';

/** `folder` is absolute; `majors` has one version for each node, from node 1 on. */
export function clusterLayout(
  folder: string,
  basePort: number,
  majors: readonly PostgresMajor[],
): NodeLayout[] {
  return majors.map((major, index) => nodeLayout(folder, basePort, index + 1, major));
}

/** Nodes come and go: the ports of one depend on its own number only. */
export function nodeLayout(folder: string, basePort: number, node: number, major: PostgresMajor): NodeLayout {
  const index = node - 1;
  const own = join(folder, `node${node}`);
  const dataFolder = join(own, 'data');
  return {
    node,
    major,
    gatewayPort: basePort + index,
    postgresPort: basePort + 100 + index,
    httpPort: basePort + 200 + index,
    peerPort: basePort + 300 + index,
    folder: own,
    dataFolder,
    // Only the server's account may look into it, and the gateway, which runs as the one or as root.
    socketFolder: fitsSocket(dataFolder) ? dataFolder : undefined,
    configFile: join(own, 'gateway.yaml'),
    gatewayPidFile: join(own, 'gateway.pid'),
    postgresPidFile: join(own, 'postmaster.pid'),
    gatewayLog: join(own, 'gateway.log'),
    postgresLog: join(own, 'postgres.log'),
  };
}

/** A Unix socket's path has at most 107 bytes, and in PostgreSQL's list of folders no comma. */
function fitsSocket(folder: string): boolean {
  return Buffer.byteLength(`${folder}/.s.PGSQL.65535.lock`) <= 107 && !/[,"'\\]/.test(folder);
}

/** How clients reach the node through its gateway. */
export function connectionString(node: NodeLayout): string {
  return `postgresql://postgres@${embeddedHost}:${node.gatewayPort}/${embeddedDatabase}`;
}

/** Nobody listens there. */
export async function isFreePort(port: number): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once('error', () => resolve(false));
    server.listen({ port, host: embeddedHost, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

/** Throws address-in-use with every port of the cluster that somebody else has. */
export async function requireFreePorts(
  nodes: readonly NodeLayout[],
  parts: readonly ('gateway' | 'postgres')[],
): Promise<void> {
  const busy: string[] = [];
  for (const node of nodes) {
    const wanted: [number, string][] = [];
    if (parts.includes('gateway')) {
      wanted.push([node.gatewayPort, 'gateway'], [node.httpPort, 'HTTP'], [node.peerPort, 'peer links']);
    }
    if (parts.includes('postgres')) wanted.push([node.postgresPort, 'PostgreSQL']);
    for (const [port, what] of wanted) {
      if (!(await isFreePort(port))) busy.push(`${port} (${what} of node ${node.node})`);
    }
  }
  if (busy.length === 0) return;
  throw new GatewayError('address-in-use', `in use by another process: port ${busy.join(', ')}`, {
    hint: 'stop that process or choose other ports with --port',
  });
}
