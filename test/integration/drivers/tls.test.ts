/**
 * TLS: from clients to the gateway, from the gateway to its server, and both, with passwords. One node; the server is
 * a 18 with certificates of an authority of the test's own.
 */
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { connect } from 'node:net';
import { Client, type ClientConfig } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { startGatewayProcess, stopGatewayProcess } from '../../../src/io/launcher/gateway-process.ts';
import { Authority, type Certificate } from '../../support/certificates.ts';
import { failureOf, startCluster, type Cluster } from '../../support/cluster.ts';
import { eventually } from '../../support/polling.ts';
import { findProgram, needs, runProgram } from '../../support/programs.ts';
import { askForPasswords, offerTls } from '../../support/server-login.ts';

const sslRequest = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);

let cluster: Cluster;
let folder: string;
let authority: Authority;
let ofGateway: Certificate;
let ofAlice: Certificate;
let ofRobot: Certificate;
const open: Client[] = [];

function makeCertificates(): void {
  folder = mkdtempSync(join(tmpdir(), 'mtm-tls-'));
  chmodSync(folder, 0o755);
  authority = new Authority(folder);
  ofGateway = authority.issue('gateway', 'gateway', ['DNS:localhost', 'IP:127.0.0.1']);
  ofAlice = authority.issue('alice', 'alice');
  ofRobot = authority.issue('robot', 'robot 7');
}

/** TLS at the server, and passwords for everybody but the gateway's own superuser. */
async function prepareServer(): Promise<void> {
  const admin = await cluster.direct(1);
  await offerTls(cluster.node(1), authority.issue('server', 'server', ['DNS:localhost']), admin);
  await admin.query("SELECT set_config('default_transaction_read_only', 'off', false)");
  await cluster.query(1, "CREATE ROLE alice LOGIN PASSWORD 'wonder land'");
  await cluster.query(1, "CREATE ROLE bob LOGIN PASSWORD 'builder'");
  await cluster.query(1, 'GRANT ALL ON SCHEMA public TO PUBLIC');
  await askForPasswords(cluster.node(1), admin);
}

const viaTls = { MTM_POSTGRES_HOST: 'localhost', MTM_POSTGRES_SSLMODE: 'verify-full' };

async function restart(environment: Record<string, string>): Promise<void> {
  await cluster.restartGateway(1, {
    MTM_TLS_CERT_FILE: ofGateway.cert,
    MTM_TLS_KEY_FILE: ofGateway.key,
    MTM_LOG_LEVEL: 'trace',
    ...environment,
  });
  await cluster.whole(30_000);
}

async function client(more: ClientConfig): Promise<Client> {
  const one = new Client({
    host: 'localhost',
    port: cluster.node(1).gatewayPort,
    user: 'postgres',
    database: 'app',
    ...more,
  });
  one.on('error', () => undefined);
  await one.connect();
  open.push(one);
  return one;
}

const verified = (): ConnectionOptions => ({ ca: readFileSync(authority.cert) });
const shown = ({ cert, key }: Certificate): ConnectionOptions => ({
  ...verified(),
  cert: readFileSync(cert),
  key: readFileSync(key),
});
const alice = { user: 'alice', password: 'wonder land' };

/** A cancel request in the clear, as drivers send it, once the statement runs. */
async function cancel(one: Client): Promise<void> {
  const { processID, secretKey } = one as unknown as { processID: number; secretKey: number };
  const [text, values] = ["SELECT 1 FROM pg_stat_activity WHERE pid = $1 AND state = 'active'", [processID]];
  await eventually('it runs', async () => (await cluster.directly(1, text, values)).length === 1);
  const request = Buffer.alloc(16);
  for (const [index, word] of [16, 80877102, processID, secretKey].entries())
    request.writeInt32BE(word, 4 * index);
  connect(cluster.node(1).gatewayPort, 'localhost').end(request);
}

function psql(parameters: string, sql = 'SELECT 41 + 1') {
  const port = cluster.node(1).gatewayPort;
  return runProgram('psql', ['-XAtq', '-c', sql, `host=localhost port=${port} dbname=app ${parameters}`]);
}

describe.skipIf(findProgram('openssl') === undefined)(`TLS${needs('openssl')}`, () => {
  beforeAll(async () => {
    makeCertificates();
    cluster = await startCluster({ majors: [18] });
    await prepareServer();
  });
  afterEach(async () => {
    await Promise.all(open.splice(0).map((one) => one.end().catch(() => undefined)));
  });
  afterAll(async () => {
    await cluster?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  describe('to clients only', () => {
    beforeAll(() => restart({ MTM_TLS_REQUIRED: 'on' }));

    test('a transaction, big values, a COPY and a cancelled statement', async () => {
      const one = await client({ ssl: verified() });
      await one.query('CREATE TABLE t (id int PRIMARY KEY, v text)');
      await one.query('BEGIN');
      await one.query("INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(1, 3000) g");
      await one.query('COMMIT');
      const big = 'é'.repeat(4_000_000);
      await one.query('INSERT INTO t VALUES (0, $1)', [big]);
      const { rows } = await one.query<{ id: number; v: string }>('SELECT * FROM t ORDER BY id');
      expect(rows).toHaveLength(3001);
      expect(rows[0]?.v === big).toBe(true);
      const sleeping = failureOf(one.query('SELECT pg_sleep(50)'));
      await cancel(one);
      expect(await sleeping).toMatchObject({ code: '57014' });
    });

    test('one without TLS is refused, and so is one of another authority by itself', async () => {
      expect(await failureOf(client({ ssl: false }))).toMatchObject({
        code: '28000',
        message: '[multimaster] connections without TLS are not accepted',
      });
      expect(await failureOf(client({ ssl: true }))).toMatchObject({
        code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
      });
    });

    test('bytes in the clear behind the request end the connection', async () => {
      const socket = connect(cluster.node(1).gatewayPort, 'localhost');
      socket.write(Buffer.concat([sslRequest, Buffer.from('injected')]));
      const [answer] = (await once(socket, 'data')) as [Buffer];
      expect(answer.toString('latin1')).toContain('received unencrypted data after SSL request');
      await once(socket.resume(), 'close');
    });

    test('directly, when ALPN names the protocol, and not else', async () => {
      const direct = (ALPNProtocols: string[]): TLSSocket =>
        connectTls({ host: 'localhost', port: cluster.node(1).gatewayPort, ...verified(), ALPNProtocols });
      const good = direct(['postgresql']);
      await once(good, 'secureConnect');
      good.write(Buffer.from([0, 0, 0, 8, 0, 3, 0, 0]));
      expect(String((await once(good, 'data'))[0])).toContain('invalid startup packet layout');
      const nameless = direct([]);
      nameless.on('error', () => undefined);
      await once(nameless.resume(), 'close');
      const http = direct(['http/1.1']);
      await expect(once(http, 'secureConnect')).rejects.toThrow();
    });

    test(`libpq with verify-full${needs('psql')}`, async ({ skip }) => {
      skip(findProgram('psql') === undefined);
      expect(await psql(`user=postgres sslmode=verify-full sslrootcert=${authority.cert}`)).toMatchObject({
        stdout: '42\n',
        stderr: '',
        code: 0,
      });
      expect(await psql(`user=postgres sslmode=disable`)).toMatchObject({ code: 2 });
    });

    test('a renewed certificate is what the next client sees', async () => {
      const seen = async (): Promise<string> => {
        const socket = connectTls({
          host: 'localhost',
          port: cluster.node(1).gatewayPort,
          ...verified(),
          ALPNProtocols: ['postgresql'],
        });
        await once(socket, 'secureConnect');
        const { serialNumber } = socket.getPeerCertificate();
        socket.destroy();
        return serialNumber;
      };
      const before = await seen();
      const renewed = authority.issue('gateway', 'gateway', ['DNS:localhost']);
      expect(renewed).toEqual(ofGateway);
      await eventually('another certificate', async () => (await seen()) !== before);
      const one = await client({ ssl: verified() });
      expect((await one.query('SELECT 1 AS n')).rows).toEqual([{ n: 1 }]);
    });
  });

  describe('with certificates of clients', () => {
    beforeAll(() =>
      restart({
        MTM_TLS_CLIENT_CA_FILE: authority.cert,
        MTM_TLS_CLIENT_CERT: 'user',
        MTM_TLS_CLIENT_USERS: 'robot 7=bob',
      }),
    );

    test('the name is the user, or mapped to it; the password is asked all the same', async () => {
      await client({ ...alice, ssl: shown(ofAlice) });
      await client({ user: 'bob', password: 'builder', ssl: shown(ofRobot) });
      expect(await failureOf(client({ ...alice, password: 'x', ssl: shown(ofAlice) }))).toMatchObject({
        code: '28P01',
      });
    });

    test('another name, none at all and no TLS are refused', async () => {
      expect(
        await failureOf(client({ user: 'bob', password: 'builder', ssl: shown(ofAlice) })),
      ).toMatchObject({
        code: '28000',
        message: '[multimaster] certificate authentication failed for user "bob"',
      });
      expect(await failureOf(client({ ...alice, ssl: false }))).toMatchObject({ code: '28000' });
      await expect(client({ ...alice, ssl: verified() })).rejects.toThrow();
    });

    test('what the gateway does by itself needs none', async () => {
      const one = await client({ ssl: shown(authority.issue('postgres', 'postgres')) });
      await one.query('CREATE TABLE n (id int)');
      await one.query('CREATE INDEX CONCURRENTLY n_id ON n (id)');
      expect((await one.query("SELECT to_regclass('n_id')::text AS name")).rows).toEqual([{ name: 'n_id' }]);
    });
  });

  describe('to clients and to the server', () => {
    beforeAll(() => restart({ ...viaTls, MTM_POSTGRES_SSLROOTCERT: authority.cert }));

    test('every connection to the server is encrypted, and a cancel request gets there', async () => {
      const one = await client({ ssl: verified() });
      const { rows } = await one.query<{ ssl: boolean; n: number }>(
        `SELECT s.ssl, count(*)::int AS n FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
         WHERE a.application_name LIKE 'mtm%' OR a.pid = pg_backend_pid() GROUP BY 1`,
      );
      expect(rows.map(({ ssl }) => ssl)).toEqual([true]);
      const sleeping = failureOf(one.query('SELECT pg_sleep(50)'));
      await cancel(one);
      expect(await sleeping).toMatchObject({ code: '57014' });
    });

    test('a password, with a driver that binds no channel and one that would', async () => {
      await client({ ...alice, ssl: verified() });
      await client({ ...alice, ssl: false });
      expect(await failureOf(client({ ...alice, password: 'x', ssl: verified() }))).toMatchObject({
        code: '28P01',
      });
      const bound = { ...alice, ssl: verified(), enableChannelBinding: true };
      await client(bound);
    });

    test(`libpq, which says that it could bind the channel${needs('psql')}`, async ({ skip }) => {
      skip(findProgram('psql') === undefined);
      const how = `user=alice sslmode=verify-full sslrootcert=${authority.cert}`;
      expect(await psql(`${how} password='wonder land'`)).toMatchObject({
        stdout: '42\n',
        stderr: '',
        code: 0,
      });
      const wrong = await psql(`${how} password=wrong`);
      expect(wrong).toMatchObject({ code: 2 });
      expect(wrong.stderr).toContain('password authentication failed for user "alice"');
      expect((await psql(`${how} password=wrong user=nobody`)).stderr).toContain(
        'password authentication failed',
      );
      const bound = await psql(`${how} password='wonder land' channel_binding=require`);
      expect(bound.stderr).toContain('channel binding');
      expect(bound.code).toBe(2);
    });

    test('a server of another authority is not spoken to', async () => {
      await stopGatewayProcess(cluster.node(1));
      const other = new Authority(join(folder, 'other'), 'another authority');
      const running = await startGatewayProcess(cluster.node(1), {
        ...viaTls,
        MTM_POSTGRES_SSLROOTCERT: other.cert,
      });
      expect(await running.ended).toMatch(/exit|code/);
      const log = cluster.gatewayLog(1).trimEnd().split('\n').slice(-5).join('\n');
      expect(log).toMatch(/PostgreSQL at localhost:\d+ does not answer: .*certificate/);
    });
  });

  // Behind all logins above, which were logged with everything there is to say.
  test('no password, verifier, key or secret is in the log', () => {
    const log = cluster.gatewayLog(1);
    expect(log).toContain('mtm-gateway');
    for (const secret of ['wonder land', 'builder', 'SCRAM-SHA-256$', 'PRIVATE KEY', clusterSecret()])
      expect(log).not.toContain(secret);
  });
});

function clusterSecret(): string {
  const text = readFileSync(cluster.folder.secretFile, 'utf8').trim();
  expect(text.length).toBeGreaterThan(8);
  return text;
}
