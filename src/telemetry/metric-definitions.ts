/**
 * Every metric of /metrics, once: its name, kind, labels and meaning. What is exported, the table in
 * config/README.md and the tests are made of what stands here.
 * Rule: names and units as Prometheus has them; labels come from short lists of our own (node ids, reasons,
 * phases, databases of gateway.yaml), never from what a client has sent.
 */
import { abortReasons } from '../core/commit/abort-reason.ts';

export interface MetricDefinition {
  readonly kind: 'counter' | 'gauge' | 'histogram';
  readonly labels: readonly string[];
  readonly help: string;
}

const gauge = (help: string, ...labels: string[]): MetricDefinition => ({ kind: 'gauge', labels, help });
const counter = (help: string, ...labels: string[]): MetricDefinition => ({ kind: 'counter', labels, help });
const histogram = (help: string, ...labels: string[]): MetricDefinition => ({
  kind: 'histogram',
  labels,
  help,
});

const reasons = Object.entries(abortReasons)
  .map(([reason, meaning]) => `${reason} (${meaning})`)
  .join(', ');

/** Of the process. Every metric has the label `node`, the node_id. */
const ofProcess = {
  mtm_build_info: gauge('Always 1; the labels say what runs.', 'version', 'runtime'),
  mtm_uptime_seconds: gauge('Since the gateway process began.'),
  mtm_cpu_seconds_total: counter('Processor time of the gateway process.', 'mode'),
  mtm_memory_bytes: gauge(
    'Memory of the gateway process: rss (all of it), heap (objects), external (buffers).',
    'kind',
  ),
  mtm_event_loop_delay_seconds: gauge(
    'How late the gateway came to its work in the last minute: 0.5 of a usual second, 0.99 and 1 (the ' +
      'longest) of the worst. Above heartbeat_recv_timeout the others go on without this node.',
    'quantile',
  ),
  mtm_strangers: gauge('Connections to the client port that have not asked for a session yet.'),
  mtm_refused_connections_total: counter(
    'Connections that were turned away: at the client port by SQLSTATE, alien (not PostgreSQL) or ' +
      'gave_up (too slow, or crowded out), at the peer port by what was wrong with the caller.',
    'port',
    'reason',
  ),
} as const;

const ofNode = {
  mtm_online: gauge('1 while the node serves clients: it is online and holds its lease.', 'database'),
  mtm_writable: gauge('1 while it serves them writes, too: every member can be reached.', 'database'),
  mtm_status: gauge('1 for what the node calls itself, 0 for the other words.', 'database', 'status'),
  mtm_in_majority: gauge('1 while enough nodes are in contact to form a generation.', 'database'),
  mtm_draining: gauge('1 while sessions are ended because the gateway stops.', 'database'),
  mtm_restarts_total: counter(
    'The node began anew inside the process: its PostgreSQL, or a connection to it, was lost.',
    'database',
  ),

  mtm_generation: gauge('Number of the last generation that this node knows to be chosen.', 'database'),
  mtm_generations_joined_total: counter('Generations that this node went online in.', 'database'),
  mtm_nodes: gauge(
    'Nodes: configured (count for majorities), members (of the generation), online (members that can ' +
      'vote now), joining.',
    'database',
    'kind',
  ),

  mtm_clients: gauge('Client sessions by what they do.', 'database', 'state'),
  mtm_max_clients: gauge('max_connections.', 'database'),
  mtm_sessions_total: counter('Client sessions that were begun.', 'database'),
  mtm_client_memory_bytes: gauge('What all clients keep in the gateway.', 'database'),
  mtm_client_memory_limit_bytes: gauge('max_client_memory.', 'database'),
  mtm_clients_ended_for_memory_total: counter(
    'Sessions that were ended because they held the most of max_client_memory.',
    'database',
  ),

  mtm_reads_total: counter(
    'Statements outside of transactions, and transactions, that only read: no other node is asked.',
    'database',
  ),
  mtm_read_duration_seconds: histogram(
    'From a prepared read to its whole answer; one in 16 of each session is measured.',
    'database',
  ),
  mtm_writes_total: counter(
    'Transactions that were prepared here, by outcome: committed (on all nodes), aborted (on all), ' +
      'unknown (the client was told so: no quorum), empty (it had changed nothing).',
    'database',
    'outcome',
  ),
  mtm_repeats_total: counter(
    'Attempts of autocommit statements that lost a conflict and were repeated, unseen by their clients.',
    'database',
  ),
  mtm_commit_duration_seconds: histogram(
    'Of committed transactions, by phase: prepare (PREPARE here, with the statement when that travels ' +
      'with it), votes (until every member has prepared it), finish (until it may be told: executed ' +
      'here and, with wait_peer_commits, on all members), whole.',
    'database',
    'phase',
  ),
  mtm_conflicts_total: counter(
    `Transactions that had to give way or were refused: ${reasons}.`,
    'database',
    'reason',
  ),
  mtm_votes_total: counter(
    'Votes of this node on transactions of other nodes: yes (prepared here), no.',
    'database',
    'vote',
  ),
  mtm_open_transactions: gauge(
    'Transactions between PREPARE and their end on all members: own (began here), foreign.',
    'database',
    'side',
  ),
  mtm_applying_transactions: gauge('Transactions of other nodes that are being applied here.', 'database'),
  mtm_apply_connections: gauge('Connections to the server that apply them; at most max_workers.', 'database'),
  mtm_unapplied_bytes: gauge('Changes of other nodes that wait here for the server.', 'database'),

  mtm_peer_in_contact: gauge('1 while the other node is heard and can be spoken to.', 'database', 'peer'),
  mtm_peer_online: gauge('1 while the other node is online in the same generation.', 'database', 'peer'),
  mtm_peer_silence_seconds: gauge('Since the last message of the other node.', 'database', 'peer'),
  mtm_peer_lag_bytes: gauge(
    'While the other node catches up from this one: WAL here that it has not made durable yet; else 0.',
    'database',
    'peer',
  ),
  mtm_link_up: gauge('1 while the link in this direction is up.', 'database', 'peer', 'direction'),
  mtm_link_bytes_total: counter(
    'Bytes on the links to and from the other node.',
    'database',
    'peer',
    'direction',
  ),

  mtm_catch_up_lag_bytes: gauge(
    'While this node catches up: WAL of its donor that is not replayed yet; else 0.',
    'database',
  ),
  mtm_catch_up_remaining_seconds: gauge(
    'While this node catches up: how long it still takes at the pace of the last 15 s; absent when ' +
      'that is not known, +Inf when the lag does not get smaller.',
    'database',
  ),
  mtm_retained_wal_bytes: gauge('WAL that the server keeps for nodes that are away.', 'database'),
  mtm_retained_wal_limit_bytes: gauge(
    'max_retained_wal: beyond it nodes that are away must be seeded anew. 0: no limit.',
    'database',
  ),

  mtm_unsupervised_writes_total: counter(
    'Writes that went past the gateway into the server: the nodes differ since.',
    'database',
  ),
  mtm_alarms_total: counter(
    'The nodes may differ, or a peer broke the protocol: a person must look.',
    'database',
  ),
  mtm_notifications_lost_total: counter('Notifications that listeners of this node never get.', 'database'),
} as const;

export const metricDefinitions = { ...ofProcess, ...ofNode };

export type MetricName = keyof typeof metricDefinitions;
