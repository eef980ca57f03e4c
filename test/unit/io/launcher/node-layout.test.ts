import { createServer, type AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import {
  clusterLayout,
  connectionString,
  requireFreePorts,
} from '../../../../src/io/launcher/node-layout.ts';
import { serverSettings } from '../../../../src/io/launcher/postgres-server.ts';

test('ports and files are the contract', () => {
  const [first, second] = clusterLayout('/somewhere', 7001, [18, 15]);
  expect(first).toMatchObject({
    node: 1,
    gatewayPort: 7001,
    postgresPort: 7101,
    httpPort: 7201,
    peerPort: 7301,
  });
  expect(second).toMatchObject({
    node: 2,
    major: 15,
    gatewayPort: 7002,
    postgresPort: 7102,
    gatewayPidFile: '/somewhere/node2/gateway.pid',
    postgresPidFile: '/somewhere/node2/postmaster.pid',
    gatewayLog: '/somewhere/node2/gateway.log',
  });
  expect(second && connectionString(second)).toBe('postgresql://postgres@127.0.0.1:7002/app');
});

test('the setting for origins exists from 18 on', () => {
  const [old, recent] = clusterLayout('/somewhere', 7001, [17, 18]);
  expect(old && serverSettings(old)).not.toHaveProperty('max_active_replication_origins');
  expect(recent && serverSettings(recent)).toHaveProperty('max_active_replication_origins', 200);
});

test('a busy port is named with what it was for', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const nodes = clusterLayout('/somewhere', port, [18]);
  await expect(requireFreePorts(nodes, ['gateway'])).rejects.toThrow(
    `in use by another process: port ${port} (gateway of node 1)`,
  );
  server.close();
});
