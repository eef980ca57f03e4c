/**
 * /metrics: what was counted, in Prometheus' words. Rule: everything is read when somebody asks (collect), so
 * that what is counted pays nothing for being watched; the registry is our own, and nobody else's.
 */
import type { MetricObjectWithValues, MetricValueWithName } from 'prom-client';
import Counter from 'prom-client/lib/counter.js';
import Gauge from 'prom-client/lib/gauge.js';
import Histogram from 'prom-client/lib/histogram.js';
import Registry from 'prom-client/lib/registry.js';
import { durationBounds, type Histogram as Counted } from '../telemetry/histogram.ts';
import { metricDefinitions, type MetricName } from '../telemetry/metric-definitions.ts';
import { commitPhases } from '../telemetry/node-tally.ts';
import { reportBeforeStart } from './status-report.ts';
import type { DatabaseReport, DatabaseSource, GatewaySource, NodeReport } from './status-report.ts';

type Labels = Readonly<Record<string, string | number>>;

export interface Sample {
  readonly labels: Labels;
  readonly value: number;
}

interface Distribution {
  readonly labels: Labels;
  readonly counted: Counted;
}

const one = (value: number | boolean, labels: Labels = {}): Sample[] => [{ labels, value: Number(value) }];
const by = (label: string, counts: Readonly<Record<string, number>>, labels: Labels = {}): Sample[] =>
  Object.entries(counts).map(([key, value]) => ({ labels: { ...labels, [label]: key }, value }));

type OfDatabase = (report: DatabaseReport, source: DatabaseSource) => Sample[];

/** One or more samples for each database, with its label. */
function each(read: OfDatabase): (source: GatewaySource) => Sample[] {
  return ({ databases }) =>
    databases.flatMap((source) => {
      const { database } = source;
      const samples = read(source.report ?? reportBeforeStart(database), source);
      return samples.map(({ labels, value }) => ({ labels: { database, ...labels }, value }));
    });
}

function tally(read: (counted: DatabaseSource['telemetry']['tally']) => Sample[]) {
  return each((_report, { telemetry }) => read(telemetry.tally));
}

function peers(read: (peer: NodeReport) => Sample[]): (source: GatewaySource) => Sample[] {
  return each(({ nodes }) =>
    nodes
      .filter(({ isSelf }) => !isSelf)
      .flatMap((peer) =>
        read(peer).map(({ labels, value }) => ({ labels: { peer: peer.id, ...labels }, value })),
      ),
  );
}

const statusWords = ['online', 'recovery', 'catchup', 'disabled', 'isolated'];

function remaining({ catchUp }: DatabaseReport): Sample[] {
  const seconds = catchUp?.remainingSeconds ?? null;
  return seconds === null ? [] : one(seconds === 'never' ? Infinity : seconds);
}

const ofProcess = {
  mtm_build_info: ({ version }) => one(1, { version, runtime: `node ${process.versions.node}` }),
  mtm_uptime_seconds: ({ uptimeSeconds }) => one(uptimeSeconds),
  mtm_cpu_seconds_total: () => {
    const { user, system } = process.cpuUsage();
    return by('mode', { user: user / 1e6, system: system / 1e6 });
  },
  mtm_memory_bytes: () => {
    const { rss, heapUsed, external } = process.memoryUsage();
    return by('kind', { rss, heap: heapUsed, external });
  },
  mtm_event_loop_delay_seconds: ({ loopDelay: { p50Ms, p99Ms, maxMs } }) => [
    { labels: { quantile: '0.5' }, value: p50Ms / 1000 },
    { labels: { quantile: '0.99' }, value: p99Ms / 1000 },
    { labels: { quantile: '1' }, value: maxMs / 1000 },
  ],
  mtm_strangers: ({ strangers }) => one(strangers),
  mtm_refused_connections_total: ({ refusedClients, databases }) => {
    const refused: Record<string, number> = {};
    for (const { report } of databases)
      for (const [reason, count] of Object.entries(report?.refusedPeers ?? {}))
        refused[reason] = (refused[reason] ?? 0) + count;
    return [...by('reason', refusedClients, { port: 'client' }), ...by('reason', refused, { port: 'peer' })];
  },
} satisfies Partial<Record<MetricName, (source: GatewaySource) => Sample[]>>;

const ofNode = {
  mtm_online: each(({ ready }) => one(ready)),
  mtm_writable: each(({ writable }) => one(writable)),
  mtm_status: each(({ status }) => statusWords.flatMap((word) => one(status === word, { status: word }))),
  mtm_in_majority: each(({ generation }) => one(generation.inMajority)),
  mtm_draining: each(({ draining }) => one(draining)),
  mtm_restarts_total: tally(({ restarts }) => one(restarts)),
  mtm_generation: each(({ generation }) => one(generation.number)),
  mtm_generations_joined_total: tally(({ generationsJoined }) => one(generationsJoined)),
  mtm_nodes: each(({ generation: { configured, members, membersOnline, joining } }) =>
    by('kind', {
      configured: configured.length,
      members: members.length,
      online: membersOnline.length,
      joining: joining.length,
    }),
  ),
  mtm_clients: each(({ clients: { idle, active, inTransaction, committing, loggingIn, unsupervised } }) =>
    by('state', {
      idle,
      active,
      in_transaction: inTransaction,
      committing,
      logging_in: loggingIn,
      unsupervised,
    }),
  ),
  mtm_max_clients: each(({ clients }) => one(clients.most)),
  mtm_sessions_total: tally(({ sessionsStarted }) => one(sessionsStarted)),
  mtm_client_memory_bytes: each(({ clientMemoryBytes }) => one(clientMemoryBytes)),
  mtm_client_memory_limit_bytes: each(({ clientMemoryLimitBytes }) => one(clientMemoryLimitBytes)),
  mtm_clients_ended_for_memory_total: tally(({ clientsEndedForMemory }) => one(clientsEndedForMemory)),
  mtm_reads_total: tally(({ session }) => one(session.reads)),
  mtm_writes_total: tally(({ committed, aborted, unknown, empty }) =>
    by('outcome', { committed, aborted, unknown, empty }),
  ),
  mtm_repeats_total: tally(({ session }) => one(session.repeats)),
  mtm_conflicts_total: tally(({ conflicts }) => by('reason', conflicts)),
  mtm_votes_total: tally(({ votesYes, votesNo }) => by('vote', { yes: votesYes, no: votesNo })),
  mtm_open_transactions: each(({ open: { own, foreign } }) => by('side', { own, foreign })),
  mtm_applying_transactions: each(({ apply }) => one(apply.transactions)),
  mtm_apply_connections: each(({ apply }) => one(apply.connections)),
  mtm_unapplied_bytes: each(({ apply }) => one(apply.unappliedBytes)),
  mtm_peer_in_contact: peers(({ state }) => one(state !== 'away')),
  mtm_peer_online: peers(({ state }) => one(state === 'online')),
  mtm_peer_silence_seconds: peers(({ link }) =>
    link === null || link.silenceSeconds === null ? [] : one(link.silenceSeconds),
  ),
  mtm_peer_lag_bytes: peers(({ lagBytes }) => one(lagBytes ?? 0)),
  mtm_link_up: peers(({ link }) =>
    by('direction', { out: Number(link?.outgoing === true), in: Number(link?.incoming === true) }),
  ),
  mtm_link_bytes_total: peers(({ link }) =>
    by('direction', { out: link?.sentBytes ?? 0, in: link?.receivedBytes ?? 0 }),
  ),
  mtm_catch_up_lag_bytes: each(({ catchUp }) => one(catchUp?.lagBytes ?? 0)),
  mtm_catch_up_remaining_seconds: each(remaining),
  mtm_retained_wal_bytes: each(({ retainedWalBytes }) => one(retainedWalBytes)),
  mtm_retained_wal_limit_bytes: each(({ retainedWalLimitBytes }) => one(retainedWalLimitBytes)),
  mtm_unsupervised_writes_total: tally(({ unsupervisedWrites }) => one(unsupervisedWrites)),
  mtm_alarms_total: tally(({ alarms }) => one(alarms)),
  mtm_notifications_lost_total: tally(({ notificationsLost }) => one(notificationsLost)),
} satisfies Partial<Record<MetricName, (source: GatewaySource) => Sample[]>>;

const distributions = {
  mtm_read_duration_seconds: ({ databases }: GatewaySource): Distribution[] =>
    databases.map(({ database, telemetry }) => ({ labels: { database }, counted: telemetry.tally.read })),
  mtm_commit_duration_seconds: ({ databases }: GatewaySource): Distribution[] =>
    databases.flatMap(({ database, telemetry }) =>
      commitPhases.map((phase) => ({
        labels: { database, phase },
        counted: telemetry.tally.commit[phase],
      })),
    ),
};

/** A histogram whose buckets were counted elsewhere. */
class CountedHistogram extends Histogram {
  readonly #definition: { readonly name: string; readonly help: string };
  readonly #read: () => Distribution[];

  constructor(name: string, help: string, labelNames: readonly string[], read: () => Distribution[]) {
    super({ name, help, labelNames: [...labelNames], buckets: [...durationBounds], registers: [] });
    this.#definition = { name, help };
    this.#read = read;
  }

  /** The registry asks for this one. */
  getForPromString(): Promise<MetricObjectWithValues<MetricValueWithName<string>>> {
    return this.get();
  }

  override get(): Promise<MetricObjectWithValues<MetricValueWithName<string>>> {
    const { name, help } = this.#definition;
    const values = this.#read().flatMap((distribution) => valuesOf(name, distribution));
    const told = { name, help, type: 'histogram', values, aggregator: 'sum' };
    // Its declarations say number for `type` where the code has the word, and ask for more than is read.
    return Promise.resolve(told as unknown as MetricObjectWithValues<MetricValueWithName<string>>);
  }
}

function valuesOf(name: string, { labels, counted }: Distribution): MetricValueWithName<string>[] {
  let below = 0;
  const buckets = durationBounds.map((bound, at) => {
    below += counted.counts[at]!;
    return { labels: { ...labels, le: bound }, value: below, metricName: `${name}_bucket` };
  });
  return [
    ...buckets,
    { labels: { ...labels, le: '+Inf' }, value: counted.count, metricName: `${name}_bucket` },
    { labels, value: counted.sum, metricName: `${name}_sum` },
    { labels, value: counted.count, metricName: `${name}_count` },
  ];
}

/** The registry of a gateway; `source` is asked for each metric, and says the same within one answer. */
export function metricsRegistry(source: () => GatewaySource): Registry {
  const registry = new Registry();
  registry.setDefaultLabels({ node: String(source().node) });
  for (const [name, read] of Object.entries({ ...ofProcess, ...ofNode })) {
    const { kind, help, labels } = metricDefinitions[name as MetricName];
    const options = { name, help, labelNames: [...labels], registers: [registry] };
    if (kind === 'counter') {
      const metric: Counter = new Counter({
        ...options,
        collect: () => {
          metric.reset();
          for (const sample of read(source())) metric.inc(sample.labels, sample.value);
        },
      });
    } else {
      const metric: Gauge = new Gauge({
        ...options,
        collect: () => {
          metric.reset();
          for (const sample of read(source())) metric.set(sample.labels, sample.value);
        },
      });
    }
  }
  for (const [name, read] of Object.entries(distributions)) {
    const { help, labels } = metricDefinitions[name as MetricName];
    registry.registerMetric(new CountedHistogram(name, help, labels, () => read(source())));
  }
  return registry;
}
