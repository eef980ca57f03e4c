/**
 * The runbook of config/README.md: for each error of the catalogue (lib/gateway-error.ts) and each SQLSTATE
 * that the gateway or its functions answer by themselves, what to do.
 * Rule: a code without an entry does not compile, a SQLSTATE without one fails a test.
 */
import { errorCatalogue, type GatewayErrorCode } from '../lib/gateway-error.ts';

/** What the operator does, step by step; what it means says the catalogue. */
const steps: Readonly<Record<GatewayErrorCode, string>> = {
  'config-invalid':
    'Read the sentence: it names the setting, the file or variable, and the nearest known name. ' +
    'Nothing was opened yet. Exit code 2.',
  'file-unreadable':
    'Check path and permissions of the file that is named, as the user of the gateway. Paths are ' +
    'relative to the configuration file.',
  'address-in-use':
    '`ss -ltnp` shows who listens there. Often it is the former gateway, which still drains (10 s ' +
    'after SIGTERM).',
  'server-unreachable':
    'Is PostgreSQL running, and on this address (`psql -h … -p …` from the same machine)? The ' +
    'gateway tries again by itself; clients get 57P03 meanwhile, the other nodes go on.',
  'server-refused':
    'Log in by hand with the same user, database and password; look at `pg_hba.conf` and at the ' +
    'log of the server. The gateway also needs lines for replication connections of its database ' +
    '(`host app postgres …`; no line `replication`).',
  'server-unsuitable':
    '`mtm-gateway check --config FILE` prints each setting with the value that it needs. Most need ' +
    'a restart of PostgreSQL. A missing event trigger or slot: start the gateway once, it makes ' +
    'them.',
  'server-lost':
    'Nothing: the node begins anew when the server answers. If it repeats, read the log of ' +
    'PostgreSQL (out of memory, disk full).',
  'incarnation-superseded':
    'Two gateways were started for one server. Find the other one (`SELECT * FROM pg_stat_activity ' +
    "WHERE application_name LIKE 'mtm%'`), let one run, and let the service manager start it once.",
  'server-went-back':
    'The data directory is older than what the peers know: a restored backup, a snapshot, the ' +
    'wrong directory. Start the right one. If it is lost: `drop-node`, `add-node`, `join`. Never ' +
    'delete `mtm.peer_position` to get past it.',
  'upgrade-refused':
    'Prepared and not yet upgraded: go on with the upgrade, or `mtm-gateway prepare-upgrade ' +
    '--undo`. Something is missing in the new server: the restore had errors; drop it, restore ' +
    'again with all errors shown. Others are not online: start them first.',
  'cluster-mismatch':
    'Compare `node_id`, `cluster_name`, `peers` and the databases in the files of all nodes; the ' +
    'sentence says which two differ. A node that was removed comes back as a new one only.',
  'peer-rejected':
    'Copy the secret file again (first line, no blank at its end), and check that no two nodes ' +
    'have one `node_id`. From a machine that is none of yours: close the peer port to it.',
  'peer-unreachable':
    'Is that gateway running, does `peer_listen.host` listen for others (not 127.0.0.1), is the ' +
    'port open in both directions?',
  'referee-unsuitable':
    'Change the setting of Redis or PostgreSQL that is named. Until then the two nodes work as ' +
    'long as both are there.',
  'not-online':
    '`SELECT * FROM mtm.status()` in a session with `application_name=mtm_admin` says why. Start ' +
    'what is missing; a majority of the nodes must hear each other.',
  conflict:
    'Nothing to operate: the application repeats the transaction. If it is frequent, see 40001 below.',
  'outcome-unknown':
    "Ask any node `SELECT mtm.transaction_outcome('GID')` with the gid of the error's DETAIL, " +
    'again while it says "in doubt". Repeat the work only after "aborted".',
  'not-supported':
    'See the table "What is different from one PostgreSQL" in README.md; the hint names another way.',
  'protocol-violation':
    'One driver or proxy sends something that the protocol does not allow, or versions of gateways ' +
    'do not fit. Keep the log and report it.',
  diverged:
    'Stop writing. `mtm-gateway check-query` (and `compare`) name the table. Find out who wrote ' +
    'past a gateway (`unsupervised` in `mtm.status()`, the log). Then `drop-node` the wrong node ' +
    'and join it anew.',
  'gateway-unreachable':
    'The command asks a running gateway: start it, or name another one of the cluster with ' +
    '`--url`. `application_name=mtm_admin` also gets in while the node is not online.',
  'command-refused':
    'The sentence says what stands in the way; `mtm-gateway nodes` shows who is online. Nothing was changed.',
  'copy-failed':
    'Repeat it; the directory is as empty as before. Often: the donor ended, the disk is full, or ' +
    'the server has tablespaces outside of its data directory (copy those with `pg_basebackup`).',
  'launcher-failed':
    'Only `mtm-gateway dev`: read the log that is named. Ports in use and a data directory of ' +
    'another version are the usual reasons.',
};

interface ClientEntry {
  readonly means: string;
  readonly then: string;
}

/** By SQLSTATE: what a client or an administrator sees, with `[multimaster]` before the sentence. */
export const clientRunbook: Readonly<Record<string, ClientEntry>> = {
  '08001': {
    means: 'the gateway has no PostgreSQL to connect the client to',
    then: 'start it; the driver tries the next host',
  },
  '08004': { means: 'a peer or a client was not let in', then: 'see `peer-rejected`' },
  '08006': {
    means: 'the connection to the local server, or to a peer, broke',
    then: 'connect again and repeat; nothing was committed',
  },
  '08007': {
    means: 'the connection broke during COMMIT: done or not is not known here',
    then: '`mtm.transaction_outcome(gid)` with the gid in DETAIL, on any node',
  },
  '08P01': {
    means: 'a message that the protocol does not have',
    then: 'a bug of a driver, or of the gateway: report it',
  },
  '0A000': {
    means: 'it cannot be replicated (large objects, some definitions inside functions …)',
    then: 'the hint names the way that works',
  },
  '22023': {
    means: 'a value that this function or command does not take',
    then: "correct it; names beginning with `mtm:` are the gateway's",
  },
  '25001': { means: 'the command cannot run inside a transaction', then: 'send it alone' },
  '25006': {
    means: 'a write in a read-only transaction',
    then: 'as on one server; in autocommit the gateway repeats it by itself',
  },
  '25P01': { means: 'the command needs a transaction', then: 'BEGIN first' },
  '28000': {
    means: 'the login is refused: TLS, certificate, or `mtm_admin` without the right',
    then: 'only superusers and members of `admin_role` are `mtm_admin`',
  },
  '3D000': {
    means: 'the database is not there',
    then: 'as on one server; only databases of the configuration are replicated',
  },
  '40000': { means: 'the transaction was rolled back by the server', then: 'repeat it' },
  '40001': {
    means: 'it lost against a transaction of another node, or its node left the generation',
    then:
      'repeat the transaction. Frequent: fewer writers of the same rows, or write hot rows through ' +
      'one node',
  },
  '42501': {
    means: "not allowed: a function of the gateway's own, or only for superusers and `admin_role`",
    then: 'ask as one of those',
  },
  '42601': { means: 'a statement that cannot be read', then: 'correct it' },
  '42704': {
    means: 'what the command names is not there',
    then: 'as on one server; behind CREATE ROLE in another database, wait a moment',
  },
  '42710': { means: 'it is there already', then: 'as on one server' },
  '42809': { means: 'the object is of another kind', then: 'as on one server' },
  '42P01': { means: 'there is no such table', then: 'as on one server' },
  '42P07': { means: 'the relation is there already', then: 'as on one server' },
  '53200': {
    means: 'this session holds the most of `max_client_memory`',
    then: 'fewer prepared statements, smaller messages, or a higher limit',
  },
  '53300': {
    means: '`max_connections` sessions are there',
    then: 'a pool in the application, or a higher limit here and at the server',
  },
  '54000': {
    means: 'larger than a limit: a text, a transaction prepared by a client, a question',
    then: 'split it',
  },
  '55000': {
    means: 'not in this state: no member, being added, another command under way, an upgrade',
    then: 'the sentence says which; `mtm.nodes()`',
  },
  '55006': { means: 'the object is in use by another transaction that is prepared', then: 'finish that one' },
  '55P02': {
    means: 'a setting that cannot change while the gateway runs',
    then: 'change the file and restart the gateway',
  },
  '55P03': {
    means: '`lock_timeout`',
    then: 'as on one server; `SELECT * FROM mtm.ddl_activity()` shows who holds it',
  },
  '57014': {
    means: 'cancelled: by the client, `statement_timeout`, or because the client is gone',
    then: 'as on one server',
  },
  '57P01': { means: 'the gateway, or the session, was ended', then: 'connect again (any node) and repeat' },
  '57P03': {
    means: 'the node does not serve now; the sentence says why',
    then: 'the driver tries the next host; see `not-online`',
  },
  '58000': { means: 'a process, a port or a copy failed', then: 'see the log' },
  '58030': { means: 'a file cannot be read or written', then: 'see `file-unreadable`' },
  F0000: { means: 'the configuration is wrong', then: 'see `config-invalid`' },
  XX000: {
    means: 'something that should not happen',
    then: 'keep the log of gateway and server and report it',
  },
  XX001: { means: 'a row that must be here is not: the nodes differ', then: 'see `diverged`' },
};

/** The section of config/README.md. */
export function runbookText(): string {
  const codes = (Object.keys(errorCatalogue) as GatewayErrorCode[]).map((code) => {
    const { sqlstate, retryable, meaning } = errorCatalogue[code];
    const again = retryable ? ' It may pass by itself.' : '';
    return `| \`${code}\` (${sqlstate}) | ${capital(meaning)}.${again} | ${steps[code]} |`;
  });
  const states = Object.entries(clientRunbook).map(
    ([state, { means, then }]) => `| ${state} | ${capital(means)} | ${capital(then)} |`,
  );
  return [
    '| error of the gateway | what it means | what to do |',
    '|---|---|---|',
    ...codes,
    '',
    'What clients see of it (`[multimaster] …`, with this SQLSTATE):',
    '',
    '| SQLSTATE | what it means | what to do |',
    '|---|---|---|',
    ...states,
  ].join('\n');
}

function capital(text: string): string {
  return text.replace(/^[a-z]/, (letter) => letter.toUpperCase());
}
