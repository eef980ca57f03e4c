/** A PostgreSQL server without a gateway: what stock PostgreSQL says to the same statement. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { clusterLayout, embeddedHost, type NodeLayout } from '../../../src/io/launcher/node-layout.ts';
import { createDatabases, startServer, stopServer } from '../../../src/io/launcher/postgres-server.ts';
import type { PostgresMajor } from '../../../src/io/launcher/server-binaries.ts';
import { freePort } from '../../support/free-port.ts';
import { makeServer } from '../../support/server-template.ts';

export interface StockServer {
  readonly node: NodeLayout;
  connect(user: string, database?: string): Promise<Client>;
  stop(): Promise<void>;
}

export async function startStockServer(major: PostgresMajor): Promise<StockServer> {
  const folder = mkdtempSync(join(tmpdir(), `mtm-stock-${major}-`));
  chmodSync(folder, 0o755); // as root the server runs as another user
  const [layout] = clusterLayout(folder, 1, [major]);
  if (layout === undefined) throw new Error('a cluster of one node has a node');
  const node = { ...layout, postgresPort: await freePort() };
  await makeServer(node);
  await startServer(node);
  await createDatabases(node, ['app']);
  const connect = async (user: string, database = 'app'): Promise<Client> => {
    const client = new Client({ ssl: false, host: embeddedHost, port: node.postgresPort, user, database });
    client.on('error', () => undefined);
    await client.connect();
    return client;
  };
  const stop = async (): Promise<void> => {
    await stopServer(node);
    rmSync(folder, { recursive: true, force: true });
  };
  return { node, connect, stop };
}
