/**
 * `startGateway`: the ports of a gateway, and behind them one node for each database (config/databases.ts).
 * Rule: a connection is told by its startup packet which database it wants; what is of all databases (ports,
 * the end of the process) is here, everything else with the nodes.
 */
import type { Logger } from 'pino';
import { HttpServer } from '../admin/http-server.ts';
import { configsByDatabase } from '../config/databases.ts';
import type { GatewayConfig } from '../config/schema.ts';
import type { Reception } from '../io/clients/arrival.ts';
import { ClientEncryption } from '../io/clients/client-encryption.ts';
import { ClientListener } from '../io/clients/client-listener.ts';
import type { SessionServices } from '../io/clients/session-services.ts';
import { ownSessions } from '../io/wire/own-sessions.ts';
import { loadClassifier } from '../io/parser.ts';
import { PeerPort } from '../io/peers/peer-port.ts';
import { RefusalLog } from '../io/peers/refusal-log.ts';
import { healthOf } from './gateway-health.ts';
import { NodeTelemetry } from '../telemetry/node-telemetry.ts';
import { RefusalTally } from '../telemetry/refusal-tally.ts';
import { GatewayReport } from './gateway-report.ts';
import { NodeKeeper } from './node-keeper.ts';

export interface RunningGateway {
  /** Ends sessions, links and connections in good order. */
  stop(): Promise<void>;
  /** Settled when the gateway has ended; rejects with a GatewayError when it had to. */
  readonly done: Promise<void>;
}

/** Resolves when the gateway listens. Rejects with a GatewayError: one clear sentence. */
export async function startGateway(config: GatewayConfig, log: Logger): Promise<RunningGateway> {
  const configs = configsByDatabase(config);
  const peerPort = configs.length === 1 ? undefined : newPeerPort(config, configs, log);
  const keepers = new Map<string, NodeKeeper>();
  for (const each of configs) {
    const { database } = each.postgres;
    const logOfIt = configs.length === 1 ? log : log.child({ database });
    keepers.set(
      database,
      new NodeKeeper({
        config: each,
        log: logOfIt,
        telemetry: new NodeTelemetry(logOfIt, performance.now()),
        classifier: await loadClassifier(),
        peerPort,
      }),
    );
  }
  const refused = new RefusalTally();
  const listener = newListener(config, keepers, log, refused);
  const report = new GatewayReport(config, keepers, refused, () => listener.strangers);
  const http = new HttpServer({ health: () => healthOf(keepers), report: () => report.source });
  report.start();
  const closePorts = (): void => {
    listener.close();
    peerPort?.close();
    http.close();
    report.stop();
  };
  await http.listen(config.http.host, config.http.port);
  try {
    await peerPort?.listen(config.peerListen.host, config.peerListen.port);
    // One after the other: what the first one cannot do, the others cannot either.
    for (const keeper of keepers.values()) await keeper.start();
    // Open as long as the gateway runs: while the server is away, clients are told so.
    await listener.listen(config.listen.host, config.listen.port);
  } catch (error) {
    await Promise.all([...keepers.values()].map((keeper) => keeper.abandon()));
    closePorts();
    throw error;
  }
  const all = [...keepers.values()];
  const done = Promise.all(all.map((keeper) => keeper.run())).then(() => undefined);
  return {
    stop: async () => {
      // The port stays open meanwhile: who comes is told why not, and who is still at work may cancel.
      await Promise.all(all.map((keeper) => keeper.stop()));
      closePorts();
    },
    done: done.finally(closePorts),
  };
}

function newPeerPort(config: GatewayConfig, configs: readonly GatewayConfig[], log: Logger): PeerPort {
  const refusals = new RefusalLog(log, () => performance.now());
  return new PeerPort(
    configs.map(({ clusterName }) => clusterName),
    { secret: config.clusterSecret, tls: config.peerTls },
    {
      onRefused: (address, reason) => refusals.tell(address, reason, undefined),
      onAcceptFailed: (error) =>
        log.warn({ err: error }, 'a connection on the peer port could not be accepted'),
    },
  );
}

function newListener(
  config: GatewayConfig,
  keepers: ReadonlyMap<string, NodeKeeper>,
  log: Logger,
  refused: RefusalTally,
): ClientListener {
  const first = config.postgres.database;
  return new ClientListener({
    own: ownSessions,
    refused: (reason) => refused.count(reason),
    loginTimeoutMs: config.authenticationTimeoutMs,
    encryption: ClientEncryption.of(config.clientTls, log, config.authenticationTimeoutMs),
    reception: (database): Reception =>
      keepers.get(database)?.reception() ?? keepers.get(first)!.reception(database),
    newestMinor: () => Math.max(...reachable(keepers).map(({ newestMinor }) => newestMinor), 0),
    cancel: async (processId, key) => {
      const nodes = reachable(keepers);
      for (const node of nodes) if (await node.cancel(processId, key)) return;
      // Whoever has a list of hosts, or a load balancer, cancels anywhere.
      await Promise.all(nodes.map((node) => node.cancelElsewhere(processId, key)));
    },
  });
}

function reachable(keepers: ReadonlyMap<string, NodeKeeper>): SessionServices[] {
  return [...keepers.values()].flatMap((keeper) => {
    const services = keeper.reception();
    return 'severity' in services ? [] : [services];
  });
}
