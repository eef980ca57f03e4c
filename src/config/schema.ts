/**
 * Every setting of a gateway, once: its name, kind, default and meaning. The type GatewayConfig, the JSON
 * schema,
 * the table in config/README.md and the flags are derived from what stands here.
 * Rule: names in files, environment and flags are the manual's (snake_case); names in code are camelCase,
 * the unit last.
 * It must never open a file or a connection: that is loading.ts and whoever uses the result.
 */
import { z } from 'zod';
import {
  choice,
  duration,
  integer,
  live,
  onOff,
  optionalText,
  port,
  requiredInteger,
  requiredText,
  size,
  text,
  textList,
} from './fields.ts';
import type { RefereeAddress } from './referee-address.ts';
import { tlsModes, withoutTls } from './tls-settings.ts';

const address = (host: string, usualPort: number, what: string) =>
  z
    .strictObject({
      host: text(host, `${what}: the address to listen on; 0.0.0.0 or :: for all.`),
      port: port(usualPort, `${what}: the port.`),
    })
    .prefault({});

const postgres = z.strictObject({
  host: text('127.0.0.1', 'Where the PostgreSQL of this node is: a host, or the folder of its Unix socket.'),
  port: port(5432, 'Its port.'),
  user: text('postgres', 'A superuser, for the connections of the gateway itself.'),
  password: optionalText('Its password; better: password_file.'),
  password_file: optionalText('A file whose first line is the password.'),
  database: requiredText('The database that the cluster replicates.'),
  sslmode: choice(
    tlsModes,
    'disable',
    'TLS to the server, as in libpq; without meaning for a Unix socket. require recognises nobody.',
  ),
  sslrootcert: optionalText('A PEM file with the authorities of verify-ca and verify-full.'),
  sslcert: optionalText('A PEM file with the certificate of the gateway for the server.'),
  sslkey: optionalText('A PEM file with its key.'),
  more_databases: textList(
    'More databases that the cluster replicates, each with streams and a status of its own; they must ' +
      'exist on each node.',
  ),
});

const clientTls = z
  .strictObject({
    cert_file: live(
      optionalText(
        'A PEM file with the certificate chain that clients see; with key_file TLS is offered to them.',
      ),
    ),
    key_file: live(optionalText('A PEM file with its key.')),
    required: live(onOff(false, 'Clients without TLS are refused.')),
    min_version: live(choice(['TLSv1.2', 'TLSv1.3'], 'TLSv1.2', 'The oldest version that clients may use.')),
    client_ca_file: live(
      optionalText('A PEM file with authorities: a client that shows a certificate needs one of theirs.'),
    ),
    client_cert: live(
      choice(
        ['optional', 'required', 'user'],
        'optional',
        'Whether clients must have one; user: its common name must also be the user, or mapped to it.',
      ),
    ),
    client_users: live(
      textList(
        'For client_cert user: name=user for common names that are no users; more than one user may be ' +
          'given.',
      ),
    ),
  })
  .prefault({});

const peer = z.strictObject({
  id: requiredInteger(1, 64, 'The node_id of that node.'),
  host: requiredText('Where its gateway is.'),
  port: port(7301, 'The peer_listen.port of its gateway.'),
  conninfo: optionalText('How clients reach it (shown by mtm.nodes()).'),
});

const peerList = z
  .preprocess(
    (value) => (value === '' ? [] : value),
    z.array(peer, { error: 'must be a list of {id, host, port}' }),
  )
  .prefault([])
  .meta({
    description: 'The other nodes of the cluster: a list of {id, host, port, conninfo}.',
    kind: 'list',
    reload: 'live',
  });

/** What stands in gateway.yaml. */
export const fileSchema = z.strictObject({
  node_id: requiredInteger(
    1,
    64,
    'The number of this node: 1, 2, 3 …, different on each, never used again for another.',
  ),
  cluster_name: text(
    'mtm',
    'All nodes of a cluster have the same name; gateways of another name are refused.',
  ),
  cluster_secret: optionalText(
    'What only the gateways of a cluster know; at least 16 characters. Better: cluster_secret_file.',
  ),
  cluster_secret_file: optionalText('A file whose first line is the cluster secret.'),

  listen: address('127.0.0.1', 7001, 'Clients'),
  peer_listen: address('127.0.0.1', 7301, 'The other gateways'),
  tls: clientTls,
  http: address('127.0.0.1', 7201, 'Health, metrics and status page'),
  postgres,
  peers: peerList,
  peer_tls: choice(
    ['off', 'prefer', 'remote', 'on'],
    'remote',
    'TLS between gateways, keyed by the cluster secret: off; prefer (also accepts plain connections, ' +
      'while a cluster changes over); remote: all that leave the machine; on: all.',
  ),

  heartbeat_send_timeout: duration('200ms', 'Time between two heartbeats to each peer.', 3_600_000),
  heartbeat_recv_timeout: duration(
    '2s',
    'A peer that was not heard for so long is taken for dead.',
    3_600_000,
  ),
  connect_timeout: live(
    duration(
      '0',
      'How long a connection to a peer or to the server may take to open; 0: heartbeat_recv_timeout.',
    ),
  ),
  max_workers: integer(
    100,
    1,
    10_000,
    'The most connections that apply transactions of other nodes here; they are opened as needed.',
  ),
  max_connections: live(
    integer(
      250,
      1,
      100_000,
      'The most client sessions; each is one connection to the server. Three more for mtm_admin.',
    ),
  ),
  max_client_memory: live(
    size(
      '1GB',
      'What all clients together may keep in the gateway: messages that are half received or wait, ' +
        'prepared statements. Above it the session that holds most is ended with 53200.',
    ),
  ),
  authentication_timeout: live(
    duration('60s', 'How long a client may take from the connection to the end of its login.'),
  ),
  wait_peer_commits: onOff(
    true,
    'A commit is answered when it is visible on all nodes. Also SET per session.',
  ),
  break_connection: live(
    onOff(
      false,
      'While the node is not online: close client connections instead of answering with an error.',
    ),
  ),
  monotonic_sequences: onOff(
    false,
    'A value of a sequence drawn after a commit was seen is higher on every node.',
  ),
  ignore_tables_without_pk: onOff(
    false,
    'Rows of tables without a primary key stay where they are written. The same on all nodes.',
  ),
  remote_functions: textList(
    'Kept for existing files, without effect: what a function writes reaches all nodes as rows and commands.',
  ),
  replicate_pg_notify: onOff(
    true,
    'pg_notify() in functions and triggers notifies on all nodes, as NOTIFY always does.',
  ),
  referee_connstring: text(
    '',
    'The referee of a cluster of two nodes, the same on both: redis://host:port, rediss://… or ' +
      'postgres://user@host:port/database; TLS by ?sslmode=…&sslrootcert=….',
  ),
  referee_password_file: optionalText(
    'A file whose first line is the password of the referee; better than one in referee_connstring.',
  ),
  trans_spill_threshold: size(
    '100MB',
    'Above this size of its rows the server writes a transaction to its disk while it decodes it for the ' +
      'peers; below it needs up to three times as much memory.',
  ),
  syncpoint_interval: live(
    size('10MB', 'WAL between two syncpoints: how much a returning node has to read at most.'),
  ),
  binary_basetypes: onOff(true, 'Values of built-in types travel in binary form.'),
  deadlock_prevention: choice(
    ['off', 'simple', 'smart'],
    'smart',
    'Conflicts between nodes: off waits, simple refuses the later one at once, smart lets the older one win.',
  ),
  blocker_timeout: live(
    duration(
      '1s',
      'How long a transaction of another node waits for a local session that holds its locks but does ' +
        'nothing.',
    ),
  ),
  conflict_retries: live(
    integer(
      100,
      0,
      100_000,
      'How often an autocommit statement that lost a conflict is repeated before the client gets 40001.',
    ),
  ),
  max_retained_wal: live(
    size(
      '16GB',
      'WAL kept for a node that is away; beyond that it must be seeded anew. 0: as much as it takes.',
    ),
  ),
  admin_role: live(text('', 'Members of this role may change the cluster, beside superusers.')),
  log_level: live(
    choice(
      ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
      'info',
      'The least important lines that are logged.',
    ),
  ),
});

export type FileConfig = z.output<typeof fileSchema>;

/** A Unix socket needs no TLS. */
export function postgresTls({ host, sslmode, sslrootcert, sslcert, sslkey }: FileConfig['postgres']) {
  if (host.startsWith('/')) return withoutTls;
  return { mode: sslmode, rootCertFile: sslrootcert, certFile: sslcert, keyFile: sslkey };
}

/** The settings as the code uses them. What is in files of their own was read before. */
export function toGatewayConfig(
  file: FileConfig,
  secrets: {
    clusterSecret: string;
    password: string | undefined;
    referee?: RefereeAddress | undefined;
  },
) {
  return {
    nodeId: file.node_id,
    clusterName: file.cluster_name,
    clusterSecret: secrets.clusterSecret,
    listen: file.listen,
    peerListen: file.peer_listen,
    http: file.http,
    clientTls: {
      certFile: file.tls.cert_file,
      keyFile: file.tls.key_file,
      required: file.tls.required,
      minVersion: file.tls.min_version,
      caFile: file.tls.client_ca_file,
      clientCert: file.tls.client_cert,
      clientUsers: file.tls.client_users,
    },
    postgres: {
      host: file.postgres.host,
      port: file.postgres.port,
      user: file.postgres.user,
      password: secrets.password,
      tls: postgresTls(file.postgres),
      database: file.postgres.database,
      /** Of this database among those of the gateway (databases.ts): 0, the first one. */
      number: 0,
    },
    moreDatabases: file.postgres.more_databases,
    peers: file.peers.map(({ id, host, port: peerPort, conninfo }) => ({
      id,
      host,
      port: peerPort,
      conninfo,
    })),
    peerTls: file.peer_tls,
    heartbeatSendTimeoutMs: file.heartbeat_send_timeout,
    heartbeatRecvTimeoutMs: file.heartbeat_recv_timeout,
    /** Never 0: the default 0 has become heartbeatRecvTimeoutMs. */
    connectTimeoutMs: file.connect_timeout === 0 ? file.heartbeat_recv_timeout : file.connect_timeout,
    maxWorkers: file.max_workers,
    maxConnections: file.max_connections,
    maxClientMemoryBytes: file.max_client_memory,
    authenticationTimeoutMs: file.authentication_timeout,
    waitPeerCommits: file.wait_peer_commits,
    breakConnection: file.break_connection,
    monotonicSequences: file.monotonic_sequences,
    ignoreTablesWithoutPk: file.ignore_tables_without_pk,
    remoteFunctions: file.remote_functions,
    replicatePgNotify: file.replicate_pg_notify,
    refereeConnstring: file.referee_connstring,
    /** What it says, with the password of its file and absolute paths; undefined: there is no referee. */
    referee: secrets.referee,
    transSpillThresholdBytes: file.trans_spill_threshold,
    syncpointIntervalBytes: file.syncpoint_interval,
    binaryBasetypes: file.binary_basetypes,
    deadlockPrevention: file.deadlock_prevention,
    blockerTimeoutMs: file.blocker_timeout,
    conflictRetries: file.conflict_retries,
    maxRetainedWalBytes: file.max_retained_wal,
    adminRole: file.admin_role,
    logLevel: file.log_level,
  };
}

type DeepReadonly<T> = T extends readonly (infer Item)[]
  ? readonly DeepReadonly<Item>[]
  : T extends object
    ? { readonly [Key in keyof T]: DeepReadonly<T[Key]> }
    : T;

/** All settings of one gateway, checked; times in ms, sizes in bytes. */
export type GatewayConfig = DeepReadonly<ReturnType<typeof toGatewayConfig>>;
export type PeerConfig = GatewayConfig['peers'][number];
export type PostgresConfig = GatewayConfig['postgres'];
