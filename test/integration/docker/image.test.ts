/** The image alone, on a real engine: what it says without settings, its health, and signals to process 1. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import {
  GenericContainer,
  Network,
  Wait,
  type StartedNetwork,
  type StartedTestContainer,
} from 'testcontainers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { docker, gatewayImage, hasEngine, needsEngine, postgresImage, tryDocker } from './engine.ts';

const minutes = 60_000;
const patience = { timeout: 15 * minutes };
const password = 'secret of the server';
const server = [
  'wal_level=logical',
  'max_prepared_transactions=40',
  'max_replication_slots=60',
  'max_wal_senders=20',
];
const settings = `node_id: 1
cluster_secret_file: /etc/mtm/cluster.secret
postgres: { host: server, database: app, password_file: /etc/mtm/postgres.password }
max_workers: 20
max_connections: 20
`;

describe.skipIf(!hasEngine)(`the image${needsEngine}`, () => {
  const folder = mkdtempSync(join(tmpdir(), 'mtm-image-'));
  let image = '';
  let network: StartedNetwork;
  let postgres: StartedTestContainer;

  beforeAll(async () => {
    chmodSync(folder, 0o755);
    writeFileSync(join(folder, 'gateway.yaml'), settings);
    writeFileSync(join(folder, 'cluster.secret'), 'a secret of all the gateways\n');
    writeFileSync(join(folder, 'postgres.password'), `${password}\n`);
    image = await gatewayImage();
    const { name, version } = await postgresImage();
    network = await new Network().start();
    postgres = await new GenericContainer(`${name}:${version}`)
      .withNetwork(network)
      .withNetworkAliases('server')
      .withEnvironment({ POSTGRES_PASSWORD: password, POSTGRES_DB: 'app' })
      .withCommand(['postgres', ...server.flatMap((setting) => ['-c', setting])])
      .withHealthCheck({
        test: ['CMD', 'pg_isready', '-h', '127.0.0.1'],
        interval: 1000,
        timeout: 3000,
        retries: 100,
        startPeriod: 1000,
      })
      .withWaitStrategy(Wait.forHealthCheck())
      .start();
  }, 20 * minutes);

  afterAll(async () => {
    await postgres?.stop();
    await network?.stop();
    rmSync(folder, { recursive: true });
  }, minutes);

  /** With its file mounted; `healthy` by the check that is in the image. */
  function gateway(...command: string[]): GenericContainer {
    return new GenericContainer(image)
      .withNetwork(network)
      .withBindMounts([{ source: folder, target: '/etc/mtm', mode: 'ro' }])
      .withCommand(command)
      .withDroppedCapabilities('ALL')
      .withExposedPorts(7001)
      .withAutoRemove(false)
      .withWaitStrategy(Wait.forHealthCheck())
      .withStartupTimeout(10 * minutes);
  }

  test('says its version, its help and what is missing, each with its exit code', patience, async () => {
    expect(await docker('run', '--rm', image, '--version')).toMatch(/^\d+\.\d+\.\d+$/);
    expect(await docker('run', '--rm', image, '--help')).toContain('mtm-gateway serve');
    const { code, stderr } = await tryDocker('run', '--rm', image);
    expect(code).toBe(2);
    expect(stderr).toMatch(
      /^mtm-gateway: the configuration: node_id is missing \(or MTM_NODE_ID, or --node-id\)/,
    );
  });

  test(
    'a file that is mounted, a setting of the environment, healthy, served, SIGTERM: exit code 0',
    patience,
    async () => {
      const running = await gateway('serve', '--config', '/etc/mtm/gateway.yaml')
        .withEnvironment({ MTM_CLUSTER_NAME: 'alone' })
        .start();
      const client = new Client({
        host: running.getHost(),
        port: running.getMappedPort(7001),
        user: 'postgres',
        database: 'app',
        password,
      });
      client.on('error', () => undefined); // It is ended with 57P01.
      await client.connect();
      expect((await client.query('SHOW multimaster.cluster_name')).rows).toEqual([
        { 'multimaster.cluster_name': 'alone' },
      ]);
      const { output } = await running.exec(['mtm-gateway', 'check', '--config', '/etc/mtm/gateway.yaml']);
      expect(output).toContain('wal_level');
      await running.stop({ remove: false, timeout: 300_000 });
      expect(await docker('inspect', '-f', '{{.State.ExitCode}}', running.getId())).toBe('0');
      await docker('rm', running.getId());
    },
  );

  test(
    'SIGTERM before it is online ends it, too: process 1 hears no signal that it does not wait for',
    patience,
    async () => {
      const wrong = ['--config', '/etc/mtm/gateway.yaml', '--peers', '[{id: 2, host: nobody, port: 7301}]'];
      const mount = ['-v', `${folder}:/etc/mtm:ro`, '--network', network.getName()];
      for (const pauseMs of [0, 150, 300, 600]) {
        const id = await docker('run', '-d', ...mount, image, 'serve', ...wrong);
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
        await docker('stop', '-t', '300', id); // Behind it it would be killed, and end with 137.
        expect(await docker('inspect', '-f', '{{.State.ExitCode}}', id)).not.toBe('137');
        await docker('rm', id);
      }
    },
  );
});
