/**
 * Failures at the edge: the file is wrong, the server is down, a peer does not answer. They have a code from
 * the one catalogue below, which says what each means, whether a repeat can help and what the operator does
 * about it.
 * Rule: our own bugs are not here (assert), and expected turns of the protocol are not here (values in a
 * union).
 * It must never fold "outcome unknown" into "failed".
 */

interface CatalogueEntry {
  /** What the client sees when the failure reaches one (PostgreSQL manual, appendix A). */
  readonly sqlstate: string;
  /** The same call can succeed later without anybody's help. */
  readonly retryable: boolean;
  readonly meaning: string;
  /** What to do, when the place that throws knows nothing better. */
  readonly remedy: string;
}

export const errorCatalogue = {
  'config-invalid': {
    sqlstate: 'F0000',
    retryable: false,
    meaning: 'a setting is unknown, missing or not acceptable',
    remedy: 'correct the file, the environment or the flag that is named',
  },
  'file-unreadable': {
    sqlstate: '58030',
    retryable: false,
    meaning: 'a file that the gateway was pointed to cannot be read or written',
    remedy: 'check the path and its permissions',
  },
  'address-in-use': {
    sqlstate: '58000',
    retryable: true,
    meaning: 'another process listens on the address',
    remedy: 'stop that process or choose another port',
  },
  'server-unreachable': {
    sqlstate: '08001',
    retryable: true,
    meaning: 'the PostgreSQL of this node does not answer',
    remedy: 'start it, or correct postgres.host and postgres.port',
  },
  'server-refused': {
    sqlstate: '28000',
    retryable: false,
    meaning: 'the PostgreSQL of this node answers but does not let the gateway in',
    remedy: 'correct postgres.user, postgres.password, postgres.database or pg_hba.conf',
  },
  'server-unsuitable': {
    sqlstate: '55000',
    retryable: false,
    meaning: 'the PostgreSQL of this node lacks a setting or a privilege that replication needs',
    remedy: 'run mtm-gateway check --config FILE: it names each setting and the value it needs',
  },
  'server-lost': {
    sqlstate: '57P01',
    retryable: true,
    meaning: 'a connection of the gateway to its PostgreSQL broke',
    remedy: 'nothing; the node takes part again when the server is back',
  },
  'incarnation-superseded': {
    sqlstate: '57P01',
    retryable: false,
    meaning: 'another gateway has taken over this PostgreSQL',
    remedy: 'run one gateway per server only',
  },
  'server-went-back': {
    sqlstate: '55000',
    retryable: false,
    meaning: 'a peer remembers the PostgreSQL of this node further ahead, or as another server',
    remedy: 'do not start a restored backup as a node: remove the node and seed it anew from an online one',
  },
  'upgrade-refused': {
    sqlstate: '55000',
    retryable: false,
    meaning: 'the server was prepared for an upgrade, or is not what should have come out of one',
    remedy: 'go on with the steps of the upgrade, or give it up with mtm-gateway prepare-upgrade --undo',
  },
  'cluster-mismatch': {
    sqlstate: '55000',
    retryable: false,
    meaning: 'the server or a peer belongs to another cluster, node or configuration',
    remedy: 'compare node_id, cluster_name and cluster_secret of the nodes',
  },
  'peer-rejected': {
    sqlstate: '08004',
    retryable: false,
    meaning: 'a peer could not prove that it belongs to the cluster',
    remedy: 'give all gateways the same cluster_secret and each its own node_id',
  },
  'peer-unreachable': {
    sqlstate: '08006',
    retryable: true,
    meaning: 'a gateway of the cluster does not answer',
    remedy: 'check that it runs and that its peer_listen address is reachable',
  },
  'referee-unsuitable': {
    sqlstate: '55000',
    retryable: false,
    meaning: 'the referee answers, but it might forget or repeat what it granted, or cannot be judged',
    remedy: 'change what is named, or point referee_connstring of both nodes to another server',
  },
  'not-online': {
    sqlstate: '57P03',
    retryable: true,
    meaning: 'the node is not part of a working majority',
    remedy: 'start the missing nodes',
  },
  conflict: {
    sqlstate: '40001',
    retryable: true,
    meaning: 'the transaction lost against one of another node',
    remedy: 'repeat the transaction',
  },
  'outcome-unknown': {
    sqlstate: '08007',
    retryable: false,
    meaning: 'the transaction was committed or aborted, and this node cannot tell which',
    remedy: 'ask mtm.transaction_outcome(gid) on any node',
  },
  'not-supported': {
    sqlstate: '0A000',
    retryable: false,
    meaning: 'the request is not possible on a stock server or not in this version',
    remedy: 'see the hint',
  },
  'protocol-violation': {
    sqlstate: '08P01',
    retryable: false,
    meaning: 'the other side sent something that the protocol does not allow',
    remedy: 'report it together with the log',
  },
  diverged: {
    sqlstate: 'XX001',
    retryable: false,
    meaning: 'a row that must be here is not: the nodes differ',
    remedy: 'stop writing, compare the nodes with mtm.check_query() and seed the wrong one anew',
  },
  'gateway-unreachable': {
    sqlstate: '08001',
    retryable: true,
    meaning: 'the gateway that a command speaks to does not answer',
    remedy: 'start it, or name another one of the cluster with --config or --url',
  },
  'command-refused': {
    sqlstate: '55000',
    retryable: false,
    meaning: 'the cluster does not do what a command asked for',
    remedy: 'see what it says; mtm-gateway status and nodes tell how the cluster is',
  },
  'copy-failed': {
    sqlstate: '58000',
    retryable: true,
    meaning: 'the server of a node could not be copied to the machine of a new one',
    remedy: 'repeat it; nothing of the copy was left behind',
  },
  'launcher-failed': {
    sqlstate: '58000',
    retryable: false,
    meaning: 'one of the servers or gateways of mtm-gateway dev did not start or stop',
    remedy: 'see the log that is named',
  },
} as const satisfies Record<string, CatalogueEntry>;

export type GatewayErrorCode = keyof typeof errorCatalogue;

export interface GatewayErrorOptions {
  /** What to do about it; the catalogue's remedy when absent. */
  readonly hint?: string;
  /** For errors that come from a server: its own SQLSTATE instead of the catalogue's. */
  readonly sqlstate?: string;
  readonly cause?: unknown;
}

/** `message` is one clear sentence, without a stop at its end and without secrets. */
export class GatewayError extends Error {
  override readonly name = 'GatewayError';
  readonly code: GatewayErrorCode;
  readonly sqlstate: string;
  readonly retryable: boolean;
  readonly hint: string;

  constructor(code: GatewayErrorCode, message: string, options: GatewayErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    const entry = errorCatalogue[code];
    this.code = code;
    this.sqlstate = options.sqlstate ?? entry.sqlstate;
    this.retryable = entry.retryable;
    this.hint = options.hint ?? entry.remedy;
  }
}
