import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { loadConfig, type ConfigSources } from '../../../src/config/loading.ts';
import { GatewayError } from '../../../src/lib/gateway-error.ts';

const folder = mkdtempSync(join(tmpdir(), 'mtm-config-'));
afterAll(() => rmSync(folder, { recursive: true }));

const enough = 'node_id: 1\ncluster_secret: 0123456789abcdef\npostgres: {database: app}\n';
let files = 0;

function load(yaml: string, more: Partial<ConfigSources> = {}) {
  const file = join(folder, `${(files += 1)}.yaml`);
  writeFileSync(file, yaml);
  return loadConfig({ file, environment: {}, flags: {}, ...more });
}

function problem(yaml: string, more: Partial<ConfigSources> = {}): string {
  try {
    load(yaml, more);
  } catch (error) {
    expect(error).toBeInstanceOf(GatewayError);
    return (error as GatewayError).message.replaceAll(/\S*\/[0-9]+\.yaml/g, 'FILE');
  }
  throw new Error('it was accepted');
}

describe('values', () => {
  test('the least file has the defaults of the manual', () => {
    const config = load(enough);
    expect(config).toMatchObject({
      nodeId: 1,
      heartbeatSendTimeoutMs: 200,
      heartbeatRecvTimeoutMs: 2000,
      connectTimeoutMs: 2000,
      maxWorkers: 100,
      waitPeerCommits: true,
      breakConnection: false,
      deadlockPrevention: 'smart',
      transSpillThresholdBytes: 100 * 1024 * 1024,
      syncpointIntervalBytes: 10 * 1024 * 1024,
      listen: { host: '127.0.0.1', port: 7001 },
      postgres: { port: 5432, user: 'postgres', database: 'app', password: undefined },
      peers: [],
    });
  });

  test('environment wins over file, a flag over both', () => {
    const yaml = `${enough}listen: {port: 1001}\nhttp: {port: 1002}\npeer_listen: {port: 1003}\n`;
    const config = load(yaml, {
      environment: { MTM_LISTEN_PORT: '2001', MTM_HTTP_PORT: '2002' },
      flags: { 'listen-port': '3001', 'http-port': undefined },
    });
    expect([config.listen.port, config.http.port, config.peerListen.port]).toEqual([3001, 2002, 1003]);
  });

  test('environment and flags are enough without a file', () => {
    const environment = {
      MTM_NODE_ID: '2',
      MTM_POSTGRES_DATABASE: 'app',
      MTM_CLUSTER_SECRET: '0123456789abcdef',
      MTM_PEERS: '[{id: 1, host: a}, {id: 3, host: c, port: 99}]',
      MTM_REMOTE_FUNCTIONS: 'setval, lo_create',
    };
    const config = loadConfig({ environment, flags: { 'wait-peer-commits': 'off' } });
    expect(config.waitPeerCommits).toBe(false);
    expect(config.remoteFunctions).toEqual(['setval', 'lo_create']);
    expect(config.peers).toEqual([
      { id: 1, host: 'a', port: 7301, conninfo: undefined },
      { id: 3, host: 'c', port: 99, conninfo: undefined },
    ]);
  });

  test.each([
    ['blocker_timeout: 250', 'blockerTimeoutMs', 250],
    ['blocker_timeout: 1.5s', 'blockerTimeoutMs', 1500],
    ['blocker_timeout: 2 min', 'blockerTimeoutMs', 120_000],
    ['syncpoint_interval: 2GB', 'syncpointIntervalBytes', 2 * 1024 ** 3],
    ['syncpoint_interval: 512', 'syncpointIntervalBytes', 512],
    ['break_connection: yes', 'breakConnection', true],
    ['deadlock_prevention: off', 'deadlockPrevention', 'off'],
    ['deadlock_prevention: false', 'deadlockPrevention', 'off'],
    ['max_workers: "7"', 'maxWorkers', 7],
  ] as const)('%s', (line, name, value) => {
    expect(load(`${enough}${line}\n`)[name]).toBe(value);
  });

  test('a group that consists of comments has its defaults', () => {
    expect(load(`${enough}listen:\n  # port: 1\n`).listen.port).toBe(7001);
  });

  test('secrets come from files, relative to the configuration file', () => {
    writeFileSync(join(folder, 'cluster.secret'), 'a secret of the cluster\n');
    writeFileSync(join(folder, 'password'), 'p w\r\nsecond line');
    const yaml =
      'node_id: 1\ncluster_secret_file: cluster.secret\npostgres: {database: app, password_file: password}\n';
    expect(load(yaml)).toMatchObject({
      clusterSecret: 'a secret of the cluster',
      postgres: { password: 'p w' },
    });
  });
});

describe('problems are one sentence each', () => {
  test.each([
    [
      'hartbeat_send_timeout: 1',
      'FILE: the setting hartbeat_send_timeout is unknown; the nearest known one is heartbeat_send_timeout',
    ],
    ['listen: {prot: 1}', 'FILE: the setting listen.prot is unknown; the nearest known one is listen.port'],
    ['listen: {port: 0}', 'FILE: listen.port must be a whole number from 1 to 65535, not 0'],
    ['listen: 7001', 'FILE: listen must be a group of settings, not 7001'],
    [
      'blocker_timeout: 2 weeks',
      'FILE: blocker_timeout must be a time such as 200ms, 2s or 5min (a plain number is milliseconds), not "2 weeks"',
    ],
    [
      'trans_spill_threshold: many',
      'FILE: trans_spill_threshold must be a size such as 10MB or 2GB (a plain number is bytes), not "many"',
    ],
    ['break_connection: perhaps', 'FILE: break_connection must be on or off, not "perhaps"'],
    [
      'deadlock_prevention: clever',
      'FILE: deadlock_prevention must be one of off, simple, smart, not "clever"',
    ],
    ['peers: [{id: 1, host: a}]', 'peers: the id 1 is used twice (node_id is 1)'],
    ['peers: [{id: 2}]', 'FILE: peers.0.host is missing'],
    [
      'heartbeat_recv_timeout: 300',
      'heartbeat_recv_timeout (300ms) must be at least twice heartbeat_send_timeout (200ms)',
    ],
    ['http: {port: 7001}', 'http and listen are both 127.0.0.1:7001'],
  ])('%s', (line, sentence) => {
    expect(problem(`${enough}${line}\n`)).toBe(sentence);
  });

  test('the referee: an address that makes sense, two nodes, and its password is nowhere', () => {
    const peer = `${enough}peers: [{id: 2, host: b}]\n`;
    expect(problem(`${enough}referee_connstring: redis://a\n`)).toContain(
      'referee_connstring is for clusters of 2 nodes, and 1 are configured: leave it out, or name one peer',
    );
    for (const address of ['redi://:hush@a', 'postgres://u:hush@a', 'redis://:hush@a?ssl=on', 'hush']) {
      const sentence = problem(`${peer}referee_connstring: '${address}'\n`);
      expect(sentence).toMatch(/^referee_connstring (must be|has the parameter ssl,)/);
      expect(sentence).not.toContain('hush');
    }
    expect(problem(`${enough}referee_connstring: [hush]\n`)).not.toContain('hush');
    writeFileSync(join(folder, 'referee'), 'hush');
    const twice = `${peer}referee_connstring: redis://:p@a\nreferee_password_file: referee\n`;
    expect(problem(twice)).toContain('exclude each other');
    expect(problem(`${enough}referee_password_file: referee\n`)).toBe(
      'referee_password_file is there and referee_connstring is not',
    );
  });

  test('all of them at once', () => {
    expect(problem('listen: {port: x}\n').split('\n')).toEqual([
      'FILE: node_id is missing (or MTM_NODE_ID, or --node-id): The number of this node: 1, 2, 3 …, different on each, never used again for another.',
      'FILE: listen.port must be a whole number from 1 to 65535, not "x"',
      'FILE: postgres.database is missing (or MTM_POSTGRES_DATABASE, or --postgres-database): The database that the cluster replicates.',
    ]);
  });

  test('the place that the value came from is named', () => {
    expect(problem(enough, { environment: { MTM_MAX_WORKERS: 'x' } })).toMatch(
      /^the environment variable MTM_MAX_WORKERS must be/,
    );
    expect(problem(enough, { flags: { 'max-workers': 'x' } })).toMatch(/^--max-workers must be/);
  });

  test('a misspelt variable is an error, one of somebody else is not', () => {
    expect(problem(enough, { environment: { MTM_LISTEN_PROT: '1' } })).toBe(
      'the environment variable MTM_LISTEN_PROT is unknown; the nearest known one is MTM_LISTEN_PORT',
    );
    expect(load(enough, { environment: { MTM_SERVICE_HOST: 'kubernetes' } }).nodeId).toBe(1);
  });

  test('secrets: missing, too short, twice, never shown', () => {
    const base = 'node_id: 1\npostgres: {database: app}\n';
    expect(problem(base)).toMatch(/^cluster_secret_file is missing/);
    expect(problem(`${base}cluster_secret: hush\n`)).toBe(
      'the cluster secret has 4 characters and needs at least 16',
    );
    expect(problem(`${enough}cluster_secret_file: x\n`)).toMatch(/cluster_secret_file/);
    expect(problem(`${base}cluster_secret: [hush]\n`)).not.toMatch(/hush/);
  });

  test('files that are not there or no YAML', () => {
    expect(() => loadConfig({ file: join(folder, 'none.yaml'), environment: {}, flags: {} })).toThrow(
      /does not exist/,
    );
    expect(problem('a: [')).toMatch(/^FILE is not valid YAML/);
    expect(problem('- a')).toMatch(/must consist of lines/);
  });
});

describe('TLS', () => {
  const files = 'cert_file: a.crt, key_file: a.key';

  test('paths are those of the file, and a Unix socket needs no TLS', () => {
    const yaml = enough.replace(
      '{database: app}',
      '{database: app, host: db, sslmode: verify-full, sslrootcert: ca.pem}',
    );
    expect(load(`${yaml}tls: {${files}}\n`)).toMatchObject({
      clientTls: { certFile: join(folder, 'a.crt'), keyFile: join(folder, 'a.key'), required: false },
      postgres: { tls: { mode: 'verify-full', rootCertFile: join(folder, 'ca.pem') } },
      peerTls: 'remote',
    });
    const socket = load(
      enough.replace('{database: app}', '{database: app, host: /run/pg, sslmode: require}'),
    );
    expect(socket.postgres.tls.mode).toBe('disable');
  });

  test.each([
    ['tls: {cert_file: a.crt}', 'tls needs both cert_file and key_file, or neither'],
    ['tls: {required: on}', 'tls.required needs tls.cert_file and tls.key_file'],
    ['tls: {client_ca_file: ca.pem}', 'tls.client_ca_file needs tls.cert_file and tls.key_file'],
    [`tls: {${files}, client_cert: user}`, 'tls.client_cert: user needs tls.client_ca_file'],
    [`tls: {${files}, client_users: [x=y]}`, 'tls.client_users is only for tls.client_cert: user'],
    [
      `tls: {${files}, client_ca_file: c, client_cert: user, client_users: [x]}`,
      'tls.client_users: "x" must be name=user',
    ],
    ['tls: {min_version: TLSv1.1}', 'FILE: tls.min_version must be one of TLSv1.2, TLSv1.3, not "TLSv1.1"'],
    ['peer_tls: maybe', 'FILE: peer_tls must be one of off, prefer, remote, on, not "maybe"'],
  ])('%s', (line, sentence) => {
    expect(problem(`${enough}${line}\n`)).toBe(sentence);
  });

  test.each([
    ['sslmode: verify-ca', 'postgres has sslmode=verify-ca without sslrootcert'],
    ['sslcert: c, sslmode: require', 'postgres needs both sslcert and sslkey, or neither'],
    ['sslrootcert: c', 'postgres names certificates and has sslmode=disable'],
  ])('postgres: {%s}', (words, sentence) => {
    expect(problem(enough.replace('database: app', `database: app, ${words}`))).toBe(sentence);
  });
});
