/**
 * Drivers of other languages through the gateways of a cluster, and at a server without one: each does the duties of
 * matrix/duties.ts in a schema of its own, over TLS and with a password. Rule: what a driver says and what it has written is the
 * same at both; the nodes of the cluster are compared when it stops.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { clusterLayout, embeddedDatabase, embeddedHost } from '../../../src/io/launcher/node-layout.ts';
import { startServer, stopServer } from '../../../src/io/launcher/postgres-server.ts';
import { Authority } from '../../support/certificates.ts';
import { startCluster, type Cluster } from '../../support/cluster.ts';
import { freePort } from '../../support/free-port.ts';
import { findProgram, needs, runToEnd, type ProgramRun } from '../../support/programs.ts';
import { askForPasswords, offerTls } from '../../support/server-login.ts';
import { makeServer } from '../../support/server-template.ts';
import { drivers, dutiesOf, type Command, type Driver } from './matrix/drivers.ts';
import { written, type Answer, type Duties } from './matrix/duties.ts';

/** What a program may take on a machine that does much else; it is met by what hangs only. */
const limitMs = 200_000;
const major = 18;

let folder: string;
let authority: Authority;
let cluster: Cluster;
let closedPort: number;
let plain = clusterLayout('/', 1, [major])[0]!;

const file = (name: string): string => readFileSync(new URL(`matrix/${name}`, import.meta.url), 'utf8');
const passwordOf = ({ name }: Driver): string => `sesame of ${name}`;

async function superuser<T>(port: number, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({
    ssl: false,
    host: embeddedHost,
    port,
    user: 'postgres',
    database: embeddedDatabase,
  });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** A server that no gateway stands before. */
async function startPlainServer(): Promise<void> {
  const [layout] = clusterLayout(join(folder, 'plain'), 1, [major]);
  plain = { ...layout!, postgresPort: await freePort() };
  await makeServer(plain);
  await startServer(plain);
  await superuser(plain.postgresPort, async (client) => {
    await offerTls(plain, authority.issue('server', 'server', ['DNS:localhost']), client);
    await askForPasswords(plain, client);
    await client.query(file('await-sleep.sql'));
  });
}

async function startGateways(): Promise<void> {
  const { cert, key } = authority.issue('gateway', 'gateway', ['DNS:localhost']);
  cluster = await startCluster({
    majors: [major, 15],
    // What is big is no failure on a machine that does much else.
    settings: { tls: { cert_file: cert, key_file: key }, heartbeat_recv_timeout: '30s' },
  });
  for (const node of cluster.nodes) await askForPasswords(node, await cluster.direct(node.node));
  await cluster.query(1, file('await-sleep.sql'));
}

interface Run {
  readonly said: Duties;
  readonly rows: unknown;
}

function execute(
  [program, ...args]: Command,
  environment: Readonly<Record<string, string>>,
): Promise<ProgramRun> {
  const env = { ...process.env, ...environment };
  return runToEnd(program, args, { cwd: folder, env, timeout: limitMs, killSignal: 'SIGKILL' });
}

async function build({ name, build: how, environment }: Driver): Promise<void> {
  if (how === undefined) return;
  const { code, stdout, stderr } = await execute(how(folder), environment ?? {});
  if (code !== 0) throw new Error(`${name} is not built (${code}):\n${stdout}${stderr}`);
}

/** The program at these two ports, which are of one server or of two nodes; what it said and what is there then. */
async function run(driver: Driver, port: number, otherPort: number): Promise<Run> {
  await superuser(port, (client) =>
    client.query(
      file('schema.sql')
        .replaceAll(/\bdriver\b/g, driver.name)
        .replace(/^--.*$/gm, ''),
    ),
  );
  const { code, stdout, stderr } = await execute(driver.run(folder), {
    PGHOST: 'localhost',
    PGPORT: String(port),
    OTHER_PORT: String(otherPort),
    CLOSED_PORT: String(closedPort),
    PGDATABASE: embeddedDatabase,
    PGUSER: driver.name,
    PGPASSWORD: passwordOf(driver),
    PGSSLMODE: 'verify-full',
    PGSSLROOTCERT: authority.cert,
    ...driver.environment,
  });
  if (code !== 0) throw new Error(`${driver.name} ended with ${code}:\n${stdout}${stderr}`);
  const lines = stdout.split('\n').filter((line) => line.startsWith('{'));
  const told = lines.map((line) => JSON.parse(line) as { duty: string; answer: Answer });
  const said = Object.fromEntries(told.map(({ duty, answer }) => [duty, answer]));
  const rows = await superuser(port, async (client) => {
    await client.query(`SET search_path = "${driver.name}"`);
    return (await client.query(written)).rows;
  });
  return { said, rows };
}

function versionOf({ probe: [program, ...args], environment }: Driver): string | undefined {
  const { status, stdout } = spawnSync(program, args, {
    encoding: 'utf8',
    env: { ...process.env, ...environment },
  });
  return status === 0 ? stdout.trim().split('\n')[0] : undefined;
}

describe.skipIf(findProgram('openssl') === undefined)(`the driver matrix${needs('openssl')}`, () => {
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'mtm-drivers-'));
    chmodSync(folder, 0o755); // as root the server runs as another user
    authority = new Authority(join(folder, 'certificates'));
    closedPort = await freePort();
    await Promise.all([startPlainServer(), startGateways()]);
  });

  afterAll(async () => {
    await cluster?.stop();
    await stopServer(plain);
    rmSync(folder, { recursive: true, force: true });
  });

  const only = process.env['MTM_TEST_DRIVER'];
  for (const driver of drivers.filter(({ name }) => only === undefined || name === only)) {
    const version = versionOf(driver);
    const why = version ?? `(not run: this machine has no ${driver.packages})`;
    if (version === undefined) process.stdout.write(`${driver.name} ${why}\n`);
    describe.skipIf(version === undefined)(`${driver.name} ${why}`, () => {
      let direct: Run;
      let through: Run;

      beforeAll(async () => {
        await build(driver);
        const [here, there] = [cluster.node(1).gatewayPort, cluster.node(2).gatewayPort];
        [direct, through] = await Promise.all([
          run(driver, plain.postgresPort, plain.postgresPort),
          run(driver, here, there),
        ]);
      });

      test.each(Object.entries(dutiesOf(driver)))('%s', (duty, answer) => {
        expect({ direct: direct.said[duty], through: through.said[duty] }).toEqual({
          direct: answer,
          through: answer,
        });
      });

      test('it has said nothing else, and written the same', () => {
        expect(Object.keys(through.said).toSorted()).toEqual(Object.keys(dutiesOf(driver)).toSorted());
        expect(through).toEqual(direct);
      });
    });
  }
});
